"""What users type, checked: files, right-hand sides, names."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.front.request import as_method, as_preconditioner
from jaxsolve.io.files import ENDINGS, read_matrix, read_vector
from jaxsolve.operators.sparse import SparseMatrix

#: Seed of right-hand sides: an arbitrary number, so that figures can be reproduced.
SEED = 20011


class UsageError(Exception):
    """An input that cannot be used; the text is one line for people."""


def load_matrix(path: str, dtype: str) -> SparseMatrix:
    """The matrix in a file, in the precision asked for (complex stays complex)."""
    A = attempt(read_matrix, path)
    if 0 in A.shape:
        raise UsageError(f"'{path}' holds an empty matrix of shape {A.shape}.")
    complex_ = jnp.issubdtype(A.dtype, jnp.complexfloating)
    wanted = {"float32": jnp.complex64, "float64": jnp.complex128}[dtype] if complex_ else dtype
    return SparseMatrix(A.data.astype(wanted), A.pattern, A.facts)


def load_rhs(source: str | None, A: SparseMatrix) -> np.ndarray:
    """The right-hand side b of shape (m,), in the precision of A.

    Args:
        source: A file, "ones", "random", or None for A times a random vector, which is in the range of A.
        A: The matrix.
    """
    m, n = A.shape
    rng = np.random.default_rng(SEED)
    precision = jnp.finfo(A.dtype).dtype
    if source is None:
        return np.asarray(A.to_scipy() @ rng.standard_normal(n).astype(precision))
    if source == "ones":
        return np.ones(m, precision)
    if source == "random":
        return rng.standard_normal(m).astype(precision)
    b = attempt(read_vector, source)
    if b.shape != (m,):
        raise UsageError(f"the matrix has {m} rows and '{source}' holds {b.shape[0]} numbers.")
    return b.astype(jnp.result_type(precision, 1j) if np.iscomplexobj(b) else precision)


def matrix_files(paths: list[str]) -> list[pathlib.Path]:
    """The files named, and those in the folders named, sorted within a folder."""
    found = []
    for name in paths:
        path = pathlib.Path(name)
        if not path.is_dir():
            found.append(path)
            continue
        inside = [p for p in sorted(path.iterdir()) if p.name.endswith(ENDINGS) and p.is_file()]
        if not inside:
            raise UsageError(f"the folder '{name}' holds no {', '.join(ENDINGS)} files.")
        found.extend(inside)
    return found


def stem(path: str | pathlib.Path) -> str:
    """The name of a file without folder and ending."""
    name = pathlib.Path(path).name
    return next(
        (name.removesuffix(e) for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(e)), name
    )


def method_of(name: str) -> Any:
    """The method of a name, or "auto"."""
    return attempt(as_method, name)


def preconditioner_of(name: str) -> Any:
    """The preconditioner of a name, or None."""
    return attempt(as_preconditioner, name)


def names_in(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function; an error about its input becomes a `UsageError` of one line."""
    try:
        return function(*args)
    except FileNotFoundError:
        raise UsageError(f"there is no file '{args[0]}'.") from None
    except OSError as error:
        raise UsageError(f"'{args[0]}': {error.strerror or error}.") from None
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(" ".join(str(error).split())) from None


def completed(option: Any, names: list[str]) -> None:
    """Has the shell complete an option by names, where argcomplete is installed."""
    option.completer = lambda **_: names
