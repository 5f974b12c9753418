"""Block CG: each column as in a solve of its own, whatever is beside it, and in fewer iterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance, relative_residual

N, RTOL = 40, 1e-9
GRID = sps.csr_array(sps.kronsum(problems.poisson(8), problems.poisson(8)))


def info(A, B, **options):
    """How all columns end; x and residual have them as rows."""
    return js.solve_linear_info(A, jnp.asarray(B).T, js.Solve("block-CG", **{"rtol": RTOL, **options}))


def spread(n=N, dtype=np.float64, condition=1e4):
    """A definite matrix with eigenvalues spread evenly over the digits."""
    Q, _ = np.linalg.qr(problems.random(n, n, seed=5190, dtype=dtype))
    return ((Q * np.geomspace(1, condition, n)) @ Q.conj().T).astype(dtype)


def columns(k, n=N, seed=5191, dtype=np.float64):
    return problems.random(n, k, seed=seed, dtype=dtype)


@pytest.mark.further
def test_a_block_finds_the_solutions_in_fewer_iterations():
    A, B = js.SparseMatrix.from_scipy(GRID), columns(16, 64)
    X = js.solve_linear_many(A, B, js.Solve("block-CG", rtol=RTOL))
    assert distance(X, np.linalg.solve(GRID.toarray(), B)) < 1e-8
    alone = js.solve_linear_info(A, jnp.asarray(B).T, js.Solve("CG", rtol=RTOL))
    assert info(A, B).iterations.max() <= 0.4 * alone.iterations.max()


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.complex128])
def test_other_numbers(dtype):
    rtol = 1e-5 if np.finfo(dtype).bits == 32 else RTOL
    A, B = spread(dtype=dtype, condition=100), columns(7, dtype=dtype)
    result = info(A, B, rtol=rtol)
    assert result.converged.all()
    assert result.x.dtype == dtype
    for x, b in zip(result.x, B.T, strict=True):
        assert relative_residual(A, x, b) <= 1.01 * rtol


HARD = {
    "units of their own": columns(6) * 10.0 ** np.array([-150, 0, 30, 150, -30, 3]),
    "zeros": columns(6) * np.array([1, 0, 1, 0, 0, 1]),
    "twice the same": np.repeat(columns(3), 2, axis=1),
    "nearly the same": np.repeat(columns(3), 2, axis=1) + 1e-13 * columns(6, seed=5192),
    "of two directions": columns(2) @ problems.random(2, 6, seed=5193),
    "more than unknowns": columns(N + 8),
    "one": columns(1),
    "of zeros alone": 0 * columns(3),
}


@pytest.mark.few(4)
@pytest.mark.parametrize("name", HARD)
def test_columns_of_any_kind_converge_as_they_do_alone(name):
    A, B = spread(), HARD[name]
    result = info(A, B)
    assert result.converged.all()
    for k, b in enumerate(B.T):
        assert np.linalg.norm(b / (abs(b).max() or 1) - A @ (result.x[k] / (abs(b).max() or 1))) <= (
            1.01 * RTOL * np.linalg.norm(b / (abs(b).max() or 1))
        )
        assert (result.iterations[k] == 0) == (not b.any())


def test_one_unknown():
    X = js.solve_linear_many(np.array([[-4.0]]), np.array([[8.0, 0, 2.0]]), js.Solve("block-CG"))
    np.testing.assert_allclose(X, [[-2, 0, -0.5]])


@pytest.mark.further
def test_negative_definite_matrices_are_solved():
    assert info(-spread(), columns(5)).converged.all()


def test_an_indefinite_matrix_is_never_called_solved_where_it_is_not():
    A, B = problems.indefinite(N, 5194), columns(5)
    result = info(A, B, max_iterations=60)
    for k, b in enumerate(B.T):
        assert bool(result.converged[k]) == (relative_residual(A, result.x[k], b) <= 1.01 * RTOL)
    assert np.isfinite(result.x).all()


@pytest.mark.further
def test_a_column_stops_by_its_own_tolerance_and_limit():
    A, B = spread(), columns(4)
    rtol, limit = np.array([1e-2, 1e-9, 1e-9, 1e-9]), np.array([400, 400, 0, 3])
    result = info(A, B, rtol=jnp.asarray(rtol), max_iterations=jnp.asarray(limit))
    assert [js.Status(int(c)).name for c in result.code] == ["converged"] * 2 + ["max_iterations"] * 2
    assert result.iterations[0] < result.iterations[1]
    assert result.iterations[2:].tolist() == [0, 3]
    assert not result.x[2].any()
    np.testing.assert_allclose(result.residual, B.T - result.x @ A, atol=1e-9 * np.abs(A).max())


@pytest.mark.further
def test_columns_that_fail_harm_no_others():
    neumann, B = problems.neumann(N), columns(4)
    B = B - B.mean(0)
    B[:, 1] += 1
    B[3, 2] = np.nan
    result = info(neumann, B)
    assert np.asarray(result.converged).tolist() == [True, False, False, True]
    assert result.code[2] == js.Status.invalid_input
    for k in (0, 3):
        assert relative_residual(neumann, result.x[k], B[:, k]) <= 1.01 * RTOL
    with pytest.raises(js.ConvergenceException, match="1 of 2 systems failed") as failure:
        js.solve_linear_many(neumann, B[:, :2], js.Solve("block-CG"))
    assert failure.value.result.converged.tolist() == [True, False]


@pytest.mark.further
def test_a_null_space_is_kept_out():
    B = columns(5)
    ones = np.ones(N)
    X = js.solve_linear_many(
        problems.neumann(N), B - B.mean(0), js.Solve("block-CG", rtol=RTOL, null_space=ones)
    )
    assert distance(X, np.linalg.pinv(problems.neumann(N)) @ B) < 1e-6


@pytest.mark.few(1)
@pytest.mark.parametrize("recipe", ["jacobi", "ic", "ilu", "amg"])
def test_preconditioners(recipe):
    A, B = js.SparseMatrix.from_scipy(GRID), columns(5, 64)
    result = info(A, B, preconditioner=recipe)
    assert distance(result.x.T, np.linalg.solve(GRID.toarray(), B)) < 1e-7
    if recipe != "jacobi":
        assert result.iterations.max() < info(A, B).iterations.max()


@pytest.mark.further
def test_a_guess_for_each_column():
    A, B = spread(), columns(4)
    exact = np.linalg.solve(A, B)
    guess = exact + np.array([0, 1e-6, 1.0, 100.0]) * columns(4, seed=5195)
    X = js.solve_linear_many(A, B, js.Solve("block-CG", rtol=RTOL, x0=guess))
    np.testing.assert_array_equal(X[:, 0], exact[:, 0])
    assert distance(X, exact) < 1e-6


@pytest.mark.further
def test_one_right_hand_side_and_lanes_of_vmap_are_solved_by_cg():
    A, B = jnp.asarray(spread()), jnp.asarray(columns(3))
    solve = {name: js.Solve(name, rtol=RTOL) for name in ("CG", "block-CG")}
    for b in (B.T[0], B.T):
        found = [
            (jax.vmap if b.ndim > 1 else lambda f: f)(lambda b, s=s: js.solve_linear_info(A, b, s))(b)
            for s in solve.values()
        ]
        np.testing.assert_array_equal(found[0].x, found[1].x)
        np.testing.assert_array_equal(found[0].iterations, found[1].iterations)


@pytest.mark.further
def test_large_sparse_systems_are_multiplied_in_turn_to_the_same_end(monkeypatch):
    from jaxsolve.operators import turns  # noqa: PLC0415  (the only test of it here)

    A, B = js.SparseMatrix.from_scipy(GRID), columns(6, 64)
    together = info(A, B, preconditioner="ic")
    monkeypatch.setattr(turns, "BUSY", 0)
    in_turn = info(A, B, preconditioner="ic", rtol=1.0000001 * RTOL, progress=False)
    np.testing.assert_array_equal(together.iterations, in_turn.iterations)


@pytest.mark.further
def test_functions_setups_and_tapes():
    A, B = js.SparseMatrix.from_scipy(GRID), jnp.asarray(columns(4, 64))
    exact = np.linalg.solve(GRID.toarray(), B)
    asked = js.Solve("block-CG", rtol=RTOL)
    assert distance(js.solve_linear_many(lambda x: A.mv(x) + 1.0, B + 1.0, asked), exact) < 1e-7
    ready = js.setup(A, js.Solve("block-CG", rtol=RTOL, preconditioner="jacobi"))
    with js.SolveTape(record_trajectories=True) as solves:
        assert distance(js.solve_linear_many(ready, B), exact) < 1e-7
    trajectory = solves[0].trajectory
    for k in range(4):
        seen = trajectory.iterations[k]
        assert seen[seen >= 0].tolist() == list(range(int(solves[0].iterations[k]) + 1))


def derived(solve):
    """A value with its derivatives by the matrix and by B, as programs."""
    weights, direction = jnp.asarray(columns(3, 6, 5196)), jnp.asarray(columns(3, 6, 5197))

    def value(p, B):
        A = jnp.asarray(spread(6, condition=10)) + jnp.diag(p)

        def step(carry, _):
            X = solve(A, B + carry)
            return 0.1 * X, jnp.sum(weights * X**2)

        return jnp.sum(jax.lax.scan(step, jnp.zeros_like(B), None, length=2)[1])

    def of(p, B):
        push = jax.jvp(lambda B: jax.grad(value)(p, B), (B,), (direction,))
        return jax.grad(value, (0, 1))(p, B), push, jax.hessian(value)(p, B)

    return jax.jit(of)(jnp.linspace(0.1, 1, 6), jnp.asarray(columns(3, 6)))


@pytest.mark.further
def test_derivatives_are_those_of_the_solution():
    ours = derived(lambda A, B: js.solve_linear_many(A, B, js.Solve("block-CG", rtol=1e-13)))
    for found, exact in zip(*map(jax.tree.leaves, (ours, derived(jnp.linalg.solve))), strict=True):
        assert distance(found, exact) < 1e-8


@pytest.mark.further
def test_gradients_are_solved_for_as_a_block_too():
    A, B = js.SparseMatrix.from_scipy(GRID), jnp.asarray(columns(16, 64))
    with js.SolveTape() as solves:
        jax.grad(lambda B: jnp.sum(js.solve_linear_many(A, B, js.Solve("block-CG", rtol=RTOL)) ** 2))(B)
    assert len(solves) == 2
    assert solves[1].is_adjoint
    assert int(jnp.max(solves[1].iterations)) <= 1.2 * int(jnp.max(solves[0].iterations))
    assert int(jnp.max(solves[0].iterations)) <= 12


@pytest.mark.further
def test_blocks_of_several_matrices_by_vmap():
    A, B = jnp.asarray(spread(12, condition=100)), jnp.asarray(columns(3, 12))
    X = jax.vmap(lambda s: js.solve_linear_many(s * A, B, js.Solve("block-CG", rtol=RTOL)))(
        jnp.array([1.0, 3.0])
    )
    for s, x in zip((1, 3), X, strict=True):
        assert distance(x, np.linalg.solve(s * A, B)) < 1e-7


@pytest.mark.further
def test_blocks_stay_conjugate_where_few_eigenvalues_are_large():
    # With one round of orthogonalisation a block takes more steps than CG here.
    x = np.linspace(0, 1, 300)
    A = np.exp(-((x[:, None] - x) ** 2) / 5e-3) + 1e-3 * np.eye(300)
    B = columns(16, 300)
    alone = js.solve_linear_info(A, B.T, js.Solve("CG", rtol=1e-8))
    assert int(info(A, B, rtol=1e-8).iterations.max()) <= 0.3 * int(alone.iterations.max())
