"""Every function of the gallery against its dense Jacobian: eager, jitted, vmapped, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxsolve.tracer.assemble import matrix_from_function, trace_operator
from jaxsolve.tracer.compiled import jit_compile_linear

from .gallery import CASES

pytestmark = pytest.mark.usefixtures("x64")
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def zeros(case):
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), case.x)


def dense(case, params=None):
    """The matrix and offset by products with unit vectors."""
    params = case.params if params is None else params
    flat, unravel = ravel_pytree(zeros(case))
    fixed = [isinstance(p, int) or p.dtype.kind == "i" for p in params]

    def f(v, traced):
        stream = iter(traced)
        every = [p if fix else next(stream) for p, fix in zip(params, fixed, strict=True)]
        return ravel_pytree(case.f(unravel(v), *every))[0]

    traced = [p for p, fix in zip(params, fixed, strict=True) if not fix]
    basis = jnp.concatenate([flat[None], jnp.eye(flat.size, dtype=flat.dtype)])
    rows = jax.jit(jax.vmap(f, in_axes=(0, None)))(basis, traced)
    return np.asarray(rows[1:] - rows[0]).T, rows[0]


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-9, atol=1e-9)


def values(case):
    return tuple(p for p in case.params if not isinstance(p, int) and np.asarray(p).dtype.kind != "i")


@every_case
def test_matrix_and_offset_are_those_of_the_function(case):
    A, offset = matrix_from_function(case.f, case.x, *case.params)
    expected, b = dense(case)
    assert A.shape == expected.shape
    close(A.todense(), expected)
    close(ravel_pytree(offset)[0], b)
    indices = np.asarray(A.indices)
    keys = indices[:, 0] * max(A.shape[1], 1) + indices[:, 1]
    assert (np.diff(keys) > 0).all()
    if not case.loose:
        tiny = 1e-13 * np.abs(expected).max(initial=0)
        assert A.nse <= max((np.abs(expected) > tiny).sum(), 0) or case.name in ALWAYS_FULL


#: Values that happen to be zero at these parameters, in blocks that are dense for others.
ALWAYS_FULL = {"triangular solve", "fft filter", "rfft filter", "irfft2", "fft real part", "fft along axis"}


@every_case
def test_matrix_inside_jit(case):
    L = jit_compile_linear(case.f)
    expected, _ = dense(case)
    traced = values(case)
    rest = case.params[len(traced) :]

    @jax.jit
    def matrix(*params):
        return L.matrix(case.x, *params, *rest).todense()

    close(matrix(*map(jnp.asarray, traced)), expected)


@every_case
def test_products_by_the_operator(case):
    operator, offset = trace_operator(case.f, case.x, *case.params)
    expected, b = dense(case)
    v = jnp.asarray(np.random.default_rng(5).normal(size=expected.shape[1]))
    close(operator.layout().mv(v.astype(operator.dtype)), expected @ v)
    close(operator.T.layout().mv(jnp.ones(expected.shape[0], operator.dtype)), expected.T @ np.ones(expected.shape[0]))
    assert offset is not None or not np.any(b)


@pytest.mark.parametrize("case", [c for c in CASES if values(c)], ids=lambda c: c.name)
def test_vmap_batches_values_on_one_pattern(case):
    L = jit_compile_linear(case.f)
    traced = values(case)
    rest = case.params[len(traced) :]
    batches = [jnp.stack([jnp.asarray(p), 1.5 * jnp.asarray(p)]) for p in traced]
    A = jax.vmap(lambda *params: L.matrix(case.x, *params, *rest))(*batches)
    for k in range(2):
        expected, _ = dense(case, (*(b[k] for b in batches), *rest))
        close(A.todense()[k], expected)


@pytest.mark.parametrize("case", [c for c in CASES if values(c)], ids=lambda c: c.name)
def test_derivatives_with_respect_to_parameters(case):
    L = jit_compile_linear(case.f)
    traced = tuple(map(jnp.asarray, values(case)))
    rest = case.params[len(traced) :]
    m, n = L.matrix(case.x, *case.params).shape
    weights = jnp.asarray(np.random.default_rng(8).normal(size=(m, n)))
    _, unravel = ravel_pytree(zeros(case))

    def through_matrix(params):
        return jnp.sum(weights * L.matrix(case.x, *params, *rest).todense()).real

    def through_products(params):
        def column(e):
            return ravel_pytree(case.f(unravel(e), *params, *rest))[0]

        zero = column(jnp.zeros(n, ravel_pytree(zeros(case))[0].dtype))
        columns = jax.vmap(column, out_axes=1)(jnp.eye(n, dtype=ravel_pytree(zeros(case))[0].dtype))
        return jnp.sum(weights * (columns - zero[:, None])).real

    direction = jax.tree.map(jnp.ones_like, traced)
    forward = jax.jvp(through_matrix, (traced,), (direction,))[1]
    close(forward, jax.jvp(through_products, (traced,), (direction,))[1])
    if not case.forward_only:
        close(ravel_pytree(jax.grad(through_matrix)(traced))[0], ravel_pytree(jax.grad(through_products)(traced))[0])
