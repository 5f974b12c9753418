"""Block GMRES: each column as in a solve of its own, whatever is beside it, and in fewer iterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance, relative_residual

N, RTOL = 40, 1e-9
SIDE = sps.diags_array([-1.3, 2.2, -0.7], offsets=[-1, 0, 1], shape=(12, 12))
#: Convection and diffusion.
FLOW = sps.csr_array(sps.kronsum(SIDE, SIDE))


def info(A, B, **options):
    """How all columns end; x and residual have them as rows."""
    return js.solve_linear_info(A, jnp.asarray(B).T, js.Solve("block-GMres", **{"rtol": RTOL, **options}))


def general(dtype=np.float64):
    return (problems.random(N, N, seed=5290, dtype=dtype) + 8 * np.eye(N)).astype(dtype)


def columns(k, n=N, seed=5291, dtype=np.float64):
    return problems.random(n, k, seed=seed, dtype=dtype)


@pytest.mark.further
def test_a_block_finds_the_solutions_in_fewer_iterations():
    A, B = js.SparseMatrix.from_scipy(FLOW), columns(8, 144)
    X = js.solve_linear_many(A, B, js.Solve("block-GMres", rtol=RTOL))
    assert distance(X, np.linalg.solve(FLOW.toarray(), B)) < 1e-8
    alone = js.solve_linear_info(A, jnp.asarray(B).T, js.Solve("GMres", rtol=RTOL))
    assert info(A, B).iterations.max() <= 0.75 * alone.iterations.max()


HARD = {
    "units of their own": columns(6) * 10.0 ** np.array([-150, 0, 30, 150, -30, 3]),
    "zeros and twice the same": np.repeat(columns(3), 2, axis=1) * np.array([1, 1, 0, 0, 1, 1]),
    "nearly the same": np.repeat(columns(3), 2, axis=1) + 1e-13 * columns(6, seed=5292),
    "more than unknowns": columns(N + 8),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("name", HARD)
def test_columns_of_any_kind_converge_as_they_do_alone(name):
    A, B = general(), HARD[name]
    result = info(A, B)
    assert result.converged.all()
    for x, b in zip(result.x, B.T, strict=True):
        assert relative_residual(A, x, b) <= 1.01 * RTOL if b.any() else not np.asarray(x).any()


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [np.complex64, np.float32, np.complex128])
def test_other_numbers(dtype):
    rtol = 1e-5 if np.finfo(dtype).bits == 32 else RTOL
    A, B = general(dtype), columns(7, dtype=dtype)
    result = info(A, B, rtol=rtol)
    assert result.converged.all()
    assert result.x.dtype == dtype
    for x, b in zip(result.x, B.T, strict=True):
        assert relative_residual(A, x, b) <= 1.01 * rtol


def test_where_a_step_gains_nothing_the_next_one_does():
    # The residual is orthogonal to the product with it: directions from residuals alone would end here.
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(
        js.solve_linear_many(turn, np.eye(2), js.Solve("block-GMres")), -turn, atol=1e-12
    )
    cycle = np.roll(np.eye(12), 1, axis=0)
    assert info(cycle, np.eye(12)[:, :2]).converged.all()


@pytest.mark.further
def test_a_column_stops_by_its_own_tolerance_and_short_cycles_begin_anew():
    A, B = js.SparseMatrix.from_scipy(FLOW), columns(4, 144)
    result = info(A, B, rtol=np.array([1e-2, 1e-10, 1e-2, 1e-10]))
    assert result.converged.all()
    assert result.iterations[0] < result.iterations[1]
    short = js.solve_linear_info(A, B.T, js.Solve(js.BlockGMRES(restart=4), rtol=RTOL))
    assert short.converged.all()
    assert short.iterations.max() > info(A, B).iterations.max()


@pytest.mark.further
def test_columns_that_fail_harm_no_others():
    singular, B = np.diag(np.r_[0.0, np.arange(1.0, N)]), columns(4)
    B[0, :] = [0, 1, 0, 0]
    B[3, 2] = np.nan
    result = info(singular, B, rank_deficiency=0)
    assert np.asarray(result.converged).tolist() == [True, False, False, True]
    for k in (0, 3):
        assert relative_residual(singular, result.x[k], B[:, k]) <= 1.01 * RTOL
    assert (info(general(), columns(2), max_iterations=0).code == int(js.Status.max_iterations)).all()


@pytest.mark.further
@pytest.mark.parametrize("recipe", ["jacobi", "ilu"])
def test_preconditioners(recipe):
    A, B = js.SparseMatrix.from_scipy(FLOW), columns(5, 144)
    result = info(A, B, preconditioner=recipe)
    assert result.converged.all()
    for x, b in zip(result.x, B.T, strict=True):
        assert relative_residual(FLOW, x, b) <= 1.01 * RTOL


@pytest.mark.further
def test_derivatives():
    A, B, w = jnp.asarray(general()), jnp.asarray(columns(3)), jnp.asarray(columns(3, seed=5293))

    def loss(solve):
        def of(A, B):
            return jnp.sum(w * jnp.sin(solve(A, B)))

        return of

    ours = loss(lambda A, B: js.solve_linear_many(A, B, js.Solve("block-GMres", rtol=1e-12)))
    dense = loss(jnp.linalg.solve)
    for got, expected in zip(jax.grad(ours, (0, 1))(A, B), jax.grad(dense, (0, 1))(A, B), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-11)

    def twice(f, s):
        return jax.lax.scan(lambda c, _: (c + f(s * A, B), None), 0.0, None, length=2)[0]

    got, expected = (jax.hessian(lambda s, f=f: twice(f, s))(1.1) for f in (ours, dense))
    np.testing.assert_allclose(got, expected, rtol=1e-8)
