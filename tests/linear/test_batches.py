"""Native batches: every leading index is a system of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

N = 6
A = problems.convection(N)
AS = np.stack([A, A.T, 2 * A + np.eye(N)])
BS = np.stack([problems.random(N, seed=k) for k in (1, 2, 3)])
SOLVE = js.Solve("biCG-stab", rtol=1e-10)


def solutions(As, bs):
    shape = np.broadcast_shapes(As.shape[:-2], bs.shape[:-1])
    As, bs = np.broadcast_to(As, (*shape, N, N)), np.broadcast_to(bs, (*shape, N))
    return np.linalg.solve(As, bs[..., None])[..., 0]


@pytest.mark.parametrize(
    ("As", "bs"),
    [(A, BS), (AS, BS), (AS, BS[0]), (A, BS.reshape(3, 1, N)), (AS[:, None], BS[None, :2])],
    ids=["one matrix", "each its own", "one right-hand side", "two axes", "outer"],
)
def test_leading_axes_broadcast(As, bs):
    x = js.solve_linear(As, bs, SOLVE)
    expected = solutions(As, bs)
    assert x.shape == expected.shape
    np.testing.assert_allclose(x, expected, atol=1e-8)


def test_every_field_has_the_leading_axes():
    info = js.solve_linear_info(AS[:, None], BS[None, :2], SOLVE)
    assert info.x.shape == info.residual.shape == (3, 2, N)
    for field in (
        info.iterations,
        info.function_evaluations,
        info.converged,
        info.diverged,
        info.status,
        info.residual_norm,
        info.target,
    ):
        assert np.shape(field) == (3, 2)


def test_each_system_is_measured_by_its_own_norm():
    # Beside a large right-hand side a small one must not count as solved by x = 0.
    bs = BS * np.array([[1e-8], [1.0], [1e8]])
    info = js.solve_linear_info(A, bs, js.Solve("biCG-stab", rtol=1e-6))
    residuals = np.linalg.norm(bs - np.asarray(info.x) @ A.T, axis=1) / np.linalg.norm(bs, axis=1)
    assert np.all(residuals <= 1.01e-6)
    assert np.all(np.asarray(info.iterations) > 0)


def test_tolerances_and_limits_may_differ_between_systems():
    rtol, limits = np.array([1e-1, 1e-4, 1e-10]), np.array([50, 0, 50])
    for matrices in (A, AS):
        info = js.solve_linear_info(matrices, BS, js.Solve("biCG-stab", rtol=rtol, max_iterations=limits))
        assert np.asarray(info.status).tolist() == [0, int(js.Status.max_iterations), 0]
        assert info.iterations[0] < info.iterations[2]
    with pytest.raises(
        ValueError, match=r"rtol must be a number or have the batch's shape \(3,\); got shape \(2,\)"
    ):
        js.solve_linear(A, BS, js.Solve("biCG-stab", rtol=np.ones(2)))


def test_a_guess_may_be_shared_or_each_its_own():
    exact = solutions(A, BS)
    assert js.solve_linear_info(A, BS, js.Solve("biCG-stab", rtol=1e-8, x0=exact)).iterations.tolist() == [
        0,
        0,
        0,
    ]
    shared = js.solve_linear_info(A, BS, js.Solve("biCG-stab", rtol=1e-8, x0=exact[1]))
    assert shared.iterations[1] == 0
    assert min(shared.iterations[0], shared.iterations[2]) > 0


def test_a_broken_system_harms_no_other():
    bs = BS.copy()
    bs[1, 0] = np.nan
    info = js.solve_linear_info(A, bs, SOLVE)
    assert np.asarray(info.status).tolist() == [0, int(js.Status.invalid_input), 0]
    np.testing.assert_allclose(info.x[::2], solutions(A, BS)[::2], atol=1e-8)


@pytest.mark.further
def test_batches_of_sparse_matrices_share_a_pattern():
    pattern = js.SparseMatrix.from_dense(np.abs(AS).sum(0))
    stack = js.SparseMatrix(
        jnp.asarray(AS[:, pattern.pattern.rows, pattern.pattern.indices]), pattern.pattern
    )
    np.testing.assert_allclose(js.solve_linear(stack, BS, SOLVE), solutions(AS, BS), atol=1e-8)
    bcoo = BCOO.fromdense(jnp.asarray(np.stack([A, 3 * A])), n_batch=1)
    np.testing.assert_allclose(
        js.solve_linear(bcoo, BS[:2], SOLVE), solutions(np.stack([A, 3 * A]), BS[:2]), atol=1e-8
    )


@pytest.mark.further
@pytest.mark.parametrize("method", ["LU", "GMres"])
def test_batches_are_what_a_loop_gives(method):
    solve = js.Solve(method, rtol=1e-10)
    batch = js.solve_linear_info(AS, BS, solve)
    for k in range(3):
        one = js.solve_linear_info(AS[k], BS[k], solve)
        assert one.iterations == batch.iterations[k]
        assert distance(one.x, batch.x[k]) < 1e-10


def test_preconditioners_are_built_for_each_matrix():
    scaled = AS * np.array([1.0, 1e3, 1e-3])[:, None, None] * np.linspace(1, 9, N)[:, None]
    info = js.solve_linear_info(scaled, BS, js.Solve("biCG-stab", rtol=1e-10, preconditioner="jacobi"))
    assert np.all(info.converged)
    np.testing.assert_allclose(info.x, solutions(scaled, BS), rtol=1e-6)


def test_a_batch_inside_jit_and_vmap():
    np.testing.assert_allclose(
        jax.jit(lambda A, b: js.solve_linear(A, b, SOLVE))(AS, BS), solutions(AS, BS), atol=1e-8
    )
    nested = jax.vmap(lambda bs: js.solve_linear(A, bs, SOLVE))(np.stack([BS, 2 * BS]))
    np.testing.assert_allclose(nested, solutions(A, np.stack([BS, 2 * BS])), atol=1e-8)


def test_an_empty_batch_is_solved():
    assert js.solve_linear(A, np.zeros((0, N)), SOLVE).shape == (0, N)


def test_a_thousand_small_systems_converge_each_to_its_tolerance():
    rng = np.random.default_rng(3)
    G = rng.normal(size=(1000, 16, 16))
    As = G @ np.swapaxes(G, 1, 2) / 16 + np.eye(16)
    bs = rng.normal(size=(1000, 16)) * 10.0 ** rng.uniform(-6, 6, (1000, 1))
    bs[17, 3] = np.nan
    info = js.solve_linear_info(As, bs, js.Solve("CG", rtol=1e-8))
    good = np.arange(1000) != 17
    assert np.asarray(info.converged).tolist() == good.tolist()
    residual = np.linalg.norm(bs - np.einsum("kij,kj->ki", As, info.x), axis=1) / np.linalg.norm(bs, axis=1)
    assert np.all(residual[good] <= 1.01e-8)
    assert len(set(np.asarray(info.iterations)[good].tolist())) > 1
