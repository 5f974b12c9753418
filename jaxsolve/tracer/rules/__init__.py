"""How each primitive of JAX acts on linear values, one family a file."""
