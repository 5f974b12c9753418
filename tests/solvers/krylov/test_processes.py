"""The processes behind the methods: bases that stay orthogonal, estimates that tell the truth."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.solvers.krylov.basis import arnoldi, bidiagonalise, bidiagonalise_on, extend, quotient, rotation
from jaxsolve.solvers.krylov.idr import shadow_space
from jaxsolve.solvers.krylov.minres import MINRES
from tests.gallery import problems
from tests.solvers.krylov.systems import METHODS, every_kind, preconditioner


def grown(A, b, m):
    A = jnp.asarray(A)
    return jax.lax.fori_loop(0, m, lambda _, space: extend(space, A @ space.v), arnoldi(jnp.asarray(b), m))


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_the_basis_stays_orthogonal_on_an_ill_conditioned_matrix(dtype):
    A, b = problems.graded(20, 6).astype(dtype), problems.random(20, seed=5190, dtype=dtype)
    V = np.asarray(grown(A, b, 12).V)
    assert np.abs(V @ V.conj().T - np.eye(13)).max() <= 20 * np.finfo(dtype).eps


@pytest.mark.further
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_least_residual_is_known_before_it_is_made(dtype):
    A, b = problems.dominant(20, 5191, dtype), problems.random(20, seed=5192, dtype=dtype)
    for m in (1, 5, 12):
        space = grown(A, b, m)
        x = space.combination(space.V[:-1])
        V = np.asarray(space.V[:-1])
        least = np.linalg.lstsq(A @ V.T, b)[0]
        np.testing.assert_allclose(space.residual_norm, np.linalg.norm(b - A @ x), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(x, V.T @ least, rtol=1e-10)


def test_a_space_that_is_used_up_has_no_residual():
    A, b = np.diag([1, 2, 3, 0, 0.0]), np.array([1, 1, 1, 0, 0.0])
    space = arnoldi(jnp.asarray(b), 5)
    for _ in range(3):
        space = extend(space, A @ space.v)
    assert space.full
    assert not space.singular
    assert space.residual_norm < 1e-14
    np.testing.assert_allclose(space.combination(space.V[:-1]), [1, 1 / 2, 1 / 3, 0, 0], atol=1e-14)


def test_a_matrix_that_is_singular_on_the_space_is_recognised():
    A, b = problems.nilpotent(4), np.array([0, 0, 0, 1.0])
    space = grown(A, b, 4)
    assert space.singular
    # The shift leaves e₄ out of reach: the best combination is none.
    np.testing.assert_allclose(space.residual_norm, 1)
    np.testing.assert_allclose(space.combination(space.V[:-1]), 0, atol=1e-14)


def test_the_bidiagonalisation_reproduces_the_matrix():
    A = problems.random(9, 6, seed=5193, dtype=np.complex128)
    B = DenseMatrix(jnp.asarray(A))
    g = bidiagonalise(B, jnp.asarray(problems.random(9, seed=5194, dtype=np.complex128)))
    for _ in range(4):
        h = bidiagonalise_on(B, g)
        np.testing.assert_allclose(A @ g.v, g.alpha * g.u + h.beta * h.u, atol=1e-13)
        np.testing.assert_allclose(A.conj().T @ h.u, h.beta * g.v + h.alpha * h.v, atol=1e-13)
        assert h.norm <= np.linalg.norm(A, 2) * (1 + 1e-14)
        g = h


def test_rotations_and_quotients_survive_zeros():
    c, s, rho = rotation(jnp.array(3 + 4j), jnp.array(12.0))
    G = np.array([[np.conj(c), np.conj(s)], [-s, c]])
    np.testing.assert_allclose(G @ [3 + 4j, 12], [rho, 0], atol=1e-14)
    np.testing.assert_allclose(G @ G.conj().T, np.eye(2), atol=1e-14)
    assert [float(v) for v in rotation(jnp.array(0.0), jnp.array(0.0))] == [0, 1, 0]
    assert float(quotient(jnp.array(1.0), jnp.array(0.0))) == 0


def test_the_shadow_space_is_the_same_every_time_and_spans():
    r = jnp.zeros(1000, jnp.float32)
    P = np.asarray(shadow_space(4, r), np.float64)
    np.testing.assert_array_equal(P, shadow_space(4, r))
    np.testing.assert_allclose(P, shadow_space(4, r.astype(jnp.complex128)), atol=1e-6)
    assert np.abs(P @ P.T - np.eye(4)).max() < 0.15
    assert np.abs(P.mean(axis=1)).max() < 0.01


@every_kind
@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_estimate_follows_the_true_residual(name, preconditioned):
    method = METHODS[name]
    A, b = problems.definite(15, 5195, np.complex128), problems.random(15, seed=5196, dtype=np.complex128)
    M = DenseMatrix(jnp.asarray(preconditioner("CG", A))) if preconditioned else None
    op, r = DenseMatrix(jnp.asarray(A)), jnp.asarray(b)
    step = jax.jit(lambda s: method.step(op, M, s))
    s = method.start(op, M, r)
    np.testing.assert_allclose(s.residual_norm, np.linalg.norm(b))
    for k in range(3):
        s = step(s)
        true = np.linalg.norm(b - A @ method.finish(op, M, s))
        if name == "tfQMR":
            # An upper bound, by up to the square root of the number of half steps.
            assert true <= s.residual_norm <= np.sqrt(2 * k + 3) * true * 3
        else:
            np.testing.assert_allclose(s.residual_norm, true, rtol=1e-6, atol=1e-13)


def test_minres_falls_steadily_on_an_indefinite_matrix():
    A, b = problems.saddle(18), problems.random(18, seed=5197)
    op = DenseMatrix(jnp.asarray(A))
    s = MINRES().start(op, None, jnp.asarray(b))
    norms = [float(s.residual_norm)]
    for _ in range(12):
        s = MINRES().step(op, None, s)
        norms.append(float(s.residual_norm))
        np.testing.assert_allclose(norms[-1], np.linalg.norm(b - A @ s.x), rtol=1e-8)
    assert all(after <= before for before, after in itertools.pairwise(norms))
