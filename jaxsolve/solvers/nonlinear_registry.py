"""All nonlinear methods by name."""

from collections.abc import Callable

from jaxsolve.solvers.nonlinear_methods import (
    LBFGS,
    AbstractNonlinearMethod,
    Anderson,
    Broyden,
    GaussNewton,
    GradientDescent,
    LevenbergMarquardt,
    Newton,
    NewtonCG,
    Picard,
    PseudoTransient,
)
from jaxsolve.solvers.scipy_minimisers import SCIPY_FITS, SCIPY_MINIMIZERS, SciPyLeastSquares, SciPyMinimize


def _minimizer(kind: str) -> Callable[..., AbstractNonlinearMethod]:
    return lambda: SciPyMinimize(kind)


def _fit(kind: str) -> Callable[..., AbstractNonlinearMethod]:
    return lambda: SciPyLeastSquares(kind)


#: What makes the method of each name. `CG` is a linear method too and `Newton-CG` one of ours: SciPy's go by
#: `scipy-CG`, which `minimize` also understands as `CG`, and `scipy-Newton-CG`.
NONLINEAR: dict[str, Callable[..., AbstractNonlinearMethod]] = {
    **{
        make.name: make
        for make in (
            Newton, PseudoTransient, Broyden, Anderson, Picard, GaussNewton, LevenbergMarquardt, GradientDescent,
            LBFGS, NewtonCG,
        )
    },
    **{kind: _minimizer(kind) for kind in SCIPY_MINIMIZERS if kind not in ("CG", "Newton-CG")},
    "scipy-Newton-CG": _minimizer("Newton-CG"),
    **{kind: _fit(kind) for kind in SCIPY_FITS},
}  # fmt: skip
