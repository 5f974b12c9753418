"""Least-squares problems of Moré, Garbow and Hillstrom (1981), Testing unconstrained optimization software.

Each has its number there, its standard starting point, and the least sum of squares that is published; where another
local minimum is known its sum is given too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    """One of the problems.

    Attributes:
        name: Its name.
        residuals: r(x), shape (m,).
        start: The standard starting point.
        least: The published sums of squares of its minima, the least first.
    """

    name: str
    residuals: Callable[[Any], Any]
    start: tuple[float, ...]
    least: tuple[float, ...]

    def solved(self, squares: float) -> bool:
        """Whether a sum of squares is that of a published minimum, as far as the figures are printed."""
        return any(abs(squares - f) <= 1e-4 * f + 1e-10 for f in self.least)


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def freudenstein_roth(x):
    u, v = x
    return jnp.stack([-13 + u + ((5 - v) * v - 2) * v, -29 + u + ((v + 1) * v - 14) * v])


def powell_badly_scaled(x):
    return jnp.stack([1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x):
    return jnp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x):
    return jnp.stack([y - x[0] * (1 - x[1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


def jennrich_sampson(x):
    i = jnp.arange(1.0, 11)
    return 2 + 2 * i - jnp.exp(i * x[0]) - jnp.exp(i * x[1])


def helical_valley(x):
    turn = jnp.arctan(x[1] / x[0]) / (2 * jnp.pi) + jnp.where(x[0] < 0, 0.5, 0.0)
    return jnp.stack([10 * (x[2] - 10 * turn), 10 * (jnp.hypot(x[0], x[1]) - 1), x[2]])


BARD = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])


def bard(x):
    u = jnp.arange(1.0, 16)
    v = 16 - u
    return BARD - (x[0] + u / (v * x[1] + jnp.minimum(u, v) * x[2]))


GAUSSIAN = np.array([0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989])


def gaussian(x):
    t = (8 - jnp.arange(1.0, 16)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - np.concatenate([GAUSSIAN, GAUSSIAN[-2::-1]])


MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.0]
)


def meyer(x):
    return x[0] * jnp.exp(x[1] / (45 + 5 * jnp.arange(1.0, 17) + x[2])) - MEYER


def gulf(x):
    t = jnp.arange(1.0, 11) / 100
    y = 25 + (-50 * jnp.log(t)) ** (2 / 3)
    return jnp.exp(-(jnp.abs(y - x[1]) ** x[2]) / x[0]) - t


def box(x):
    t = jnp.arange(1.0, 11) / 10
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (jnp.exp(-t) - jnp.exp(-10 * t))


def powell_singular(x):
    return jnp.stack(
        [
            x[0] + 10 * x[1],
            5**0.5 * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            10**0.5 * (x[0] - x[3]) ** 2,
        ]
    )


def wood(x):
    return jnp.stack(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            90**0.5 * (x[3] - x[2] ** 2),
            1 - x[2],
            10**0.5 * (x[1] + x[3] - 2),
            10**-0.5 * (x[1] - x[3]),
        ]
    )


KOWALIK = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
PLACES = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


def kowalik_osborne(x):
    u = PLACES
    return KOWALIK - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    t = jnp.arange(1.0, 21) / 5
    return (x[0] + t * x[1] - jnp.exp(t)) ** 2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


OSBORNE_1 = np.array(
    [
        0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
        0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
        0.406,
    ]
)  # fmt: skip


def osborne_1(x):
    t = 10 * jnp.arange(33.0)
    return OSBORNE_1 - (x[0] + x[1] * jnp.exp(-t * x[3]) + x[2] * jnp.exp(-t * x[4]))


def biggs(x):
    t = jnp.arange(1.0, 14) / 10
    y = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    return x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1]) + x[5] * jnp.exp(-t * x[4]) - y


OSBORNE_2 = np.array(
    [
        1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
        0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
        0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
        0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
        0.054,
    ]
)  # fmt: skip


def osborne_2(x):
    t = jnp.arange(65.0) / 10
    peaks = [x[k] * jnp.exp(-x[k + 4] * (t - x[k + 7]) ** 2) for k in (1, 2, 3)]
    return OSBORNE_2 - (x[0] * jnp.exp(-t * x[4]) + sum(peaks))


def watson(x):
    t = jnp.arange(1.0, 30)[:, None] / 29
    j = jnp.arange(x.shape[0])
    inner = jnp.sum(j[1:] * x[1:] * t ** (j[1:] - 1), axis=1) - jnp.sum(x * t**j, axis=1) ** 2 - 1
    return jnp.concatenate([inner, jnp.stack([x[0], x[1] - x[0] ** 2 - 1])])


def penalty_1(x):
    return jnp.concatenate([1e-5**0.5 * (x - 1), jnp.sum(x**2)[None] - 0.25])


def variably_dimensioned(x):
    s = jnp.sum(jnp.arange(1, x.shape[0] + 1) * (x - 1))
    return jnp.concatenate([x - 1, jnp.stack([s, s**2])])


def trigonometric(x):
    n = x.shape[0]
    i = jnp.arange(1, n + 1)
    return n - jnp.sum(jnp.cos(x)) + i * (1 - jnp.cos(x)) - jnp.sin(x)


def brown_almost_linear(x):
    n = x.shape[0]
    return jnp.concatenate([x[:-1] + jnp.sum(x) - (n + 1), jnp.prod(x)[None] - 1])


def discrete_boundary_value(x):
    n = x.shape[0]
    h = 1 / (n + 1)
    p = jnp.pad(x, 1)
    return 2 * x - p[:-2] - p[2:] + h**2 * (x + h * jnp.arange(1, n + 1) + 1) ** 3 / 2


def broyden_tridiagonal(x):
    p = jnp.pad(x, 1)
    return (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1


def linear_full_rank(x):
    n, m = x.shape[0], 10
    mean = 2 / m * jnp.sum(x) + 1
    return jnp.concatenate([x, jnp.zeros(m - n)]) - mean


def linear_rank_one(x):
    return jnp.arange(1, 11) * jnp.sum(jnp.arange(1, x.shape[0] + 1) * x) - 1


def chebyquad(x):
    n = x.shape[0]
    t = 2 * x - 1
    rows, before, now = [], jnp.ones_like(t), t
    for k in range(1, n + 1):
        integral = 0 if k % 2 else -1 / (k**2 - 1)
        rows.append(jnp.mean(now) - integral)
        before, now = now, 2 * t * now - before
    return jnp.stack(rows)


def _boundary(n: int) -> tuple[float, ...]:
    t = np.arange(1, n + 1) / (n + 1)
    return tuple(t * (t - 1))


PROBLEMS = {
    1: Problem("Rosenbrock", rosenbrock, (-1.2, 1), (0,)),
    2: Problem("Freudenstein-Roth", freudenstein_roth, (0.5, -2), (0, 48.9842)),
    3: Problem("Powell, badly scaled", powell_badly_scaled, (0, 1), (0,)),
    4: Problem("Brown, badly scaled", brown_badly_scaled, (1, 1), (0,)),
    5: Problem("Beale", beale, (1, 1), (0,)),
    6: Problem("Jennrich-Sampson", jennrich_sampson, (0.3, 0.4), (124.362,)),
    7: Problem("helical valley", helical_valley, (-1, 0, 0), (0,)),
    8: Problem("Bard", bard, (1, 1, 1), (8.21487e-3, 17.4286)),
    9: Problem("Gaussian", gaussian, (0.4, 1, 0), (1.12793e-8,)),
    10: Problem("Meyer", meyer, (0.02, 4000, 250), (87.9458,)),
    11: Problem("Gulf", gulf, (5, 2.5, 0.15), (0,)),
    12: Problem("Box", box, (0, 10, 20), (0,)),
    13: Problem("Powell, singular", powell_singular, (3, -1, 0, 1), (0,)),
    14: Problem("Wood", wood, (-3, -1, -3, -1), (0,)),
    15: Problem("Kowalik-Osborne", kowalik_osborne, (0.25, 0.39, 0.415, 0.39), (3.07505e-4, 1.02734e-3)),
    16: Problem("Brown-Dennis", brown_dennis, (25, 5, -5, -1), (85822.2,)),
    17: Problem("Osborne 1", osborne_1, (0.5, 1.5, -1, 0.01, 0.02), (5.46489e-5,)),
    18: Problem("Biggs", biggs, (1, 2, 1, 1, 1, 1), (0, 5.65565e-3)),
    19: Problem("Osborne 2", osborne_2, (1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5), (4.01377e-2,)),
    20: Problem("Watson, 6", watson, (0,) * 6, (2.28767e-3,)),
    23: Problem("penalty 1, 4", penalty_1, (1, 2, 3, 4), (2.24997e-5,)),
    25: Problem("variably dimensioned, 6", variably_dimensioned, tuple(1 - np.arange(1, 7) / 6), (0,)),
    26: Problem("trigonometric, 5", trigonometric, (0.2,) * 5, (0, 4.4655e-5)),
    27: Problem("Brown, almost linear, 10", brown_almost_linear, (0.5,) * 10, (0, 1)),
    28: Problem("boundary value, 10", discrete_boundary_value, _boundary(10), (0,)),
    30: Problem("Broyden, tridiagonal, 10", broyden_tridiagonal, (-1,) * 10, (0,)),
    32: Problem("linear of full rank, 5", linear_full_rank, (1,) * 5, (5,)),
    33: Problem("linear of rank one, 5", linear_rank_one, (1,) * 5, (10 * 9 / (2 * 21),)),
    35: Problem("Chebyquad, 8", chebyquad, tuple(np.arange(1, 9) / 9), (3.51687e-3,)),
}
