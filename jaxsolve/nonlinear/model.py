"""Model: residuals near a point as r + J d, and the damped step that makes them least."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.tree import Packing
from jaxsolve.core.vector import norm, squared_norm
from jaxsolve.linear.request import Solve, needs_entries
from jaxsolve.nonlinear.linearisation import DENSE, inverse_of, solved
from jaxsolve.nonlinear.statement import Given, Statement
from jaxsolve.operators.function import function_operator
from jaxsolve.tracer.assemble import trace_operator

#: Entries of a dense Jacobian.
MOST_ENTRIES = 4_000_000
#: The tolerance of inner least-squares solves.
INNER = 1e-3


@dataclasses.dataclass(frozen=True)
class Model:
    """The residuals near a point, r + J d.

    Attributes:
        residual: r, shape (m,).
        matrix: J where it is dense, else None.
        products: v -> J v and w -> Jᵀ w.
        linear: What the user asks of inner solves.
    """

    residual: Array
    matrix: Array | None
    products: tuple[Callable[[Array], Array], Callable[[Array], Array]]
    linear: Solve | None

    @property
    def gradient(self) -> Array:
        """Jᵀ r."""
        return self.products[1](self.residual)

    def step(self, damping: Array, active: Array) -> tuple[Array, Array]:
        """argmin ‖r + J d‖² + damping ‖d‖², and the number of products with J and Jᵀ; zero unless `active`."""
        r = jnp.where(active, self.residual, 0)
        if self.matrix is not None:
            return _by_rotations(self.matrix, -r, damping), jnp.array(self.matrix.shape[1], jnp.int32)
        if self.linear is not None and not _rectangular(self.linear):
            return self._by_normal_equations(-self.products[1](r), damping)
        return self._by_augmented_system(-r, damping)

    def _by_augmented_system(self, rhs: Array, damping: Array) -> tuple[Array, Array]:
        """J d = -r and √damping d = 0 together."""
        J, JT = self.products
        root = jnp.sqrt(damping)

        def stacked(v: Array) -> Array:
            return jnp.concatenate([J(v), root * v])

        gradient = JT(rhs)
        # Methods for least squares stop at ‖Aᵀs‖ <= rtol ‖A‖‖s‖, and at the start s is -r.
        along = norm(J(gradient)) * norm(rhs)
        rtol = INNER * squared_norm(gradient) / jnp.where(along > 0, along, 1)
        rtol = jnp.clip(rtol, 10 * jnp.finfo(rhs.dtype).eps, INNER)
        size = gradient.shape[0]
        m = rhs.shape[0] + size
        unknown, image = Packing.vector(size, rhs.dtype), Packing.vector(m, rhs.dtype)
        A = function_operator(stacked, unknown, image, rhs.dtype, (), {})[0]
        solve = Solve("lsmr") if self.linear is None else self.linear
        rhs = jnp.concatenate([rhs, jnp.zeros(size, rhs.dtype)])
        inner = solved(A, solve, inverse_of(A, solve), rhs, rtol)
        return inner.x, inner.evaluations + 3

    def _by_normal_equations(self, rhs: Array, damping: Array) -> tuple[Array, Array]:
        """(JᵀJ + damping) d = -Jᵀr."""
        J, JT = self.products

        def normal(v: Array) -> Array:
            return JT(J(v)) + damping * v

        assert self.linear is not None
        if needs_entries(self.linear):
            A = trace_operator(normal, jax.ShapeDtypeStruct(rhs.shape, rhs.dtype))[0]
        else:
            unknown = Packing.vector(rhs.shape[0], rhs.dtype)
            A = function_operator(normal, unknown, unknown, rhs.dtype, (), {})[0]
        inner = solved(A, self.linear, inverse_of(A, self.linear), rhs, INNER)
        return inner.x, inner.evaluations


def _by_rotations(J: Array, rhs: Array, damping: Array) -> Array:
    """The damped step by QR of the stacked matrix, which does not square the condition.

    Where that has not full rank, what is damped by a rounding error more leads to the shortest step up to √eps.
    """
    n = J.shape[1]
    eps = jnp.finfo(J.dtype).eps
    padded = jnp.concatenate([rhs, jnp.zeros(n, J.dtype)])

    def solution(damping):
        Q, R = jnp.linalg.qr(jnp.concatenate([J, jnp.sqrt(damping) * jnp.eye(n, dtype=J.dtype)]))
        diagonal = jnp.abs(jnp.diagonal(R))
        full = jnp.min(diagonal) > n * eps * jnp.max(diagonal)
        return jax.scipy.linalg.solve_triangular(R, Q.T @ padded), full

    step, full = solution(damping)
    largest = jnp.max(jnp.sum(J**2, axis=0))
    return lax.cond(full, lambda: step, lambda: solution(damping + eps * largest)[0])


def _rectangular(linear: Solve) -> bool:
    return isinstance(linear.method, str) or linear.method.rectangular


def model_at(statement: Statement, given: Given, x: Array, linear: Solve | None) -> Model:
    """The model of the residuals at x, dense where it is small and nothing else is asked for."""

    def residual(x: Array) -> Array:
        return statement.value(given, x)

    r, J = jax.linearize(residual, x)
    transposed = jax.linear_transpose(J, x)

    def JT(w: Array) -> Array:
        return transposed(w)[0]

    n, m = x.shape[0], r.shape[0]
    small = linear is None and n <= DENSE and n * m <= MOST_ENTRIES
    matrix = jax.vmap(J, out_axes=1)(jnp.eye(n, dtype=x.dtype)) if small else None
    if matrix is not None:
        dense = matrix
        return Model(r, dense, (lambda v: dense @ v, lambda w: w @ dense), linear)
    return Model(r, matrix, (J, JT), linear)
