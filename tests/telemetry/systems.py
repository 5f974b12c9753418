"""One small system for all tests of this folder, so that few programs are compiled."""

import jax.numpy as jnp

import jaxsolve as js

A = jnp.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
b = jnp.array([1.0, 2.0, 3.0])
# Both run the same program in eager mode.
CG = js.Solve("CG", rank_deficiency=0)
FINE = js.Solve("CG", rtol=1e-9, rank_deficiency=0)


def loss(b):
    return js.solve_linear(A, b, CG).sum()


def kinds(solves):
    return [info.kind for info in solves]


def tolerances(solves):
    return [info.solve.rtol for info in solves]
