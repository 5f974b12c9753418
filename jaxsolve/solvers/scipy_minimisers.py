"""SciPy's minimisers and least-squares methods as they are asked for."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM, AbstractNonlinearMethod


def _pairs(options: Any) -> tuple[tuple[str, Any], ...]:
    pairs = sorted(options.items()) if isinstance(options, Mapping) else options
    return tuple((name, _hashable(value)) for name, value in pairs)


def _hashable(value: Any) -> Any:
    """Arrays and lists as tuples, which SciPy takes as well."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = np.asarray(value).tolist()
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


#: The minimisers of SciPy: whether each uses gradients, products with the Hessian, bounds, constraints.
SCIPY_MINIMIZERS: dict[str, tuple[bool, bool, bool, bool]] = {
    "L-BFGS-B": (True, False, True, False),
    "BFGS": (True, False, False, False),
    "CG": (True, False, False, False),
    "Newton-CG": (True, True, False, False),
    "TNC": (True, False, True, False),
    "SLSQP": (True, False, True, True),
    "trust-constr": (True, True, True, True),
    "trust-ncg": (True, True, False, False),
    "trust-krylov": (True, True, False, False),
    "trust-exact": (True, True, False, False),
    "dogleg": (True, True, False, False),
    "Nelder-Mead": (False, False, True, False),
    "Powell": (False, False, True, False),
    "COBYLA": (False, False, True, True),
    "COBYQA": (False, False, True, True),
}
#: The least-squares methods of SciPy.
SCIPY_FITS = ("trf", "dogbox", "lm")


class SciPyMinimize(AbstractNonlinearMethod):
    """`scipy.optimize.minimize` on the host, with gradients and products with the Hessian from JAX.

    Args:
        kind: A method of SciPy, as SciPy spells it.
        options: What SciPy's `options` takes, over what follows from the tolerances.

    Raises:
        ValueError: If there is no such kind.
        NotConverged: Out of a solve: `stagnation` where SciPy stops before the tolerance is reached.

    Solves: min f(x) for f with one value, some kinds within bounds or under constraints.
    Cost: SciPy's iteration and one exchange with the host an evaluation; memory by kind, n² for "BFGS".
    Source: `scipy.optimize.minimize`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> f = lambda x: jnp.sum((x - jnp.array([1.0, 2.0])) ** 2)
    >>> [round(v, 3) for v in js.minimize(f, js.Solve(js.SciPyMinimize("BFGS"), x0=jnp.zeros(2))).tolist()]
    [1.0, 2.0]
    """

    solves: ClassVar[tuple[str, ...]] = (MINIMUM,)
    cost: ClassVar[str] = "SciPy's, one exchange with the host an evaluation"
    place: ClassVar[str] = "host"

    kind: str = eqx.field(static=True, default="L-BFGS-B")
    options: Any = eqx.field(static=True, default=(), converter=_pairs)

    def __check_init__(self) -> None:
        if self.kind not in SCIPY_MINIMIZERS:
            raise ValueError(
                f"SciPyMinimize: unknown kind {self.kind!r}; known kinds: {', '.join(SCIPY_MINIMIZERS)}."
            )

    @property
    def name(self) -> str:
        """The kind, as SciPy names it."""
        return f"scipy-{self.kind}" if self.kind in ("CG", "Newton-CG") else self.kind


class SciPyLeastSquares(AbstractNonlinearMethod):
    """`scipy.optimize.least_squares` on the host, with dense Jacobians from JAX; takes bounds.

    Args:
        kind: "trf", "dogbox" or "lm" (without bounds).
        options: Further arguments of SciPy's function (`x_scale`, `tr_solver`, ...), over what follows from the
            tolerances (`x_scale` is "jac"). No `loss`, which asks for another minimum than that of ½‖r‖².

    Raises:
        ValueError: If there is no such kind, or a `loss`.
        NotConverged: Out of a solve: `stagnation` where SciPy stops before the tolerance is reached.

    Solves: least squares, min ½‖r(x)‖² with m residuals of n parameters, within bounds too.
    Cost: SciPy's iteration, one dense Jacobian and one exchange with the host an evaluation; memory m n.
    Source: `scipy.optimize.least_squares`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> r = lambda k: jnp.exp(-k * jnp.arange(5.0)) - jnp.exp(-0.5 * jnp.arange(5.0))
    >>> round(float(js.least_squares(r, js.Solve(js.SciPyLeastSquares("trf"), x0=1.0, rtol=1e-4))), 3)
    0.5
    """

    solves: ClassVar[tuple[str, ...]] = (FIT,)
    cost: ClassVar[str] = "SciPy's, one exchange with the host an evaluation"
    place: ClassVar[str] = "host"

    kind: str = eqx.field(static=True, default="trf")
    options: Any = eqx.field(static=True, default=(), converter=_pairs)

    def __check_init__(self) -> None:
        if self.kind not in SCIPY_FITS:
            raise ValueError(
                f"SciPyLeastSquares: unknown kind {self.kind!r}; known kinds: {', '.join(SCIPY_FITS)}."
            )
        if dict(self.options).get("loss", "linear") != "linear":
            raise ValueError(
                "SciPyLeastSquares minimises ½‖r‖², which a loss changes; use js.LevenbergMarquardt(loss=...), or use "
                "minimize with the sum of the loss of r, within bounds too."
            )

    @property
    def name(self) -> str:
        """The kind, as SciPy names it."""
        return self.kind
