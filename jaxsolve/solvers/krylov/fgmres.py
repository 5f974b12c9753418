"""The flexible GMRES method: the preconditioner may change from step to step."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import is_count
from jaxsolve.core.shards import length
from jaxsolve.core.status import Status
from jaxsolve.solvers.krylov.basis import Arnoldi, arnoldi, extend, precondition
from jaxsolve.solvers.method import AbstractMethod, State


class FGMRESState(State):
    """The basis of the residual space, and the preconditioned basis Z of shape (m, n)."""

    x: None
    space: Arnoldi
    Z: Array
    residual_norm: Array
    halt: Array


class FGMRES(AbstractMethod):
    """Restarted flexible GMRES.

    As GMRES, but the preconditioned vectors are stored: rounding in the preconditioner, large where it is applied in
    another precision or by an inner iteration, does not reach the solution.

    Args:
        restart: Steps of a cycle, at least 1.

    Raises:
        ValueError: If `restart` is no integer of at least 1.
        NotConverged: Out of a solve: `singular` where A is so on the space, `stagnation` where a cycle gains
            nothing.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone; any preconditioner.
    Cost: one product with A, one preconditioner application (none at the end of a cycle) and the orthogonalisation
        of GMRES an iteration; 2 restart + 2 vectors of storage.
    Source: Saad (1993), A flexible inner-outer preconditioned GMRES algorithm; Saad (2003), algorithm 9.6.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.FGMRES(), preconditioner="jacobi")).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "fGMres"
    flexible: ClassVar[bool] = True
    option: ClassVar[str | None] = "restart"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "2 restart + 2"
    restarts: ClassVar[bool] = True

    restart: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        if not is_count(self.restart):
            raise ValueError(
                f"FGMRES(restart={self.restart!r}): a cycle has at least 1 step, a whole number."
            )

    @property
    def basis(self) -> int:
        return 2 * self.restart + 2

    def start(self, A, M, r):
        m = min(self.restart, length(r.shape[0]))
        space, Z = arnoldi(r, m), jnp.zeros((m, r.shape[0]), r.dtype)
        return FGMRESState(None, space, Z, space.residual_norm, jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 9.6.
        z = precondition(M, s.space.v)  # 3: z_j = M_j v_j
        Z = s.Z.at[s.space.size].set(z)
        space = extend(s.space, A.mv(z))  # 4 to 9: w = A z_j, orthogonalised
        halt = jnp.where(space.full, int(Status.stagnation), 0)
        halt = jnp.where(space.singular, int(Status.singular), halt)
        return FGMRESState(None, space, Z, space.residual_norm, halt)

    def finish(self, A, M, s):
        return s.space.combination(s.Z)  # 12: x = Z y with y the least ‖β e₁ - H y‖
