"""covariance: how well the data of a fit determine its parameters."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import compiled
from jaxsolve.core.results import SolveInfo
from jaxsolve.core.tree import Packing
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.parameter_units import column_sizes
from jaxsolve.solvers.nonlinear_methods import FIT

#: Entries of the Jacobian, which is made: 320 MB of doubles.
MOST_ENTRIES = 40_000_000
#: Combinations that a message names, and parameters of each.
SHOWN, TERMS = 3, 6


class Fit(eqx.Module):
    """The residuals of a fit with their numbers, kept by its result.

    Attributes:
        statement: The problem.
        given: What it depends on.
    """

    statement: Statement = eqx.field(static=True)
    given: Given

    @classmethod
    def of(cls, statement: Statement, given: Given) -> "Fit | None":
        """The fit that a problem is, None where it is something else."""
        return cls(statement, given) if statement.goal == FIT else None

    # Programs cannot be stored: a result that was comes back without its fit.
    def __reduce__(self) -> Any:
        return _nothing, ()

    def __deepcopy__(self, memo: Any) -> "Fit":
        return self


def _nothing() -> None:
    return None


def covariance(info: SolveInfo, diagonal: bool = False, noise: Any = None) -> Any:
    """The covariance of fitted parameters, s² (JᵀJ)⁻¹ with J the derivative of the residuals at x.

    s² is the variance of the residuals, 2 cost / (m - n) of m residuals and n parameters, as by SciPy's `curve_fit`.
    With a loss, rows of J count by the curvature of the loss, as by SciPy. Bounds are left out of account.

    Of a fit on a manifold (`retract`) it is that of steps from x, in their structure.

    Differentiable in whatever the fit depends on, by its implicit rule. A result that was pickled has no fit any more.

    Args:
        info: What `js.least_squares_info` returned, out of a compiled program too; of a batch by `jax.vmap`, the
            result has its leading axes.
        diagonal: Whether only variances are asked for.
        noise: The standard deviation of the residuals, where that is known: 1 where each was divided by its own.

    Returns:
        A pytree of blocks, in the structure of `jax.hessian`: for leaves a and b of x one of shape a.shape + b.shape.
        With `diagonal` the variances in the structure of x.

    Raises:
        TypeError: If `info` is no result of a fit, or its parameters are complex.
        ValueError: If the fit did not converge, or the data do not determine all parameters; the text names the
            combinations that no residual depends on. While traced, and in a batch, nothing can be raised: then the
            variances of these parameters are infinite and their covariances NaN, and all is NaN without convergence.
        StructureError: If there are too few residuals, or J has more than 4e7 entries; a ValueError.

    Cost: one Jacobian of m n entries, a QR factorisation of it, and n² entries.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> t, y = jnp.arange(4.0), jnp.array([1.0, 3.1, 4.9, 7.0])
    >>> info = js.least_squares_info(lambda p: p["a"] + p["b"] * t - y, js.Solve(x0={"a": 0.0, "b": 0.0}))
    >>> variances = js.covariance(info, diagonal=True)
    >>> round(float(variances["a"]), 4), round(float(variances["b"]), 4)
    (0.0063, 0.0018)
    >>> round(float(js.covariance(info)["a"]["b"]), 4)
    -0.0027
    """
    fit = _fit_of(info)
    statement, unknown = fit.statement, fit.statement.steps
    n, m = unknown.size, statement.image.size
    _check(unknown, n, m, noise)
    lanes = np.ndim(info.code)
    # A known noise, and NaN for one that is to be found.
    given = jnp.asarray(math.nan if noise is None else noise, statement.dtype)
    spread = functools.partial(_spread, statement, bool(diagonal))
    for _ in range(lanes):
        spread = jax.vmap(spread, in_axes=(0, 0, 0, 0, None))
    found, lost = spread(fit.given, info.x, info.objective, jnp.asarray(info.converged), given)
    if not lanes and not isinstance(info.code, jax.core.Tracer):
        if not info.converged:
            raise ValueError(f"covariance: this fit found no minimum to take it at. {info.message}")
        if not isinstance(lost, jax.core.Tracer) and np.any(lost):
            raise ValueError(_named(np.asarray(lost), unknown))
    return found


def _fit_of(info: Any) -> Fit:
    if not isinstance(info, SolveInfo):
        raise TypeError(
            f"covariance expects the SolveInfo of a fit, js.covariance(js.least_squares_info(...)); got {told(info)}."
        )
    if not isinstance(info.fit, Fit):
        raise TypeError(
            f"covariance expects the result of js.least_squares_info itself; this one ({info.method}) holds no "
            "residuals: it is that of another kind of problem, of a tape, or was stored and read again."
        )
    return info.fit


def _check(unknown: Packing, n: int, m: int, noise: Any) -> None:
    if unknown.has_complex:
        raise TypeError(
            "covariance: the parameters are complex, and real and imaginary parts have covariances of their own; fit "
            "these as real parameters."
        )
    if noise is None and m == n:
        raise StructureError(
            f"covariance: {m} residuals of {n} parameters leave none to tell the noise by. Give it as noise=, or more "
            "data."
        )
    if m < n:
        raise StructureError(f"covariance: {m} residuals do not determine {n} parameters.")
    if n * m > MOST_ENTRIES:
        raise StructureError(
            f"covariance: the Jacobian of {m} residuals and {n} parameters would have {n * m:.1e} entries; it is made "
            f"up to {MOST_ENTRIES:.0e}."
        )
    if noise is not None and (np.ndim(noise) or not (isinstance(noise, jax.core.Tracer) or noise > 0)):
        raise StructureError(f"covariance: noise is one standard deviation above 0; got {told(noise)}.")


@functools.partial(compiled, static=2)
def _spread(
    statement: Statement,
    diagonal: bool,
    given: Given,
    x: Any,
    objective: Array,
    converged: Array,
    noise: Array,
) -> tuple[Any, Array]:
    """The blocks or the variances, and the directions along which no residual changes as rows, the others zero."""
    x = statement.unknown.pack(x, statement.dtype)
    statement, given, x = statement.near(given, x)
    unknown = statement.unknown
    n, m = unknown.size, statement.image.size
    r, product = jax.linearize(lambda x: statement.value(given, x), x)
    J = jax.vmap(product, out_axes=1)(jnp.eye(n, dtype=x.dtype))
    if statement.loss is not None:
        curvature = statement.loss.weighted(given.loss, r, least=0.0).factor
        J = J if curvature is None else curvature[:, None] * J
    sizes = lax.stop_gradient(column_sizes(J))
    sizes = jnp.where(sizes > 0, sizes, 1)
    J = J / sizes[None]
    R = jnp.linalg.qr(lax.stop_gradient(J), mode="r")
    _, S, V = jnp.linalg.svd(R)
    tiny = max(m, n) * jnp.finfo(x.dtype).eps * jnp.maximum(S[0], 1)
    free = jnp.where(tiny >= S, 1, 0).astype(x.dtype)[:, None] * V
    # With the directions that are not determined as further rows R is regular, and says the same of all others.
    R = jnp.linalg.qr(jnp.concatenate([J, free]), mode="reduced")[1]
    half = jax.scipy.linalg.solve_triangular(R, jnp.eye(n, dtype=x.dtype))
    variance = jnp.where(jnp.isnan(noise), 2 * objective / max(m - n, 1), noise**2)
    half = jnp.sqrt(variance) * half / sizes[:, None] if diagonal else half / sizes[:, None]
    lost = jnp.sum(jnp.square(free), axis=0) > jnp.finfo(x.dtype).eps
    none = jnp.where(converged, 0, jnp.nan)
    if diagonal:
        found = jnp.where(lost, jnp.inf, jnp.sum(jnp.square(half), axis=1)) + none
        return unknown.unpack(found), free / sizes[None]
    found = variance * (half @ half.T) + none
    beyond = jnp.where(jnp.eye(n, dtype=bool), jnp.inf, jnp.nan)
    found = jnp.where(lost[:, None] | lost[None, :], beyond, found)
    return _blocks(unknown, found), free / sizes[None]


def _blocks(unknown: Packing, matrix: Array) -> Any:
    """The matrix as a tree of trees, one for each leaf of x."""
    tall = unknown.parts(matrix.T)
    rows = [part.reshape(matrix.shape[0], -1) for part in tall]
    blocks = []
    for shape, row in zip(unknown.shapes, rows, strict=True):
        parts = unknown.parts(row.T)
        blocks.append(
            jax.tree.unflatten(
                unknown.treedef,
                [part.reshape(*shape, *other) for part, other in zip(parts, unknown.shapes, strict=True)],
            )
        )
    return jax.tree.unflatten(unknown.treedef, blocks)


def _named(lost: np.ndarray, unknown: Packing) -> str:
    """What the data leave open, in the units of the parameters."""
    names = _names(unknown)
    rows = lost[np.any(lost != 0, axis=1)]
    combinations = []
    for row in rows[:SHOWN]:
        row = row / row[np.argmax(np.abs(row))]
        order = [k for k in np.argsort(-np.abs(row), kind="stable") if abs(row[k]) > 1e-6]
        terms = [f"{names[k]} by {row[k]:.3g}" for k in order[:TERMS]]
        more = f" and {len(order) - TERMS} more" if len(order) > TERMS else ""
        combinations.append(f"({', '.join(terms)}{more})")
    rest = f", and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    ways = "one way" if len(rows) == 1 else f"{len(rows)} ways"
    return (
        f"covariance: the data do not determine these parameters. There is {ways} to change them that changes no "
        f"residual to working precision: {'; '.join(combinations)}{rest}. Hold some of them fixed, or add residuals "
        "for what is known of them."
    )


def _names(unknown: Packing) -> list[str]:
    """The name of each entry of the flat x: that of its leaf, and where it is in it."""
    tree = jax.tree.unflatten(unknown.treedef, range(len(unknown.shapes)))
    names = []
    for path, k in jax.tree_util.tree_flatten_with_path(tree)[0]:
        leaf = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        leaf = f"x[{leaf}]" if leaf.isdigit() else leaf
        for index in np.ndindex(*unknown.shapes[k]):
            names.append(f"{leaf}[{', '.join(map(str, index))}]" if index else leaf)
    return names
