"""Functions that are linear over the real numbers only: leaves of both kinds, and conjugates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.errors import NotLinearError
from tests.gallery import problems

N = 3


def complex_(*shape, seed):
    return jnp.asarray(problems.random(*shape, seed=seed, dtype=np.complex128))


P = {
    "aa": complex_(N, N, seed=1).real + 4 * jnp.eye(N),
    "ab": complex_(N, N, seed=2),
    "ba": complex_(N, N, seed=3),
    "bb": complex_(N, N, seed=4) + 4 * jnp.eye(N),
    "conj": 0.3 * complex_(N, N, seed=5),
}
B = {"a": complex_(N, seed=6).real, "b": complex_(N, seed=7)}


def coupled(x, P):
    """A real leaf and a complex one, each in the equation of the other."""
    return {
        "a": P["aa"] @ x["a"] + (P["ab"] @ x["b"]).real,
        "b": P["ba"] @ x["a"] + P["bb"] @ x["b"] + P["conj"] @ jnp.conj(x["b"]),
    }


def dense(b, P):
    """The solution by the dense matrix over the parts."""

    def parts(y):
        return jnp.concatenate([y["a"], y["b"].real, y["b"].imag])

    def tree(v):
        return {"a": v[:N], "b": v[N : 2 * N] + 1j * v[2 * N :]}

    return tree(
        jnp.linalg.solve(jax.jacfwd(lambda v: parts(coupled(tree(v), P)))(jnp.zeros(3 * N)), parts(b))
    )


def close(x, y, atol=1e-9):
    assert jax.tree.structure(x) == jax.tree.structure(y)
    for one, other in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, atol=atol)


SOLVES = {
    "auto": js.Solve(rtol=1e-12),
    "products": js.Solve("GMres", rtol=1e-12, x0=B),
    "entries": js.Solve("biCG-stab", rtol=1e-12, preconditioner="ilu"),
    "own preconditioner": js.Solve(
        "GMres", rtol=1e-12, preconditioner=lambda r: jax.tree.map(lambda v: v / 4, r)
    ),
}


@pytest.mark.further
@pytest.mark.few(2)
@pytest.mark.parametrize("solve", SOLVES.values(), ids=SOLVES)
def test_real_and_complex_leaves_are_solved_over_their_parts(solve):
    info = js.solve_linear_info(coupled, B, solve, P)
    assert info.converged
    close(info.x, dense(B, P))
    close(info.residual, jax.tree.map(jnp.zeros_like, B))


@pytest.mark.further
def test_they_pass_through_the_transformations_of_jax():
    def solved(b, P):
        return js.solve_linear(coupled, b, js.Solve("GMres", rtol=1e-12), P)

    def loss(solved):
        def value(b, P):
            x = solved(b, P)
            return (x["a"] ** 2).sum() + (jnp.abs(x["b"]) ** 2).sum() + x["b"][0].imag

        return jax.jit(jax.grad(value, (0, 1)))

    close(jax.jit(solved)(B, P), dense(B, P))
    close(loss(solved)(B, P), loss(dense)(B, P))
    batch = jax.tree.map(lambda v: jnp.stack([v, 2 * v]), B)
    close(jax.vmap(solved, (0, None))(batch, P), jax.vmap(dense, (0, None))(batch, P))
    last, _ = jax.lax.scan(lambda c, _: (solved(c, P), None), B, None, length=2)
    close(last, dense(dense(B, P), P))


@pytest.mark.further
def test_leaves_that_are_not_coupled_keep_their_dtypes():
    b = {"a": jnp.ones(3, jnp.float32), "b": 1j * jnp.ones(3, jnp.complex64)}
    for solve in (js.Solve("CG"), js.Solve(x0=jax.tree.map(jnp.zeros_like, b))):
        close(
            js.solve_linear(lambda x: jax.tree.map(lambda v: 2 * v, x), b, solve),
            jax.tree.map(lambda v: v / 2, b),
            1e-6,
        )


def test_leaves_are_complex_where_the_function_makes_them_so():
    b = {"a": jnp.ones(2), "b": jnp.ones(2)}
    for f, dtype in (
        (lambda x: {"a": 2 * x["a"], "b": 2j * x["b"]}, np.float64),
        (lambda x: {"a": 2 * x["a"] + x["b"], "b": 2j * x["b"]}, np.complex128),
    ):
        x = js.solve_linear(f, b, js.Solve("GMres", rtol=1e-12))
        assert (x["a"].dtype, x["b"].dtype) == (dtype, np.complex128)
        for one, other in zip(jax.tree.leaves(f(x)), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("name", ["auto", "GMres", "LU"])
def test_a_function_that_conjugates_is_solved_over_the_parts(name):
    z = complex_(4, seed=8)
    x = js.solve_linear(lambda z: 2 * z + jnp.conj(z) + 1, z + 1, js.Solve(name, rtol=1e-12))
    np.testing.assert_allclose(x, z.real / 3 + 1j * z.imag, atol=1e-10)


@pytest.mark.parametrize("name", ["auto", "CG", "LU"])
def test_what_is_not_linear_over_the_parts_either_is_refused(name):
    with pytest.raises(NotLinearError, match="multiplies two values"):
        js.solve_linear(lambda z: jnp.conj(z) * z, complex_(4, seed=8), js.Solve(name))


def test_wide_and_tall_functions_of_leaves_of_both_kinds():
    def f(x):
        return jnp.concatenate([x["a"] + x["b"].real, x["b"].imag * 2, x["a"][:1]])

    x0 = {"a": jnp.zeros(2), "b": jnp.zeros(2, complex)}
    b = jnp.arange(1.0, 6)
    x = js.solve_linear(f, b, js.Solve("lsmr", x0=x0, rtol=1e-12))
    assert (x["a"].dtype, x["b"].dtype) == (np.float64, np.complex128)
    M = np.array(
        [[1, 0, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 2], [1, 0, 0, 0, 0, 0]]
    )
    v = np.linalg.lstsq(M, b)[0]
    close(x, {"a": jnp.asarray(v[:2]), "b": jnp.asarray(v[2:4] + 1j * v[4:])})


def insulated(u, k):
    """Diffusion between insulated ends that conjugates: real and imaginary constants are mapped to zero."""
    flux = jnp.conj(k * jnp.diff(u))
    return jnp.pad(flux, (1, 0)) - jnp.pad(flux, (0, 1))


INSULATED = np.array(problems.neumann(6))
FLUXES = complex_(6, seed=11)
FLUXES = FLUXES - FLUXES.mean()


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("way", [{}, {"rank_deficiency": 1}, {"null_space": [np.ones(6), 1j * np.ones(6)]}])
@pytest.mark.parametrize("method", ["auto", "CG", "GMres", "LU", "sparse-direct"])
def test_constants_have_a_real_and_an_imaginary_part(method, way):
    def solved(b):
        return js.solve_linear(insulated, b, js.Solve(method, rtol=1e-11, **way), jnp.ones(5))

    inverse = np.linalg.pinv(np.stack([insulated(e, jnp.ones(5)) for e in jnp.eye(6)], axis=1))
    x = solved(FLUXES)
    np.testing.assert_allclose(x, inverse @ np.conj(FLUXES), atol=1e-9)
    # d Re(wᵀx) as JAX writes it: the conjugate of the direction of steepest ascent.
    w = complex_(6, seed=12)
    slope = jax.grad(lambda b: jnp.sum(w * solved(b)).real)(FLUXES)
    np.testing.assert_allclose(slope, np.conj(inverse.T @ w), atol=1e-9)


def test_of_two_constants_one_may_be_mapped_to_zero():
    def f(u):
        flux = jnp.diff(u)
        return jnp.pad(flux, (1, 0)) - jnp.pad(flux, (0, 1)) + 1j * u.imag

    b = FLUXES + 1j
    x = js.solve_linear(f, b, js.Solve("LU", rtol=1e-11))
    np.testing.assert_allclose(x.real, np.linalg.pinv(INSULATED) @ b.real, atol=1e-9)
    np.testing.assert_allclose(x.imag, np.linalg.solve(INSULATED + np.eye(6), b.imag), atol=1e-9)
