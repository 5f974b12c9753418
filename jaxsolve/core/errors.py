"""Exceptions raised before anything is computed: malformed input, untraceable functions, missing packages."""


class StructureError(ValueError):
    """Shapes, dtypes or structures do not fit together; the text says which and what to do."""


class TraceError(ValueError):
    """A function could not be read as a linear map; the text names the primitive and the source line."""


class NotLinearError(TraceError):
    """A function is not linear (or affine) in its first argument."""


class MissingBackendError(ImportError):
    """An optional package is needed; the text names the extra that installs it."""
