"""Options by names of other packages, or misspelt: refused with the one that was meant."""

import inspect

import jax.numpy as jnp
import pytest

import jaxsolve as js
from jaxsolve.core.foreign_names import FOREIGN

OPTIONS = list(inspect.signature(js.Solve).parameters)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("tol", "rtol"), ("maxiter", "max_iterations"), ("max_steps", "max_iterations"), ("M", "preconditioner"),
        ("y0", "x0"), ("solver", "method"), ("restart", "method=js.GMRES"), ("throw", "suppress"),
        ("verbose", "js.set_logging"),
        ("rtoll", "rtol"), ("max_iteration", "max_iterations"), ("Preconditioner", "preconditioner"),
        ("maxIter", "max_iterations"), ("nullspaces", "null_space"),
    ],
)  # fmt: skip
def test_it_says_what_was_meant(name, ours):
    with pytest.raises(TypeError, match=rf"no option '{name}'. Did you mean {ours}"):
        js.Solve(**{name: 1})


@pytest.mark.parametrize("name", FOREIGN)
def test_no_foreign_name_is_one_of_ours(name):
    assert name not in OPTIONS


def test_what_resembles_nothing_lists_the_options():
    with pytest.raises(TypeError, match=r"no option 'qqqq'. Options: method, rtol, atol,"):
        js.Solve(qqqq=1)


def test_options_given_to_the_solve_belong_into_the_request():
    with pytest.raises(TypeError, match=r"js.Solve\(rtol=...\)"):
        js.solve_linear(jnp.eye(2), jnp.ones(2), tol=1e-3)


def test_an_array_in_the_place_of_the_request_is_named_and_not_shown():
    wrong = jnp.full((30, 3), 7.25)
    calls = [
        lambda: js.solve_linear(jnp.eye(2), jnp.ones(2), wrong),
        lambda: js.solve_linear_many(jnp.eye(2), jnp.eye(2), wrong),
        lambda: js.explain(jnp.eye(2), jnp.ones(2), wrong),
        lambda: js.solve_nonlinear(lambda x: x, jnp.ones(2), wrong),
        lambda: js.minimize(lambda x: x @ x, wrong),
        lambda: js.Solve(suppress=wrong),
        lambda: js.Solve(progress=wrong),
        lambda: js.Solve(rank_deficiency=wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"jax\.Array of shape") as raised:
            call()
        text = str(raised.value)
        assert "7.25" not in text
        assert len(text) < 200
