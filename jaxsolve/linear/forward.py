"""The forward solve: a system as arrays, the compiled driver, and the check of its outcome."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.columns import COLUMNS, are_together
from jaxsolve.core.memo import compiled, recent
from jaxsolve.core.precision import in_full
from jaxsolve.core.shards import WHOLE, Joined
from jaxsolve.front.reporting import Judge
from jaxsolve.linear.deferred_preconditioner import built
from jaxsolve.linear.lagging import attempted
from jaxsolve.linear.lanes import lane_by_lane
from jaxsolve.linear.over_devices import iterated_over_devices
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.driver import Control, Outcome, iterate
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.watch import SILENT, Watch

#: The largest iteration limit that an int32 holds.
MOST_STEPS = 2**31 - 1


class System(eqx.Module):
    """A system ready to be solved, without its right-hand side: everything that is an array or may be traced.

    Attributes:
        A: The operator in the form that runs.
        inverse: Preconditioner (perhaps `Unbuilt`) or factorisation, None for neither.
        x0: First guess, None for zero.
        control: Tolerances and limit.
        nulls: Null space of A.
        gradient: Inverse and control for tangent and adjoint solves.
        origin: How the system ended that this one is a derivative of, None for none.
        recycled: Directions of an earlier solve, shape (count, n); None to keep none. Those of derivatives keep none.
    """

    A: LinearOperator
    inverse: Any
    x0: Array | None
    control: Control
    nulls: NullSpace
    gradient: tuple[Any, Control]
    origin: Array | None = None
    recycled: Array | None = None

    def built(self) -> "System":
        """The system with its preconditioners built."""
        other, control = self.gradient
        if self.inverse is None and other is None:
            return self
        inverse = built(self.inverse)
        gradient = inverse if other is self.inverse else built(other), control
        return System(
            self.A, inverse, self.x0, self.control, self.nulls, gradient, self.origin, self.recycled
        )

    def of_gradient(self, ended: Array | None = None) -> "System":
        """The system of a tangent, `ended` how this one did."""
        origin = self.origin if ended is None else ended
        return System(self.A, self.gradient[0], None, self.gradient[1], self.nulls, self.gradient, origin)

    def transposed(self) -> "System":
        """The system of a cotangent, from that of a tangent."""
        inverse = None if self.inverse is None else self.inverse.transpose()
        gradient = (inverse, self.gradient[1])
        return System(
            self.A.transpose(), inverse, None, self.control, self.nulls.transposed(), gradient, self.origin
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is decided before tracing.

    Attributes:
        method: The method of the system.
        gradient_method: The method of tangent and adjoint systems.
        judge: Where outcomes go, None where nothing is raised and nobody listens.
        watch: What observes the loops.
        joined: How the parts of one vector lie on a mesh.
    """

    method: AbstractMethod
    gradient_method: AbstractMethod
    judge: Judge | None
    watch: Watch
    joined: Joined = WHOLE

    def of_gradient(self) -> "Plan":
        """The plan of tangent and adjoint systems."""
        return dataclasses.replace(self, method=self.gradient_method)


def _run(
    method: AbstractMethod,
    A: Any,
    inverse: Any,
    b: Array,
    x0: Any,
    control: Control,
    nulls: NullSpace,
    recycled: Array | None = None,
    watch: Watch = SILENT,
) -> Outcome:
    """The driver, compiled once for each method and structure.

    Dense methods factorise A unless that is done; preconditioners that are unbuilt are built.
    """
    if (spread := A.on_mesh) is not None:
        return iterated_over_devices(method, spread, built(inverse), b, x0, control, nulls, watch)
    if inverse is None and isinstance(method, AbstractDense):
        inverse = factorised(method, A, nulls)

    def solve(inverse, A, b, x0, control, nulls, recycled):
        return attempted(
            lambda M: iterate(method, A, M, b, x0, control, nulls, watch, recycled), built(inverse)
        )

    if watch != SILENT or not method.preconditioned or (method.blocks and are_together()):
        return solve(inverse, A, b, x0, control, nulls, recycled)
    return lane_by_lane(solve, built, inverse, A, b, x0, control, nulls, recycled)


run = compiled(_run, static=1)


def _factorised(method: AbstractDense, A: LinearOperator, nulls: NullSpace) -> Any:
    """The dense factors of A, made invertible on its null space."""
    return method.judged(DenseMatrix(nulls.regularized(A).as_matrix()))


factorised = compiled(_factorised, static=1)


@recent
def driver(method: AbstractMethod, treedef: Any, shapes: tuple, watch: Watch, lanes: tuple | None) -> Any:
    """`run` on concrete arrays, at a third of the cost of a call that JAX flattens and compares by itself.

    Args:
        method: What to run.
        treedef: The structure of the arguments of `run` after the method, whose arrays the program takes.
        shapes: The shapes and dtypes of these.
        watch: What observes the loop.
        lanes: The batch axes of the arguments as `jax.vmap` takes them; None for one system.
    """

    @in_full
    def launched(*leaves: Any) -> Outcome:
        parts = jax.tree.unflatten(treedef, leaves)
        solve = functools.partial(_run, method, watch=watch)
        if lanes is None:
            return solve(*parts)
        return jax.vmap(solve, in_axes=lanes, axis_name=COLUMNS if method.blocks else None)(*parts)

    return jax.jit(launched)


@functools.lru_cache(maxsize=256)
def on_device(value: Any, dtype: Any) -> Array:
    """A number on the device, moved there once: each transfer costs 10 µs."""
    with jax.ensure_compile_time_eval():
        return jnp.asarray(value, dtype)


@functools.lru_cache(maxsize=256)
def numbers_on_device(
    rtol: float, atol: float, max_iterations: int, dtype: Any
) -> tuple[Array, Array, Array]:
    """The numbers of a request, for vectors of this dtype."""
    real, steps = jnp.finfo(dtype).dtype, min(max_iterations, MOST_STEPS)
    return on_device(rtol, real), on_device(atol, real), on_device(steps, jnp.dtype(jnp.int32))
