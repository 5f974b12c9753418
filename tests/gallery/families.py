"""Systems that move with parameters: for each kind the numbers of A x = b at (p, t, u), and x by dense JAX."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tests.gallery import problems

#: Unknowns of a square system.
N = 5
#: The point where families are differentiated, and the direction.
P, V = np.array([0.3, 0.9, -0.4]), np.array([0.7, -1.1, 0.5])
T, U = 1.0, 0.2


class Family(NamedTuple):
    """A kind of system as functions of (p, t, u)."""

    #: What a solver takes: A and b, and the basis of the null space where one is declared.
    system: Callable[..., tuple[Any, ...]]
    #: x by a formula of dense JAX.
    solution: Callable[..., Any]


def moving(parts: list[Any], p, t, u):
    """parts[0] + p0 t parts[1] + u parts[2] / 10, in the precision of p."""
    first, second, third = (typed(part, p) for part in parts)
    return first + p[0] * t * second + 0.1 * u * third


def typed(value, p):
    """Numbers in the precision of p."""
    return jnp.asarray(value, jnp.result_type(p, 1j) if np.iscomplexobj(value) else p.dtype)


def adjoint(A):
    return jnp.conj(A.T)


def least_squares(A, b):
    return jnp.linalg.solve(adjoint(A) @ A, adjoint(A) @ b)


def least_norm(A, b):
    return adjoint(A) @ jnp.linalg.solve(A @ adjoint(A), b)


def _numbers(*shape, seed, dtype):
    return problems.random(*shape, seed=seed, dtype=dtype) / np.sqrt(shape[-1])


def _moves(m, n, seed, dtype):
    return [0.5 * _numbers(m, n, seed=seed + k, dtype=dtype) for k in range(2)]


def _side(m, dtype, seed=60):
    b = [problems.random(m, seed=seed + k, dtype=dtype) for k in range(3)]
    return lambda p, t, u: p[1] * typed(b[0], p) + t * p[2] * typed(b[1], p) + 0.3 * u * typed(b[2], p)


def _given(parts, side, dense) -> Family:
    def system(p, t, u):
        return moving(parts, p, t, u), side(p, t, u)

    return Family(system, lambda p, t, u: dense(*system(p, t, u)))


def _hermitian(parts):
    return [(part + part.conj().T) / 2 for part in parts]


def _square(kind, dtype) -> Family:
    moves = _moves(N, N, 50, dtype)
    if kind in ("definite", "indefinite"):
        parts = _hermitian([getattr(problems, kind)(N, 7, dtype), *moves])
    else:
        parts = [problems.dominant(N, 7, dtype), *moves]
    width = {"tridiagonal": 1, "banded": 2}.get(kind, N)
    parts = [np.triu(np.tril(part, width), -width) for part in parts]
    return _given(parts, _side(N, dtype), jnp.linalg.solve)


def _rectangular(m, n, dense, dtype) -> Family:
    return _given(
        [2 * np.eye(m, n) + _numbers(m, n, seed=7, dtype=dtype), *_moves(m, n, 50, dtype)],
        _side(m, dtype),
        dense,
    )


def _deficient(m, n, dtype) -> Family:
    """A of rank 2 whose range and null space turn: the product of two factors of full rank, tall and wide."""
    rank = 2
    tall = [2 * np.eye(m, rank) + _numbers(m, rank, seed=7, dtype=dtype), *_moves(m, rank, 50, dtype)]
    wide = [2 * np.eye(rank, n) + _numbers(rank, n, seed=8, dtype=dtype), *_moves(rank, n, 55, dtype)]
    side, inside = _side(m, dtype), _side(rank, dtype, 70)

    def b(p, t, u):
        # A square system has a solution, or it is not solved.
        return moving(tall, p, t, u) @ inside(p, t, u) if m == n else side(p, t, u)

    def system(p, t, u):
        return moving(tall, p, t, u) @ moving(wide, p, t, u), b(p, t, u)

    def solution(p, t, u):
        return least_norm(moving(wide, p, t, u), least_squares(moving(tall, p, t, u), b(p, t, u)))

    return Family(system, solution)


def _singular(kind, turning, dtype) -> Family:
    """P M P x = P b with the projector P = 1 - q qᴴ: constants are the null space, or a q that turns."""
    parts, side = _square_parts(kind, dtype), _side(N, dtype)
    turns = [problems.random(N, seed=80 + k, dtype=dtype) for k in range(3)]

    def q(p, t, u):
        v = moving(turns, p, t, u) if turning else typed(np.ones(N, dtype), p)
        return v / jnp.sqrt(jnp.sum(jnp.abs(v) ** 2))

    def system(p, t, u):
        v = q(p, t, u)
        P = jnp.eye(N, dtype=v.dtype) - jnp.outer(v, jnp.conj(v))
        return P @ moving(parts, p, t, u) @ P, P @ side(p, t, u), v

    def solution(p, t, u):
        A, b, v = system(p, t, u)
        return jnp.linalg.solve(A + jnp.outer(v, jnp.conj(v)), b)

    return Family(system, solution)


def _square_parts(kind, dtype):
    moves = _moves(N, N, 50, dtype)
    if kind == "general":
        return [problems.dominant(N, 7, dtype), *moves]
    return _hermitian([problems.definite(N, 7, dtype), *moves])


def _grid(dtype) -> Family:
    """A five-point stencil with unequal coefficients on a grid of 4 x 4, definite."""
    pattern = problems.poisson_2d(4, 4) != 0
    parts = [
        np.where(pattern, part, 0)
        for part in (
            problems.poisson_2d(4, 4) + np.diag(np.linspace(0.5, 1.5, 16)),
            *_hermitian(_moves(16, 16, 50, dtype)),
        )
    ]
    return _given(parts, _side(16, dtype), jnp.linalg.solve)


@functools.cache
def family(kind: str, dtype: type = np.float64) -> Family:
    """The family of a kind."""
    makers = {
        "tall": lambda: _rectangular(N + 2, N - 1, least_squares, dtype),
        "wide": lambda: _rectangular(N - 1, N + 2, least_norm, dtype),
        "deficient tall": lambda: _deficient(N + 1, N - 1, dtype),
        "deficient wide": lambda: _deficient(N - 1, N + 1, dtype),
        "deficient square": lambda: _deficient(N, N, dtype),
        "singular": lambda: _singular("general", False, dtype),
        "singular, definite": lambda: _singular("definite", False, dtype),
        "turning": lambda: _singular("general", True, dtype),
        "turning, definite": lambda: _singular("definite", True, dtype),
        "grid": lambda: _grid(dtype),
    }
    return makers[kind]() if kind in makers else _square(kind, dtype)


def loss(x):
    """A real number that depends on every part of x, nonlinearly."""
    x = x.ravel()
    weight = 1 + 0.5 * jnp.arange(x.size)
    found = jnp.sum(weight * jnp.sin(jnp.real(x)))
    return found + jnp.sum(jnp.cos(weight * jnp.imag(x))) if jnp.iscomplexobj(x) else found
