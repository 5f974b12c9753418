"""Products of float32 matrices ask for full precision, which accelerators do not give unasked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.tracer.assembly import matrix_from_function

N = 12
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(N, N))
MATRIX = jnp.asarray(ROOT @ ROOT.T + N * np.eye(N), jnp.float32)
B = jnp.asarray(RNG.normal(size=N), jnp.float32)


def rounded(program):
    """The products of matrices, at any depth of a program, that may be rounded below their dtype."""
    for eqn in program.eqns:
        product = eqn.primitive.name == "dot_general" and jnp.issubdtype(
            eqn.outvars[0].aval.dtype, jnp.inexact
        )
        if product and str(eqn.params["precision"]).count("HIGHEST") < 2:
            yield eqn
        for part in jax.tree.leaves(eqn.params, is_leaf=lambda part: hasattr(part, "eqns")):
            if hasattr(part, "eqns"):
                yield from rounded(getattr(part, "jaxpr", part))


def holds(f, *args):
    assert list(rounded(jax.make_jaxpr(f)(*args).jaxpr)) == []


def by_entries(A, b, solve):
    return js.solve_linear(A, b, solve)


def by_function(A, b, solve):
    return js.solve_linear(lambda x: A @ x, b, solve)


def test_what_it_sees():
    assert len(list(rounded(jax.make_jaxpr(lambda A, b: jax.jit(jnp.dot)(A, b))(MATRIX, B).jaxpr))) == 1


@pytest.mark.parametrize("form", [by_entries, by_function])
@pytest.mark.parametrize("method", ["CG", "GMres", "biCG-stab", "lsmr", "LU", "Cholesky", "QR"])
def test_solves_and_their_gradients(method, form):
    holds(jax.grad(lambda A, b: form(A, b, js.Solve(method)).sum(), argnums=(0, 1)), MATRIX, B)


@pytest.mark.parametrize("name", ["ilu", js.BlockJacobi(3), js.Nystrom(rank=4), "chebyshev"])
def test_preconditioners_of_traced_values(name):
    holds(lambda A, b: by_entries(A, b, js.Solve("GMres", preconditioner=name)), MATRIX, B)


@pytest.mark.parametrize(
    "method", ["newton", "gauss-newton", "levenberg-marquardt", "L-BFGS", "anderson", "broyden"]
)
def test_nonlinear_solves(method):
    def equation(x, A, b):
        return A @ x + 0.1 * jnp.tanh(x) - b

    def run(A, b):
        solve = js.Solve(method, x0=b)
        if method == "L-BFGS":
            return js.minimize(lambda x: (equation(x, A, b) ** 2).sum(), solve)
        if method in ("gauss-newton", "levenberg-marquardt"):
            return js.least_squares(lambda x: equation(x, A, b), solve)
        return js.solve_nonlinear(lambda x: equation(x, A, b), 0 * b, solve)

    holds(jax.grad(lambda A, b: run(A, b).sum(), argnums=(0, 1)), MATRIX, B)


def test_functions_read_into_matrices_and_factorisations():
    def affine(x, A):
        return (A @ A) @ (A @ x + x) + A @ B

    remembered = js.jit_compile_linear(affine)
    for f, args in (
        (lambda A, b: matrix_from_function(affine, b, A)[0].data, (MATRIX, B)),
        (lambda A, b: matrix_from_function(affine, b, A)[1], (MATRIX, B)),
        (lambda A, b: js.linearize_operator(lambda x, A: jnp.tanh(affine(x, A)), b, A).data, (MATRIX, B)),
        (lambda A, b: remembered.matrix(b, A).data, (MATRIX, B)),
        (lambda A, b: remembered.offset(b, A), (MATRIX, B)),
        # What was read outside of a solve is what the solve takes.
        (lambda A, b: js.solve_linear(remembered, b, None, A), (MATRIX, B)),
        (lambda A, b: js.factorize(A).solve(b), (MATRIX, B)),
    ):
        holds(f, *args)
