"""Linear systems solved inside JAX: traced, preconditioned, differentiable."""

from jaxsolve.core.checks import jit as jit
from jaxsolve.core.results import ConvergenceException as ConvergenceException
from jaxsolve.core.results import Diverged as Diverged
from jaxsolve.core.results import NotConverged as NotConverged
from jaxsolve.core.results import SolveInfo as SolveInfo
from jaxsolve.core.status import Status as Status
from jaxsolve.linear.request import Solve as Solve
from jaxsolve.linear.system import solve_linear as solve_linear
from jaxsolve.linear.system import solve_linear_info as solve_linear_info
from jaxsolve.linear.system import solve_linear_many as solve_linear_many
from jaxsolve.operators.algebra import Block as Block
from jaxsolve.operators.algebra import Diagonal as Diagonal
from jaxsolve.operators.algebra import Identity as Identity
from jaxsolve.operators.base import LinearOperator as LinearOperator
from jaxsolve.operators.sparse import SparseMatrix as SparseMatrix
from jaxsolve.solvers.direct.banded import Banded as Banded
from jaxsolve.solvers.direct.dense import LU as LU
from jaxsolve.solvers.direct.dense import QR as QR
from jaxsolve.solvers.direct.dense import Cholesky as Cholesky
from jaxsolve.solvers.krylov.cg import CG as CG
