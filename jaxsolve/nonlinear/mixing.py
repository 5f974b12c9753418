"""Fixed-point searches, which use values of the function only: Picard, Anderson, Broyden."""

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, norm, squared_norm
from jaxsolve.nonlinear.linearisation import DENSE, dense
from jaxsolve.nonlinear.newton import line_search
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.search_loop import AbstractSearch, State


class PicardSearch(AbstractSearch):
    """x <- x + damping gap."""

    statement: Statement
    given: Given
    damping: float

    def start(self, x: Array) -> State:
        return State(x, self.statement.value(self.given, x), jnp.array(1, jnp.int32), jnp.array(0, jnp.int32))

    def step(self, s: State, target: Array) -> State:
        x = s.x + self.damping * s.gap
        return State(x, self.statement.value(self.given, x), s.evaluations + 1, s.halt)


class MixingState(State):
    """The state with the last differences of iterates and of residuals, and how many there are."""

    dx: Array
    dr: Array
    count: Array


class AndersonSearch(AbstractSearch):
    """x <- x + β r - (ΔX + β ΔR) γ with γ = argmin ‖r - ΔR γ‖ over the last differences."""

    statement: Statement
    given: Given
    memory: int
    damping: float

    def start(self, x: Array) -> MixingState:
        gap = self.statement.value(self.given, x)
        empty = jnp.zeros((self.memory, x.shape[0]), x.dtype)
        zero = jnp.array(0, jnp.int32)
        return MixingState(x, gap, zero + 1, zero, empty, empty, zero)

    def step(self, s: MixingState, target: Array) -> MixingState:
        # Scaled columns: differences shrink by orders of magnitude as the iteration goes.
        sizes = jnp.sqrt(jnp.sum(jnp.abs(s.dr) ** 2, axis=1))
        scales = jnp.where(sizes > 0, sizes, 1)
        R = (s.dr / scales[:, None]).T
        # Directions below this fraction of the largest are noise; unused rows are zero and get no weight.
        cut = float(jnp.finfo(sizes.dtype).eps) ** 0.5
        gamma = jnp.linalg.lstsq(R, s.gap, rcond=cut)[0] / scales
        x = s.x + self.damping * s.gap - gamma @ (s.dx + self.damping * s.dr)
        gap = self.statement.value(self.given, x)
        row = s.count % self.memory
        dx = lax.dynamic_update_index_in_dim(s.dx, x - s.x, row, 0)
        dr = lax.dynamic_update_index_in_dim(s.dr, gap - s.gap, row, 0)
        # After a step that made the residual much larger the differences are dropped; the next step is a plain one.
        worse = norm(gap) > 10 * norm(s.gap)
        dx, dr = jnp.where(worse, 0, dx), jnp.where(worse, 0, dr)
        return MixingState(x, gap, s.evaluations + 1, s.halt, dx, dr, s.count + 1)


class BroydenState(State):
    """The state with the inverse Jacobian H = H₀ + Σ uᵢ vᵢᴴ.

    Attributes:
        base: H₀ as a dense matrix (small systems) or a factor (large ones).
        u: Rows uᵢ.
        v: Rows vᵢ.
        count: Updates since H₀ was made.
        fresh: Whether H₀ was made where the iterate is.
    """

    base: Array
    u: Array
    v: Array
    count: Array
    fresh: Array


class BroydenSearch(AbstractSearch):
    """d = H r, with H updated so that H Δr = -Δx: rank one, of least change in the Jacobian.

    H ← H + (Δx + H Δr) Δxᴴ H / (Δxᴴ H (-Δr)), with Δr the change of y - f(x).
    """

    statement: Statement
    given: Given
    memory: int

    def start(self, x: Array) -> BroydenState:
        gap = self.statement.value(self.given, x)
        empty = jnp.zeros((self.memory, x.shape[0]), x.dtype)
        zero = jnp.array(0, jnp.int32)
        return BroydenState(x, gap, zero + 1, zero, self._base(x), empty, empty, zero, jnp.array(True))

    def step(self, s: BroydenState, target: Array) -> BroydenState:
        d = _apply(s, s.gap)
        z, value, tries = line_search(self.statement, self.given, s.x, d, s.gap)
        gained = norm(value) < norm(s.gap)
        dx, dr = jnp.where(gained, z - s.x, 0), jnp.where(gained, value - s.gap, 0)
        Hdr = _apply(s, dr)
        below = -dot(dx, Hdr)
        # An update that would make H singular is left out.
        usable = gained & (jnp.abs(below) > 1e-8 * squared_norm(dx))
        u = jnp.where(usable, (dx + Hdr) / jnp.where(usable, below, 1), 0)
        v = _apply_adjoint(s, dx)
        row = jnp.minimum(s.count, self.memory - 1)
        renewed = (s.count >= self.memory) | ~gained
        halt = jnp.where(~gained & s.fresh, int(Status.stagnation), 0).astype(jnp.int32)
        x, gap = jnp.where(gained, z, s.x), jnp.where(gained, value, s.gap)
        base = lax.cond(renewed, lambda: self._base(x), lambda: s.base)
        us = jnp.where(renewed, 0, lax.dynamic_update_index_in_dim(s.u, u, row, 0))
        vs = jnp.where(renewed, 0, lax.dynamic_update_index_in_dim(s.v, v, row, 0))
        count = jnp.where(renewed, 0, s.count + 1)
        cost = tries + jnp.where(renewed, self._cost(x), 0)
        return BroydenState(x, gap, s.evaluations + cost, halt, base, us, vs, count, renewed)

    def _base(self, x: Array) -> Array:
        if x.shape[0] > DENSE:
            return jnp.ones((), x.dtype)
        return jnp.linalg.inv(dense(lambda z: -self.statement.value(self.given, z), x).matrix)

    def _cost(self, x: Array) -> int:
        return x.shape[0] if x.shape[0] <= DENSE else 0


def _apply(s: BroydenState, r: Array) -> Array:
    base = s.base @ r if s.base.ndim else s.base * r
    return base + (s.v.conj() @ r) @ s.u


def _apply_adjoint(s: BroydenState, r: Array) -> Array:
    base = s.base.conj().T @ r if s.base.ndim else s.base.conj() * r
    return base + (s.u.conj() @ r) @ s.v
