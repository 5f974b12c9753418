"""All preconditioners by name."""

from collections.abc import Callable

from jaxsolve.preconditioners.coarse_correction import Cluster, Deflation
from jaxsolve.preconditioners.fsai import FSAI
from jaxsolve.preconditioners.ilu.incomplete import ILU, Cholesky0
from jaxsolve.preconditioners.jacobi import BlockJacobi, Jacobi
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.preconditioners.nystrom import Nystrom
from jaxsolve.preconditioners.polynomial import Chebyshev, Neumann
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.relaxation import SSOR

#: What makes the preconditioner of each name.
PRECONDITIONERS: dict[str, Callable[..., AbstractPreconditioner]] = {
    "jacobi": Jacobi,
    "block-jacobi": BlockJacobi,
    "ilu": ILU,
    "ic": Cholesky0,
    "ssor": SSOR,
    "chebyshev": Chebyshev,
    "neumann": Neumann,
    "fsai": FSAI,
    "nystrom": Nystrom,
    "cluster": Cluster,
    "deflation": Deflation,
    "amg": Multigrid,
    "ruge-stuben": RugeStuben,
    "smoothed-aggregation": SmoothedAggregation,
    "geometric": GeometricMultigrid,
}
