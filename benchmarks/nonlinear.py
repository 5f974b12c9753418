"""Standard nonlinear problems beside SciPy and, where it is installed, optimistix; compilation apart.

python -m benchmarks.nonlinear [--problems bratu burgers obstacle powell rosenbrock] [--bratu 256] [--burgers 2000]
    [--obstacle 64] [--rosenbrock 2 1000] [--repeats 3]
"""

import argparse
import dataclasses
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxsolve as js
from benchmarks.timing import medians, report, seconds

#: What all contestants reduce the norm of the equations (the gradient) by.
RTOL = 1e-8


def laplacian(u):
    """-Δu on the unit square, zero on its edges."""
    p, h = jnp.pad(u, 1), 1 / (len(u) + 1)
    return (4 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]) / h**2


def bratu(u):
    """-Δu - 6 exp(u)."""
    return laplacian(u) - 6.0 * jnp.exp(u)


def burgers(u, viscosity=0.05):
    """(u²/2)' - ν u'' between u(-1) = 1 and u(1) = -1: a layer in the middle, u = -tanh(x / 2ν)."""
    p, h = jnp.pad(u, 1, constant_values=(1.0, -1.0)), 2 / (len(u) + 1)
    return (p[2:] ** 2 - p[:-2] ** 2) / (4 * h) - viscosity * (p[2:] - 2 * u + p[:-2]) / h**2


def obstacle(u, p=4.0, stiffness=1e4):
    """The energy of a membrane after the p-Laplacian under a load, held up by a dome from below (by a penalty)."""
    n, h = len(u), 1 / (len(u) + 1)
    x = jnp.arange(1, n + 1) * h - 0.5
    dome = 0.2 - 2 * (x[:, None] ** 2 + x**2)
    padded = jnp.pad(u, 1)
    slopes = (padded[1:, :-1] - padded[:-1, :-1]) ** 2 + (padded[:-1, 1:] - padded[:-1, :-1]) ** 2
    bending = jnp.sum((slopes / h**2 + 1e-4) ** (p / 2)) / p
    return h**2 * (bending + jnp.sum(5 * u + stiffness / 2 * jnp.maximum(dome - u, 0) ** 2))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def powell(x):
    """The singular function of Powell, as residuals."""
    return jnp.stack(
        [x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2]
    )


@dataclasses.dataclass(frozen=True)
class Equations:
    """f(x) = 0 with the linear solvers that suit it.

    Attributes:
        name: Of the problem.
        f: The function.
        x0: Where everybody begins.
        requests: Of this package, by what is said of them.
        definite: Whether the Jacobian is symmetric positive definite.
    """

    name: str
    f: Callable[[Any], Any]
    x0: Any
    requests: dict[str, Any]
    definite: bool


#: What is timed: from a first guess to x and counts by name.
Run = Callable[[Any], tuple[Any, dict[str, Any]]]


def compare_equations(problem: Equations, repeats: int) -> None:
    """Compiled contestants take turns from first guesses that differ; SciPy runs once, by itself."""
    f, x0 = problem.f, problem.x0
    compiled = jax.jit(f)
    first = float(jnp.linalg.norm(compiled(x0)))

    def row(contestant, took, x, **further):
        left = float(jnp.linalg.norm(compiled(x))) / first
        report(
            problem=problem.name, contestant=contestant, s=took, relative_residual=f"{left:.1e}", **further
        )

    runs = {f"jaxsolve, {name}": own(f, x0, method) for name, method in problem.requests.items()}
    if importlib.util.find_spec("optimistix"):
        runs |= optimistix_equations(problem, first)
    starts = beginnings(x0)
    took = medians({name: lambda run=run: run(next(starts)) for name, run in runs.items()}, repeats)
    for name, run in runs.items():
        x, counts = run(x0)
        row(name, took[name][1], x, **{k: int(v) for k, v in counts.items()})
    scipy_equations(compiled, x0, first, row)


def own(f: Callable[[Any], Any], x0: Any, method: Any) -> Run:
    """This package with a method."""
    zero = jnp.zeros_like(x0)

    @jax.jit
    def run(x):
        info = js.solve_nonlinear_info(f, zero, js.Solve(method, rtol=RTOL, x0=x))
        counts = {"iterations": info.iterations, "products": info.function_evaluations}
        return info.x, counts | {"converged": info.converged}

    return run


def beginnings(x0: Any) -> Iterator[Any]:
    """First guesses that differ in nothing but rounding: factors kept for a matrix of the last call are of no use."""
    return (jax.block_until_ready(x0 + 1e-9 * k) for k in itertools.count())


def scipy_equations(compiled, x0, first, row):
    host = lambda u: np.asarray(compiled(u))  # noqa: E731
    host(np.asarray(x0))
    calls, found = [0], {}

    def counted(u):
        calls[0] += 1
        return host(u)

    def run():
        # f_tol is of the largest entry; the same norm as above on average.
        tolerance = RTOL * first / np.sqrt(x0.size)
        found["u"] = scipy.optimize.newton_krylov(counted, np.asarray(x0), f_tol=tolerance, maxiter=200)

    try:
        took = seconds(run)
    except scipy.optimize.NoConvergence as failure:
        row("scipy newton_krylov", float("nan"), failure.args[0].reshape(x0.shape), evaluations=calls[0])
        return
    row("scipy newton_krylov", took, found["u"], evaluations=calls[0])


def optimistix_equations(problem: Equations, first: float) -> dict[str, Run]:
    import lineax as lx  # noqa: PLC0415
    import optimistix as optx  # noqa: PLC0415

    loose = {"rtol": 1e-4, "atol": 1e-10 * first, "max_steps": 5000}
    inner = {"GMRES": lx.GMRES(**loose, restart=50), "BiCGStab": lx.BiCGStab(**loose)}
    tags = frozenset()
    if problem.definite:
        tags = frozenset({lx.positive_semidefinite_tag, lx.symmetric_tag})
        # GMRES without a preconditioner takes minutes here.
        inner = {"CG": lx.CG(**loose), "BiCGStab": inner["BiCGStab"]}
    if problem.x0.ndim == 1 and problem.x0.size <= 2000:
        inner["LU"] = lx.LU()

    def runner(linear):
        # Its Newton judges steps, by x; it is stopped where a further step of it is not asked for any more.
        solver = optx.Newton(rtol=1e-5, atol=1e-5, linear_solver=linear)

        @jax.jit
        def run(x):
            found = optx.root_find(lambda u, _: problem.f(u), solver, x, max_steps=50, throw=False, tags=tags)
            return found.value, {"iterations": found.stats["num_steps"]}

        return run

    return {f"optimistix Newton, lineax {name}": runner(linear) for name, linear in inner.items()}


def compare_minima(name: str, f: Any, x0: Any, methods: tuple[str, ...], repeats: int, rivals: Any) -> None:
    """Times, counts and how deep each gets; `rivals` are SciPy's methods with what they need."""
    gradient = jax.jit(jax.value_and_grad(f))
    first = float(jnp.linalg.norm(gradient(x0)[1]))

    def row(contestant, took, x, **further):
        value, slope = gradient(jnp.asarray(x).reshape(x0.shape))
        left = float(jnp.linalg.norm(slope)) / first
        report(
            problem=name, contestant=contestant, s=took, objective=f"{float(value):.9g}",
            relative_gradient=f"{left:.1e}", **further,
        )  # fmt: skip

    for method in methods:
        request = js.Solve(method, x0=x0, max_iterations=20_000, rtol=1e-6)
        run = lambda request=request: js.minimize_info(f, request)  # noqa: E731
        if method not in rivals:
            run = jax.jit(run)
        info = run()
        took = medians({method: lambda run=run: run().x}, repeats)[method][1]
        counts = {"iterations": int(info.iterations), "evaluations": int(info.function_evaluations)}
        row(f"jaxsolve, {method}", took, info.x, **counts, status=info.status.name)
    flat = jax.jit(lambda x: gradient(x.reshape(x0.shape)))
    host = lambda x: (lambda v, g: (float(v), np.asarray(g, float).ravel()))(*flat(x))  # noqa: E731
    product = jax.jit(lambda x, v: jax.jvp(lambda x: flat(x)[1].ravel(), (x,), (v,))[1])
    for method, options in rivals.items():
        further = {"hessp": lambda x, v: np.asarray(product(x, v))} if method == "trust-ncg" else {}
        run = lambda method=method, options=options, further=further: scipy.optimize.minimize(  # noqa: E731
            host, np.asarray(x0).ravel(), jac=True, method=method, options=options(first, x0.size), **further
        )
        found = run()
        took = medians({method: lambda run=run: run().x}, repeats)[method][1]
        row(f"scipy, {method}", took, found.x, iterations=int(found.nit), evaluations=int(found.nfev))
    if importlib.util.find_spec("optimistix"):
        optimistix_minima(f, x0, repeats, row)


def optimistix_minima(f, x0, repeats, row):
    import optimistix as optx  # noqa: PLC0415

    solvers = {"NonlinearCG": optx.NonlinearCG(rtol=1e-8, atol=1e-8)}
    if hasattr(optx, "LBFGS"):
        solvers["LBFGS"] = optx.LBFGS(rtol=1e-8, atol=1e-8)
    if x0.size <= 1000:
        solvers["BFGS"] = optx.BFGS(rtol=1e-8, atol=1e-8)
    for name, solver in solvers.items():

        def solve(x, solver=solver):
            return optx.minimise(lambda u, _: f(u), solver, x, max_steps=20_000, throw=False)

        run = jax.jit(lambda x, solve=solve: (lambda s: (s.value, s.stats["num_steps"]))(solve(x)))
        took = medians({name: lambda run=run: run(x0)}, repeats)[name][1]
        x, steps = run(x0)
        row(f"optimistix {name}", took, x, iterations=int(steps))


def compare_fits(repeats: int) -> None:
    """Powell's singular function by least squares."""
    x0 = jnp.array([3.0, -1.0, 0.0, 1.0])
    for name in ("levenberg-marquardt", "gauss-newton"):
        request = js.Solve(name, x0=x0, rtol=1e-10)
        info = js.least_squares_info(powell, request)
        run = jax.jit(lambda request=request: js.least_squares_info(powell, request).x)
        took = medians({name: run}, repeats)[name][1]
        report(
            problem="powell", contestant=f"jaxsolve, {name}", s=took, iterations=int(info.iterations),
            objective=f"{float(info.objective):.1e}", error=float(jnp.abs(info.x).max()),
        )  # fmt: skip
    host, slope = (jax.jit(g) for g in (powell, jax.jacfwd(powell)))
    run = lambda: scipy.optimize.least_squares(  # noqa: E731
        lambda x: np.asarray(host(x)), np.asarray(x0), jac=lambda x: np.asarray(slope(x)), gtol=1e-10 * 460
    )
    found = run()
    took = medians({"trf": lambda: run().x}, repeats)["trf"][1]
    report(
        problem="powell", contestant="scipy, trf", s=took, iterations=int(found.nfev),
        objective=f"{found.cost:.1e}", error=float(np.abs(found.x).max()),
    )  # fmt: skip
    if importlib.util.find_spec("optimistix"):
        import optimistix as optx  # noqa: PLC0415

        solver = optx.LevenbergMarquardt(rtol=1e-8, atol=1e-10)
        solve = lambda x: optx.least_squares(lambda u, _: powell(u), solver, x, throw=False)  # noqa: E731
        compiled = jax.jit(lambda x: (lambda s: (s.value, s.stats["num_steps"]))(solve(x)))
        took = medians({"lm": lambda: compiled(x0)}, repeats)["lm"][1]
        x, steps = compiled(x0)
        report(
            problem="powell", contestant="optimistix LevenbergMarquardt", s=took, iterations=int(steps),
            objective=f"{float(jnp.sum(powell(x) ** 2) / 2):.1e}", error=float(jnp.abs(x).max()),
        )  # fmt: skip


def problems(options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    krylov = lambda method, recipe: js.Newton(js.Solve(method, preconditioner=recipe))  # noqa: E731
    n, m, k = options.bratu, options.burgers, options.obstacle
    by_bratu = {
        "newton": "newton",
        "newton, CG + amg": krylov("CG", "amg"),
        "newton, CG + geometric": krylov("CG", "geometric"),
        "newton, GMres + ilu": krylov("GMres", "ilu"),
    }
    by_burgers = {"newton": "newton", "pseudo-transient": "pseudo-transient"}
    by_obstacle = {"newton": "newton", "newton, CG + ic": krylov("CG", "ic")}
    tight = {
        "L-BFGS-B": lambda first, size: {
            "gtol": 1e-6 * first / size**0.5,
            "ftol": 0,
            "maxiter": 20_000,
            "maxfun": 10**6,
        },
        "trust-ncg": lambda first, size: {"gtol": 1e-6 * first, "maxiter": 20_000},
    }
    start = jnp.linspace(1.0, -1.0, m + 2)[1:-1]
    flat = jnp.zeros((k, k))

    def all_bratu() -> None:
        compare_equations(Equations(f"bratu {n}²", bratu, jnp.zeros((n, n)), by_bratu, True), options.repeats)

    def all_burgers() -> None:
        compare_equations(Equations(f"burgers {m}", burgers, start, by_burgers, False), options.repeats)

    def all_obstacle() -> None:
        name = f"obstacle, 4-Laplacian, {k}²"
        compare_equations(
            Equations(name, jax.grad(obstacle), flat, by_obstacle, definite=True), options.repeats
        )
        compare_minima(name, obstacle, flat, ("L-BFGS", "Newton-CG", "L-BFGS-B"), options.repeats, tight)

    def all_rosenbrock() -> None:
        for size in options.rosenbrock:
            x0 = jnp.tile(jnp.array([-1.2, 1.0]), size // 2)
            methods = ("L-BFGS", "Newton-CG", "L-BFGS-B", "trust-ncg")
            compare_minima(f"rosenbrock {size}", rosenbrock, x0, methods, options.repeats, tight)

    return {
        "bratu": all_bratu,
        "burgers": all_burgers,
        "obstacle": all_obstacle,
        "powell": lambda: compare_fits(options.repeats),
        "rosenbrock": all_rosenbrock,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--problems", nargs="*", default=["bratu", "burgers", "obstacle", "powell", "rosenbrock"]
    )
    parser.add_argument("--bratu", type=int, default=256)
    parser.add_argument("--burgers", type=int, default=2000)
    parser.add_argument("--obstacle", type=int, default=64)
    parser.add_argument("--rosenbrock", type=int, nargs="*", default=[2, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    runs = problems(options)
    for name in options.problems:
        runs[name]()


if __name__ == "__main__":
    main()
