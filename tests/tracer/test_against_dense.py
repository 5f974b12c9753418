"""Every function of the gallery against its dense matrix: eager, jitted, vmapped, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxsolve.tracer.assembly import matrix_from_function, trace_operator
from jaxsolve.tracer.compiled import jit_compile_linear

from .gallery import CASES


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda c: c.name)


def sampled(cases):
    """All cases in the slow session, a fifth of them otherwise."""
    return [c if k % 5 == 0 else pytest.param(c, marks=pytest.mark.slow) for k, c in enumerate(cases)]


def fixed(p):
    return isinstance(p, int) or p.dtype.kind == "i"


def products(case, params):
    """The function on raveled vectors, and its (traced) parameters."""
    _, unravel = ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), case.x))

    def f(v, traced):
        stream = iter(traced)
        every = [p if fixed(p) else next(stream) for p in params]
        return ravel_pytree(case.f(unravel(v), *every))[0]

    return f, [p for p in params if not fixed(p)]


def size(case):
    return sum(int(np.prod(s.shape)) for s in jax.tree.leaves(case.x))


def dtype(case):
    return jnp.result_type(*[s.dtype for s in jax.tree.leaves(case.x)])


def at_once(f, basis):
    return jax.vmap(f)(basis)


def columns(case, traced, each=at_once):
    """The dense matrix, transposed, under a zero row that becomes the offset."""
    f, _ = products(case, case.params)
    basis = np.concatenate([np.zeros((1, size(case))), np.eye(size(case))]).astype(dtype(case))
    rows = each(lambda v: f(v, traced), basis)
    return rows[1:] - rows[:1], rows[0]


compiled_columns = jax.jit(columns, static_argnums=0)


def dense(case, traced=None):
    rows, offset = compiled_columns(case, products(case, case.params)[1] if traced is None else traced)
    return np.asarray(rows).T, np.asarray(offset)


def filled(A, data=None):
    """A sparse matrix as a dense NumPy array."""
    out = np.zeros(A.shape, A.data.dtype)
    np.add.at(out, (A.pattern.rows, A.pattern.indices), np.asarray(A.data if data is None else data))
    return out


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-9, atol=1e-9)


def raveled(tree):
    return np.concatenate([np.zeros(0), *(np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree))])


#: Blocks that are dense for other parameters than these.
FULL = {"triangular solve", "fft filter", "rfft filter", "irfft2", "fft real part", "fft along axis"}


@pytest.mark.few(6)
@named(CASES)
def test_matrix_and_offset_are_those_of_the_function(case):
    A, offset = matrix_from_function(case.f, case.x, *case.params)
    expected, b = dense(case)
    indices = np.asarray(A.indices)
    assert A.shape == expected.shape
    found = np.zeros(A.shape, A.dtype)
    found[indices[:, 0], indices[:, 1]] = np.asarray(A.data)
    close(found, expected)
    close(raveled(offset), b)
    assert (np.diff(indices[:, 0] * max(A.shape[1], 1) + indices[:, 1]) > 0).all()
    if not case.loose and case.name not in FULL:
        tiny = 1e-13 * np.abs(expected).max(initial=0)
        assert A.nse <= (np.abs(expected) > tiny).sum()


@pytest.mark.few(7)
@named(sampled(CASES))
def test_products_by_the_operator(case):
    operator, offset = trace_operator(case.f, case.x, *case.params)
    expected, b = dense(case)
    v = np.random.default_rng(51).normal(size=expected.shape[1]).astype(operator.dtype)
    w = np.random.default_rng(52).normal(size=expected.shape[0]).astype(operator.dtype)
    forth, back = jax.jit(lambda A, v, w: (A.layout().mv(v), A.layout().T.mv(w)))(operator, v, w)
    close(forth, expected @ v)
    close(back, expected.T @ w)
    assert offset is not None or not b.any()


@pytest.mark.few(2)
@named(sampled([c for c in CASES if products(c, c.params)[1]]))
def test_jit_and_vmap_batch_values_on_one_pattern(case):
    L = jit_compile_linear(case.f)
    _, traced = products(case, case.params)

    @jax.jit
    @jax.vmap
    def matrices(traced):
        stream = iter(traced)
        return L.matrix(case.x, *[p if fixed(p) else next(stream) for p in case.params])

    A = matrices([jnp.stack([p, 1.5 * p]) for p in traced])
    for k in range(2):
        close(filled(A, A.data[k]), dense(case, [(p, 1.5 * p)[k] for p in traced])[0])


@pytest.mark.few(6)
@named(sampled([c for c in CASES if products(c, c.params)[1]]))
def test_derivatives_with_respect_to_parameters(case):
    L = jit_compile_linear(case.f)
    _, traced = products(case, case.params)
    pattern = L.matrix(case.x, *case.params).pattern
    weights = np.random.default_rng(53).normal(size=pattern.nnz)
    table = np.zeros(pattern.shape[::-1])
    table[pattern.indices, pattern.rows] = weights

    def through_matrix(traced):
        stream = iter(traced)
        A = L.matrix(case.x, *[p if fixed(p) else next(stream) for p in case.params])
        return jnp.sum(weights * A.data).real

    def through_products(traced):
        # One column after the other: JAX cannot differentiate a batch of BCOO products in their data.
        return jnp.sum(table * columns(case, traced, jax.lax.map)[0]).real

    ones = [jnp.ones_like(p) for p in traced]

    def derivative(function):
        def both(traced):
            forward = jax.jvp(function, (traced,), (ones,))[1]
            return forward, [] if case.forward_only else jax.grad(function)(traced)

        return jax.jit(both)(traced)

    for actual, expected in zip(*map(derivative, (through_matrix, through_products)), strict=True):
        close(raveled(actual), raveled(expected))
