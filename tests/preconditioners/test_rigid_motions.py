"""Rigid body motions: strains vanish, columns are orthogonal, and multigrid and null spaces take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js

RNG = np.random.default_rng(4)


def springs(x, edges, stiffness=1.0):
    """The stiffness matrix of springs between nodes, by components of the nodes in turn: no rigid motion strains it."""
    d = x.shape[1]
    rows, columns, values = [], [], []
    for i, j in edges:
        t = (x[i] - x[j]) / np.linalg.norm(x[i] - x[j])
        piece = stiffness * np.kron([[1, -1], [-1, 1]], np.outer(t, t))
        at = [d * i + k for k in range(d)] + [d * j + k for k in range(d)]
        rows += np.repeat(at, 2 * d).tolist()
        columns += at * (2 * d)
        values += piece.reshape(-1).tolist()
    n = d * len(x)
    return sps.coo_array((values, (rows, columns)), shape=(n, n)).tocsr()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_spring_is_strained_and_columns_are_orthogonal(d):
    # A thin body far from the origin, at an angle.
    x = (
        1e3
        + RNG.normal(size=(9, d)) @ np.diag([1.0, 1e-2, 1e-3][:d]) @ np.linalg.qr(RNG.normal(size=(d, d)))[0]
    )
    B = np.asarray(js.rigid_body_modes(x))
    assert B.shape == (9 * d, {1: 1, 2: 3, 3: 6}[d])
    K = springs(x, [(i, j) for i in range(9) for j in range(i)])
    assert np.abs(K @ B).max() < 1e-8
    np.testing.assert_allclose(B.T @ B, 9 * np.eye(B.shape[1]), atol=1e-8)
    # All of the null space.
    assert np.linalg.matrix_rank(K.toarray(), tol=1e-12) == 9 * d - B.shape[1]


def test_dtypes():
    assert js.rigid_body_modes(np.eye(3, dtype=np.float32)).dtype == np.float32
    assert js.rigid_body_modes([[0, 0], [1, 0]]).dtype == float


def lattice(n):
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    at = (i * n + j).tolist()
    pairs = [
        (at[a][b], at[a + p][b + q])
        for p, q in ((1, 0), (0, 1), (1, 1))
        for a in range(n - p)
        for b in range(n - q)
    ]
    pairs += [(at[a + 1][b], at[a][b + 1]) for a in range(n - 1) for b in range(n - 1)]
    return np.stack([i, j], axis=-1).reshape(-1, 2).astype(float), pairs


@pytest.mark.further
def test_a_free_body_is_solved_for_with_them_as_null_space():
    x, pairs = lattice(4)
    K, B = springs(x, pairs), js.rigid_body_modes(x)
    b = K @ RNG.normal(size=32)
    info = js.solve_linear_info(K, b, js.Solve("CG", rtol=1e-10, null_space=B))
    assert info.converged
    np.testing.assert_allclose(info.x, np.linalg.pinv(K.toarray()) @ b, atol=1e-8)


@pytest.mark.slow
def test_multigrid_with_them_takes_fewer_iterations():
    n = 24
    x, pairs = lattice(n)
    free = np.repeat(x[:, 0] > 0, 2)
    K = springs(x, pairs)[free][:, free]
    B = np.asarray(js.rigid_body_modes(x))[free]
    b = np.ones(K.shape[0])
    counts = [
        int(js.solve_linear_info(K, b, js.Solve("CG", rtol=1e-8, preconditioner=M)).iterations)
        for M in (js.SmoothedAggregation(B=B, block=2, bottom=50), js.SmoothedAggregation(bottom=50))
    ]
    assert counts[0] < 0.7 * counts[1]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.zeros((3, 4)), ValueError, r"\(nodes, d\) with d = 1, 2 or 3; got \(3, 4\)"),
        (np.zeros(3), ValueError, r"got \(3,\)"),
        (np.zeros((0, 2)), ValueError, r"got \(0, 2\)"),
        ("x", TypeError, "coordinates must be"),
        (np.eye(2) * 1j, TypeError, "real coordinates"),
        (np.full((3, 2), np.nan), ValueError, "not finite"),
        (np.ones((3, 2)), ValueError, "in one point"),
        (np.arange(3.0)[:, None] * np.ones(3), ValueError, "on one line"),
    ],
)
def test_what_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        js.rigid_body_modes(given)


def test_traced_coordinates_are_refused():
    with pytest.raises(ValueError, match="concrete"):
        jax.jit(js.rigid_body_modes)(jnp.eye(3))
