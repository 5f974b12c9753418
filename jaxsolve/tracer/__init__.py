"""The tracer: a linear function's jaxpr, read once, becomes a sparse matrix."""
