"""Optional packages: imported when something needs them, missed in words that say how to get them."""

import importlib
from typing import Any

from jaxsolve.core.errors import MissingBackendError


def require(module: str, extra: str, what: str) -> Any:
    """The module of an optional package.

    Args:
        module: Its name, such as "matplotlib.pyplot".
        extra: The extra of this package that installs it, "" for none.
        what: What needs it, for the message.

    Raises:
        MissingBackendError: If it is not installed.

    >>> require("math", "", "this example").sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        install = f"jaxsolve[{extra}]" if extra else package
        raise MissingBackendError(f"{what} needs the package {package}: pip install '{install}'.") from error
