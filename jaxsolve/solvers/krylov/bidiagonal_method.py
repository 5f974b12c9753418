"""What LSMR and LSQR share: both are made of one bidiagonalisation (Golub and Kahan)."""

from typing import Any, ClassVar

import equinox as eqx

from jaxsolve.core.options import as_damping
from jaxsolve.core.vector import plain_norm
from jaxsolve.solvers.krylov.basis import precondition, quotient, right
from jaxsolve.solvers.method import AbstractMethod


class AbstractBidiagonal(AbstractMethod):
    """A method for any shape whose state holds x, the `process`, and the norm of Bᴴr as `slope`, with B = A M."""

    needs: ClassVar[str] = "any shape, with its adjoint"
    cost: ClassVar[str] = "1 product, 1 adjoint product"
    rectangular: ClassVar[bool] = True
    least_norm: ClassVar[bool] = True
    adjoint: ClassVar[bool] = True

    #: λ in min ‖b - A x‖² + λ²‖x‖², None for 0. Not for the steps: whoever poses the problem puts it into A.
    damp: Any = eqx.field(default=None, converter=as_damping)

    @property
    def products(self):
        return 2

    @property
    def start_products(self):
        return 1

    def finish(self, A, M, s):
        if self.damp is not None:
            raise ValueError(
                "damp is taken by js.solve_linear and js.solve_linear_info with a matrix or a function, not by what is "
                "made of one beforehand (js.setup) nor as a part of another method; set up the damped matrix instead."
            )
        return precondition(M, s.x)

    def slope(self, s):
        return quotient(s.slope, s.process.norm)

    def true_slope(self, A, M, s, r):
        return quotient(plain_norm(right(A, M).H.mv(r)), s.process.norm * plain_norm(r))
