"""Exceptions raised before anything is computed: malformed input, untraceable functions, missing packages."""


class StructureError(ValueError):
    """Shapes, dtypes or structures do not fit together; the text says which and what to do.

    Attributes:
        args: The text, alone in a tuple.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     js.solve_linear(jnp.eye(2), jnp.ones(3))
    ... except js.StructureError as error:
    ...     print(error)
    A of shape (2, 2) needs a right-hand side of 2 values; b is array(3,) with 3.
    """

    def __init__(self, message: str):
        super().__init__(message)


class TraceError(ValueError):
    """Raised where a function could not be read as a linear map; the text names the primitive and the source line.

    Attributes:
        args: The text, alone in a tuple.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     js.matrix_from_function(lambda x: jnp.sort(x), jnp.ones(3))
    ... except js.TraceError as error:
    ...     print("`sort`" in str(error))
    True
    """

    def __init__(self, message: str):
        super().__init__(message)


class NotLinearError(TraceError):
    """Raised where a function is not linear (or affine) in its first argument.

    Attributes:
        args: The text, alone in a tuple; it names the operation and the line.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     js.matrix_from_function(lambda x: x**2, jnp.ones(3))
    ... except js.NotLinearError as error:
    ...     print("`x**2`" in str(error) or "integer_pow" in str(error) or "square" in str(error))
    True
    """


class MissingBackendError(ImportError):
    """An optional package is needed; the text names the extra that installs it.

    Attributes:
        args: The text, alone in a tuple.

    >>> import jaxsolve as js
    >>> from jaxsolve.core.optional import require
    >>> try:
    ...     require("no_such_package", "", "this example")
    ... except js.MissingBackendError as error:
    ...     print(error)
    this example needs the package no_such_package: pip install 'no_such_package'.
    """

    def __init__(self, message: str):
        super().__init__(message)
