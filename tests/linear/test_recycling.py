"""Recycling: directions that one solve hands to the next cost or spare iterations, and change no answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import jaxsolve as js
from jaxsolve.core.recycled import Recycled

N, K = 40, 5
METHODS = ("CG", "GMres")
both = pytest.mark.parametrize("method", METHODS)
one_of_both = lambda test: pytest.mark.few(1)(both(test))  # noqa: E731
#: One in CI, the other among the slow ones.
slowly_both = pytest.mark.parametrize(
    "method", [pytest.param("CG", marks=pytest.mark.further), pytest.param("GMres", marks=pytest.mark.slow)]
)


def diffusion(field):
    """-div(k grad u) with u = 0 at the edge, k on a square grid."""
    n = len(field)
    D = scipy.sparse.eye(n + 1, n) - scipy.sparse.eye(n + 1, n, k=-1)
    G = scipy.sparse.vstack(
        [scipy.sparse.kron(D, scipy.sparse.eye(n)), scipy.sparse.kron(scipy.sparse.eye(n), D)]
    )
    faces = [np.pad(field, pad, mode="edge") for pad in (((0, 1), (0, 0)), ((0, 0), (0, 1)))]
    return (G.T @ scipy.sparse.diags(np.concatenate([f.ravel() for f in faces])) @ G).tocsr()


def chain(k, method):
    """An ill-conditioned matrix with a parameter; one for GMRES is not symmetric."""
    n = np.arange(N)
    A = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1) + k * jnp.diag(0.02 * n / N)
    return A + 0.3 * k * np.eye(N, k=1) if method == "GMres" else A


B = jnp.asarray(np.sin(np.arange(1.0, N + 1) ** 2))


@functools.cache
def swept(method, recycle=True):
    """The solutions and iterations of systems along a parameter, in one program."""

    def solutions(ks):
        def step(state, k):
            kept = state if recycle else None
            solve = js.Solve(method, rtol=1e-11, max_iterations=4000, recycle=kept)
            info = js.solve_linear_info(chain(k, method), k * B, solve)
            return info.recycled if recycle else state, (info.x, info.iterations)

        return jax.lax.scan(step, js.recycled(B, K), ks)[1]

    return jax.jit(solutions)


@pytest.mark.further
@one_of_both
def test_a_sequence_of_changing_systems_takes_fewer_iterations(method):
    size = 20

    def system(t):
        x, y = np.meshgrid(*2 * [np.linspace(0, 1, size)], indexing="ij")
        field = np.exp(np.sin(6 * x + 0.3 * t) * np.cos(5 * y - 0.2 * t))
        return diffusion(field), np.cos(3 * x - t).ravel() + np.sin(np.arange(size**2) ** 2)

    state, counts = 8, []
    for t in range(4):
        A, b = system(t)
        solve = js.Solve(method, rtol=1e-8, preconditioner="jacobi", recycle=state)
        info = js.solve_linear_info(A, b, solve)
        counts.append(int(info.iterations))
        assert info.converged
        np.testing.assert_allclose(info.x, scipy.sparse.linalg.spsolve(A.tocsc(), b), rtol=1e-5, atol=1e-7)
        state = info.recycled
    # The first system has no directions yet; the others are as hard.
    assert max(counts[1:]) <= (0.6 if method == "CG" else 0.8) * counts[0], counts


@slowly_both
def test_derivatives_are_those_of_the_solutions(method):
    ks = jnp.linspace(1.0, 2.0, 3)

    def loss(ks):
        return jnp.sum(swept(method)(ks)[0] ** 2)

    def dense(ks):
        return sum(jnp.sum(jnp.linalg.solve(chain(k, method), k * B) ** 2) for k in ks)

    np.testing.assert_allclose(jax.grad(loss)(ks), jax.grad(dense)(ks), rtol=1e-7)
    iterations, fresh = swept(method)(ks)[1], swept(method, False)(ks)[1]
    assert all(iterations[1:] < 0.9 * fresh[1:])


@pytest.mark.slow
@both
def test_second_derivatives_and_none_by_the_state(method):
    ks = jnp.linspace(1.0, 2.0, 2)

    def dense(ks):
        return sum(jnp.sum(jnp.linalg.solve(chain(k, method), k * B) ** 2) for k in ks)

    found = jax.jit(jax.hessian(lambda ks: jnp.sum(swept(method)(ks)[0] ** 2)))(ks)
    np.testing.assert_allclose(found, jax.hessian(dense)(ks), rtol=1e-5)

    def loss(state):
        return js.solve_linear(chain(1.0, method), B, js.Solve(method, rtol=1e-8, recycle=state)).sum()

    state = Recycled(jnp.eye(K, N), K)
    assert not jnp.any(jax.grad(loss)(state).directions)


def states(dtype):
    rng = np.random.default_rng(3)
    some = rng.standard_normal((K, N)).astype(dtype)
    equal = np.ones_like(some)
    holes = np.where(np.arange(K)[:, None] == 2, np.nan, some)
    return jnp.stack([0 * some, some, equal, np.full_like(some, np.inf), holes, 1e30 * some, 1e-30 * some])


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@both
def test_any_state_is_right_and_none_is_worse_than_none(method, dtype):
    turned = np.exp(1j * np.arange(N))
    A = np.asarray(chain(1.0, method)) + 0.1 * np.eye(N)
    A = (turned[:, None] * A * turned.conj() if np.issubdtype(dtype, complex) else A).astype(dtype)
    b = np.asarray(B).astype(dtype)

    @jax.jit
    @jax.vmap
    def solved(rows):
        return js.solve_linear_info(A, b, js.Solve(method, rtol=1e-4, recycle=Recycled(rows, K)))

    info = solved(states(dtype))
    assert info.converged.all()
    assert np.isfinite(info.recycled.directions).all()
    assert info.recycled.directions.dtype == dtype
    wide = A.astype(complex)
    for x in info.x:
        assert np.linalg.norm(wide @ x - b) <= 1.001e-4 * np.linalg.norm(b)
    assert (info.iterations <= 1.1 * info.iterations[0]).all()


@slowly_both
def test_without_directions_a_solve_is_a_fresh_one(method):
    fresh = js.solve_linear_info(chain(1.0, method), B, js.Solve(method, rtol=1e-9, max_iterations=3000))
    info = js.solve_linear_info(chain(1.0, method), B, js.Solve(method, rtol=1e-9, recycle=K))
    assert info.iterations == fresh.iterations if method == "CG" else info.iterations < fresh.iterations


def test_directions_that_block_the_way_are_dropped():
    # The image of e₁ is e₂, and GMRES starts in the direction of e₁: A e₁ is in the kept space already.
    swap, first = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([1.0, 0.0])
    info = js.solve_linear_info(swap, first, js.Solve("GMres", recycle=Recycled(first[None], 1)))
    assert info.converged
    np.testing.assert_allclose(info.x, [0, 1], atol=1e-12)


@slowly_both
def test_nothing_to_do_keeps_the_state(method):
    A, state = chain(1.0, method), Recycled(jnp.eye(K, N), K)
    for b, x0 in ((0 * B, 0 * B), (B, jnp.linalg.solve(A, B))):
        info = js.solve_linear_info(A, b, js.Solve(method, x0=x0, recycle=state))
        assert info.converged
        assert info.iterations == 0
        assert jnp.linalg.matrix_rank(info.recycled.directions) == K


@pytest.mark.slow
@both
@pytest.mark.parametrize("n", [1, 2, 5])
def test_more_directions_than_unknowns(method, n):
    A, b, state = jnp.diag(jnp.arange(1.0, n + 1)), jnp.ones(n), K
    for most in (n, 1):
        info = js.solve_linear_info(A, b, js.Solve(method, rtol=1e-8, recycle=state))
        np.testing.assert_allclose(info.x, 1 / np.arange(1.0, n + 1), rtol=1e-7)
        assert info.iterations <= most
        state = info.recycled


@pytest.mark.slow
@both
def test_singular_systems(method):
    A = np.array(2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1))
    A[0, 0] = A[-1, -1] = 1
    b = np.asarray(B - B.mean())
    for options in ({}, {"null_space": jnp.ones(N)}, {"rank_deficiency": 1}):
        solve = functools.partial(js.Solve, method, rtol=1e-8, max_iterations=3000, **options)
        first = js.solve_linear_info(A, b, solve(recycle=K))
        info = js.solve_linear_info(A, b, solve(recycle=first.recycled))
        np.testing.assert_allclose(info.x, np.linalg.pinv(A) @ b, rtol=1e-5, atol=1e-5)
        assert info.iterations < 0.9 * first.iterations
    for wrong, right in (
        (jnp.zeros((N, N)), "breakdown singular"),
        (jnp.full((N, N), jnp.nan), "invalid_input"),
    ):
        info = js.solve_linear_info(wrong, B, js.Solve(method, recycle=Recycled(jnp.eye(K, N), K)))
        assert info.status.name in right
        assert np.isfinite(info.recycled.directions).all()


@pytest.mark.slow
@both
def test_batches_have_a_state_each(method):
    A = jnp.stack([chain(k, method) for k in (1.0, 2.0, 3.0)])
    b = jnp.stack([B, 2 * B, 0 * B])
    x = jnp.linalg.solve(A, b[..., None])[..., 0]
    solve = functools.partial(js.Solve, method, rtol=1e-8, max_iterations=3000)
    for batch in (A, A[0]):
        first = js.solve_linear_info(batch, b, solve(recycle=K))
        assert first.recycled.directions.shape == (3, K, N)
        again = js.solve_linear_info(batch, b, solve(recycle=first.recycled))
        traced = jax.jit(lambda state, batch=batch: js.solve_linear_info(batch, b, solve(recycle=state)))
        assert (again.iterations[:2] < first.iterations[:2]).all()
        np.testing.assert_array_equal(traced(first.recycled).iterations, again.iterations)
    np.testing.assert_allclose(
        js.solve_linear_info(A, b, solve(recycle=Recycled(jnp.eye(K, N), K))).x, x, rtol=1e-4, atol=1e-4
    )


@pytest.mark.further
def test_functions_setups_and_watched_solves():
    def f(x, c):
        return {"a": 3 * x["a"] + c * x["b"], "b": 4 * x["b"] + c * x["a"]}

    b = {"a": jnp.ones(6), "b": jnp.arange(6.0)}
    empty = js.recycled(jax.eval_shape(lambda: b), 3)
    first = js.solve_linear_info(f, b, js.Solve("CG", recycle=empty), 0.5)
    assert jax.tree.structure(first.recycled) == jax.tree.structure(empty)
    assert js.solve_linear_info(f, b, js.Solve("CG", recycle=first.recycled), 0.5).iterations == 0
    ready = js.setup(chain(1.0, "CG"), js.Solve("CG", recycle=K, preconditioner="jacobi"))
    first = js.solve_linear_info(ready, B)
    with js.SolveTape(record_trajectories=True) as solves:
        info = js.solve_linear_info(ready, B, js.Solve("CG", recycle=first.recycled))
    assert info.iterations < 0.9 * first.iterations
    assert len(solves[0].trajectory.iterations) == info.iterations + 1


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: js.Solve("minres", recycle=3), ValueError, "'CG' and 'GMres'.*'minres'"),
        (lambda: js.Solve(recycle=3), ValueError, "'auto'"),
        (lambda: js.Solve("newton", recycle=3), ValueError, "'newton'"),
        (lambda: js.Solve("CG", recycle=0), ValueError, "at least 1"),
        (lambda: js.Solve("CG", recycle=2.5), ValueError, "2.5"),
        (lambda: js.Solve("CG", recycle="all"), TypeError, "'all'"),
        (lambda: js.Solve(gradient_solve=js.Solve("CG", recycle=2)), ValueError, "gradient_solve"),
        (lambda: js.recycled(B, 0), ValueError, "at least 1"),
        (lambda: js.recycled(None, 3), TypeError, "None"),
        (lambda: use(js.recycled(B[1:], 3)), js.StructureError, r"\(3, 39\).*\(3, 40\)"),
        (lambda: use(js.recycled(B.astype("float32"), 3)), TypeError, "float32.*float64"),
        (lambda: use(Recycled(jnp.zeros((2, 3, N)), 3)), js.StructureError, r"\(2, 3, 40\)"),
        (
            lambda: js.solve_nonlinear(lambda x: x**3, B, js.Solve(js.Newton(linear=js.Solve("CG", recycle=2)), x0=B)),
            ValueError,
            "newton.*recycle",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def use(state):
    return js.solve_linear(chain(1.0, "CG"), B, js.Solve("CG", recycle=state))
