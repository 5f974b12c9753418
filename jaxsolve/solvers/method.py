"""AbstractMethod: what the driver asks of a method."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.operators.operator import LinearOperator


class State(eqx.Module):
    """What one step of a method hands to the next.

    Attributes:
        x: The correction found so far, of shape (n,); methods that keep a basis form it in `finish`.
        residual_norm: Estimate of the residual's norm, in any norm that is proportional to it at the start.
        halt: 0 while the method can go on, else the `Status` that tells why it cannot.
    """


class AbstractMethod(eqx.Module):
    """How A d = r is solved from d = 0.

    The driver calls `prepare` once, then for each pass `start`, `step` until the estimated residual is small, and
    `finish`; it checks the true residual itself and starts another pass from it where the recurrence drifted.
    r is scaled to ordinary size, so methods need no care for units; their breakdown tests must be relative.
    """

    #: Name of the method in `Solve(name)`.
    name: ClassVar[str]
    #: What the matrix must be, for people: "symmetric positive definite", ...
    needs: ClassVar[str] = "square"
    #: Traits of which A should have one (`AbstractMethod.fits`), () where any matrix does.
    wants: ClassVar[tuple[str, ...]] = ()
    #: Storage in vectors of length n, for people.
    storage: ClassVar[str] = ""
    #: Products with A (and its adjoint) in one iteration, for people.
    cost: ClassVar[str] = "1 product"
    #: Whether rectangular systems are solved (least squares, minimum norm).
    rectangular: ClassVar[bool] = False
    #: Whether x is the least-norm solution (A⁺b from x0 = 0) of systems of any rank; others ask for full rank.
    least_norm: ClassVar[bool] = False
    #: Whether `prepare` needs the entries of A, so that functions are traced into sparse matrices first.
    entries: ClassVar[bool] = False
    #: Whether the method applies the adjoint of A.
    adjoint: ClassVar[bool] = False
    #: Whether a preconditioner is used; direct methods have none.
    preconditioned: ClassVar[bool] = True
    #: Whether the preconditioner must be symmetric positive definite.
    definite_preconditioner: ClassVar[bool] = False
    #: Whether the preconditioner may change from step to step, as an inner iteration does.
    flexible: ClassVar[bool] = False
    #: Whether directions can be kept for the next solve, `Solve(recycle=k)`.
    recycles: ClassVar[bool] = False
    #: Whether the right-hand sides of one matrix are solved for together (`core/columns.py`).
    blocks: ClassVar[bool] = False
    #: The field that a number in the name sets: "biCG-stab(2)"; None where names take none.
    option: ClassVar[str | None] = None
    #: Whether all sums over a vector go through `core/vector.py`, which adds up its parts on several devices.
    spreads: ClassVar[bool] = False
    #: Whether passes end by themselves (restarts), so that a pass without convergence is no failure.
    restarts: ClassVar[bool] = False

    def prepare(self, A: LinearOperator) -> Any:
        """What is computed once for A and shared by all solves with it (a factorisation); None for most methods."""
        return None

    def over_devices(self) -> "AbstractMethod":
        """The same method for vectors that lie on several devices, where each sum over them is a message."""
        return self

    @property
    def stride(self) -> int:
        """Iterations counted for one step."""
        return 1

    @property
    def basis(self) -> int:
        """Vectors of a basis that are held at once; 0 from methods that hold a few vectors whatever is asked."""
        return 0

    @property
    def products(self) -> int:
        """Products with A and its adjoint in one step."""
        return 1

    @property
    def start_products(self) -> int:
        """Products with A and its adjoint in `start` and `finish` together."""
        return 0

    @abc.abstractmethod
    def start(self, A: LinearOperator, M: LinearOperator | None, r: Array) -> State:
        """The state before the first step of a pass that solves A d = r."""

    @abc.abstractmethod
    def step(self, A: LinearOperator, M: LinearOperator | None, s: Any) -> Any:
        """The state after one more step."""

    def advance(
        self, A: LinearOperator, M: LinearOperator | None, s: Any, k: Array, goal: Array, limit: Array
    ) -> tuple[Array, Any]:
        """The number of iterations after the next step, and its state.

        A method that runs many iterations by itself stops them at the goal or the limit.

        Args:
            A: The operator.
            M: The preconditioner.
            s: The state so far.
            k: Iterations so far.
            goal: The `residual_norm` at which the pass ends.
            limit: Iterations at which the solve ends.
        """
        return k + self.stride, self.step(A, M, s)

    def spent(self, s: Any, steps: Array) -> Array:
        """Products with A and its adjoint in a pass of so many steps that ended with this state."""
        return self.start_products + steps * self.products

    def finish(self, A: LinearOperator, M: LinearOperator | None, s: Any) -> Array:
        """The correction d of a finished pass."""
        return s.x

    def slope(self, s: Any) -> Array | None:
        """The estimate of ‖Aᴴr‖ / (‖A‖‖r‖), 0 where no x does better; None from methods that do not know it."""
        return None

    def true_slope(self, A: LinearOperator, M: LinearOperator | None, s: Any, r: Array) -> Array:
        """The same computed from the true residual r (scaled to ordinary size), with one product."""
        raise NotImplementedError(f"`{self.name}` has a `slope` but no `true_slope`.")

    def undetermined(self, M: Any) -> Array | None:
        """Whether the factors M of A show it to be singular to working precision; None from methods without factors."""
        return None

    def diagnose(self, s: Any) -> Array | int:
        """The `Status` that explains a failure best, judged from what the pass has seen; 0 for none."""
        return Status.converged
