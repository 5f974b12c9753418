"""The nonlinear regressions of NIST's Statistical Reference Datasets: how many certified digits each fit finds.

The files are NIST's own, `Misra1a.dat` and so on: https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml.
"""

import dataclasses
import importlib.util
import pathlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxsolve as js
from benchmarks.timing import report


def _gauss(b: Any, x: Any) -> Any:
    peaks = b[2] * jnp.exp(-(((x - b[3]) / b[4]) ** 2)) + b[5] * jnp.exp(-(((x - b[6]) / b[7]) ** 2))
    return b[0] * jnp.exp(-b[1] * x) + peaks


def _waves(b: Any, x: Any) -> Any:
    def wave(p: Any, q: Any, period: Any) -> Any:
        return p * jnp.cos(2 * jnp.pi * x / period) + q * jnp.sin(2 * jnp.pi * x / period)

    return b[0] + wave(b[1], b[2], 12) + wave(b[4], b[5], b[3]) + wave(b[7], b[8], b[6])


def _cubics(b: Any, x: Any) -> Any:
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def _lanczos(b: Any, x: Any) -> Any:
    return b[0] * jnp.exp(-b[1] * x) + b[2] * jnp.exp(-b[3] * x) + b[4] * jnp.exp(-b[5] * x)


def _chwirut(b: Any, x: Any) -> Any:
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


#: y(b, x) as printed in each file.
MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _waves,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubics,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Lanczos3": _lanczos,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    # In log y, of two variables.
    "Nelson": lambda b, x: b[0] - b[1] * x[0] * jnp.exp(-b[2] * x[1]),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / jnp.pi,
    "Thurber": _cubics,
}


@dataclasses.dataclass(frozen=True)
class Regression:
    """One of the data sets.

    Attributes:
        name: NIST's.
        x: The predictors, shape (m,), or (2, m) for Nelson.
        y: The response, its logarithm for Nelson.
        starts: The two starting points.
        certified: The certified parameters.
        squares: The certified sum of squares.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    certified: np.ndarray
    squares: float

    def residuals(self, b: Any) -> Any:
        return MODELS[self.name](b, jnp.asarray(self.x)) - jnp.asarray(self.y)

    def digits(self, b: Any) -> float:
        """The least number of digits in which a parameter agrees, of the 11 that are printed."""
        error = np.max(np.abs(np.asarray(b) - self.certified) / np.abs(self.certified))
        return float(np.clip(-np.log10(error), 0, 11)) if error > 0 else 11.0


def read(path: pathlib.Path) -> Regression:
    """A data set from NIST's file."""
    lines = path.read_text().splitlines()
    parameters = [
        [float(v) for v in line.split("=")[1].split()[:3]] for line in lines if re.match(r"\s*b\d+ =", line)
    ]
    squares = next(float(s.split(":")[1]) for s in lines if s.startswith("Residual Sum of Squares"))
    begin = max(k for k, line in enumerate(lines) if line.startswith("Data:")) + 1
    y, *x = np.array([[float(v) for v in line.split()] for line in lines[begin:] if line.split()]).T
    first, second, certified = np.array(parameters).T
    name = path.stem
    x = np.stack(x) if name == "Nelson" else x[0]
    return Regression(name, x, np.log(y) if name == "Nelson" else y, (first, second), certified, squares)


def regressions(folder: pathlib.Path) -> Iterator[Regression]:
    """All data sets of which the folder holds the file."""
    for name in MODELS:
        if (folder / f"{name}.dat").exists():
            yield read(folder / f"{name}.dat")


def compare_regressions(folder: pathlib.Path, rtol: float = 1e-10) -> None:
    """A row for each data set and starting point, and one of how many reach six digits."""
    reached: dict[str, int] = {}
    for problem in regressions(folder):
        squares = float(np.sum(np.square(problem.residuals(jnp.asarray(problem.certified)))))
        # Of Lanczos1 the certified sum is smaller than what eleven digits of the parameters leave.
        if not abs(squares - problem.squares) <= 1e-6 * problem.squares + 1e-20:
            report(
                problem=problem.name,
                left_out=f"sum of squares {squares:.5g}, certified {problem.squares:.5g}",
            )
            continue
        for which, start in enumerate(problem.starts, 1):
            row: dict[str, Any] = {}
            for name, fit in contestants(rtol).items():
                b, evaluations, said = fit(problem, start)
                digits = problem.digits(b) if np.all(np.isfinite(b)) else 0.0
                reached[name] = reached.get(name, 0) + (digits >= 6)
                row |= {f"{name}, digits": round(digits, 1), f"{name}, steps": evaluations, f"{name}": said}
            report(problem=problem.name, start=which, **row)
    report(problem="regressions with 6 digits", **reached)


def contestants(rtol: float) -> dict[str, Callable[[Regression, np.ndarray], tuple[Any, int, str]]]:
    """Fits by name: from a data set and a start to b, steps, and what is said of them."""
    found = {"jaxsolve": lambda problem, start: own(problem, start, rtol), "scipy": by_scipy}
    if importlib.util.find_spec("optimistix"):
        found["optimistix"] = by_optimistix
    return found


def own(problem: Regression, start: np.ndarray, rtol: float) -> tuple[Any, int, str]:
    solve = js.Solve("levenberg-marquardt", x0=jnp.asarray(start), rtol=rtol, max_iterations=2000)
    info = js.least_squares_info(problem.residuals, solve)
    return info.x, int(info.iterations), info.status.name


def by_scipy(problem: Regression, start: np.ndarray) -> tuple[Any, int, str]:
    residuals = jax.jit(problem.residuals)
    slopes = jax.jit(jax.jacfwd(problem.residuals))
    jacobian: Any = lambda b: np.asarray(slopes(b))  # noqa: E731
    tight = 1e-15
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = scipy.optimize.least_squares(
                lambda b: np.asarray(residuals(b)), start, jac=jacobian, method="lm",
                x_scale="jac", ftol=tight, xtol=tight, gtol=tight, max_nfev=5000,
            )  # fmt: skip
        except ValueError as error:
            return np.full_like(start, np.nan), 0, str(error)[:40]
    return found.x, int(found.nfev), "converged" if found.status > 0 else "max_nfev"


def by_optimistix(problem: Regression, start: np.ndarray) -> tuple[Any, int, str]:
    import optimistix as optx  # noqa: PLC0415

    solver = optx.LevenbergMarquardt(rtol=1e-12, atol=1e-12)
    found = optx.least_squares(
        lambda b, _: problem.residuals(b), solver, jnp.asarray(start), max_steps=2000, throw=False
    )
    said = "converged" if found.result == optx.RESULTS.successful else "failed"
    return np.asarray(found.value), int(found.stats["num_steps"]), said
