"""1000 random SPD systems of 64 unknowns in one call, beside a hand-written vmapped CG, and the cost of an eager call.

python -m benchmarks.batch [--lanes 1000] [--size 64] [--repeats 11]
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxsolve as js
from benchmarks.timing import medians, report


def by_hand(A: jax.Array, b: jax.Array, rtol: float) -> jax.Array:
    """Textbook CG to a relative tolerance, for one system."""

    def running(s):
        k, _, _, _, rho, bound = s
        return (rho > bound) & (k < 1000)

    def step(s):
        k, x, r, p, rho, bound = s
        q = A @ p
        alpha = rho / jnp.vdot(p, q)
        x, r = x + alpha * p, r - alpha * q
        new = jnp.vdot(r, r)
        return k + 1, x, r, r + new / rho * p, new, bound

    rho = jnp.vdot(b, b)
    return lax.while_loop(running, step, (0, jnp.zeros_like(b), b, b, rho, rtol**2 * rho))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(31847)
    G = rng.standard_normal((options.lanes, options.size, options.size))
    A = jnp.asarray(G @ G.transpose(0, 2, 1) / options.size + np.eye(options.size))
    b = jnp.asarray(rng.standard_normal((options.lanes, options.size)))
    hand = jax.jit(jax.vmap(functools.partial(by_hand, rtol=1e-8)))
    solve = js.Solve("CG", rtol=1e-8)
    ours = jax.jit(lambda A, b: js.solve_linear(A, b, solve))
    times = medians(
        {
            "by hand": lambda: hand(A, b),
            "jaxsolve, jit": lambda: ours(A, b),
            "jaxsolve, eager": lambda: js.solve_linear(A, b, solve),
        },
        options.repeats,
    )
    base = times["by hand"][1]
    for name, (first, median) in times.items():
        report(
            lanes=options.lanes, contestant=name, ms=1e3 * median, of_hand=median / base, first_call_s=first
        )
    small, one = 2 * jnp.eye(8), jnp.ones(8)
    calls = {
        method: functools.partial(js.solve_linear, small, one, js.Solve(method)) for method in ("CG", "LU")
    }
    for name, (first, median) in medians(calls, 500).items():
        report(contestant=f"one eager call, {name}, n=8", us=1e6 * median, first_call_s=first)


if __name__ == "__main__":
    main()
