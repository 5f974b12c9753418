"""Linear systems solved inside JAX: traced, preconditioned, differentiable.

    import jaxsolve as js
    x = js.solve_linear(A, b, js.Solve("CG", rtol=1e-8, preconditioner="ilu"))

`help(js.solve_linear)` and so on tell the rest. What there is:

Solving     solve_linear, solve_linear_info, solve_linear_many, setup, recycled, factorize, Factorization
Asking      Solve: method, tolerances, preconditioner, first guess; methods(), preconditioners() list the names
Answers     SolveInfo, Status, explain, Explanation, jit
Failures    ConvergenceException, NotConverged, Diverged; StructureError, TraceError, NotLinearError,
            MissingBackendError
Nonlinear   solve_nonlinear, solve_fixed_point, least_squares, minimize, and each with _info:
            solve_nonlinear_info, solve_fixed_point_info, least_squares_info, minimize_info; covariance, continuation
Inverses    logdet, logdet_info, trace_inverse, inverse_diagonal
Matrices    SparseMatrix, DenseMatrix, LinearOperator, Diagonal, Identity, Block, Pattern, read_matrix,
            rigid_body_modes; on several devices distribute, distribute_local, DistributedMatrix
Functions   matrix_from_function, jit_compile_linear, linearize_operator
Watching    SolveTape, Trajectory, plot, spy, set_logging_level

Methods:
  symmetric      CG, BlockCG, AdaptiveCG, MINRES, CR
  any square     GMRES, BlockGMRES, FGMRES, BiCGStab, IDR, BiCG, CGS, TFQMR
  least squares  LSQR, LSMR
  by factors     LU, Cholesky, QR, SVD, Banded, SparseDirect, SciPyDirect
  SciPy's        SciPyKrylov
Nonlinear methods
  equations      Newton, Broyden, PseudoTransient, Anderson, Picard
  fits           GaussNewton, LevenbergMarquardt, SciPyLeastSquares
  minima         LBFGS, NewtonCG, GradientDescent, SciPyMinimize
Preconditioners
  of the matrix  Jacobi, BlockJacobi, SSOR, ILU, Cholesky0, FSAI, Chebyshev, Neumann, Nystrom
  multigrid      Multigrid, GeometricMultigrid, SmoothedAggregation, RugeStuben, AuxiliarySpace
  coarse spaces  Cluster, Deflation
  combined       Additive, Multiplicative, Symmetrized, FieldSplit
Further          jaxsolve.extend: methods and preconditioners of your own; `python -m jaxsolve --help`: the command line
"""

from jaxsolve.core.checks import jit as jit
from jaxsolve.core.errors import MissingBackendError as MissingBackendError
from jaxsolve.core.errors import NotLinearError as NotLinearError
from jaxsolve.core.errors import StructureError as StructureError
from jaxsolve.core.errors import TraceError as TraceError
from jaxsolve.core.recycled import recycled as recycled
from jaxsolve.core.results import ConvergenceException as ConvergenceException
from jaxsolve.core.results import Diverged as Diverged
from jaxsolve.core.results import NotConverged as NotConverged
from jaxsolve.core.results import SolveInfo as SolveInfo
from jaxsolve.core.status import Status as Status
from jaxsolve.core.version import __version__ as __version__
from jaxsolve.front.request import Solve as Solve
from jaxsolve.io.files import read_matrix as read_matrix
from jaxsolve.linear.catalogue import methods as methods
from jaxsolve.linear.catalogue import preconditioners as preconditioners
from jaxsolve.linear.determinant import logdet as logdet
from jaxsolve.linear.determinant import logdet_info as logdet_info
from jaxsolve.linear.explanation import Explanation as Explanation
from jaxsolve.linear.explanation import explain as explain
from jaxsolve.linear.factorization import Factorization as Factorization
from jaxsolve.linear.factorization import factorize as factorize
from jaxsolve.linear.field_split import FieldSplit as FieldSplit
from jaxsolve.linear.inverse_traces import inverse_diagonal as inverse_diagonal
from jaxsolve.linear.inverse_traces import trace_inverse as trace_inverse
from jaxsolve.linear.linear_solve import solve_linear as solve_linear
from jaxsolve.linear.linear_solve import solve_linear_info as solve_linear_info
from jaxsolve.linear.linear_solve import solve_linear_many as solve_linear_many
from jaxsolve.linear.setup import setup as setup
from jaxsolve.nonlinear.equations import solve_fixed_point as solve_fixed_point
from jaxsolve.nonlinear.equations import solve_fixed_point_info as solve_fixed_point_info
from jaxsolve.nonlinear.equations import solve_nonlinear as solve_nonlinear
from jaxsolve.nonlinear.equations import solve_nonlinear_info as solve_nonlinear_info
from jaxsolve.nonlinear.load_path import continuation as continuation
from jaxsolve.nonlinear.minima import least_squares as least_squares
from jaxsolve.nonlinear.minima import least_squares_info as least_squares_info
from jaxsolve.nonlinear.minima import minimize as minimize
from jaxsolve.nonlinear.minima import minimize_info as minimize_info
from jaxsolve.nonlinear.parameter_covariance import covariance as covariance
from jaxsolve.operators.block import Block as Block
from jaxsolve.operators.dense_matrix import DenseMatrix as DenseMatrix
from jaxsolve.operators.diagonal import Diagonal as Diagonal
from jaxsolve.operators.diagonal import Identity as Identity
from jaxsolve.operators.distributed import DistributedMatrix as DistributedMatrix
from jaxsolve.operators.distribution import distribute as distribute
from jaxsolve.operators.distribution import distribute_local as distribute_local
from jaxsolve.operators.operator import LinearOperator as LinearOperator
from jaxsolve.operators.pattern import Pattern as Pattern
from jaxsolve.operators.sparse import SparseMatrix as SparseMatrix
from jaxsolve.plotting.residuals import plot as plot
from jaxsolve.plotting.spy import spy as spy
from jaxsolve.preconditioners.coarse_correction import Cluster as Cluster
from jaxsolve.preconditioners.coarse_correction import Deflation as Deflation
from jaxsolve.preconditioners.fsai import FSAI as FSAI
from jaxsolve.preconditioners.ilu.incomplete import ILU as ILU
from jaxsolve.preconditioners.ilu.incomplete import Cholesky0 as Cholesky0
from jaxsolve.preconditioners.jacobi import BlockJacobi as BlockJacobi
from jaxsolve.preconditioners.jacobi import Jacobi as Jacobi
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben as RugeStuben
from jaxsolve.preconditioners.multigrid.algebraic import SmoothedAggregation as SmoothedAggregation
from jaxsolve.preconditioners.multigrid.automatic import Multigrid as Multigrid
from jaxsolve.preconditioners.multigrid.auxiliary_space import AuxiliarySpace as AuxiliarySpace
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid as GeometricMultigrid
from jaxsolve.preconditioners.multigrid.rigid_motions import rigid_body_modes as rigid_body_modes
from jaxsolve.preconditioners.nystrom import Nystrom as Nystrom
from jaxsolve.preconditioners.polynomial import Chebyshev as Chebyshev
from jaxsolve.preconditioners.polynomial import Neumann as Neumann
from jaxsolve.preconditioners.preconditioner import Additive as Additive
from jaxsolve.preconditioners.preconditioner import Multiplicative as Multiplicative
from jaxsolve.preconditioners.preconditioner import Symmetrized as Symmetrized
from jaxsolve.preconditioners.relaxation import SSOR as SSOR
from jaxsolve.solvers.direct.banded import Banded as Banded
from jaxsolve.solvers.direct.dense_factors import LU as LU
from jaxsolve.solvers.direct.dense_factors import QR as QR
from jaxsolve.solvers.direct.dense_factors import Cholesky as Cholesky
from jaxsolve.solvers.direct.singular_values import SVD as SVD
from jaxsolve.solvers.host.direct import SciPyDirect as SciPyDirect
from jaxsolve.solvers.host.direct import SparseDirect as SparseDirect
from jaxsolve.solvers.host.scipy_krylov import SciPyKrylov as SciPyKrylov
from jaxsolve.solvers.krylov.adaptive_cg import AdaptiveCG as AdaptiveCG
from jaxsolve.solvers.krylov.bicg import BiCG as BiCG
from jaxsolve.solvers.krylov.bicgstab import BiCGStab as BiCGStab
from jaxsolve.solvers.krylov.block_cg import BlockCG as BlockCG
from jaxsolve.solvers.krylov.block_gmres import BlockGMRES as BlockGMRES
from jaxsolve.solvers.krylov.cg import CG as CG
from jaxsolve.solvers.krylov.cgs import CGS as CGS
from jaxsolve.solvers.krylov.cr import CR as CR
from jaxsolve.solvers.krylov.fgmres import FGMRES as FGMRES
from jaxsolve.solvers.krylov.gmres import GMRES as GMRES
from jaxsolve.solvers.krylov.idr import IDR as IDR
from jaxsolve.solvers.krylov.lsmr import LSMR as LSMR
from jaxsolve.solvers.krylov.lsqr import LSQR as LSQR
from jaxsolve.solvers.krylov.minres import MINRES as MINRES
from jaxsolve.solvers.krylov.tfqmr import TFQMR as TFQMR
from jaxsolve.solvers.nonlinear_methods import LBFGS as LBFGS
from jaxsolve.solvers.nonlinear_methods import Anderson as Anderson
from jaxsolve.solvers.nonlinear_methods import Broyden as Broyden
from jaxsolve.solvers.nonlinear_methods import GaussNewton as GaussNewton
from jaxsolve.solvers.nonlinear_methods import GradientDescent as GradientDescent
from jaxsolve.solvers.nonlinear_methods import LevenbergMarquardt as LevenbergMarquardt
from jaxsolve.solvers.nonlinear_methods import Newton as Newton
from jaxsolve.solvers.nonlinear_methods import NewtonCG as NewtonCG
from jaxsolve.solvers.nonlinear_methods import Picard as Picard
from jaxsolve.solvers.nonlinear_methods import PseudoTransient as PseudoTransient
from jaxsolve.solvers.scipy_minimisers import SciPyLeastSquares as SciPyLeastSquares
from jaxsolve.solvers.scipy_minimisers import SciPyMinimize as SciPyMinimize
from jaxsolve.telemetry.log import set_logging_level as set_logging_level
from jaxsolve.telemetry.tape import SolveTape as SolveTape
from jaxsolve.telemetry.trajectory import Trajectory as Trajectory
from jaxsolve.tracer.assembly import matrix_from_function as matrix_from_function
from jaxsolve.tracer.compiled import jit_compile_linear as jit_compile_linear
from jaxsolve.tracer.jacobian import linearize_operator as linearize_operator
