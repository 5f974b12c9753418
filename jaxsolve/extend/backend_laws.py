"""The laws of direct backends: exact, with transposes and adjoints, for batches, and honest about singular matrices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.results import ConvergenceException
from jaxsolve.core.status import Status
from jaxsolve.extend.findings import Law, apart, require
from jaxsolve.extend.reference_problems import SINGLE, complex_of, dense, grid, precision, vector
from jaxsolve.front.request import Solve
from jaxsolve.linear.factorization import factorize
from jaxsolve.linear.linear_solve import solve_linear, solve_linear_info
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.preconditioner import with_entries
from jaxsolve.solvers.host.backends import DEFINITE, DEVICE, recipe_for
from jaxsolve.solvers.host.direct import SparseDirect
from jaxsolve.solvers.host.factor import Form


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A backend by its name, and sparse matrices, real and complex: without symmetry, where it takes such."""

    name: str
    matrices: tuple[SparseMatrix, ...]

    @staticmethod
    def of(name: str, examples: tuple[Any, ...]) -> "Subject":
        """The subject with the reference matrices, and with examples A.

        Raises:
            MissingBackendError: If the package of the backend is not installed.
        """
        if name != DEVICE:
            recipe_for(name, grid(precision()).pattern)
        dtypes = (precision(), complex_of(precision()))
        own = tuple(with_entries(A, f"backend {name}") for A in examples)
        return Subject(name, (*(grid(dtype, symmetric=name in DEFINITE) for dtype in dtypes), *own))


def _close(found: Any, expected: Any, text: str) -> str:
    error = apart(found, expected)
    limit = 1e-10 if precision() == np.float64 else 1e-4
    require(error <= limit, f"{text} differs from LAPACK's by {error:.1e} relatively.")
    return f"to {error:.0e}"


def _forms(s: Subject) -> str:
    worst = 0.0
    forms: tuple[Form, ...] = ("N", "T", "H")
    # The host works in double precision, the program in that of A.
    limit = 1e-9 if s.name != DEVICE or precision() == np.float64 else 1e-4
    for A in s.matrices:
        solve, dtype = _solver(s.name, A)
        matrix = dense(A)
        rhs = np.stack([vector(len(matrix), seed, dtype) for seed in (1, 2, 3)], axis=1)
        for form in forms:
            side = {"N": matrix, "T": matrix.T, "H": matrix.conj().T}[form]
            error = apart(solve(rhs, form), np.linalg.solve(side, rhs))
            require(
                error <= limit,
                f"form {form!r} of a {matrix.dtype} matrix: solutions differ from LAPACK's by {error:.1e} relatively.",
            )
            worst = max(worst, error)
    return f"N, T, H, to {worst:.0e}"


def _solver(name: str, A: SparseMatrix) -> tuple[Callable[[np.ndarray, Form], Any], Any]:
    """The solutions for columns and a form, and the dtype that they are in."""
    if name != DEVICE:
        factor = recipe_for(name, A.pattern).factor(np.asarray(A.data))
        require(factor.status is Status.converged, f"a regular matrix is called {factor.status.name}.")
        return factor.solve, factor.dtype
    inverse = SparseDirect(backend=name).prepare(A)
    forms = {"N": inverse, "T": inverse.T, "H": inverse.H}
    return lambda rhs, form: jax.vmap(forms[form].mv, in_axes=1, out_axes=1)(jnp.asarray(rhs)), A.dtype


def _factorized(s: Subject) -> str:
    A = s.matrices[0]
    b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
    with factorize(A, backend=s.name) as solver:
        _close(solver.solve_transpose(b), np.linalg.solve(dense(A).T, b), "`solve_transpose`")
        return _close(solver.solve(b), np.linalg.solve(dense(A), b), "`solve`")


def _batches(s: Subject) -> str:
    A = s.matrices[0]
    b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
    scales = jnp.array([1.0, 2.0, 3.0 if s.name in DEFINITE else -3.0], A.dtype)
    solve = Solve(SparseDirect(backend=s.name))
    found = jax.jit(jax.vmap(lambda c: solve_linear_info(SparseMatrix(A.data * c, A.pattern), b, solve).x))(
        scales
    )
    return _close(found, np.linalg.solve(dense(A), b) / np.asarray(scales)[:, None], "a lane of a vmap")


def _gradient(s: Subject) -> str:
    A = s.matrices[0]
    b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
    solve = Solve(SparseDirect(backend=s.name), rtol=1e-12 if precision() == np.float64 else SINGLE)

    def loss(data: Any) -> Any:
        return jnp.sum(solve_linear(SparseMatrix(data, A.pattern), b, solve) ** 2)

    x = np.linalg.solve(dense(A), b)
    y = np.linalg.solve(dense(A).T, 2 * x)
    return _close(
        jax.jit(jax.grad(loss))(A.data),
        -y[A.pattern.rows] * x[A.pattern.indices],
        "the gradient in the entries",
    )


def _singular(s: Subject) -> str:
    A = s.matrices[0]
    # The last two rows are one.
    matrix = A.to_scipy().tolil()
    matrix[-1] = matrix[-2]
    if s.name in DEFINITE:
        matrix[:, -1] = matrix[:, -2]
    broken = SparseMatrix.from_scipy(matrix.tocsr())
    b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
    info = solve_linear_info(broken, b, Solve(SparseDirect(backend=s.name), rank_deficiency=0))
    # Without exchanges of rows a pivot vanishes, and that is all that is known then.
    named = (Status.singular, Status.inconsistent, *([Status.breakdown] if s.name == DEVICE else []))
    named += (Status.not_positive_definite,) if s.name in DEFINITE else ()
    require(
        not bool(info.converged) and info.status in named,
        f"a matrix with two equal rows ends as {info.status.name}.",
    )
    try:
        factorize(broken, backend=s.name).solve(b)
    except ConvergenceException as error:
        return f"{type(error).__name__}: {info.status.name}"
    raise AssertionError("`js.factorize(A).solve(b)` of a matrix with two equal rows raises nothing.")


BACKEND_LAWS = (
    Law(
        "solutions are exact in every form",
        _forms,
        "`substitute(rhs, form)`: which of A, Aᵀ and Aᴴ is solved with.",
    ),
    Law("js.factorize takes it", _factorized, "the name, and `substitute`."),
    Law("lanes of a vmap are what each is alone", _batches, "state that factorisations share."),
    Law("gradients are exact", _gradient, "form 'T', with which the adjoint system is solved."),
    Law(
        "singular matrices are refused in words",
        _singular,
        "what `factorise` raises: RuntimeError or LinAlgError.",
    ),
)
