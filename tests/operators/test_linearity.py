"""Whether a function is linear, affine or neither: read off its equations, refused with the line."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import pallas_call
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from jaxsolve.core.compat import open_jaxpr
from jaxsolve.core.errors import NotLinearError, StructureError, TraceError
from jaxsolve.core.tree import Packing
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.linearity import Degree, degree
from tests.gallery import problems

N = 6
K = jnp.asarray(problems.random(N, seed=1))
A = jnp.asarray(problems.random(N, N, seed=2))
SPARSE = BCOO.fromdense(A)
PLACES = np.stack([np.arange(N), np.arange(N)[::-1]], axis=1)


def degree_of(f, dtype: type = np.float64):
    jaxpr = jax.make_jaxpr(f)(jnp.zeros(N, dtype))
    (found,) = degree(jaxpr, [Degree.linear], np.issubdtype(dtype, np.complexfloating))
    return found


def operator_of(f, dtype: type = np.float64):
    packing = Packing.of(jax.ShapeDtypeStruct((N,), dtype))
    return function_operator(f, packing, packing, dtype, (), {})


def loop(x):
    return jax.lax.fori_loop(0, 3, lambda i, y: y + K * jnp.roll(y, 1), x)


def scanned(x):
    return jax.lax.scan(lambda carry, row: (carry + row, carry), jnp.zeros(()), x)[1]


LINEAR = {
    "scaled": lambda x: K * x,
    "divided": lambda x: x / (2 + K),
    "stencil": lambda x: 2 * x - jnp.roll(x, 1) - jnp.roll(x, -1),
    "padded": lambda x: jnp.diff(jnp.pad(x, 1))[1:],
    "matrix": lambda x: A @ x,
    "cumulative": jnp.cumsum,
    "mean free": lambda x: x - x.mean(),
    "gathered": lambda x: x[jnp.array([3, 1, 1, 0, 5, 2])],
    "scattered": lambda x: jnp.zeros(N).at[jnp.array([3, 1, 1, 0, 5, 2])].add(x),
    "set": lambda x: x.at[0].set(x[3]),
    "set to zero": lambda x: x.at[0].set(0.0),
    "masked": lambda x: jnp.where(K > 0, x, 2 * x),
    "masked to zero": lambda x: jnp.where(K > 0, x, 0.0),
    "sorted by a constant": lambda x: x[jnp.argsort(K)],
    "stacked": lambda x: jnp.stack([x, K * x], axis=1).sum(1),
    "unstacked": lambda x: jnp.stack(jnp.unstack(x)[::-1]),
    "tiled": lambda x: jnp.tile(x, 2)[3 : N + 3],
    "sorted beside known keys": lambda x: jax.lax.sort((K, x), num_keys=1)[1],
    "convolved": lambda x: jnp.convolve(x, jnp.array([1.0, -2.0, 1.0]), mode="same"),
    "transformed": lambda x: jnp.fft.irfft(jnp.fft.rfft(x), N),
    "fori_loop": loop,
    "scan": scanned,
    "while of fixed length": lambda x: jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, 2 * c[1]), (0, x)
    )[1],
    "cond on a constant": lambda x: jax.lax.cond(K[0] > 0, lambda v: 2 * v, lambda v: v, x),
    "jit": jax.jit(lambda x: A @ x),
    "checkpoint": jax.checkpoint(lambda x: A @ x),
    "vmap": lambda x: jax.vmap(lambda v: 3 * v)(x),
    "solve": lambda x: jnp.linalg.solve(A, x),
    "triangular solve": lambda x: jax.scipy.linalg.solve_triangular(jnp.triu(A), x),
    "sparse": lambda x: SPARSE @ x,
    "sparse, transposed": lambda x: SPARSE.T @ x,
    "sparse by rows": lambda x: BCSR.from_bcoo(SPARSE) @ x,
    "derivative": lambda x: jax.jvp(lambda v: jnp.sin(v) * K, (K,), (x,))[1],
    "power one": lambda x: x**1,
    "real in float32 and back": lambda x: x.astype(jnp.float32).astype(x.dtype),
    "zero": lambda x: 0 * x,
    "minus zero": lambda x: x - 0.0,
}
AFFINE = {
    "plus one": lambda x: x + 1,
    "minus from": lambda x: K - x,
    "boundary value": lambda x: 2 * x - jnp.pad(x, 1, constant_values=3.0)[2:],
    "set to one": lambda x: x.at[0].set(1.0),
    "masked to one": lambda x: jnp.where(K > 0, x, 1.0),
    "concatenated": lambda x: jnp.concatenate([x[:3], K[3:]]),
    "loop with source": lambda x: jax.lax.fori_loop(0, 2, lambda i, y: 2 * y + K, x),
    "cond with a source": lambda x: jax.lax.cond(K[0] > 0, lambda v: v, lambda v: K, x),
    "sparse matrix of x, of which JAX knows more than the table": lambda x: (
        BCOO((x, PLACES), shape=(N, N)).todense() @ K
    ),
    "loop that starts constant": lambda x: jax.lax.fori_loop(0, 2, lambda i, y: y + x, K),
}
NOT_LINEAR = {
    "x*x": (lambda x: x * x, "multiplies two values that both depend on the unknown"),
    "x**2": (lambda x: x**2, "`(square|integer_pow)` .* is not linear"),
    "x**0": (lambda x: x**3, "`integer_pow` .* is not linear"),
    "2/x": (lambda x: 2 / x, "`div` .*divides by"),
    "abs": (jnp.abs, "`abs` .*is not linear|`abs` is not linear"),
    "where(x>0)": (lambda x: jnp.where(x > 0, x, 0), "`gt` .* is not linear|chooses by a condition"),
    "sort": (jnp.sort, "`sort` .*is not linear"),
    "max": (lambda x: x - x.max(), "`reduce_max` .*is not linear"),
    "relu": (jax.nn.relu, "is not linear"),
    "apply": (lambda x: x.at[1:3].apply(jnp.sin), "`sin` .*is not linear"),
    "sin": (jnp.sin, "`sin` .*is not linear"),
    "norm": (lambda x: x / jnp.linalg.norm(x), "is not linear|multiplies"),
    "dot": (lambda x: x * (x @ K) , "multiplies two values"),
    "x@x": (lambda x: (x @ x) * K, "multiplies two values"),
    "indexed by x": (lambda x: K[x.astype(int)], "rounds the unknown to an integer"),
    "round": (jnp.round, "is not linear"),
    "cumprod": (jnp.cumprod, "is not linear|multiplies"),
    "cond on x": (lambda x: jax.lax.cond(x[0] > 0, lambda v: v, lambda v: 2 * v, x), "is not linear|branches"),
    "while on x": (lambda x: jax.lax.while_loop(lambda v: v[0] < 3, lambda v: v + 1, x), "loops while a condition"),
    "solve with x": (lambda x: jnp.linalg.solve(A + jnp.diag(x), K), "is not linear|matrix that depends|divides"),
    "inside scan": (lambda x: jax.lax.scan(lambda c, v: (c, v * v), 0.0, x)[1], "multiplies two values"),
    "inside a loop": (lambda x: jax.lax.fori_loop(0, 2, lambda i, v: v * v, x), "multiplies two values"),
    "through a loop": (lambda x: jax.lax.fori_loop(0, 2, lambda i, c: (c[1], c[0] * c[1]), (K, x))[1], "multiplies"),
    "inside jit": (jax.jit(lambda x: x * jnp.sum(x)), "multiplies two values"),
    "inside checkpoint": (jax.checkpoint(lambda x: x * x), "multiplies two values"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_linear_functions_are_linear(name):
    f = LINEAR[name]
    assert degree_of(f) == Degree.linear
    operator, offset = operator_of(f)
    assert offset is None
    columns = jax.jit(jax.vmap(operator.mv, out_axes=1))(jnp.eye(N))
    np.testing.assert_allclose(columns, jax.jacfwd(f)(K), atol=1e-6)


@pytest.mark.parametrize("name", AFFINE)
def test_affine_functions_are_a_linear_part_and_an_offset(name):
    f = AFFINE[name]
    assert degree_of(f) == Degree.affine
    operator, offset = operator_of(f)
    assert offset is not None
    np.testing.assert_allclose(offset, f(jnp.zeros(N)))
    x = jnp.asarray(problems.random(N, seed=4))
    np.testing.assert_allclose(operator.mv(x) + offset, f(x), atol=1e-12)
    assert np.all(operator.mv(jnp.zeros(N)) == 0)


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_other_functions_are_refused_by_name(name):
    f, text = NOT_LINEAR[name]
    with pytest.raises(NotLinearError, match=text) as caught:
        degree_of(f)
    assert str(caught.value).startswith("the function is not linear in its first argument: `")
    assert "js.solve_nonlinear" in str(caught.value)


def test_a_refusal_names_the_line():
    def bad(x):
        y = 2 * x
        return y * jnp.sum(y)  # this line

    number = next(k for k, line in enumerate(inspect.getsource(bad).splitlines()) if "this line" in line)
    number += inspect.getsourcelines(bad)[1]
    with pytest.raises(NotLinearError, match=rf"`mul` at \S*test_linearity\.py:{number} \(\S*bad\)"):
        degree_of(bad)


@pytest.mark.parametrize("f", [jnp.conj, jnp.real, jnp.imag, jnp.abs, lambda x: x + jnp.conj(x)])
def test_what_is_linear_over_the_reals_only_is_refused_for_complex_unknowns(f):
    with pytest.raises(NotLinearError, match=r"linear over the real numbers only.*as a pytree|is not linear"):
        degree_of(f, np.complex128)


@pytest.mark.parametrize("f", [jnp.conj, jnp.real, lambda x: jnp.fft.irfft(x, N)])
def test_what_is_linear_over_the_real_numbers_only_is_refused_for_complex_unknowns(f):
    with pytest.raises(NotLinearError, match="over the real numbers only"):
        degree_of(f, np.complex128)


@pytest.mark.parametrize(
    "f", [jnp.conj, jnp.real, lambda x: jnp.real(2j * x * 1j), lambda x: jax.lax.complex(x, 2 * x).imag]
)
def test_complex_detours_of_real_unknowns_are_linear(f):
    assert degree_of(f) in (Degree.linear, Degree.constant)


def test_constant_functions_are_affine_with_a_zero_linear_part():
    operator, offset = operator_of(lambda x: K)
    np.testing.assert_array_equal(offset, K)
    np.testing.assert_array_equal(operator.mv(K), 0 * K)


def test_host_code_is_taken_as_affine():
    def f(x):
        return jax.pure_callback(lambda v: 2 * np.asarray(v) + 1, jax.ShapeDtypeStruct((N,), x.dtype), x)

    assert degree_of(f) == Degree.opaque
    operator, offset = operator_of(f)
    np.testing.assert_array_equal(offset, np.ones(N))
    np.testing.assert_allclose(operator.mv(K), 2 * K)


def kernel(rule):
    """A function with a kernel that jaxpr rules know nothing of."""

    def body(x, y):
        y[...] = rule(x[...])

    return lambda x: pallas_call(body, jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)


@pytest.mark.further
def test_a_kernel_is_taken_as_affine_where_it_looks_so():
    f = kernel(lambda x: 2 * x)
    operator, offset = operator_of(lambda x: f(x) + 3 * x + K)
    np.testing.assert_array_equal(offset, K)
    np.testing.assert_allclose(operator.mv(K), 5 * K)
    for s in ("auto", "CG", "LU"):
        np.testing.assert_allclose(js.solve_linear(f, K, js.Solve(s)), K / 2)
        np.testing.assert_allclose(jax.jit(lambda b, s=s: js.solve_linear(f, b, js.Solve(s)))(K), K / 2)
    with pytest.raises(TraceError, match=r"`pallas_call` .* can't be read.*js.LinearOperator"):
        js.solve_linear(f, K, js.Solve("GMres", preconditioner="ilu"))


def test_a_kernel_that_is_not_linear_is_found_out():
    with pytest.raises(
        NotLinearError, match=r"differs from .* \(pallas_call\), so it was tried.*js.LinearOperator"
    ):
        operator_of(kernel(lambda x: 2 * x**2))
    with pytest.raises(NotLinearError, match="differs from"):
        operator_of(lambda x: jax.pure_callback(np.sin, x, x))


def test_nested_jaxprs_of_constants_do_not_matter():
    _, constants = open_jaxpr(jax.make_jaxpr(lambda x: A @ x)(K))
    assert len(constants) == 1
    assert degree_of(lambda x: x * jnp.sum(jnp.sin(jnp.sort(K)))) == Degree.linear


def test_a_wrong_output_structure_is_refused():
    with pytest.raises(
        StructureError, match=r"<lambda> returned array\(3,\), but the right-hand side is array\(6,\)"
    ):
        operator_of(lambda x: x[:3])
    with pytest.raises(
        StructureError, match=r"returned \{'y': array\(6,\)\}.*It must return the structure of b"
    ):
        operator_of(lambda x: {"y": x})


def test_what_is_closed_over_is_a_parameter_and_not_a_constant():
    operators = [operator_of(lambda x, s=s: (s * K) * x)[0] for s in (1.0, 2.0)]
    assert len(operators[0].parameters) >= 1
    same = [operator_of(lambda x, k=k: k * x)[0] for k in (K, 2 * K)]
    assert jax.tree.structure(same[0]) == jax.tree.structure(same[1])
    np.testing.assert_array_equal(same[1].mv(K), 2 * same[0].mv(K))


def test_equal_functions_written_twice_are_one_program(compilations):
    use = jax.jit(lambda operator, x: operator.mv(x))
    doubled = 2 * K
    one = operator_of(lambda x: K * x - jnp.roll(x, 1))[0]
    other = operator_of(lambda u: doubled * u - jnp.roll(u, 1))[0]
    use(one, K)
    with compilations() as seen:
        use(other, K)
    assert seen == []


def test_programs_that_differ_in_a_literal_differ():
    one, other = (operator_of(lambda x, s=s: s * x)[0] for s in (2.0, 3.0))
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert (one.mv(K) / K)[0] == 2
    assert (other.mv(K) / K)[0] == 3
    zero, minus = (operator_of(lambda x, s=s: x / s)[0] for s in (0.0, -0.0))
    assert jax.tree.structure(zero) != jax.tree.structure(minus)


def test_gradients_reach_closed_over_values_and_arguments():
    packing = Packing.of(K)

    def f(k, s):
        operator, _ = function_operator(
            lambda x, s, flag: k * x * (s if flag else 0), packing, packing, float, (s,), {"flag": True}
        )
        return jnp.sum(operator.mv(jnp.ones(N)))

    slope = jax.grad(f, (0, 1))(K, 2.0)
    np.testing.assert_allclose(slope[0], 2 * np.ones(N))
    np.testing.assert_allclose(slope[1], K.sum())
