"""Nonlinear methods as they are asked for: what each is called, what it solves, and its options."""

from typing import Any, ClassVar

import equinox as eqx

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import as_scale, is_count, require_count, require_number
from jaxsolve.solvers.losses import as_loss

#: What can be asked of a nonlinear method.
ROOT, FIXED_POINT, FIT, MINIMUM = "equations", "fixed points", "least squares", "minima"


class AbstractNonlinearMethod(eqx.Module):
    """A nonlinear method: its name, what it solves, its options; and of a method of one's own, how it steps.

    The package's own methods are run by searches of the nonlinear floor. Any other defines `step`, and `start` where it
    remembers something. The condition is evaluated by the package after every step, so that what is called converged
    is.
    """

    #: Name of the method in `Solve(name)`.
    name: ClassVar[str]
    #: The problems it is for, out of `ROOT`, `FIXED_POINT`, `FIT` and `MINIMUM`.
    solves: ClassVar[tuple[str, ...]]
    #: What an iteration costs, for people.
    cost: ClassVar[str]
    #: Where it runs, for people.
    place: ClassVar[str] = "device"
    #: Whether it has linear systems to solve, and so takes a preconditioner.
    inner: ClassVar[bool] = False
    #: The field that a number in the name sets; none here.
    option: ClassVar[str | None] = None

    def start(self, problem: Any, x: Any) -> Any:
        """What the method remembers before its first step: a pytree of arrays, or None.

        Args:
            problem: The `NonlinearProblem`.
            x: First guess, shape (n,).
        """
        return None

    def step(self, problem: Any, s: Any, target: Any) -> tuple[Any, Any]:
        """The next iterate, of shape (n,), and what is remembered then.

        Args:
            problem: The `NonlinearProblem`.
            s: The state: `s.x`, `s.gap` (minus the condition at x: y - f(x), g(x) - x or -∇f) and `s.memory`.
            target: The norm of the gap at which the search ends.
        """
        raise NotImplementedError(f"`{type(self).__name__}` defines no step(self, problem, s, target).")


class Newton(AbstractNonlinearMethod):
    """Newton's method with a line search; the linear systems are solved as exactly as it pays.

    Args:
        linear: The `Solve` of the linear systems. Its preconditioner decides how the Jacobian is made: recipes that
            need entries get it traced into a sparse matrix, others products. Its `rtol` holds for gradients only.
            None chooses by size: dense LU, a sparse factorisation, a preconditioned Krylov method.

    Raises:
        NotConverged: Out of a solve: `singular` where the Jacobian is so, `stagnation` where no step lowers the
            residual.

    Solves: f(x) = y and x = g(x), with as many equations as unknowns, real or complex, in any pytrees.
    Cost: one Jacobian, one linear solve, 1 or more evaluations an iteration; memory that of the linear solve.
    Source: Eisenstat and Walker (1996), Choosing the forcing terms in an inexact Newton method, choice 2.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(float(js.solve_nonlinear(lambda x: x**3, jnp.array(8.0), js.Solve(js.Newton(), x0=1.0))), 3)
    2.0
    """

    name: ClassVar[str] = "newton"
    solves: ClassVar[tuple[str, ...]] = (ROOT, FIXED_POINT)
    cost: ClassVar[str] = "1 Jacobian, 1 linear solve"
    inner: ClassVar[bool] = True

    linear: Any = None


class PseudoTransient(AbstractNonlinearMethod):
    """Implicit Euler steps towards the steady state of dx/dt = y - f(x), longer as the residual falls.

    For stiff problems from a far guess, where Newton's line search gets stuck. It finds steady states that attract:
    write f with the sign that makes it so (-Δu, not Δu).

    Args:
        linear: As in `Newton`.
        step: The first time step, in units of 1 / (derivative of f).

    Raises:
        StructureError: If `step` is no number of at least 0.
        NotConverged: Out of a solve: `stagnation` where no time step is short enough.

    Solves: f(x) = y and x = g(x), with as many equations as unknowns, real or complex, in any pytrees.
    Cost: one Jacobian, one linear solve, 1 or more evaluations an iteration; memory that of the linear solve.
    Source: Kelley and Keyes (1998), Convergence analysis of pseudo-transient continuation; PETSc's TSPSEUDO.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> request = js.Solve(js.PseudoTransient(step=0.02), x0=10.0)
    >>> abs(float(js.solve_nonlinear(jnp.arctan, jnp.zeros(()), request))) < 1e-3
    True
    """

    name: ClassVar[str] = "pseudo-transient"
    solves: ClassVar[tuple[str, ...]] = (ROOT, FIXED_POINT)
    cost: ClassVar[str] = "1 Jacobian, 1 linear solve"
    inner: ClassVar[bool] = True

    linear: Any = None
    step: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require_number("PseudoTransient", "step", self.step, 0)


class Broyden(AbstractNonlinearMethod):
    """Broyden's good method: one Jacobian at the start, updated by the steps (small systems); without any (large ones).

    Args:
        memory: Updates that are kept before it starts anew.

    Raises:
        StructureError: If `memory` is no integer of at least 1.
        NotConverged: Out of a solve: `stagnation` where a step with a new Jacobian gains nothing.

    Solves: f(x) = y and x = g(x), with as many equations as unknowns, real or complex, in any pytrees.
    Cost: 1 to 3 evaluations an iteration, n more at each start where small; memory 2 `memory` vectors, n² where
        small.
    Source: Broyden (1965); Kelley (1995), Iterative Methods for Linear and Nonlinear Equations, chapter 7.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(float(js.solve_nonlinear(lambda x: x**3, jnp.array(8.0), js.Solve(js.Broyden(), x0=1.5))), 3)
    2.0
    """

    name: ClassVar[str] = "broyden"
    solves: ClassVar[tuple[str, ...]] = (ROOT, FIXED_POINT)
    cost: ClassVar[str] = "1 to 3 evaluations"

    memory: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        require_count("Broyden", "memory", self.memory)


class Anderson(AbstractNonlinearMethod):
    """Anderson's acceleration of a fixed-point iteration; for equations, of x + y - f(x).

    Args:
        memory: Differences that are combined.
        damping: How far each combination goes along its residual.

    Raises:
        StructureError: If `memory` is no integer of at least 1, or `damping` no number of at least 0.
        NotConverged: Out of a solve: `max_iterations`; it never stops by itself.

    Solves: x = g(x) and f(x) = y, with as many equations as unknowns, real or complex, in any pytrees.
    Cost: one evaluation and a least-squares problem of shape (n, memory) an iteration; 2 `memory` vectors.
    Source: Anderson (1965); Walker and Ni (2011), Anderson acceleration for fixed-point iterations.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.solve_fixed_point_info(jnp.cos, js.Solve(js.Anderson(memory=2), x0=1.0))
    >>> round(float(info.x), 3), int(info.iterations) < 8
    (0.739, True)
    """

    name: ClassVar[str] = "anderson"
    solves: ClassVar[tuple[str, ...]] = (FIXED_POINT, ROOT)
    cost: ClassVar[str] = "1 evaluation"

    memory: int = eqx.field(static=True, default=5)
    damping: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require_count("Anderson", "memory", self.memory)
        require_number("Anderson", "damping", self.damping, 0)


class Picard(AbstractNonlinearMethod):
    """The plain fixed-point iteration x <- g(x); for equations, x <- x + y - f(x).

    Args:
        damping: The part of each step that is taken.

    Raises:
        StructureError: If `damping` is no number of at least 0.
        NotConverged: Out of a solve: `max_iterations`.
        Diverged: Out of a solve: `divergence` where the iteration does not contract.

    Solves: x = g(x) and f(x) = y, with as many equations as unknowns, real or complex, in any pytrees.
    Cost: one evaluation an iteration; two vectors.
    Source: Kelley (1995), Iterative Methods for Linear and Nonlinear Equations, section 4.2.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(float(js.solve_fixed_point(jnp.cos, js.Solve(js.Picard(), x0=1.0))), 3)
    0.739
    """

    name: ClassVar[str] = "picard"
    solves: ClassVar[tuple[str, ...]] = (FIXED_POINT, ROOT)
    cost: ClassVar[str] = "1 evaluation"

    damping: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require_number("Picard", "damping", self.damping, 0)


class GaussNewton(AbstractNonlinearMethod):
    """Gauss-Newton with a line search: for residuals that are small or nearly linear.

    Args:
        linear: The `Solve` of the linear systems; a method for rectangular systems ("lsmr") solves J d = -r, others
            ("CG") the normal equations. None chooses by size: dense QR, or `lsmr`.

    Raises:
        NotConverged: Out of a solve: `stagnation` where no step along the direction lowers ½‖r‖².

    Solves: least squares, min ½‖r(x)‖² with m residuals of n parameters; complex ones by real and imaginary parts.
    Cost: one Jacobian, one least-squares solve, 1 or more evaluations an iteration; memory m n where J is made.
    Source: Nocedal and Wright (2006), section 10.3.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> r = lambda k: jnp.exp(-k * jnp.arange(5.0)) - jnp.exp(-0.5 * jnp.arange(5.0))
    >>> round(float(js.least_squares(r, js.Solve(js.GaussNewton(), x0=1.0, rtol=1e-4))), 3)
    0.5
    """

    name: ClassVar[str] = "gauss-newton"
    solves: ClassVar[tuple[str, ...]] = (FIT,)
    cost: ClassVar[str] = "1 Jacobian, 1 least-squares solve"
    inner: ClassVar[bool] = True

    linear: Any = None


class LevenbergMarquardt(AbstractNonlinearMethod):
    """Levenberg-Marquardt: Gauss-Newton steps damped by as much as the model fails.

    For equations a Newton method in a region of trust: it turns from Newton's direction to that of steepest descent
    of ‖y - f(x)‖, where the line search of `Newton` only shortens. Complex unknowns count as two real ones.

    Args:
        linear: As in `GaussNewton`.
        damping: The first damping of D d, with D the largest norms of the columns of the Jacobian so far (Moré
            1978).
        loss: What residuals of a fit cost: "linear" (their squares), "huber", "soft-l1", "cauchy", "tukey", or a
            function rho(z) of the squares, elementwise, rising from rho(0) = 0 with slope 1. Minimised is
            ½ s² Σ rho((rᵢ/s)²), as by SciPy; gradients reach what rho closes over.
        scale: s, the size from which residuals count as far off. May be traced; gradients reach it.
        eliminate: A top-level leaf of x by name (position of a tuple), such as the points of a bundle adjustment: an
            array with a row for each block, of which each residual reads one at most. Its rows are eliminated by small
            dense factors, all at once, and what is left by a dense factorisation, whose size is that of the other
            leaves. The residuals are read into a sparse Jacobian. None for no leaf.

    Raises:
        StructureError: If `damping` is no number of at least 0, or `scale` none above 0, or `loss` joins residuals, or
            `eliminate` is no such leaf.
        ValueError: If there is no such loss, or one is given for equations.
        NotConverged: Out of a solve: `stagnation` where no damping makes a step that lowers the cost; `unweighted`
            where the loss gives no weight to any residual.

    Solves: least squares, min ½‖r(x)‖² with m residuals of n parameters, or its robust form; f(x) = y and x = g(x).
    Cost: one Jacobian, one least-squares solve, one evaluation an iteration; memory m n where J is made.
    Source: Moré (1978) for the scaling; Nielsen (1999), Damping parameter in Marquardt's method; Triggs, McLauchlan,
        Hartley and Fitzgibbon (1999), Bundle adjustment, for losses.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> r = lambda k: jnp.exp(-k * jnp.arange(5.0)) - jnp.exp(-0.5 * jnp.arange(5.0))
    >>> round(float(js.least_squares(r, js.Solve(js.LevenbergMarquardt(), x0=1.0, rtol=1e-4))), 3)
    0.5
    """

    name: ClassVar[str] = "levenberg-marquardt"
    solves: ClassVar[tuple[str, ...]] = (FIT, ROOT, FIXED_POINT)
    cost: ClassVar[str] = "1 Jacobian, 1 least-squares solve"
    inner: ClassVar[bool] = True

    linear: Any = None
    damping: float = eqx.field(static=True, default=1e-3)
    loss: Any = eqx.field(converter=as_loss, default="linear")
    scale: Any = eqx.field(converter=as_scale, default=1.0)
    eliminate: str | int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require_number("LevenbergMarquardt", "damping", self.damping, 0)
        if not (self.eliminate is None or isinstance(self.eliminate, str) or is_count(self.eliminate, 0)):
            raise StructureError(
                f"LevenbergMarquardt: eliminate is the name of a leaf of x, or its position in a tuple; got "
                f"{told(self.eliminate)}."
            )


class GradientDescent(AbstractNonlinearMethod):
    """Steepest descent with a line search that starts from the Barzilai-Borwein step.

    Raises:
        NotConverged: Out of a solve: `stagnation` where no step along the gradient lowers f.

    Solves: min f(x) for f with one value and a gradient; complex x by its real and imaginary parts.
    Cost: 1 to 3 gradients an iteration; about 4 vectors.
    Source: Barzilai and Borwein (1988), Two-point step size gradient methods.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> f = lambda x: jnp.sum((x - jnp.array([1.0, 2.0])) ** 2)
    >>> [round(v, 3) for v in js.minimize(f, js.Solve(js.GradientDescent(), x0=jnp.zeros(2))).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "GD"
    solves: ClassVar[tuple[str, ...]] = (MINIMUM,)
    cost: ClassVar[str] = "1 to 3 gradients"


class LBFGS(AbstractNonlinearMethod):
    """Limited-memory BFGS with a weak Wolfe line search, on the device.

    Args:
        memory: Pairs of steps and gradient differences that are kept.

    Raises:
        StructureError: If `memory` is no integer of at least 1.
        NotConverged: Out of a solve: `stagnation` where no step along the gradient lowers f.

    Solves: min f(x) for f with one value and a gradient; complex x by its real and imaginary parts.
    Cost: 1 to 3 gradients and about 4 n memory multiplications an iteration; 2 `memory` vectors.
    Source: Liu and Nocedal (1989); Nocedal and Wright (2006), algorithm 7.4; Lewis and Overton (2013) for the line
        search.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> f = lambda x: (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2
    >>> [round(v, 2) for v in js.minimize(f, js.Solve(js.LBFGS(), x0=jnp.zeros(2))).tolist()]
    [1.0, 1.0]
    """

    name: ClassVar[str] = "L-BFGS"
    solves: ClassVar[tuple[str, ...]] = (MINIMUM,)
    cost: ClassVar[str] = "1 to 3 gradients"

    memory: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        require_count("LBFGS", "memory", self.memory)


class NewtonCG(AbstractNonlinearMethod):
    """Newton's method in a trust region, its model minimised by truncated conjugate gradients, on the device.

    Uses products with the Hessian only and makes use of negative curvature.

    Args:
        steps: Most products with the Hessian in one iteration; None for the number of unknowns, 200 at most.

    Raises:
        StructureError: If `steps` is no integer of at least 1.
        NotConverged: Out of a solve: `stagnation` where no radius makes a step that lowers f.

    Solves: min f(x) for f with one value and two derivatives; complex x by its real and imaginary parts.
    Cost: one gradient and some products with the Hessian (`steps` at most) an iteration; about 8 vectors.
    Source: Steihaug (1983), The conjugate gradient method and trust regions; Nocedal and Wright (2006), algorithm
        7.2.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> f = lambda x: (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2
    >>> [round(v, 2) for v in js.minimize(f, js.Solve(js.NewtonCG(), x0=jnp.zeros(2))).tolist()]
    [1.0, 1.0]
    """

    name: ClassVar[str] = "Newton-CG"
    solves: ClassVar[tuple[str, ...]] = (MINIMUM,)
    cost: ClassVar[str] = "1 gradient, some products with the Hessian"

    steps: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.steps is not None:
            require_count("NewtonCG", "steps", self.steps)
