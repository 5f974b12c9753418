"""What is remembered, what is traced, and what enters compiled programs."""

import re
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO, BCSR

from jaxsolve.core.errors import NotLinearError, TraceError
from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear_info
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.function import FunctionOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.assembly import matrix_from_function, trace_operator
from jaxsolve.tracer.compiled import jit_compile_linear
from jaxsolve.tracer.jacobian import linearize_operator


def stencil(u, k):
    up = jnp.pad(u, 1)
    kp = jnp.pad(k, 1, mode="edge")
    fx = 0.5 * (kp[1:, 1:-1] + kp[:-1, 1:-1]) * (up[1:, 1:-1] - up[:-1, 1:-1])
    fy = 0.5 * (kp[1:-1, 1:] + kp[1:-1, :-1]) * (up[1:-1, 1:] - up[1:-1, :-1])
    return -(fx[1:] - fx[:-1]) - (fy[:, 1:] - fy[:, :-1])


def periodic(u, k):
    out = 0
    for axis in (0, 1):
        flux = 0.5 * (k + jnp.roll(k, -1, axis)) * (jnp.roll(u, -1, axis) - u)
        out = out + jnp.roll(flux, 1, axis) - flux
    return out


def counted(f):
    def g(*args, **kwargs):
        g.calls += 1
        return f(*args, **kwargs)

    g.calls = 0
    return g


def test_new_values_do_not_read_the_function_again():
    f = counted(lambda x, k: k * x + jnp.roll(x, 1))
    L = jit_compile_linear(f)
    for k in (1.0, 2.0, jnp.float32(3.0), np.float32(4.0)):
        L.matrix(jnp.zeros(4), k)
    assert f.calls == 2  # weakly typed Python floats, and float32
    jax.jit(lambda k: L.matrix(jnp.zeros(4), k))(jnp.float32(5.0))
    jax.vmap(lambda k: L.matrix(jnp.zeros(4), k))(jnp.ones(3, jnp.float32))
    jax.grad(lambda k: L.matrix(jnp.zeros(4), k).data.sum())(jnp.float32(2.0))
    assert f.calls == 2
    L.matrix(jnp.zeros(5), jnp.float32(1.0))
    assert f.calls == 3


def test_calls_are_compiled_once():
    f = counted(lambda x, k: k * x)
    L = jit_compile_linear(f)
    for k in (1.0, 2.0, 3.0):
        assert L(jnp.ones(2), k).tolist() == [k, k]
    assert f.calls == 1


def test_the_decorated_function_is_hashable_and_static():
    L = jit_compile_linear(lambda x, k: k * x)
    assert hash(L) == hash(L)
    assert L == L
    out = jax.jit(lambda M, k: M.matrix(jnp.zeros(2), k).data, static_argnums=0)(L, 3.0)
    assert out.tolist() == [3, 3]
    assert eqx.filter_jit(lambda M, k: M(jnp.ones(2), k))(L, 3.0).tolist() == [3, 3]


def test_closed_over_tracers_are_not_remembered():
    def solve(k):
        L = jit_compile_linear(lambda x: k * x)
        first, second = L.matrix(jnp.zeros(3)), L.matrix(jnp.zeros(3))
        return first.data + second.data

    np.testing.assert_allclose(jax.jit(solve)(2.0), 4)
    assert jax.grad(lambda k: solve(k).sum())(2.0) == 6
    np.testing.assert_allclose(jax.vmap(solve)(jnp.arange(2.0)), [[0, 0, 0], [2, 2, 2]])


def test_one_closed_over_tracer_after_another():
    box = {}
    L = jit_compile_linear(lambda x: box["k"] * x)

    @jax.jit
    def data(k):
        box["k"] = k
        return L.matrix(jnp.zeros(2)).data

    assert data(2.0).tolist() == [2, 2]
    assert jax.jit(lambda k: data(k) + 1)(3.0).tolist() == [4, 4]


def test_the_pattern_is_one_object_for_all_values():
    L = jit_compile_linear(stencil)
    x = jnp.zeros((4, 3))
    A, B = L.matrix(x, jnp.ones((4, 3))), L.matrix(x, 2 * jnp.ones((4, 3)))
    assert A.pattern is B.pattern
    assert isinstance(A, SparseMatrix)


def test_a_constant_function_has_its_values_while_compiling():
    def inside(b):
        A, _ = trace_operator(lambda x: 2 * x - jnp.roll(x, 1) * np.arange(4.0), jnp.zeros(4), entries=True)
        assert isinstance(A, SparseMatrix)
        assert isinstance(A.data, np.ndarray)
        assert A.nnz == 7
        return A.layout().mv(b)

    np.testing.assert_allclose(jax.jit(inside)(jnp.ones(4)), [2, 1, 0, -1])


def test_entries_that_cancel_in_a_constant_matrix_leave_the_pattern():
    index = np.array([1, 2, 0])
    A, _ = matrix_from_function(lambda x: x[index] - jnp.roll(x, -1) + 2 * x, jnp.zeros(3))
    assert A.nse == 3


def test_linear_functions_are_known_to_have_no_offset():
    assert trace_operator(lambda x: 2 * x, jnp.zeros(3))[1] is None
    assert trace_operator(lambda x: 2 * x + 0, jnp.zeros(3))[1] is None
    np.testing.assert_allclose(trace_operator(lambda x, c: 2 * x - c, jnp.zeros(3), 1.0)[1], -1)


def test_offset_keeps_the_structure_of_the_output():
    L = jit_compile_linear(lambda x, c: {"a": x["v"] + c, "b": (x["v"].sum(),)})
    offset = L.offset({"v": jnp.zeros(2)}, 3.0)
    assert offset["a"].tolist() == [3, 3]
    assert offset["b"][0] == 0


@pytest.mark.few(1)
@pytest.mark.parametrize(("f", "count"), [(stencil, 5), (periodic, 9)])
def test_stencils_are_applied_by_diagonals(f, count):
    x, k = jnp.zeros((6, 7)), jnp.asarray(np.random.default_rng(61).uniform(1, 2, (6, 7)))
    for entries in (True, False):
        operator, _ = trace_operator(f, x, k, entries=entries)
        layout = operator.layout()
        assert isinstance(layout, DiagonalsOperator)
        assert len(layout.offsets) == count
        v = jnp.asarray(np.random.default_rng(62).normal(size=42))
        np.testing.assert_allclose(layout.mv(v), f(v.reshape(6, 7), k).ravel(), rtol=1e-4, atol=1e-5)
    A, _ = trace_operator(f, x, k)
    assert isinstance(A, SparseMatrix)
    np.testing.assert_allclose(A.layout().mv(v), SparseMatrix(A.data, A.pattern).mv(v), rtol=1e-5)


def test_the_report_tells_size_layout_and_fallbacks():
    L = jit_compile_linear(stencil)
    assert "not read yet" in L.report()
    L.matrix(jnp.zeros((4, 3)), jnp.ones((4, 3)))
    assert "12 x 12, 46 entries in 5 terms, applied by 5 diagonals" in L.report()
    assert "pattern symmetric" in L.report()
    assert "direct propagation" in L.report()
    M = jit_compile_linear(lambda x, a: jnp.linalg.solve(a, x))
    M.matrix(jnp.zeros(3), jnp.eye(3))
    assert "dense block" in M.report()
    N = jit_compile_linear(lambda x, k: jax.lax.fori_loop(0, 3000, lambda i, u: k * u, x))
    N.matrix(jnp.zeros(3), 0.5)
    assert "coloured probing, 1 products" in N.report()
    details = N.details()
    assert details is not None
    assert details.nnz == 3


def test_a_function_without_a_sparse_matrix_stays_matrix_free():
    L = jit_compile_linear(lambda x: jnp.fft.fft(x).real)
    with pytest.raises(TraceError, match="entries"):
        L.matrix(jax.ShapeDtypeStruct((100_000,), jnp.float32))
    assert L.report().startswith("matrix-free: ")
    assert L(jnp.ones(4)).tolist() == [4, 0, 0, 0]
    operator, offset = trace_operator(L, jnp.zeros(100_000, jnp.float32), entries=False)
    assert isinstance(operator, FunctionOperator)
    assert offset is None
    assert operator.mv(jnp.ones(100_000, jnp.float32))[0] == 100_000


def test_integer_parameters_become_known_where_needed():
    L = jit_compile_linear(lambda x, i, w: w * x[i])
    A = L.matrix(jnp.zeros(5), np.array([3, 0]), 2.0)
    assert A.nnz == 2
    B = L.matrix(jnp.zeros(5), jnp.array([4, 4]), 2.0)
    assert B.pattern.indices.tolist() == [4, 4]
    C = jax.jit(lambda i: L.matrix(jnp.zeros(5), i, 2.0))(jnp.array([1, 2]))
    assert C.nnz == 10
    np.testing.assert_allclose(C.todense(), 2 * np.eye(5)[[1, 2]])


@pytest.mark.parametrize("kind", [BCOO, BCSR])
def test_sparse_matrices_as_parameters_keep_their_pattern(kind):
    M = BCOO.fromdense(np.diag([1.0, 2.0, 3.0]) + np.eye(3, k=1), nse=5)
    M = M if kind is BCOO else BCSR.from_bcoo(M)
    L = jit_compile_linear(lambda x, M: M @ x)
    A = L.matrix(jnp.zeros(3), M)
    assert A.nnz == 5
    np.testing.assert_array_equal(A.todense(), M.todense())
    inside = jax.jit(lambda M: L.matrix(jnp.zeros(3), M).todense())(M)
    np.testing.assert_array_equal(inside, M.todense())


@pytest.mark.parametrize("n", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_long_loop_does_not_take_long(n):
    def f(x, k):
        def step(i, y):
            return y.at[i].set(k[i] * (x[i - 1] - 2 * x[i] + x[i + 1]))

        return jax.lax.fori_loop(1, n - 1, step, jnp.zeros(n, x.dtype))

    start = time.process_time()
    A, _ = matrix_from_function(f, jnp.zeros(n), jnp.ones(n))
    assert time.process_time() - start < 4e-3 * n
    assert A.nse == 3 * (n - 2)


def test_sums_by_halves_do_not_list_absent_elements():
    start = time.process_time()
    A, _ = matrix_from_function(lambda x: jax.lax.associative_scan(jnp.add, x), jnp.zeros((256, 4)))
    assert time.process_time() - start < 5  # minutes, if every term of each half is kept apart
    assert A.nse == 4 * 256 * 257 // 2


@pytest.mark.parametrize(
    "f",
    [
        lambda x, k: jnp.stack([k * x, x], axis=1),
        lambda x, k: jnp.unstack(k * x)[0] - jnp.unstack(x)[-1],
        lambda x, k: jnp.tile(k * x, (2, 3)),
        lambda x, k: jnp.resize(x, (5, 4)),
        lambda x, k: jax.lax.composite(lambda a: 2 * a, "doubled")(x),
        lambda x, k: jnp.kron(jnp.arange(3.0), x) - jnp.repeat(k * x, 3, axis=1),
        lambda x, k: jnp.block([[x, k * x], [x, x]]),
        lambda x, k: jax.image.resize(x, (8, 10), "linear"),
    ],
)
def test_what_only_moves_elements_is_read_without_fallback(f):
    L = jit_compile_linear(f)
    L.matrix(jnp.zeros((4, 5)), 2.0)
    assert "direct propagation throughout" in L.report()


def test_equal_factors_are_computed_once_and_parts_added_apart():
    s, r = np.array([0, 1, 1, 3]), np.array([1, 0, 0, 2])

    def f(x, w):
        flow = w * (x[s] - x[r])
        return jax.ops.segment_sum(flow, r, 4) - jax.ops.segment_sum(flow, s, 4)

    L, w = jit_compile_linear(f), jnp.array([1.0, 2.0, 3.0, 4.0])
    plan, _ = L.plan(jnp.zeros(4), (w,), {})
    assert sorted(piece.first for piece in plan.pieces) == [0, 4, 4]
    assert np.allclose(L.matrix(jnp.zeros(4), w).todense(), jax.jacobian(f)(jnp.zeros(4), w))


def literals(text):
    """The sizes in bytes of all constants of a lowered program."""
    found = re.findall(r"stablehlo\.constant dense<([^>]*)>", text)
    return [len(body) for body in found]


@pytest.mark.parametrize("f", [stencil, periodic])
def test_no_large_literal_in_the_program_of_a_large_operator(f):
    x, k = jax.ShapeDtypeStruct((1000, 1000), jnp.float32), jnp.ones((1000, 1000), jnp.float32)
    L = jit_compile_linear(f)

    def product(k, v):
        operator = L.operator(x, k)
        return operator.layout().mv(v), operator.diagonal()

    lowered = jax.jit(product).lower(k, k.reshape(-1))
    text = lowered.as_text()
    assert len(text) < 1_000_000
    assert max(literals(text), default=0) < 1000
    start = time.process_time()
    lowered.compile()
    assert time.process_time() - start < 4


def test_no_large_literal_for_irregular_patterns():
    rng = np.random.default_rng(63)
    n = 100_000
    s, r = rng.integers(0, n, 3 * n), rng.integers(0, n, 3 * n)
    operator = jit_compile_linear(lambda x, w: jax.ops.segment_sum(w * (x[s] - x[r]), r, n))

    def product(w, v):
        A = operator.matrix(jax.ShapeDtypeStruct((n,), jnp.float32), w)
        return A.layout().mv(v)

    w, v = rng.uniform(1, 2, 3 * n).astype(np.float32), rng.normal(size=n).astype(np.float32)
    lowered = jax.jit(product).lower(w, v)
    assert len(lowered.as_text()) < 1_000_000
    expected = jax.ops.segment_sum(w * (v[s] - v[r]), r, n)
    np.testing.assert_allclose(lowered.compile()(w, v), expected, rtol=1e-3, atol=1e-3)


def graph(n):
    rng = np.random.default_rng(64)
    s, r = rng.integers(0, n, 4 * n), rng.integers(0, n, 4 * n)

    def f(x, w):
        flow = w * (x[s] - x[r])
        return x + jax.ops.segment_sum(flow, r, n) - jax.ops.segment_sum(flow, s, n)

    return f, np.ones(n, np.float32), np.ones(4 * n, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("preconditioner", [None, "jacobi"])
@pytest.mark.parametrize("kind", ["stencil", "periodic", "graph"])
def test_a_jitted_solve_with_a_function_of_a_million_unknowns_holds_no_large_literal(kind, preconditioner):
    field = np.ones((1000, 1000), np.float32)
    f, x, k = (
        graph(10**6) if kind == "graph" else ({"stencil": stencil, "periodic": periodic}[kind], field, field)
    )
    L, request = jit_compile_linear(f), Solve("CG", max_iterations=3, preconditioner=preconditioner)
    lowered = jax.jit(lambda b, k: solve_linear_info(L, b, request, k).residual_norm).lower(x, k)
    text = lowered.as_text()
    assert len(text) < 1_000_000
    assert max(literals(text), default=0) < 100_000
    lowered.compile()


def test_precision_follows_the_function():
    for dtype in (jnp.float32, jnp.complex64, jnp.float16):
        L = jit_compile_linear(lambda x, k: 0.5 * k * x - jnp.roll(x, 1))
        assert L.matrix(jnp.zeros(3, dtype), jnp.ones(3, dtype)).dtype == dtype


def test_jacobian_inside_jit_and_derivatives():
    def f(u, k):
        return k * u**3 - jnp.roll(u, 1) * u

    u = jnp.array([1.0, 2.0, 3.0, 4.0])
    expected = jax.jacobian(f)(u, 2.0)
    A = jax.jit(lambda u, k: linearize_operator(f, u, k))(u, 2.0)
    np.testing.assert_allclose(A.todense(), expected, rtol=1e-5)
    assert A.nnz == 8
    slope = jax.grad(lambda u: linearize_operator(f, u, 2.0).data.sum())(u)
    np.testing.assert_allclose(slope, jax.grad(lambda u: jax.jacobian(f)(u, 2.0).sum())(u), rtol=1e-5)


@pytest.mark.further
def test_a_small_function_with_large_pieces_is_read_as_a_whole():
    # Of the exponential of a matrix, each branch of each squaring is dense.
    M = np.diag([0.5, -0.7, 1.3, 0.2]) + 0.1

    def f(s, M):
        return jax.scipy.linalg.expm(s[0] * M + s[1])

    s = jnp.array([0.5, 0.3])
    expected = jax.jacfwd(f)(s, M).reshape(16, 2)
    np.testing.assert_allclose(linearize_operator(f, s, M).todense(), expected, atol=1e-12)
    compiled = jax.jit(lambda s, M: linearize_operator(f, s, M).todense())
    np.testing.assert_allclose(compiled(s, M), expected, atol=1e-12)


@pytest.mark.further
def test_solves_and_loops_over_complex_numbers_are_read():
    # The exponential of a matrix solves, squares and branches; nothing in its derivative conjugates.
    E = jnp.array([[0.5, 0.2 - 1j], [0.3j, -0.1]])
    A = linearize_operator(jax.scipy.linalg.expm, E)
    expected = jax.jacfwd(jax.scipy.linalg.expm, holomorphic=True)(E).reshape(4, 4)
    np.testing.assert_allclose(A.todense(), expected, atol=1e-12)
    # With values that are traced, conjugates that cancel are not seen to do so.
    compiled = jax.jit(lambda E: linearize_operator(jax.scipy.linalg.expm, E).todense())
    np.testing.assert_allclose(compiled(E), expected, atol=1e-12)


def test_a_solve_with_a_matrix_that_conjugates_is_linear_over_the_real_numbers_only():
    def f(b, k):
        solve = lambda _, b: jnp.conj(b) / k  # noqa: E731
        return jax.lax.custom_linear_solve(lambda x: k * jnp.conj(x), b, solve)

    x = jax.ShapeDtypeStruct((3,), np.complex128)
    with pytest.raises(NotLinearError, match="real numbers only"):
        matrix_from_function(f, x, jnp.asarray(2.0))


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_whole_of_a_function_keeps_its_offset_and_what_does_not_depend(monkeypatch, dtype):
    def f(x, k):
        return {"a": jnp.fft.fft(jnp.fft.fft(k * x)) + 1, "b": k, "c": jnp.cumsum(x)[:2]}

    x = jax.ShapeDtypeStruct((6,), dtype)
    k = jnp.arange(1.0, 7)
    A, offset = matrix_from_function(f, x, k)
    monkeypatch.setattr("jaxsolve.tracer.products.MOST_ENTRIES", 100)
    B, same = matrix_from_function(f, x, k)
    np.testing.assert_allclose(A.todense(), B.todense(), atol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, offset, same)
    _, offset = matrix_from_function(lambda x: jnp.fft.fft(jnp.fft.fft(x)), x)
    assert not offset.any()
    monkeypatch.setattr("jaxsolve.tracer.dense_coupling.MOST_WHOLE_ENTRIES", 20)
    with pytest.raises(TraceError, match=r"entries \(limit"):
        matrix_from_function(f, x, k)
