"""All methods by name."""

import functools
from collections.abc import Callable

from jaxsolve.solvers.direct.banded import Banded
from jaxsolve.solvers.direct.dense_factors import LU, QR, Cholesky
from jaxsolve.solvers.direct.singular_values import SVD
from jaxsolve.solvers.host.direct import SciPyDirect, SparseDirect
from jaxsolve.solvers.host.scipy_krylov import NAMES, SciPyKrylov
from jaxsolve.solvers.krylov.adaptive_cg import AdaptiveCG
from jaxsolve.solvers.krylov.bicg import BiCG
from jaxsolve.solvers.krylov.bicgstab import BiCGStab
from jaxsolve.solvers.krylov.block_cg import BlockCG
from jaxsolve.solvers.krylov.block_gmres import BlockGMRES
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.cgs import CGS
from jaxsolve.solvers.krylov.cr import CR
from jaxsolve.solvers.krylov.fgmres import FGMRES
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.idr import IDR
from jaxsolve.solvers.krylov.lsmr import LSMR
from jaxsolve.solvers.krylov.lsqr import LSQR
from jaxsolve.solvers.krylov.minres import MINRES
from jaxsolve.solvers.krylov.tfqmr import TFQMR
from jaxsolve.solvers.method import AbstractMethod


def _tridiagonal() -> AbstractMethod:
    return Banded(1, 1)


#: What makes the method of each name.
METHODS: dict[str, Callable[..., AbstractMethod]] = {
    "CG": CG,
    "CG-adaptive": AdaptiveCG,
    "block-CG": BlockCG,
    "block-GMres": BlockGMRES,
    "biCG": BiCG,
    "biCG-stab": BiCGStab,
    "GMres": GMRES,
    "fGMres": FGMRES,
    "minres": MINRES,
    "CR": CR,
    "CGS": CGS,
    "tfQMR": TFQMR,
    "IDR(s)": IDR,
    "lsqr": LSQR,
    "lsmr": LSMR,
    "LU": LU,
    "Cholesky": Cholesky,
    "QR": QR,
    "SVD": SVD,
    "tridiagonal": _tridiagonal,
    "banded": Banded,
    "sparse-direct": SparseDirect,
    "scipy-direct": SciPyDirect,
    **{name: functools.partial(SciPyKrylov, kind) for kind, name in NAMES.items()},
}
