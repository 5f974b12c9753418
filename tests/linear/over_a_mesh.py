"""Matrices whose rows lie on the devices of a mesh. Run by `test_over_a_mesh`."""

import functools
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxsolve as js
from benchmarks.messages import Loop, Message, method_loop
from tests.gallery.several_devices import COUNT, case, main

rng = np.random.default_rng(0)
N = 37


@functools.cache
def mesh(count: int = COUNT) -> Mesh:
    return Mesh(np.array(jax.devices()[:count]), ("r",))


def second_difference(n: int) -> Any:
    return sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))


def poisson(n: int) -> Any:
    eye = sp.eye_array(n)
    return (sp.kron(second_difference(n), eye) + sp.kron(eye, second_difference(n))).tocsr()


def graph(n: int = N, skew: float = 0.0, dtype: Any = float) -> Any:
    """Positions of no order, one row that is long, and an empty corner; symmetric unless `skew`."""
    M = sp.random_array((n, n), density=0.1, rng=np.random.default_rng(1)).tocsr()
    if dtype is complex:
        M = M + 1j * sp.random_array((n, n), density=0.1, rng=np.random.default_rng(2)).tocsr()
    M = M + (1 - skew) * M.conj().T
    return (M + 8 * sp.eye_array(n)).tocsr().astype(dtype)


PARTITIONS: dict[str, Any] = {
    "even": None,
    "narrow": "narrow",
    "starts": [0, 3, 3, 30, N],
    "devices": np.random.default_rng(3).integers(0, COUNT, N),
}
b = rng.standard_normal(N)
w = rng.standard_normal(N)


def close(x: Any, expected: Any, rtol: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(x), expected, rtol=rtol, atol=rtol)


def spread(v: Any, over: Mesh | None = None) -> jax.Array:
    return jax.device_put(v, NamedSharding(over or mesh(), P("r")))


@case
def products() -> None:
    for M in (graph(), graph(skew=0.5), graph(skew=0.5, dtype=complex), second_difference(N).tocsr()):
        for rows in PARTITIONS.values():
            A = js.distribute(M, mesh(), rows)
            assert A.shape == M.shape
            close(A @ b, M @ b)
            close(A @ (b + 1j * w), M @ (b + 1j * w))
            close(A.T @ b, M.T @ b)
            close(A.H @ b, M.conj().T @ b)
            close(A.diagonal(), M.diagonal())
    # A row that is full would make the others as long: such rows are kept entry by entry.
    arrow = (
        sp.eye_array(400) + sp.coo_array((np.ones(400), (np.zeros(400, int), np.arange(400))), (400, 400))
    ).tocsr()
    A = js.distribute(arrow, mesh())
    assert "by entries" in repr(A)
    close(A @ np.arange(400.0), arrow @ np.arange(400.0))
    assert "by diagonals" in repr(js.distribute(second_difference(40), mesh()))
    assert "by rows" in repr(js.distribute(graph(), mesh()))
    # What else holds entries, and sizes below the number of devices.
    bcoo = jax.experimental.sparse.BCOO.from_scipy_sparse(graph())
    for given in (bcoo, js.SparseMatrix.from_scipy(graph()), jnp.asarray(graph().toarray())):
        close(js.distribute(given, mesh()) @ b, graph() @ b)
    close(js.distribute(np.array([[2.0]]), mesh()) @ jnp.ones(1), [2.0])
    assert js.distribute(np.zeros((0, 0)), mesh()).shape == (0, 0)


@case
def a_solve() -> None:
    M = poisson(8)
    A, c = js.distribute(M, mesh()), spread(np.cos(np.arange(64)))
    x, pull = jax.vjp(lambda c: js.solve_linear(A, c, js.Solve("CG", rtol=1e-11)), c)
    assert x.sharding == c.sharding
    close(M @ np.asarray(x), c)
    close(pull(c)[0], x)


@case
def solves() -> None:
    M = poisson(8)
    A, c = js.distribute(M, mesh()), spread(rng.standard_normal(64))
    info = js.solve_linear_info(A, c)
    assert info.converged
    assert info.method == "CG"
    assert info.x.sharding == c.sharding
    x = jax.jit(lambda A, c: js.solve_linear(A, c, js.Solve("CG", rtol=1e-10)))(A, c)
    assert x.sharding.is_equivalent_to(c.sharding, 1)
    close(M @ np.asarray(x), c)
    for rows in PARTITIONS.values():
        A = js.distribute(graph(skew=0.5), mesh(), rows)
        close(
            js.solve_linear(A, b, js.Solve("GMres", rtol=1e-11)),
            np.linalg.solve(graph(skew=0.5).toarray(), b),
        )
    zero = js.solve_linear_info(A, np.zeros(N))
    assert int(zero.iterations) == 0
    assert not np.asarray(zero.x).any()
    # A field on a grid, and a batch.
    field = js.solve_linear(js.distribute(M, mesh()), np.asarray(c).reshape(8, 8), js.Solve("CG", rtol=1e-10))
    close(field, np.asarray(x).reshape(8, 8))


@case
def every_method() -> None:
    symmetric, general = graph(), graph(skew=0.5)
    for name in ("CG", "CG-adaptive", "minres", "CR"):
        x = js.solve_linear(js.distribute(symmetric, mesh()), b, js.Solve(name, rtol=1e-11))
        close(x, np.linalg.solve(symmetric.toarray(), b))
    for name in ("biCG", "biCG-stab", "biCG-stab(2)", "CGS", "tfQMR", "IDR(s)", "fGMres", "lsqr", "lsmr"):
        x = js.solve_linear(js.distribute(general, mesh(), "narrow"), b, js.Solve(name, rtol=1e-11))
        close(x, np.linalg.solve(general.toarray(), b))
    M = graph(skew=0.5, dtype=complex)
    x = js.solve_linear(js.distribute(M, mesh()), b, js.Solve("GMres", rtol=1e-11))
    close(x, np.linalg.solve(M.toarray(), b))
    # Indefinite and Hermitian: CG gives up, and the next method of the list solves it.
    exchange = sp.kron(sp.csr_array([[0.0, 1.0], [1.0, 0.0]]), sp.diags_array(1 + np.arange(20) % 3)).tocsr()
    info = js.solve_linear_info(js.distribute(exchange, mesh()), np.r_[np.ones(20), np.zeros(20)])
    assert info.converged, info
    assert "CG + jacobi ended" in info.message


@case
def batches() -> None:
    M, B = graph(skew=0.5), rng.standard_normal((3, N))
    A, request = js.distribute(M, mesh(), PARTITIONS["devices"]), js.Solve("GMres", rtol=1e-11)
    expected = np.linalg.solve(M.toarray(), B.T).T
    close(js.solve_linear(A, B, request), expected)
    close(jax.vmap(lambda c: js.solve_linear(A, c, request))(jnp.asarray(B)), expected)
    close(js.solve_linear_many(A, B.T, request), expected.T)


@case
def gradients() -> None:
    M = graph(skew=0.5)
    matrix, request = js.SparseMatrix.from_scipy(M), js.Solve("GMres", rtol=1e-12)
    x, adjoint = np.linalg.solve(M.toarray(), b), np.linalg.solve(M.toarray().T, w)

    for rows in (None, PARTITIONS["devices"]):
        A = js.distribute(M, mesh(), rows)
        close(jax.grad(lambda c, A=A: w @ js.solve_linear(A, c, request))(jnp.asarray(b)), adjoint)

        def loss(v: Any, rows: Any = rows) -> Any:
            return w @ js.solve_linear(
                js.distribute(js.SparseMatrix(v, matrix.pattern), mesh(), rows), jnp.asarray(b), request
            )

        of_values = jax.jit(jax.grad(loss))(matrix.data)
        close(of_values, -adjoint[matrix.pattern.rows] * x[matrix.pattern.indices])
    # Through the matrix as an argument; forward; and twice, in a scan.
    A = js.distribute(M, mesh())
    scaled = jax.jit(
        lambda A, s: (
            w @ js.solve_linear(eqx.tree_at(lambda A: A.values, A, s * A.values), jnp.asarray(b), request)
        )
    )
    close(jax.grad(scaled, argnums=1)(A, 2.0), -w @ x / 4)
    close(jax.jvp(lambda s: scaled(A, s), (2.0,), (1.0,))[1], -w @ x / 4)

    def in_scan(s: Any) -> Any:
        return lax.scan(lambda c, _: (scaled(A, c) ** 2 + s, None), s, None, length=2)[0]

    f = w @ x
    close(jax.grad(in_scan)(2.0), 1 + (-2 * f**2 / (f**2 / 4 + 2) ** 3) * (1 - f**2 / 4))
    close(jax.hessian(lambda s: scaled(A, s))(2.0), w @ x / 4)
    # A symmetric matrix that says so is its own adjoint, and the derivative is still that of all entries.
    S = js.distribute(graph(), mesh()).declare(symmetric=True)
    close(
        jax.grad(lambda c: w @ js.solve_linear(S, c, request))(jnp.asarray(b)),
        np.linalg.solve(graph().toarray(), w),
    )


@case
def singular() -> None:
    M = poisson(10)
    M = (M - sp.diags_array(np.asarray(M.sum(axis=1)).ravel())).tocsr()
    c = rng.standard_normal(100)
    c -= c.mean()
    # Blocks of unequal length are filled up, and what fills them up has no part in the constants.
    for rows in (None, [0, 10, 20, 30, 100], "narrow"):
        A = js.distribute(M, mesh(), rows)
        for options in ({}, {"rank_deficiency": 1}, {"null_space": np.ones(100)}):
            info = js.solve_linear_info(A, c, js.Solve("CG", rtol=1e-10, **options))
            assert info.converged, info
            assert abs(np.asarray(info.x).mean()) < 1e-12
            close(M @ np.asarray(info.x), c, 1e-7)
        assert not js.solve_linear_info(A, c + 1, js.Solve("CG", rank_deficiency=1)).converged


@case
def failures() -> None:
    A, c = js.distribute(poisson(8), mesh()), spread(np.cos(np.arange(64)))
    few = js.Solve("CG", max_iterations=2)
    with js.SolveTape() as solves:
        with pytest.raises(js.NotConverged, match="2 iterations") as failure:
            js.solve_linear(A, c, few)
        assert failure.value.result.x.shape == (64,)
        assert len(solves) == 1
        assert solves[few].x.shape == (64,)
    with pytest.raises(js.NotConverged, match="did not converge"):
        js.jit(lambda A, c: js.solve_linear(A, c, few))(A, c)
    with pytest.raises(js.NotConverged, match="did not converge"):
        jax.grad(lambda c: js.solve_linear(A, c, js.Solve("CG", gradient_solve=few)).sum())(c)
    quiet = js.solve_linear(A, c, js.Solve("CG", max_iterations=2, suppress=js.ConvergenceException))
    assert quiet.shape == (64,)
    assert js.solve_linear_info(A, c.at[3].set(jnp.nan)).diverged


@case
def explicit_axes() -> None:
    kinds = jax.make_mesh((COUNT,), ("r",), axis_types=(AxisType.Explicit,))
    M, c = poisson(8), np.cos(np.arange(64))
    A, e = js.distribute(M, kinds), spread(c, kinds)
    request = js.Solve("CG", rtol=1e-10)
    for x in (js.solve_linear(A, e, request), jax.jit(lambda A, e: js.solve_linear(A, e, request))(A, e)):
        assert x.sharding == e.sharding
        close(M @ np.asarray(x), c)
    # Rows over both axes of a mesh.
    both = Mesh(np.array(jax.devices()).reshape(2, COUNT // 2), ("p", "q"))
    A = js.distribute(M, both, "narrow")
    two = jax.device_put(c, NamedSharding(both, P(("p", "q"))))
    x = js.solve_linear(A, two, request)
    assert x.sharding == two.sharding
    close(M @ np.asarray(x), c)


@case
def multigrid() -> None:
    M, c = poisson(48), rng.standard_normal(48 * 48)
    counts = []
    for devices in (1, 2, COUNT):
        A = js.distribute(M, mesh(devices))
        info = js.solve_linear_info(A, c, js.Solve("CG", rtol=1e-8, preconditioner="amg"))
        assert info.converged
        close(M @ np.asarray(info.x), c, 1e-5)
        counts.append(int(info.iterations))
    assert max(counts) - min(counts) <= 1
    assert max(counts) <= 14
    # Made once, it goes through jit with its matrix; traced values make none.
    M = js.SmoothedAggregation().build(A)
    request = js.Solve("CG", rtol=1e-8)
    solve = jax.jit(
        lambda A, M, c: (
            js.solve_linear_info(
                A, c, eqx.tree_at(lambda s: s.preconditioner, request, M, is_leaf=lambda v: v is None)
            ).iterations
        )
    )
    assert abs(int(solve(A, M, jnp.asarray(c))) - counts[-1]) <= 1
    y = M @ c
    assert float(y @ c) > 0
    with pytest.raises(js.StructureError, match="outside of jit"):
        jax.jit(lambda A: js.solve_linear(A, c, js.Solve("CG", preconditioner="amg")))(A)
    # Not symmetric, and its adjoint.
    drift = sp.kron(sp.eye_array(20), sp.diags_array([-0.5, 0.5], offsets=[-1, 0], shape=(20, 20)))
    C = (poisson(20) + drift).tocsr()
    A, v = js.distribute(C, mesh(), "narrow"), rng.standard_normal(400)
    recipe = js.SmoothedAggregation(bottom=40)
    gradient = jax.grad(
        lambda c: v @ js.solve_linear(A, c, js.Solve("GMres", rtol=1e-11, preconditioner=recipe))
    )
    close(gradient(jnp.asarray(rng.standard_normal(400))), np.linalg.solve(C.toarray().T, v), 1e-6)


@case
def other_preconditioners() -> None:
    M, c = poisson(12), rng.standard_normal(144)
    A = js.distribute(M, mesh())
    plain = int(js.solve_linear_info(A, c, js.Solve("CG", rtol=1e-9)).iterations)
    for recipe, share in (("jacobi", 1.01), ("chebyshev", 0.5), (js.Neumann(), 0.9)):
        info = js.solve_linear_info(A, c, js.Solve("CG", rtol=1e-9, preconditioner=recipe))
        close(M @ np.asarray(info.x), c, 1e-6)
        assert int(info.iterations) <= share * plain


@case
def nonlinear_problems() -> None:
    """x of a nonlinear problem lies as x0 does, along any axes and on meshes of either kind."""
    host = np.cos(np.arange(64.0)).reshape(16, 4)

    def f(x: Any) -> Any:
        return 4 * x + 0.1 * x**3 - jnp.roll(x, 1, 0) - jnp.roll(x, -1, 0)

    def cost(x: Any, c: Any) -> Any:
        return jnp.sum(2 * x**2 + 0.025 * x**4 - x * jnp.roll(x, 1, 0) - c * x)

    def step(x: Any, c: Any) -> Any:
        return x + (c - f(x)) / 4

    expected = js.solve_nonlinear(f, host, js.Solve("newton", rtol=1e-11))
    for kind, shape, spec in (
        (AxisType.Auto, (COUNT,), P(None, "x")),
        (AxisType.Explicit, (2, 2), P("x", "y")),
    ):
        over = jax.make_mesh(shape, ("x", "y")[: len(shape)], axis_types=(kind,) * len(shape))
        c = jax.device_put(host, NamedSharding(over, spec))
        x0 = jax.device_put(0 * host, c.sharding)
        newton = js.Solve(js.Newton(linear=js.Solve("CG")), rtol=1e-10, x0=x0)
        fit = js.Solve(rtol=1e-10, x0=x0)
        for x in (
            js.solve_nonlinear(f, c, newton),
            js.least_squares(lambda x, c: f(x) - c, fit, c),
            js.solve_fixed_point(step, fit, c),
            js.minimize(cost, js.Solve("L-BFGS", rtol=1e-10, x0=x0), c),
        ):
            assert x.sharding.is_equivalent_to(c.sharding, 2)
            close(x, expected)


@case
def blocks_of_devices() -> None:
    """What each device makes of its own rows and columns is what one makes of the block diagonal matrix of these."""
    M, c = poisson(12), rng.standard_normal(144)
    blocks = sp.block_diag([M[36 * s : 36 * (s + 1), 36 * s : 36 * (s + 1)] for s in range(COUNT)]).tocsr()
    A = js.distribute(M, mesh())
    for recipe in (js.Cholesky0(), js.BlockJacobi(4)):
        on_mesh, alone = recipe.build(A), recipe.build(js.SparseMatrix.from_scipy(blocks))
        close(on_mesh @ c, alone @ c, 1e-6)
        info = js.solve_linear_info(A, c, js.Solve("CG", rtol=1e-9, preconditioner=recipe))
        close(M @ np.asarray(info.x), c, 1e-6)
    # Blocks of unequal length and pattern, complex and not symmetric; adjoints.
    M = graph(skew=0.5, dtype=complex)
    for name, rows in (("ilu", [0, 3, 3, 30, N]), ("ssor", "narrow")):
        A, request = js.distribute(M, mesh(), rows), js.Solve("GMres", rtol=1e-11, preconditioner=name)
        x, pull = jax.vjp(lambda c, A=A, r=request: js.solve_linear(A, c, r), jnp.asarray(b + 0j))
        close(x, np.linalg.solve(M.toarray(), b))
        close(pull(jnp.asarray(w + 0j))[0], np.linalg.solve(M.toarray().T, w))
    # Nothing is sent, and nobody is called.
    A = js.distribute(poisson(8), mesh())
    built = js.ILU(definite=True).build(A)
    request = js.Solve("CG", preconditioner=built)
    solve = jax.jit(
        lambda A, M, c: js.solve_linear(A, c, eqx.tree_at(lambda s: s.preconditioner, request, M))
    )
    loop = method_loop(solve.lower(A, built, spread(np.ones(64))).compile())
    assert loop.always == {Message("collective-permute", 8, 64): 2, Message("all-reduce", 3, 24): 1}, loop
    assert loop.callbacks == 0
    refused(
        "outside of jit", js.StructureError, jax.jit(lambda A: js.Cholesky0().build(A).mv(jnp.ones(64))), A
    )
    refused("without fill", js.StructureError, js.ILU(drop_tol=0.1).build, A)
    refused("size=4", js.StructureError, js.BlockJacobi(pattern_of_blocks()).build, A)


def pattern_of_blocks() -> Any:
    return js.SparseMatrix.from_scipy(poisson(8)).pattern


@case
def messages() -> None:
    """What a device sends in an iteration: the halo and one sum; nothing is gathered, nobody is called."""

    def loop_of(method: str, count: int) -> Loop:
        M = sp.kron(sp.eye_array(8 * count), second_difference(16)) + sp.kron(
            second_difference(8 * count), sp.eye_array(16)
        )
        A, c = js.distribute(M, mesh(count)), spread(np.ones(16 * 8 * count), mesh(count))
        solve = jax.jit(lambda A, c: js.solve_linear_info(A, c, js.Solve(method)).x)
        return method_loop(solve.lower(A, c).compile())

    halo = Message("collective-permute", 16, 128)
    for count in (2, COUNT):
        loop = loop_of("CG", count)
        assert loop.always == {halo: 2, Message("all-reduce", 2, 16): 1}, loop
        assert not loop.rarely
        assert not loop.callbacks
    for method, sums, products in (("GMres", (32, 32), 1), ("biCG-stab", (2, 5), 2), ("CR", (4, 4), 1)):
        loop = loop_of(method, 2)
        sent = sorted(m.numbers for m in loop.always.elements() if m.kind == "all-reduce")
        assert sent == list(sums), loop
        assert loop.always[halo] == 2 * products
        assert loop.count("all-gather") == loop.callbacks == 0
    # A graph sends its ghosts to all who need them at once.
    solve = jax.jit(lambda A, c: js.solve_linear_info(A, c, js.Solve("CG")).x)
    loop = method_loop(solve.lower(js.distribute(graph(400), mesh()), spread(np.ones(400))).compile())
    assert loop.count("all-gather") == 0
    assert loop.count("all-reduce") == 1


def refused(words: str, kind: Any, f: Callable, *args: Any, **named: Any) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        f(*args, **named)


@case
def refusals() -> None:
    A = js.distribute(poisson(8), mesh())
    c = np.ones(64)
    refused("js.matrix_from_function", TypeError, js.distribute, lambda x: x, mesh())
    refused("jax.make_mesh", TypeError, js.distribute, poisson(4), "r")
    refused("one square matrix", js.StructureError, js.distribute, np.ones((3, 2)), mesh())
    refused("'narrow'", js.StructureError, js.distribute, poisson(4), mesh(), "wide")
    refused("no partition of 16 rows", js.StructureError, js.distribute, poisson(4), mesh(), [0, 3, 2, 9, 16])
    refused("no partition", js.StructureError, js.distribute, poisson(4), mesh(), np.full(16, COUNT))
    refused("as integers", js.StructureError, js.distribute, poisson(4), mesh(), 0.5)
    refused("first row of each of 4", js.StructureError, js.distribute_local, poisson(4), mesh(), [0, 8, 16])
    refused("have 16 rows", js.StructureError, js.distribute_local, poisson(4)[:9], mesh(), [0, 4, 8, 12, 16])
    refused("SciPy sparse matrix", js.StructureError, js.distribute_local, np.ones((2, 2)), mesh(), [0, 1])
    for method in ("LU", "sparse-direct", "scipy-CG"):
        refused("Methods that work there: auto, CG", ValueError, js.solve_linear, A, c, js.Solve(method))
    for recipe in (js.FSAI(), lambda r: r):
        refused(
            "'jacobi', 'block-jacobi'",
            ValueError,
            js.solve_linear,
            A,
            c,
            js.Solve("CG", preconditioner=recipe),
        )
    refused("not inside one", ValueError, js.solve_linear, A, c, js.Solve("CG", axis_name="r"))
    refused("inner_dtype=", ValueError, js.solve_linear, A, c, js.Solve("CG", inner_dtype=jnp.float32))
    refused("needs a right-hand side of 64", js.StructureError, js.solve_linear, A, np.ones(63))
    refused("further arguments", TypeError, js.solve_linear, A, c, js.Solve("CG"), 3.0)
    there = Mesh(np.array(jax.devices()[:2]), ("r",))
    refused("put it there", js.StructureError, js.solve_linear, A, spread(c, there))
    other = js.SmoothedAggregation(bottom=10).build(js.distribute(poisson(8), there))
    refused(
        "make it of this A", js.StructureError, js.solve_linear, A, c, js.Solve("CG", preconditioner=other)
    )


if __name__ == "__main__":
    main()
