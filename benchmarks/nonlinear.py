"""Rosenbrock, and the Bratu problem beside scipy.optimize.newton_krylov and, where it is installed, optimistix.

python -m benchmarks.nonlinear [--size 256] [--strength 6] [--repeats 3] [--rosenbrock 2 1000]
"""

import argparse
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxsolve as js
from benchmarks.timing import medians, report, seconds


def bratu(u, strength):
    """-Δu - λ exp(u) on the unit square, zero on its edges."""
    p, h = jnp.pad(u, 1), 1 / (len(u) + 1)
    return (4 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]) / h**2 - strength * jnp.exp(u)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def bratu_problem(n: int, strength: float, repeats: int) -> None:
    zero, rtol = jnp.zeros((n, n)), 1e-8
    first = float(jnp.linalg.norm(bratu(zero, strength)))
    f = lambda u: bratu(u, strength)  # noqa: E731
    requests = {
        "jaxsolve, newton": js.Solve("newton", rtol=rtol),
        "jaxsolve, newton, CG + amg": js.Solve(js.Newton(js.Solve("CG", preconditioner="amg")), rtol=rtol),
        "jaxsolve, newton, GMres + ilu": js.Solve(
            js.Newton(js.Solve("GMres", preconditioner="ilu")), rtol=rtol
        ),
    }
    for name, request in requests.items():
        run = lambda request=request: js.solve_nonlinear_info(f, zero, request)  # noqa: E731
        info = run()
        times = medians({name: lambda run=run: run().x}, repeats)[name]
        report(
            problem=f"bratu {n}²", contestant=name, s=times[1], iterations=int(info.iterations),
            products=int(info.function_evaluations), relative_residual=f"{float(info.residual_norm) / first:.1e}",
        )  # fmt: skip
    compiled = jax.jit(f)
    host = lambda u: np.asarray(compiled(u))  # noqa: E731
    host(np.zeros((n, n)))
    # SciPy's f_tol is of the largest residual; the same norm as above on average.
    result = {}

    def scipy_solve():
        result["u"] = scipy.optimize.newton_krylov(
            host, np.zeros((n, n)), f_tol=rtol * first / n, maxiter=100
        )

    took = seconds(scipy_solve)
    left = float(jnp.linalg.norm(compiled(result["u"]))) / first
    report(problem=f"bratu {n}²", contestant="scipy newton_krylov", s=took, relative_residual=f"{left:.1e}")
    if importlib.util.find_spec("optimistix"):
        optimistix_bratu(n, f, rtol, first, repeats)


def optimistix_bratu(n, f, rtol, first, repeats):
    import lineax as lx  # noqa: PLC0415
    import optimistix as optx  # noqa: PLC0415

    inner = lx.GMRES(rtol=1e-4, atol=1e-8, restart=50, max_steps=2000)
    solver = optx.Newton(rtol=rtol, atol=rtol * first, linear_solver=inner)
    run = jax.jit(lambda u: optx.root_find(lambda u, _: f(u), solver, u, max_steps=50, throw=False).value)
    zero = jnp.zeros((n, n))
    times = medians({"optimistix": lambda: run(zero)}, repeats)["optimistix"]
    left = float(jnp.linalg.norm(f(run(zero)))) / first
    report(
        problem=f"bratu {n}²",
        contestant="optimistix Newton, lineax GMRES",
        s=times[1],
        relative_residual=f"{left:.1e}",
    )


def rosenbrock_problem(n: int, repeats: int) -> None:
    x0 = jnp.tile(jnp.array([-1.2, 1.0]), n // 2)
    for name in ("L-BFGS", "Newton-CG", "L-BFGS-B", "trust-ncg"):
        request = js.Solve(name, x0=x0, max_iterations=20_000)
        info = js.minimize_info(rosenbrock, request)
        run = lambda request=request: js.minimize_info(rosenbrock, request).x  # noqa: E731
        times = medians({name: run}, repeats)[name]
        report(
            problem=f"rosenbrock {n}", contestant=f"jaxsolve, {name}", s=times[1], iterations=int(info.iterations),
            evaluations=int(info.function_evaluations), error=float(jnp.abs(info.x - 1).max()),
            status=info.status.name,
        )  # fmt: skip
    start = np.asarray(x0)
    for name in ("L-BFGS-B", "trust-ncg"):
        further = (
            {"hess": scipy.optimize.rosen_hess} if name == "trust-ncg" else {"options": {"maxiter": 20_000}}
        )
        result = {}

        def run(result=result, name=name, further=further):
            result["it"] = scipy.optimize.minimize(
                scipy.optimize.rosen, start, jac=scipy.optimize.rosen_der, method=name, **further
            )

        took = seconds(run)
        found = result["it"]
        report(
            problem=f"rosenbrock {n}", contestant=f"scipy, {name}, derivatives by hand", s=took,
            iterations=int(found.nit), evaluations=int(found.nfev), error=float(np.abs(found.x - 1).max()),
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--strength", type=float, default=6.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rosenbrock", type=int, nargs="*", default=[2, 1000])
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.size:
        bratu_problem(options.size, options.strength, options.repeats)
    for n in options.rosenbrock:
        rosenbrock_problem(n, options.repeats)


if __name__ == "__main__":
    main()
