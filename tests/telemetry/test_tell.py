"""Values leave a program when it runs: once for a batch, in order, and not where nothing is due."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsolve.telemetry.callback_primitive import ORDERLY, disorder, tell

ORDER = pytest.mark.skipif("not ORDERLY.value", reason="a program has failed on this device")


class Notes:
    """A listener that keeps what it gets."""

    def __init__(self):
        self.kept = []

    def __call__(self, *values):
        self.kept.append(values)

    def take(self):
        jax.effects_barrier()
        kept = [tuple(np.asarray(v).tolist() for v in values) for values in self.kept]
        self.kept.clear()
        return kept


@pytest.fixture
def notes():
    return Notes()


def test_told_at_once_in_eager_mode(notes):
    tell(notes, jnp.array(2.0), 3)
    assert notes.kept == [(2.0, 3)]
    assert all(isinstance(v, np.ndarray) for v in notes.kept[0])


def test_told_by_every_call_of_a_compiled_function(notes):
    f = jax.jit(lambda x: [tell(notes, x, ordered=True), 2 * x][1])
    assert [float(f(1.0)), float(f(5.0))] == [2, 10]
    assert notes.take() == [(1.0,), (5.0,)]


def test_what_is_not_due_stays(notes):
    def f(x):
        tell(notes, x, due=x > 2)
        return x

    for g in (f, jax.jit(f)):
        g(1.0)
        g(3.0)
        assert notes.take() == [(3.0,)]
    for g in (jax.vmap(f), jax.jit(jax.vmap(f))):
        g(jnp.array([1.0, 3.0]))
        assert notes.take() == [([1.0, 3.0],)]
        g(jnp.array([1.0, 2.0]))
        assert notes.take() == []


@ORDER
def test_the_order_is_that_of_the_program_wherever_it_is_told(notes):
    large, small = jnp.ones((200, 200)), jnp.ones((2, 2))

    def told(k, x):
        tell(notes, k, jnp.sum(x @ x), ordered=True)

    @jax.jit
    def f(large):
        told(0, large)
        lax.scan(lambda c, k: (c, [told(k, small), told(k + 10, large)][0]), 0, jnp.array([1, 2]))
        lax.cond(jnp.sum(large) > 0, lambda: told(4, large), lambda: told(5, small))
        told(6, large)

    f(large)
    assert [k for k, _ in notes.take()] == [0, 1, 11, 2, 12, 4, 6]


@ORDER
def test_the_order_goes_through_functions_compiled_inside_others(notes):
    @jax.jit
    def inner(k, x):
        tell(notes, k, jnp.sum(x @ x), ordered=True)
        return 2 * x

    @jax.jit
    def f(x):
        y = inner(0, x)
        tell(notes, 1, jnp.sum(y @ x), ordered=True)
        inner(2, x[:2, :2])
        jax.jit(lambda: tell(notes, 3, jnp.sum(x @ x), ordered=True))()
        jax.jit(lambda: inner(4, jnp.sin(x)))()
        tell(notes, 5, 1.0, ordered=True)

    f(jnp.ones((200, 200)))
    assert [k for k, _ in notes.take()] == [0, 1, 2, 3, 4, 5]


@ORDER
def test_functions_without_arguments_compiled_inside_others_tell_too(notes):
    # In which order, JAX 0.12 leaves open; with ordered callbacks it ended the process.
    def nothing():
        tell(notes, 1, jnp.sum(jnp.ones((200, 200))), ordered=True)
        jax.jit(lambda: tell(notes, 2, 2.0, ordered=True))()
        lax.cond(jnp.sum(jnp.ones(3)) > 0, lambda: tell(notes, 3, 3.0, ordered=True), lambda: None)
        lax.scan(lambda c, k: (c, tell(notes, k, 1.0, ordered=True)), 0, jnp.array([4, 5]))

    @jax.jit
    def f(x):
        tell(notes, 0, jnp.sum(x @ x), ordered=True)
        jax.jit(nothing)()
        tell(notes, 6, jnp.sum(x), ordered=True)

    f(jnp.ones((200, 200)))
    found = [k for k, _ in notes.take()]
    assert sorted(found) == [0, 1, 2, 3, 4, 5, 6]
    assert found == sorted(found) or jax.__version_info__ >= (0, 12)


def test_a_batch_is_told_once_with_outer_axes_first(notes):
    def f(x, y):
        tell(notes, x, y)
        return x

    x, y = jnp.arange(6.0).reshape(2, 3), jnp.array([7.0, 8.0, 9.0])
    jax.vmap(jax.vmap(f), (0, None))(x, y)
    assert notes.take() == [(x.tolist(), [y.tolist()] * 2)]
    jax.vmap(f, (None, 0))(1.0, y)
    assert notes.take() == [([1.0] * 3, y.tolist())]


def test_derivatives_pass_by(notes):
    def f(x):
        tell(notes, x)
        return x**2

    assert jax.jit(jax.grad(f))(3.0) == 6
    assert notes.take() == [(3.0,)]
    assert jax.jvp(f, (3.0,), (1.0,)) == (9, 6)
    assert notes.take() == [(3.0,)]
    assert jax.jit(jax.grad(jax.checkpoint(f)))(3.0) == 6
    assert notes.take()[0] == (3.0,)


@pytest.mark.cpu
def test_after_a_failure_away_from_a_cpu_programs_are_compiled_without_order(notes, monkeypatch):
    def f(x):
        tell(notes, x, ordered=True)
        return 2 * x

    compiled = jax.jit(f)
    assert "ordered=True" in str(jax.make_jaxpr(f)(1.0))
    compiled(1.0)
    assert compiled._cache_size() == 1
    disorder()
    assert ORDERLY.value
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    try:
        disorder()
        compiled(2.0)
        assert compiled._cache_size() == 2
        assert "ordered=False" in str(jax.make_jaxpr(f)(1.0))
    finally:
        ORDERLY.set_global(True)
    assert notes.take() == [(1.0,), (2.0,)]
