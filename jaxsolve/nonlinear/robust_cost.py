"""The cost of residuals by a loss, ½ s² Σ ρ((rᵢ/s)²), and the least-squares problem that stands for it near a point."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError, TraceError
from jaxsolve.core.memo import recent
from jaxsolve.core.staging import is_traced
from jaxsolve.core.vector import norm, squared_norm
from jaxsolve.nonlinear.differentiation_modes import differentiable
from jaxsolve.operators.program import Program, trace_program
from jaxsolve.tracer.jacobian import jacobian_operator

#: Squares of scaled residuals at which a loss is looked at.
SAMPLES = np.geomspace(1e-6, 1e6, 49)
#: The least curvature of a loss at first, in units of its slope: that of `huber` beyond 1 is zero and that of others
#: negative, where a model would send x to infinity. Of a decay with outliers `huber` takes 8 steps with 0.7, 10 with 1
#: and 20 with 0.1, `cauchy` 12, 19 and 26.
LEAST = 0.7
#: What it is divided by after a step that gains more than MUCH times what the model said, and multiplied by after one
#: that gains less than LITTLE of it: beyond 1 `huber` is a straight line, along which the model expects half of what
#: there is, and reweighting alone creeps (2000 poses: 0.7 throughout does not end in 100 steps, this does in 43).
EASE, MUCH, LITTLE = 4, 1.5, 0.5
#: Its limits.
SMALLEST, LARGEST = 1e-6, 1.0


def eased_curvature(least: Array, gained: Array, gain: Array) -> Array:
    """The least curvature for the next model, by the decrease of the cost over that of the model."""
    flat = gained & (gain > MUCH)
    bent = ~gained | (gain < LITTLE)
    least = jnp.where(flat, least / EASE, jnp.where(bent, least * EASE, least))
    return jnp.clip(least, SMALLEST, LARGEST)


class Weighted(NamedTuple):
    """Residuals r̃ and rows J̃ = C J, so that ½‖r̃ + J̃ d‖² has the slope of the cost and its curvature, up to r''.

    Attributes:
        residual: r̃, shape (m,).
        factor: The diagonal of C, None where it is one.
        size: The norm of residuals that counts: ‖r‖, each by the root of its weight ρ'.
        value: The cost.
    """

    residual: Array
    factor: Array | None
    size: Array
    value: Array


def unweighted(r: Array) -> Weighted:
    """Residuals that cost half their squares."""
    return Weighted(r, None, norm(r), squared_norm(r) / 2)


@dataclasses.dataclass(frozen=True)
class RobustCost:
    """A cost without its numbers. Static under jit.

    Attributes:
        rho: ρ(z) of (*constants, z), with z of shape (m,).
    """

    rho: Program

    def value(self, numbers: tuple[Array, ...], r: Array) -> Array:
        """½ s² Σ ρ((rᵢ/s)²), with (s, *constants) for numbers."""
        scale, *constants = numbers
        (costs,) = self.rho(*constants, jnp.square(r / scale))
        return scale**2 * jnp.sum(costs) / 2

    def weighted(self, numbers: tuple[Array, ...], r: Array, least: Array | float = LEAST) -> Weighted:
        """The correction of Triggs, McLauchlan, Hartley and Fitzgibbon (1999).

        The cost of r has the slope w r and the curvature w + 2 ρ'' z with w = ρ'(z). Where that is below the part
        `least` of w, this stands for it: with all of w these are the steps of reweighted least squares, which always
        descend.
        """
        scale, *constants = numbers
        z = jnp.square(r / scale)

        def slope(z: Array) -> Array:
            return jax.jvp(lambda z: self.rho(*constants, z)[0], (z,), (jnp.ones_like(z),))[1]

        w, change = jax.jvp(slope, (z,), (jnp.ones_like(z),))
        # A loss that falls is none, and has no weights.
        w = jnp.where(w >= 0, w, jnp.nan)
        factor = jnp.sqrt(jnp.maximum(w + 2 * change * z, least * w))
        residual = w * r / jnp.where(factor == 0, 1, factor)
        return Weighted(residual, factor, norm(jnp.sqrt(w) * r), self.value(numbers, r))


def robust_cost(
    rho: Callable[[Array], Array], scale: Any, size: int, dtype: Any
) -> tuple[RobustCost, tuple[Array, ...]]:
    """The cost by a loss, and its numbers: s, and what ρ closes over.

    Args:
        rho: ρ, a function of arrays of squares that acts on each element by itself.
        scale: s.
        size: The number of residuals.
        dtype: Their dtype.

    Raises:
        StructureError: If ρ does something else, or falls somewhere.
    """

    def costs(z: Array) -> Array:
        out = rho(z)
        if not hasattr(out, "shape") or out.shape != z.shape or jnp.iscomplexobj(out):
            got = f"{out.dtype} of shape {out.shape}" if hasattr(out, "shape") else f"a {type(out).__name__}"
            raise StructureError(
                f"LevenbergMarquardt: loss maps the squares z of {size} residuals to their costs rho(z), real and of "
                f"shape {z.shape}; got {got}. Return rho alone, not summed up: its derivatives are found by JAX."
            )
        return jnp.asarray(out, dtype)

    z = jax.ShapeDtypeStruct((size,), dtype)
    program, constants, _ = trace_program(costs, z)
    values = [jnp.asarray(c) for c in constants]
    program = differentiable(program, [*values, z])
    if _couples(program, tuple((v.shape, v.dtype) for v in (*values, z))):
        raise StructureError(
            "LevenbergMarquardt: loss has to act on each squared residual by itself; the rho(z) given makes one of "
            "several (a sum, a mean, a sort). Put what joins residuals into the function that returns them."
        )
    if not is_traced(values):
        _require_growth(program, values, z)
    scale = jnp.asarray(scale, dtype)
    # Python numbers were refused; traced ones show here.
    return RobustCost(program), (jnp.where(scale > 0, scale, jnp.nan), *values)


def _require_growth(program: Program, constants: list[Array], z: jax.ShapeDtypeStruct) -> None:
    """Refuses a loss that falls: it has no weights."""
    known = tuple((np.asarray(c).tobytes(), c.shape, c.dtype) for c in constants)
    k, slope = _falling(program, known, z.shape[0], z.dtype)
    if k < len(SAMPLES):
        raise StructureError(
            "LevenbergMarquardt: loss must not fall, since a larger residual may not cost less; the slope of rho(z) at "
            f"z = {SAMPLES[k]:.2g} is {slope:.2g}. Give costs of the squares z that grow, as rho(z) = log(1 + z)."
        )


@recent(most=64, each=0)
def _falling(
    program: Program, known: tuple[tuple[bytes, Any, Any], ...], size: int, dtype: Any
) -> tuple[int, float]:
    """Which of the samples is the first one where ρ falls, and its slope there; their number where there is none."""
    constants = [np.frombuffer(data, d).reshape(shape) for data, shape, d in known]
    for first in range(0, len(SAMPLES) if size else 0, max(size, 1)):
        with jax.ensure_compile_time_eval():
            z = jnp.asarray(np.resize(SAMPLES[first : first + size], size), dtype)
            slopes = np.asarray(jax.jvp(lambda z: program(*constants, z)[0], (z,), (jnp.ones_like(z),))[1])
        # That of tukey at 1 rounds to -3e-17.
        wrong = np.flatnonzero(~(slopes >= -(float(jnp.finfo(dtype).eps) ** 0.5)))
        if len(wrong):
            return first + int(wrong[0]), float(slopes[wrong[0]])
    return len(SAMPLES), 0.0


@recent(most=64, each=0)
def _couples(program: Program, inputs: tuple[tuple[tuple[int, ...], Any], ...]) -> bool:
    """Whether an element of ρ(z) depends on another element of z."""
    found: list[Any] = []

    def read(*values: Array) -> Array:
        *constants, z = values
        found.append(jacobian_operator(lambda z: program(*constants, z)[0], z).pattern)
        return z

    try:
        jax.eval_shape(read, *(jax.ShapeDtypeStruct(*one) for one in inputs))
    except TraceError:
        return True
    return max(found[0].bandwidth) > 0
