"""Model: residuals near a point as r + J d, and the damped step that makes them least."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.staging import index_array
from jaxsolve.core.tree import Packing
from jaxsolve.core.vector import norm, power_of_two, squared_norm
from jaxsolve.front.request import Solve, needs_entries
from jaxsolve.nonlinear.block_elimination import BlockElimination
from jaxsolve.nonlinear.linearisation import DENSE, inverse_of, solved
from jaxsolve.nonlinear.linesearch import slack
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.normal_equations import normal_matrix
from jaxsolve.nonlinear.parameter_units import COLUMN_PROBES, column_sizes, probes, vanished
from jaxsolve.nonlinear.residual_jacobian import residual_jacobian
from jaxsolve.nonlinear.robust_cost import LEAST
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.assembly import trace_operator

#: What is asked of the steps: a request, the leaf that is eliminated, or nothing.
Inner = Solve | BlockElimination | None
#: Entries of a dense Jacobian.
MOST_ENTRIES = 4_000_000
#: The tolerance of inner least-squares solves.
INNER = 1e-3


class Model(eqx.Module):
    """The residuals near a point, r + J d, as far as it is kept from one step to the next.

    Attributes:
        residual: r, shape (m,); with a loss, here and below r and J stand for r̃ and J̃ of `Weighted`.
        size: The norm of what counts of the residuals.
        value: The cost, ½‖r‖² without a loss.
        gradient: Jᵀ r, shape (n,).
        sizes: The norms of the columns of J, shape (n,); estimates where J is not made.
        factors: R and Qᵀ r of J D⁻¹ = Q R with D the sizes, None where J is not made.
        gain: What is judged: ‖P r‖ with P the projection onto the range of J, or the largest |Jⱼᵀ r| / ‖Jⱼ‖, which is
            part of it.
        J: The sparse J where a leaf is eliminated.
        reach: What r changes by when each entry of x changes by the whole of itself, ‖J diag(x)‖.
        least: The least curvature of a loss.
    """

    residual: Array
    size: Array
    value: Array
    gradient: Array
    sizes: Array
    factors: tuple[Array, Array] | None
    gain: Array
    J: SparseMatrix | None = None
    reach: Any = None
    least: Array | float = LEAST

    def allowed(self, first: Array, rtol: Array) -> Array:
        """What the gain may be; `first` is ‖r‖ at the first guess."""
        none = vanished(rtol, first, self.reach, float(jnp.finfo(self.size.dtype).eps))
        return jnp.maximum(rtol * self.size, none)

    @property
    def slack(self) -> Array:
        """What differences of the cost mean nothing below: Σ rᵢ δrᵢ, with δr what the last digit of x changes r by.

        Of data that are large beside what is left of them, r is a small difference and rounds as the data do.
        """
        return slack(self.value) + jnp.finfo(self.size.dtype).eps * self.size * self.reach

    @property
    def units(self) -> Array:
        """The sizes, 1 where a column is zero."""
        return jnp.where(self.sizes > 0, self.sizes, 1)


def model_at(
    statement: Statement,
    given: Given,
    x: Array,
    linear: Inner,
    entries: bool = False,
    least: Array | float = LEAST,
) -> Model:
    """The model of the residuals at x; J is made for `entries`, and where it is small and nothing else is asked for."""
    if isinstance(linear, BlockElimination):
        J = linear.jacobian(lambda: residual_jacobian(statement, given, x))
        model = _by_entries(*statement.near(given, x), J, least)
    else:
        model = _model(*statement.near(given, x), linear, entries, least)
    reach = norm(model.sizes * x) if statement.chart is None else _reach(statement, given, x, least)
    return dataclasses.replace(model, reach=reach, least=jnp.asarray(least, x.dtype))


def _reach(statement: Statement, given: Given, x: Array, least: Array | float) -> Array:
    """‖J diag(x)‖ on a manifold, where columns of J belong to steps: by a product with random signs."""
    signs = jnp.sign(probes(1, x.shape[0], x.dtype)[0])
    r, change = jax.jvp(lambda x: statement.value(given, x), (x,), (x * signs,))
    return norm(_times(statement.weighted(given, r, least).factor, change))


def _model(
    statement: Statement, given: Given, x: Array, linear: Inner, entries: bool, least: Array | float
) -> Model:
    def residual(x: Array) -> Array:
        return statement.value(given, x)

    n = x.shape[0]
    m = jax.eval_shape(residual, x).shape[0]
    if entries or (linear is None and n <= DENSE and n * m <= MOST_ENTRIES):
        r, product = jax.linearize(residual, x)
        J = jax.vmap(product, out_axes=1)(jnp.eye(n, dtype=x.dtype))
        r, factor, size, value = statement.weighted(given, r, least)
        J = J if factor is None else factor[:, None] * J
        sizes = column_sizes(J)
        Q, R = jnp.linalg.qr(J / jnp.where(sizes > 0, sizes, 1)[None])
        along = Q.T @ r
        # Directions are damped as far as rounding hides J along them.
        hidden = jnp.asarray(n * jnp.finfo(x.dtype).eps, x.dtype)
        gain = norm(R @ _ridge(R, along, hidden)[0])
        return Model(r, size, value, r @ J, sizes, (R, along), gain)
    r, pull = jax.vjp(residual, x)
    r, factor, size, value = statement.weighted(given, r, least)
    seeds = probes(COLUMN_PROBES, m, r.dtype)
    (gradient,) = pull(_times(factor, r))
    (seen,) = jax.vmap(pull)(seeds if factor is None else factor[None] * seeds)
    length = norm(r)
    shares = jnp.abs(gradient) / jnp.where(length > 0, length, 1)
    sizes = jnp.maximum(column_sizes(seen) / COLUMN_PROBES**0.5, shares)
    gain = jnp.max(jnp.abs(gradient) / jnp.where(sizes > 0, sizes, 1))
    return Model(r, size, value, gradient, sizes, None, gain)


def _by_entries(statement: Statement, given: Given, x: Array, J: SparseMatrix, least: Array | float) -> Model:
    r, factor, size, value = statement.weighted(given, statement.value(given, x), least)
    rows, columns = index_array(J.pattern.rows), index_array(J.pattern.indices)
    J = SparseMatrix(J.data if factor is None else factor[rows] * J.data, J.pattern)
    gradient = jax.ops.segment_sum(J.data * r[rows], columns, x.shape[0])
    largest = power_of_two(jax.ops.segment_max(jnp.abs(J.data), columns, x.shape[0]))
    squares = jnp.square(J.data / largest[columns])
    sizes = largest * jnp.sqrt(jax.ops.segment_sum(squares, columns, x.shape[0]))
    gain = jnp.max(jnp.abs(gradient) / jnp.where(sizes > 0, sizes, 1))
    return Model(r, size, value, gradient, sizes, None, gain, J)


def model_step(
    model: Model,
    statement: Statement,
    given: Given,
    x: Array,
    linear: Inner,
    damping: Array,
    metric: Array,
    active: Array,
) -> tuple[Array, Array]:
    """argmin ‖r + J d‖² + damping ‖D d‖², and the number of products with J and Jᵀ; zero unless `active`.

    Args:
        model: The model at x.
        statement: The problem.
        given: What it depends on.
        x: The point.
        linear: What the user asks of inner solves.
        damping: λ.
        metric: D, positive and no less than the sizes of columns.
        active: Whether a step is wanted.
    """
    entries = functools.partial(residual_jacobian, statement, given, x)
    statement, given, x = statement.near(given, x)
    if isinstance(linear, BlockElimination):
        assert model.J is not None
        step = linear.step(model.J, jnp.where(active, model.gradient, 0), damping, metric)
        return step, jnp.array(1, jnp.int32)
    if model.factors is not None:
        R, along = model.factors
        R = R * (model.units / metric)[None]
        step = _damped(R, jnp.where(active, along, 0), damping)
        return -step / metric, jnp.array(x.shape[0], jnp.int32)
    r, J = jax.linearize(lambda x: statement.value(given, x), x)
    transposed = jax.linear_transpose(J, x)
    factor = statement.weighted(given, r, model.least).factor
    # A preconditioner is made for JᵀJ in the units of x.
    scale = metric if linear is None or linear.preconditioner is None else jnp.ones_like(metric)
    ridge = jnp.sqrt(damping) * (metric / scale)
    products = lambda v: _times(factor, J(v / scale)), lambda w: transposed(_times(factor, w))[0] / scale
    rhs = jnp.where(active, -model.residual, 0)
    if linear is None or _rectangular(linear):
        step, count = _by_augmented_system(products, ridge, rhs, linear)
    else:
        made = None
        if needs_entries(linear):
            made = normal_matrix(entries, factor, scale, ridge)
        step, count = _by_normal_equations(products, ridge, products[1](rhs), linear, made)
    return step / scale, count


def _times(factor: Array | None, v: Array) -> Array:
    return v if factor is None else factor * v


#: v -> J v and w -> Jᵀ w.
Products = tuple[Callable[[Array], Array], Callable[[Array], Array]]


def _by_augmented_system(
    products: Products, ridge: Array, rhs: Array, linear: Solve | None
) -> tuple[Array, Array]:
    """J d = rhs and ridge d = 0 together."""
    J, JT = products

    def stacked(v: Array) -> Array:
        return jnp.concatenate([J(v), ridge * v])

    gradient = JT(rhs)
    # Methods for least squares stop at ‖Aᵀs‖ <= rtol ‖A‖‖s‖, and at the start s is -r.
    along = norm(J(gradient)) * norm(rhs)
    rtol = INNER * squared_norm(gradient) / jnp.where(along > 0, along, 1)
    rtol = jnp.clip(rtol, 10 * jnp.finfo(rhs.dtype).eps, INNER)
    size = gradient.shape[0]
    m = rhs.shape[0] + size
    unknown, image = Packing.vector(size, rhs.dtype), Packing.vector(m, rhs.dtype)
    A = function_operator(stacked, unknown, image, rhs.dtype, (), {})[0]
    solve = Solve("lsmr") if linear is None else linear
    rhs = jnp.concatenate([rhs, jnp.zeros(size, rhs.dtype)])
    inner = solved(A, solve, inverse_of(A, solve), rhs, rtol)
    return inner.x, inner.evaluations + 3


def _by_normal_equations(
    products: Products, ridge: Array, rhs: Array, linear: Solve, made: SparseMatrix | None
) -> tuple[Array, Array]:
    """(JᵀJ + ridge²) d = rhs; `made` is this matrix where it is known."""
    J, JT = products

    def normal(v: Array) -> Array:
        return JT(J(v)) + ridge**2 * v

    if made is not None:
        A = made
    elif needs_entries(linear):
        A = trace_operator(normal, jax.ShapeDtypeStruct(rhs.shape, rhs.dtype))[0]
    else:
        unknown = Packing.vector(rhs.shape[0], rhs.dtype)
        A = function_operator(normal, unknown, unknown, rhs.dtype, (), {})[0]
    inner = solved(A, linear, inverse_of(A, linear), rhs, INNER)
    return inner.x, inner.evaluations


def _damped(R: Array, rhs: Array, damping: Array) -> Array:
    """argmin ‖R s - rhs‖² + damping ‖s‖² where the columns of R are no longer than 1.

    Where that has not full rank, what is damped by a rounding error more leads to the shortest step up to √eps.
    """
    step, full = _ridge(R, rhs, damping)
    return lax.cond(full, lambda: step, lambda: _ridge(R, rhs, damping + jnp.finfo(R.dtype).eps)[0])


def _ridge(R: Array, rhs: Array, damping: Array) -> tuple[Array, Array]:
    """The same by QR of the stacked matrix, which does not square the condition, and whether that has full rank."""
    n = R.shape[1]
    padded = jnp.concatenate([rhs, jnp.zeros(n, R.dtype)])
    Q, T = jnp.linalg.qr(jnp.concatenate([R, jnp.sqrt(damping) * jnp.eye(n, dtype=R.dtype)]))
    diagonal = jnp.abs(jnp.diagonal(T))
    full = jnp.min(diagonal) > n * jnp.finfo(R.dtype).eps * jnp.max(diagonal)
    return jax.scipy.linalg.solve_triangular(T, Q.T @ padded), full


def _rectangular(linear: Solve) -> bool:
    return isinstance(linear.method, str) or linear.method.rectangular
