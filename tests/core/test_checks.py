"""A check raises when the values are there: at once in eager mode, out of the compiled program under jit."""

import threading

import jax
import jax.numpy as jnp
import pytest
from jax.errors import JaxRuntimeError

from jaxsolve.core.checks import checked, jit


class Refused(Exception):
    """What the checks of these tests raise."""


def judge(value):
    return Refused(f"refused {float(value.max()):.1f}") if value.max() < 100 else None


def positive(x):
    return checked(2 * x, x < 0, [x], judge)


def test_a_passed_check_is_the_identity():
    assert positive(3.0) == 6.0
    assert jax.jit(positive)(3.0) == 6.0


def test_an_eager_check_keeps_the_class():
    with pytest.raises(Refused, match=r"^refused -3\.0$"):
        positive(-3.0)


def test_a_check_that_fails_in_an_eager_gradient_keeps_the_class():
    with pytest.raises(Refused, match=r"refused -3\.0"):
        jax.grad(positive)(-3.0)
    with pytest.raises(Refused, match=r"refused -3\.0"):
        jax.jvp(positive, (-3.0,), (1.0,))


def test_a_check_under_plain_jit_raises_the_text():
    f = jax.jit(lambda x: positive(x) + 1)
    # JAX raises a JaxRuntimeError, or a ValueError once a call has succeeded and its C++ path is taken.
    with pytest.raises(JaxRuntimeError, match=r"refused -3\.0"):
        jax.block_until_ready(f(-3.0))
    f(1.0)
    with pytest.raises((JaxRuntimeError, ValueError), match=r"refused -3\.0"):
        jax.block_until_ready(f(-3.0))


def test_a_check_under_our_jit_keeps_the_class_and_the_text():
    with pytest.raises(Refused, match=r"^refused -3\.0$"):
        jit(positive)(-3.0)


def test_another_error_under_our_jit_passes_unchanged():
    def fail(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        jit(fail)(1.0)


def test_a_judge_may_let_a_failure_pass():
    f = lambda x: checked(x, x > 0, [x], judge)  # noqa: E731
    assert f(200.0) == jax.jit(f)(200.0) == jit(f)(200.0) == 200


def test_a_check_looks_at_all_lanes_of_a_vmap():
    x = jnp.array([1.0, -5.0, 2.0])
    with pytest.raises(Refused, match=r"refused 2\.0"):
        jax.vmap(positive)(x)
    with pytest.raises(Refused, match=r"refused 2\.0"):
        jit(jax.vmap(positive))(x)
    assert jax.vmap(positive)(abs(x)).tolist() == [2, 10, 4]


def test_derivatives_pass_through_a_check():
    assert jax.grad(positive)(3.0) == 2
    assert jax.jit(jax.grad(positive))(3.0) == 2
    assert jax.hessian(lambda x: positive(x) ** 2)(3.0) == 8


def test_a_check_inside_a_loop_is_reported():
    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda i, y: positive(y) - 4, x)

    with pytest.raises(Refused, match=r"refused -4\.0"):
        jit(loop)(3.0)


def test_equal_checks_share_a_program(compilations):
    g = jax.jit(lambda x: positive(x) + 1)
    g(1.0)
    with compilations() as seen:
        g(2.0)
    assert seen == []


def test_failures_in_threads_reach_their_own_thread():
    f = jit(lambda x: checked(x, x < 0, [x], judge))
    f(1.0)
    texts = {}

    def work(k):
        try:
            f(-float(k))
        except Refused as error:
            texts[k] = str(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {k: f"refused -{k}.0" for k in range(1, 9)}


def test_an_unused_value_is_still_checked_in_eager_mode_only():
    # Under jit what is not used is not computed: JAX drops it, and the check with it.
    def unused(x):
        positive(x)
        return x

    with pytest.raises(Refused, match=r"refused -1\.0"):
        unused(-1.0)
    assert jax.jit(unused)(-1.0) == -1
