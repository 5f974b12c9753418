"""The laws of preconditioners: linear, adjoints exact, constants like traced values and lanes, and of use."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.extend.findings import Law, apart, require, rounding
from jaxsolve.extend.reference_problems import SINGLE, complex_of, dense, grid, precision, vector
from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear, solve_linear_info
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, with_entries

#: Unknowns of the coarsest level at most.
BOTTOM = 10
#: Rounding units that products with an approximate inverse may differ by.
UNITS = 1e4


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A recipe, and the matrices that it is built of, the first one positive definite."""

    recipe: AbstractPreconditioner
    matrices: dict[str, SparseMatrix]

    @staticmethod
    def of(recipe: AbstractPreconditioner, examples: tuple[Any, ...]) -> "Subject":
        """The subject with the reference matrices, and with examples A."""
        dtype = precision()
        # On so few unknowns a hierarchy would be its coarse solve alone.
        if isinstance(getattr(recipe, "bottom", None), int):
            recipe = dataclasses.replace(recipe, bottom=min(recipe.bottom, BOTTOM))
        matrices = {"definite": grid(dtype), "unsymmetric": grid(dtype, symmetric=False)}
        if "real" not in recipe.needs.lower().split():
            matrices["complex Hermitian"] = grid(complex_of(dtype))
        if "definite" in recipe.needs and "natural" not in recipe.needs:
            del matrices["unsymmetric"]
        for k, A in enumerate(examples):
            matrices[f"example {k + 1}"] = with_entries(A, recipe.name)
        return Subject(recipe, matrices)

    def told(self, A: SparseMatrix) -> AbstractPreconditioner:
        """The recipe, told typical values where it asks for them: only then traced values can give the same."""
        if getattr(self.recipe, "like", A) is None:
            return dataclasses.replace(self.recipe, like=A)
        return self.recipe

    @functools.cached_property
    def built(self) -> dict[str, LinearOperator]:
        """The operators."""
        return {name: self.recipe.build(A) for name, A in self.matrices.items()}

    @functools.cached_property
    def images(self) -> dict[str, tuple[np.ndarray, ...]]:
        """M, Mᵀ and Mᴴ as matrices, from products of the compiled operators with unit vectors."""
        found = {}
        for name, M in self.built.items():
            unit = jnp.eye(M.shape[0], dtype=M.dtype)
            found[name] = tuple(
                np.asarray(jax.jit(jax.vmap(form.mv, out_axes=1))(unit)) for form in (M, M.T, M.H)
            )
        return found

    @property
    def definite(self) -> SparseMatrix:
        """The positive definite matrix."""
        return self.matrices["definite"]


def _linear(s: Subject) -> str:
    worst = 0.0
    for name, M in s.built.items():
        n = M.shape[0]
        require(
            M.shape == s.matrices[name].shape and M.dtype == s.matrices[name].dtype,
            f"of a {s.matrices[name].dtype} matrix of shape {s.matrices[name].shape} it builds {M.dtype} {M.shape}.",
        )
        x, y = (jnp.asarray(vector(n, seed, M.dtype)) for seed in (1, 2))
        error = apart(M.mv(3 * x - 2 * y), 3 * M.mv(x) - 2 * M.mv(y))
        require(
            error <= rounding(M.dtype, UNITS),
            f"M(3x - 2y) differs from 3Mx - 2My by {error:.1e} relatively on the {name} matrix.",
        )
        worst = max(worst, error)
    return f"to {worst:.0e}"


def _adjoint(s: Subject) -> str:
    worst = 0.0
    for name, (M, transposed, adjoint) in s.images.items():
        for what, found, expected in (("Mᵀ", transposed, M.T), ("Mᴴ", adjoint, M.conj().T)):
            error = apart(found, expected)
            require(
                error <= rounding(M.dtype, UNITS),
                f"⟨y, M x⟩ is not ⟨{what} y, x⟩ on the {name} matrix: {what} differs from that of the entries of M by "
                f"{error:.1e} relatively.",
            )
            worst = max(worst, error)
    return f"to {worst:.0e}"


def _symmetric(s: Subject) -> str | None:
    if not type(s.recipe).symmetric:
        return None
    M = s.images["definite"][0]
    error = apart(M, M.conj().T)
    require(
        error <= rounding(M.dtype, UNITS),
        f"`symmetric` is True, and of a positive definite matrix M differs from Mᵀ by {error:.1e} relatively.",
    )
    least = float(np.linalg.eigvalsh((M + M.conj().T) / 2)[0])
    require(
        least > 0, f"of a positive definite matrix it is not: the smallest eigenvalue of M is {least:.1e}."
    )
    return f"to {error:.0e}, smallest eigenvalue {least:.1e}"


def _regular(s: Subject) -> str:
    worst = np.inf
    for name, (M, *_) in s.images.items():
        require(np.isfinite(M).all(), f"on the {name} matrix M has entries that are not finite.")
        values = np.linalg.svd(M, compute_uv=False)
        worst = min(worst, float(values[-1] / values[0]))
        require(
            values[-1] > rounding(M.dtype, 10) * values[0],
            f"on the {name} matrix M maps a vector to zero: its singular values reach from {values[0]:.1e} to "
            f"{values[-1]:.1e}, so that residuals along that vector are never seen.",
        )
    return f"smallest singular value over largest {worst:.0e}"


def _traced(s: Subject) -> str:
    A = s.definite
    recipe, x = s.told(A), jnp.asarray(vector(A.shape[0], 3, A.dtype))
    constant = recipe.build(A).mv(x)
    traced = jax.jit(lambda data, x: recipe.build(SparseMatrix(data, A.pattern, A.traits)).mv(x))(A.data, x)
    error = apart(traced, constant)
    require(
        error <= rounding(A.dtype, UNITS),
        f"M x of traced values differs from that of constants by {error:.1e} relatively.",
    )
    return f"to {error:.0e}"


def _lanes(s: Subject) -> str:
    A = s.definite
    recipe, x = s.told(A), jnp.asarray(vector(A.shape[0], 3, A.dtype))
    scales = jnp.array([1, 2, 5], A.dtype)
    of = jax.jit(lambda data: recipe.build(SparseMatrix(data, A.pattern, A.traits)).mv(x))
    many = jax.jit(jax.vmap(of))(scales[:, None] * A.data)
    for k, scale in enumerate(scales):
        error = apart(many[k], of(scale * A.data))
        require(
            error <= rounding(A.dtype, UNITS),
            f"lane {k} differs from itself alone by {error:.1e} relatively.",
        )
    return f"{len(scales)} lanes"


def _useful(s: Subject) -> str:
    seen = []
    for name, A in s.matrices.items():
        # One method for each recipe: what takes time is compilation.
        if name == "complex Hermitian" or (name == "unsymmetric" and type(s.recipe).symmetric):
            continue
        method = "CG" if name == "definite" and type(s.recipe).symmetric else "GMres"
        b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
        rtol = 1e-8 if precision() == np.float64 else 1e-4
        plain, with_it = (
            solve_linear_info(A, b, Solve(method, rtol=rtol, preconditioner=M)) for M in (None, s.recipe)
        )
        require(
            bool(with_it.converged),
            f"{method} on the {name} matrix ends as {with_it.status.name} with it, {plain.status.name} without.",
        )
        require(
            int(with_it.iterations) <= int(plain.iterations),
            f"{method} on the {name} matrix takes {int(with_it.iterations)} iterations with it, "
            f"{int(plain.iterations)} without.",
        )
        seen.append(f"{method} {int(plain.iterations)} -> {int(with_it.iterations)}")
    return ", ".join(seen)


def _gradients(s: Subject) -> str:
    A = s.definite
    b = jnp.asarray(vector(A.shape[0], 4, A.dtype))
    solve = Solve("biCG-stab", rtol=1e-11 if precision() == np.float64 else SINGLE, preconditioner=s.recipe)

    def loss(data: Any) -> Any:
        return jnp.sum(solve_linear(SparseMatrix(data, A.pattern), b, solve) ** 2)

    found = jax.jit(jax.grad(loss))(A.data)
    matrix = dense(A)
    x = np.linalg.solve(matrix, np.asarray(b))
    y = np.linalg.solve(matrix.T, 2 * x)
    error = apart(found, -y[A.pattern.rows] * x[A.pattern.indices])
    require(
        error <= (1e-6 if precision() == np.float64 else 1e-2),
        f"the gradient of a preconditioned solve differs from the exact one by {error:.1e} relatively.",
    )
    return f"to {error:.0e}"


PRECONDITIONER_LAWS = (
    Law(
        "it is linear", _linear, "`mv` of what `build` returns: thresholds, norms, inner solves by iteration."
    ),
    Law("the adjoint is exact", _adjoint, "`transpose` of what `build` returns."),
    Law("it is symmetric and definite where it says so", _symmetric, "`symmetric`, and `build`."),
    Law(
        "it maps no vector to zero",
        _regular,
        "entries of A that are divided by, rows that `build` leaves out.",
    ),
    Law("traced values give what constants give", _traced, "NumPy on values in `build`; `concrete`."),
    Law("lanes of a vmap are what each is alone", _lanes, "Python branches on values; use jnp.where."),
    Law(
        "it does not slow convergence",
        _useful,
        "the sign and the size of M: M A should be near the identity.",
    ),
    Law("gradients do not feel it", _gradients, "`transpose`, which the adjoint solve uses."),
)
