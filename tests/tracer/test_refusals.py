"""Nothing nonlinear is accepted, and the error says what, where and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsolve.core.errors import NotLinearError, StructureError, TraceError
from jaxsolve.tracer.assembly import matrix_from_function, trace_operator
from jaxsolve.tracer.jacobian import linearize_operator


@jax.custom_jvp
def straight_through(x):
    return jnp.round(x)


straight_through.defjvp(lambda p, t: (jnp.round(p[0]), t[0]))


NONLINEAR = {
    "square": lambda x: x * x,
    "power": lambda x: x**2,
    "cube": lambda x: x**3,
    "half power": lambda x: x**0.5,
    "reciprocal": lambda x: 2 / x,
    "quotient": lambda x: x / x,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "round": jnp.round,
    "floor": jnp.floor,
    "sin": jnp.sin,
    "exp": jnp.exp,
    "sqrt": jnp.sqrt,
    "where by x": lambda x: jnp.where(x > 0, x, 0),
    "relu": jax.nn.relu,
    "clip": lambda x: jnp.clip(x, 0, 1),
    "maximum": lambda x: jnp.maximum(x, 0.5),
    "max": lambda x: x.max(),
    "product of all": lambda x: jnp.prod(x),
    "cumulative product": jnp.cumprod,
    "cumulative maximum": lambda x: lax.cummax(x),
    "norm": jnp.linalg.norm,
    "normalised": lambda x: x / jnp.linalg.norm(x),
    "sort": jnp.sort,
    "argmax": lambda x: jnp.argmax(x) * 1.0,
    "integer cast": lambda x: x.astype(int).astype(float),
    "indexed by x": lambda x: jnp.arange(5.0)[x.astype(int)],
    "dot with itself": lambda x: x @ x,
    "outer": lambda x: jnp.outer(x, x),
    "convolved with itself": lambda x: jnp.convolve(x, x),
    "cond on x": lambda x: lax.cond(x[0] > 0, lambda a: a, lambda a: 2 * a, x),
    "while on x": lambda x: lax.while_loop(lambda u: u[0] < 10, lambda u: 2 * u, x),
    "scan product": lambda x: lax.scan(lambda c, a: (c * a, c), 1.0, x)[1],
    "long scan square": lambda x: lax.scan(lambda c, _: (c * c, None), x, None, length=5000)[0],
    "late product in a loop": lambda x: lax.fori_loop(
        0, 3, lambda i, s: (s[1], s[2], s[0] * s[2]), (x, x, x)
    ),
    "scatter product": lambda x: x.at[0].multiply(x[1]),
    "scatter maximum": lambda x: x.at[0].max(x[1]),
    "applied at indices": lambda x: x.at[1:3].apply(jnp.sin),
    "stacked and squared": lambda x: jnp.stack([x, x]) * jnp.tile(x, (2, 1)),
    "composite": lambda x: lax.composite(lambda a: a * a, "square")(x),
    "straight-through estimator": lambda x: straight_through(x),
    "loop with a call inside": lambda x: lax.fori_loop(0, 3, lambda i, w: jax.jit(lambda a: a * x)(w), x),
    "logical": lambda x: (x > 0).astype(float),
    "solve with x": lambda x: jnp.linalg.solve(jnp.diag(x), jnp.ones(5)),
    "triangular solve with x": lambda x: jax.scipy.linalg.solve_triangular(jnp.diag(x), jnp.ones(5)),
    "remainder": lambda x: x % 2.0,
    "sum of squares inside jit": lambda x: jax.jit(lambda a: jnp.sum(a * a))(x),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_functions_are_refused(name):
    with pytest.raises(
        NotLinearError, match=r"not linear .* `[\w-]+` .*test_refusals\.py:\d+ .*linearize_operator"
    ):
        matrix_from_function(lambda x: NONLINEAR[name](x), jnp.ones(5))


def test_what_is_no_arithmetic_of_jax_is_not_called_nonlinear():
    # A callback may be linear or not: it can't be read.
    with pytest.raises(
        TraceError, match=r"`pure_callback` at .*test_refusals\.py.*can't be read.*LinearOperator"
    ) as e:
        matrix_from_function(lambda x: jax.pure_callback(np.sin, x, x), jnp.ones(5))
    assert not isinstance(e.value, NotLinearError)


def test_the_error_names_the_line_of_the_user():
    def f(x):
        y = 2 * x
        return y * jnp.roll(x, 1)  # this line

    line = f.__code__.co_firstlineno + 2
    with pytest.raises(
        NotLinearError, match=rf"`mul` multiplies two values .*test_refusals\.py:{line} \(.*f\)"
    ):
        matrix_from_function(f, jnp.ones(3))


@pytest.mark.parametrize(
    "f",
    [
        jnp.real,
        jnp.conj,
        jnp.imag,
        lambda x: x + jnp.conj(x),
        lambda x: jnp.fft.irfft(x),
        lambda x: jnp.abs(x) ** 2,
    ],
)
def test_functions_of_the_conjugate_are_refused(f):
    with pytest.raises(NotLinearError, match=r"complex conjugate|`abs` is not a linear"):
        matrix_from_function(f, jnp.ones(4, complex))


def test_conjugates_that_cancel_are_accepted():
    A, _ = matrix_from_function(lambda x: 2 * (x.real + 1j * x.imag), jnp.ones(3, complex))
    np.testing.assert_allclose(A.todense(), 2 * np.eye(3))


def test_unused_nonlinear_operations_are_ignored():
    def f(x):
        jnp.sin(x)
        return 2 * x

    A, _ = matrix_from_function(f, jnp.ones(3))
    assert A.nse == 3


def test_nonlinear_in_parameters_is_fine():
    A, _ = matrix_from_function(lambda x, k: jnp.abs(k) ** 3 * x, jnp.ones(2), -2.0)
    np.testing.assert_allclose(A.data, 8)


@pytest.mark.parametrize("x", [jnp.arange(3), {"a": jnp.ones(2), "b": jnp.array([True])}])
def test_integer_unknowns_are_refused_in_words(x):
    with pytest.raises(StructureError, match=r"real or complex.*astype\(float\)"):
        matrix_from_function(lambda x: x, x)


def test_an_empty_pytree_is_refused():
    with pytest.raises(StructureError, match="no arrays"):
        matrix_from_function(lambda x: x, {})


def test_too_dense_operators_are_refused_with_the_number_of_entries():
    with pytest.raises(TraceError, match=r"entries.*matrix-free"):
        trace_operator(jnp.fft.fft, jax.ShapeDtypeStruct((100_000,), jnp.float32))
    with pytest.raises(TraceError, match=r"entries.*matrix-free"):
        trace_operator(lambda x: x - x.mean(), jax.ShapeDtypeStruct((100_000,), jnp.float32))


def test_functions_applied_at_repeated_or_traced_indices_are_refused():
    def f(x, i):
        return x.at[i].apply(lambda a: 2 * a)

    for index in (np.array([1, 1]), jnp.array([0.2, 1.3])):
        with pytest.raises(TraceError, match=r"`scatter` at .*test_refusals\.py:\d+.*jnp\.where"):
            matrix_from_function(lambda x, i: f(x, i.astype(int)), jnp.ones(3), index)


def test_linearised_functions_need_not_be_linear():
    x = jnp.array([1.0, -2.0, 3.0])
    A = linearize_operator(lambda x: jnp.abs(x) * jnp.roll(x, 1), x)
    expected = jax.jacobian(lambda x: jnp.abs(x) * jnp.roll(x, 1))(x)
    np.testing.assert_allclose(A.todense(), expected, rtol=1e-6)
