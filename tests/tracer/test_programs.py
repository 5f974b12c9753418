"""Random programs: compositions of covered operations on random shapes, empty and unit axes included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsolve.tracer.assembly import matrix_from_function

LARGEST = 300


def random_step(rng, shape):
    """One operation on arrays of this shape, as a function of x and a parameter k in (1, 2)."""
    rank, axis = len(shape), int(rng.integers(len(shape))) if shape else 0
    n = shape[axis] if shape else 1
    values = rng.uniform(0.5, 2, shape)
    menu = {
        "scale": lambda x, k: k * x * values,
        "mask": lambda x, k: x * (values > 1),
        "negate": lambda x, k: -x,
        "shift": lambda x, k: x - 2 * k,
        "sin": lambda x, k: x * jnp.sin(k * values),
        "divide": lambda x, k: x / (values + k),
    }
    if shape:
        pads = [
            (int(rng.integers(-1 if s > 2 else 0, 3)), int(rng.integers(3)), int(rng.integers(2)))
            for s in shape
        ]
        low = int(rng.integers(0, n + 1))
        matrix = rng.normal(size=(int(rng.integers(1, 4)), n)) * (rng.uniform(size=n) > 0.4)
        index = rng.integers(-n, n, int(rng.integers(1, 5))) if n else np.zeros(0, int)
        targets = rng.integers(0, 4, n)
        condition = values > 1.2
        menu |= {
            "reverse": lambda x, k: jnp.flip(x, axis),
            "transpose": lambda x, k: jnp.moveaxis(k * x, axis, 0),
            "roll": lambda x, k: jnp.roll(x, 1, axis),
            "pad": lambda x, k: lax.pad(k * x, 0.0, pads),
            "slice": lambda x, k: lax.slice_in_dim(x, low, n, 2, axis) if low < n else x,
            "sum": lambda x, k: (k * x).sum(axis),
            "mean kept": lambda x, k: x + x.sum(axis, keepdims=True) / max(n, 1),
            "cumsum": lambda x, k: jnp.cumsum(x, axis),
            "matrix": lambda x, k: jnp.moveaxis(jnp.tensordot(k * matrix, x, (1, axis)), 0, axis),
            "constant matrix": lambda x, k: jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis)), 0, axis),
            "take": lambda x, k: jnp.take(x, index, axis) if n else x,
            "segments": lambda x, k: (
                jnp.zeros((4, *np.delete(shape, axis))).at[targets].add(jnp.moveaxis(x, axis, 0))
            ),
            "where": lambda x, k: jnp.where(condition, x, k * jnp.flip(x, axis)),
            "where traced": lambda x, k: jnp.where(values > k, x, 3 * x),
            "concatenate": lambda x, k: jnp.concatenate([x, k * jnp.flip(x, axis)], axis),
            "set": lambda x, k: x.at[: low // 2].set(k),
            "update": lambda x, k: x.at[:1].set(2 * x[-1:]),
            "ravel": lambda x, k: x.reshape(-1),
            "new axis": lambda x, k: jnp.broadcast_to(
                jnp.expand_dims(x, axis), (*shape[:axis], 2, *shape[axis:])
            ),
            "fft": lambda x, k: jnp.fft.fft(x, axis=axis).real if n else x,
            "scan": lambda x, k: lax.scan(lambda c, a: (k * c + a, c), jnp.zeros(shape[1:]), x)[1],
            "map": lambda x, k: lax.map(lambda a: k * a, x),
            "vmap": lambda x, k: jax.vmap(lambda a: a - k * a.sum())(x),
            "cond": lambda x, k: lax.cond(k > 1.5, lambda a: 2 * a, lambda a: jnp.flip(a, axis), x),
            "dynamic slice": lambda x, k: lax.dynamic_slice_in_dim(
                x, (k * 2).astype(int), max(n - 1, 0), axis
            ),
        }
    if rank == 1 and n > 1:
        menu["convolve"] = lambda x, k: jnp.convolve(x, k * jnp.arange(1.0, 3))
    name = str(rng.choice(list(menu)))
    return name, menu[name]


def random_program(seed):
    """A function of x and k, the shape of x, and the names of its operations."""
    rng = np.random.default_rng(seed)
    shape = tuple(
        int(n) for n in rng.choice([0, 1, 2, 3, 4], rng.integers(1, 4), p=[0.06, 0.14, 0.3, 0.3, 0.2])
    )
    steps, names, current = [], [], shape
    for _ in range(int(rng.integers(1, 7))):
        name, step = random_step(rng, current)
        after = jax.eval_shape(step, jax.ShapeDtypeStruct(current, jnp.float64), 1.5).shape
        if np.prod(after, dtype=int) > LARGEST:
            continue
        branch = after == current and rng.uniform() < 0.3
        steps.append((step, branch))
        names.append(name)
        current = after

    def f(x, k):
        for step, branch in steps:
            x = x - 0.5 * step(x, k) if branch else step(x, k)
        return x

    return f, shape, names


@pytest.mark.further
@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_random_programs_have_the_matrix_of_their_products(seed):
    check(seed)


@pytest.mark.slow
@settings(deadline=None, max_examples=600)
@given(seed=st.integers(0, 10**9))
def test_many_random_programs(seed):
    check(seed)


def check(seed):
    f, shape, names = random_program(seed)
    n = int(np.prod(shape))
    k = jnp.asarray(1.3)
    A, offset = matrix_from_function(f, jax.ShapeDtypeStruct(shape, jnp.float64), k)
    basis = np.concatenate([np.zeros((1, n)), np.eye(n)]).reshape(n + 1, *shape)
    rows = np.asarray(jax.jit(jax.vmap(lambda x, k: f(x, k), in_axes=(0, None)))(basis, k)).reshape(n + 1, -1)
    found = np.zeros(A.shape)
    indices = np.asarray(A.indices)
    np.add.at(found, (indices[:, 0], indices[:, 1]), np.asarray(A.data))
    scale = max(np.abs(rows).max(initial=0), 1)
    np.testing.assert_allclose(found, (rows[1:] - rows[:1]).T, atol=1e-11 * scale, err_msg=str(names))
    np.testing.assert_allclose(np.asarray(offset).ravel(), rows[0], atol=1e-11 * scale, err_msg=str(names))
    assert (np.diff(indices[:, 0] * max(n, 1) + indices[:, 1]) > 0).all()
