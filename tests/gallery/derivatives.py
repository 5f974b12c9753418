"""The law of derivatives: of any solver in any composition they are those of a dense solve written out in Python.

A law is one program that differentiates a real function f of parameters p along a direction v in many ways. Most are
traced as under jit and interpreted: JAX's transformations are judged, and XLA's compilation, which is seconds a
program, is not. Some are compiled as well.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.gallery.compositions import nested
from tests.gallery.families import P, T, U, V, family, loss
from tests.gallery.interpreter import interpreted

# Compilation is what these laws cost, and rounding is not what they judge.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def forward(f: Callable[[Any], Any], v: Any) -> Callable[[Any], Any]:
    """The derivative of f along v, as a function of p."""
    return lambda p: jax.jvp(f, (p,), (v,))[1]


def reverse(f: Callable[[Any], Any], v: Any) -> Callable[[Any], Any]:
    """The same, by the gradient."""
    return lambda p: jnp.vdot(jax.grad(f)(p), v)


def reference(f: Callable[[Any], Any], p: Any, v: Any) -> dict[str, Any]:
    """All that is compared, by the one order for which plain JAX is known to be right."""
    hessian = jax.jacfwd(jax.grad(f))
    H, moved = jax.jvp(hessian, (p,), (v,))
    value, gradient = jax.value_and_grad(f)(p)
    return {
        "value": value,
        "gradient": gradient,
        "slope": gradient @ v,
        "second": H @ v,
        "curvature": v @ H @ v,
        "hessian": H,
        "third": moved @ v,
    }


# What may be asked: the same names, for each one value or one a way.


def derivatives(f: Callable[[Any], Any], p: Any, v: Any) -> dict[str, Any]:
    """Value, gradient, slope, and the second derivative by every order of forward and reverse."""
    # The two orders that begin with the gradient share its program.
    (value, gradient), moved = jax.linearize(jax.value_and_grad(f), p)
    slope, reverse_over_forward = jax.value_and_grad(forward(f, v))(p)
    ways = {
        "forward over reverse": moved(v)[1],
        "reverse over forward": reverse_over_forward,
        "reverse over reverse": jax.linear_transpose(moved, p)((jnp.zeros_like(value), v))[0],
    }
    return {"value": value, "gradient": gradient, "slope": slope, "second": ways}


def forward_derivatives(f: Callable[[Any], Any], p: Any, v: Any) -> dict[str, Any]:
    """Of what has no reverse: slope and curvature."""
    return {"value": f(p), "slope": forward(f, v)(p), "curvature": forward(forward(f, v), v)(p)}


def whole_derivatives(f: Callable[[Any], Any], p: Any, v: Any) -> dict[str, Any]:
    """All of the gradient and the Hessian, by JAX's own functions."""
    jacobians = (jax.jacfwd, jax.jacrev)
    return {
        "gradient": {one.__name__: one(f)(p) for one in jacobians},
        "hessian": {
            f"{one.__name__} of {two.__name__}": one(two(f))(p) for one in jacobians for two in jacobians
        },
    }


def third_derivatives(f: Callable[[Any], Any], p: Any, v: Any) -> dict[str, Any]:
    """The gradient of the curvature, by some of the orders."""
    return {
        "third": {
            "forward over forward over reverse": forward(forward(jax.grad(f), v), v)(p),
            "reverse over forward over reverse": jax.grad(forward(reverse(f, v), v))(p),
            "reverse over reverse over reverse": jax.grad(reverse(reverse(f, v), v))(p),
        }
    }


def in_lanes(wanted: Callable[..., Any]) -> Callable[..., Any]:
    """The same at two points beside each other."""

    def beside(f, p, v):
        return jax.vmap(functools.partial(wanted, f))(*two_points(p, v))

    return beside


def two_points(p: Any, v: Any) -> tuple[Any, Any]:
    """The points of `in_lanes`, and their directions."""
    return jnp.stack([p, p + 0.1 * v]), jnp.stack([v, p])


def scalar(composition: Callable[[Any], Any], step: Any) -> Callable[[Any], Any]:
    """The function that is differentiated: the loss of a step in a composition."""
    return lambda p: loss(composition(step)(p, jnp.asarray(T, p.dtype), jnp.asarray(U, p.dtype)))


@functools.cache
def expected(names: Sequence[str], kind: str, dtype: type, lane: int = 0) -> dict[str, Any]:
    """The reference of a family in a composition, at the points of `two_points`."""
    f = scalar(nested(names).plain, family(kind, dtype).solution)
    p, v = (points[lane] for points in two_points(P, V))
    return jax.tree.map(np.asarray, interpreted(functools.partial(reference, f))(p, v))


def agree(results: Any, references: dict[str, Any], tolerance: float) -> None:
    """Raises unless every result is its reference, up to a tolerance relative to the largest entry."""
    wrong = []
    for name, found in results.items():
        right = np.asarray(references[name])
        for way, one in (found if isinstance(found, dict) else {name: found}).items():
            error = np.max(np.abs(np.asarray(one) - right)) / max(np.max(np.abs(right)), 0.1)
            if not error < tolerance:
                wrong.append(f"{way}: {np.asarray(one)} is not {right}")
    assert not wrong, "\n".join(wrong)


def holds(
    names: Sequence[str],
    solver: Callable[..., Any],
    kind: str = "general",
    dtype: type = np.float64,
    wanted: Callable[..., Any] = derivatives,
    tolerance: float = 1e-6,
    run: Callable[..., Any] = interpreted,
) -> None:
    """The law: the derivatives of `solver` in a composition are those of the dense solution.

    Args:
        names: Compositions, the first outermost.
        solver: Called with A and b (and the null space, of families that have one); returns x.
        kind: Of the family.
        dtype: Of the family: one of single precision is solved in it, in JAX's default mode.
        wanted: Which derivatives.
        tolerance: Relative.
        run: What evaluates the program: `interpreted` or `compiled`.
    """
    composition, single = nested(names), np.finfo(dtype).bits == 32
    wide = np.complex128 if np.issubdtype(dtype, np.complexfloating) else np.float64
    right = expected(tuple(names), kind, wide)
    f = scalar(composition.of, lambda p, t, u: solver(*family(kind, wide).system(p, t, u)))
    if not composition.reverse:
        wanted = forward_derivatives
    with jax.enable_x64(not single):
        p, v = (jnp.asarray(x, np.float32 if single else np.float64) for x in (P, V))
        results = jax.tree.map(np.asarray, run(functools.partial(wanted, f))(p, v))
    agree(results, right, tolerance)


def holds_in_lanes(names: Sequence[str], solver: Callable[..., Any], kind: str = "general") -> None:
    """The same law for derivatives under vmap."""
    right = [expected(tuple(names), kind, np.float64, lane) for lane in range(2)]
    f = scalar(nested(names).of, lambda p, t, u: solver(*family(kind).system(p, t, u)))
    results = interpreted(functools.partial(in_lanes(derivatives), f))(P, V)
    agree(results, jax.tree.map(lambda *lanes: np.stack(lanes), *right), 1e-6)
