"""Public functions given things of the wrong kind say so in words of their own."""

import inspect
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxsolve as js
from tests.gallery.methods import distance

A, B = jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.ones(2)
SPARSE = js.SparseMatrix.from_dense(A)
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("r",))
WRONG = {
    "None": None,
    "text": "abc",
    "function": len,
    "ragged": [[1.0, 2.0], [3.0]],
    "object": object(),
    "words": ["one", "two"],
}

ODD = {
    "array of text": np.array(["a", "b"]),
    "array of objects": np.array([1.0, None], object),
    "key": jax.random.key(0),
}


def square(x):
    return x**2 - B


def asked(x0, method="auto"):
    return js.Solve(method, x0=x0)


#: The same for nonlinear problems.
NONLINEAR = {
    "solve_nonlinear, f": (lambda v: js.solve_nonlinear(v, B, asked(B)), ("function",)),
    "solve_nonlinear, y": (lambda v: js.solve_nonlinear(square, v, asked(B)), ()),
    "solve_nonlinear, y alone": (lambda v: js.solve_nonlinear(square, v), ()),
    "solve_nonlinear, x0": (lambda v: js.solve_nonlinear(square, B, asked(v)), ("None",)),
    "solve_nonlinear, solve": (lambda v: js.solve_nonlinear(square, B, v), ("None",)),
    "solve_nonlinear, value": (lambda v: js.solve_nonlinear(lambda x: v, B), ()),
    "solve_fixed_point, g": (lambda v: js.solve_fixed_point(v, asked(B)), ("function",)),
    "solve_fixed_point, x0": (lambda v: js.solve_fixed_point(lambda x: x, asked(v)), ()),
    "solve_fixed_point, value": (lambda v: js.solve_fixed_point(lambda x: v, asked(B)), ()),
    "solve_fixed_point, solve": (lambda v: js.solve_fixed_point(square, v), ()),
    "minimize, f": (lambda v: js.minimize(v, asked(B)), ("function",)),
    "minimize, x0": (lambda v: js.minimize(lambda x: 0.0, asked(v)), ()),
    "minimize, value": (lambda v: js.minimize(lambda x: v, asked(B)), ()),
    "minimize, solve": (lambda v: js.minimize(square, v), ()),
    "minimize, constraints": (
        lambda v: js.minimize(lambda x: x @ x, asked(B), constraints=v),
        ("None",),
    ),
    "least_squares, r": (lambda v: js.least_squares(v, asked(B)), ("function",)),
    "least_squares, x0": (lambda v: js.least_squares(lambda x: 0.0, asked(v)), ()),
    "least_squares, value": (lambda v: js.least_squares(lambda x: v, asked(B)), ()),
    "least_squares, solve": (lambda v: js.least_squares(square, v), ()),
    "least_squares, bounds": (lambda v: js.least_squares(square, asked(B), bounds=(v, B)), ("None",)),
}

#: A call with one thing in the wrong place, and what is right in this place although it stands above.
CALLS = {
    "solve_linear, A": (lambda v: js.solve_linear(v, B), ("function",)),
    "solve_linear, b": (lambda v: js.solve_linear(A, v), ()),
    "solve_linear, solve": (lambda v: js.solve_linear(A, B, v), ("None",)),
    "solve_linear_info, A": (lambda v: js.solve_linear_info(v, B), ("function",)),
    "solve_linear_many, A": (lambda v: js.solve_linear_many(v, jnp.ones((2, 1))), ("function",)),
    "solve_linear_many, B": (lambda v: js.solve_linear_many(A, v), ()),
    "method": (js.Solve, ()),
    "rtol": (lambda v: js.Solve(rtol=v), ()),
    "max_iterations": (lambda v: js.Solve(max_iterations=v), ()),
    "x0": (lambda v: js.solve_linear(A, B, js.Solve(x0=v)), ("None",)),
    "preconditioner": (
        lambda v: js.solve_linear(A, B, js.Solve("GMres", preconditioner=v)),
        ("None", "function"),
    ),
    "null_space": (lambda v: js.solve_linear(A, B, js.Solve("GMres", null_space=v)), ("None",)),
    "suppress": (lambda v: js.Solve(suppress=v), ()),
    "rank_deficiency": (lambda v: js.Solve(rank_deficiency=v), ("None",)),
    "preprocess": (lambda v: js.solve_linear(A, B, js.Solve("GMres", preprocess=v)), ("None", "function")),
    "gradient_solve": (lambda v: js.Solve(gradient_solve=v), ("None",)),
    "progress": (lambda v: js.Solve(progress=v), ("None",)),
    "inner_dtype": (lambda v: js.Solve(inner_dtype=v), ("None",)),
    "axis_name": (lambda v: js.Solve(axis_name=v), ("None", "text")),
    "factorize": (js.factorize, ()),
    "Factorization.solve": (lambda v: js.factorize(A).solve(v), ()),
    "distribute, A": (lambda v: js.distribute(v, MESH), ()),
    "distribute, mesh": (lambda v: js.distribute(A, v), ()),
    "distribute, rows": (lambda v: js.distribute(A, MESH, v), ("None",)),
    "distribute_local, rows": (lambda v: js.distribute_local(v, MESH, [0, 2]), ()),
    "distribute_local, starts": (lambda v: js.distribute_local(sp.eye_array(2), MESH, v), ()),
    "logdet": (js.logdet, ()),
    "inverse_diagonal": (js.inverse_diagonal, ()),
    "explain, A": (lambda v: js.explain(v, B), ("function",)),
    "explain, b": (lambda v: js.explain(A, v), ()),
    "matrix_from_function, f": (lambda v: js.matrix_from_function(v, B), ("function",)),
    "matrix_from_function, x": (lambda v: js.matrix_from_function(lambda x: x, v), ()),
    "jit_compile_linear": (js.jit_compile_linear, ("function",)),
    "linearize_operator, f": (lambda v: js.linearize_operator(v, B), ("function",)),
    "linearize_operator, x": (lambda v: js.linearize_operator(lambda x: x, v), ()),
    "jit": (js.jit, ("function",)),
    "SolveTape": (lambda v: js.SolveTape(True, every=v), ()),
    "set_logging_level": (js.set_logging_level, ()),
    "spy": (js.spy, ()),
    "plot": (js.plot, ()),
    "from_dense": (js.SparseMatrix.from_dense, ()),
    "from_scipy": (js.SparseMatrix.from_scipy, ()),
    "from_bcoo": (js.SparseMatrix.from_bcoo, ()),
    "operator @": (lambda v: SPARSE @ v, ()),
    "@ operator": (lambda v: js.DenseMatrix(A).__rmatmul__(v), ()),
    "operator +": (lambda v: SPARSE + v, ()),
    "operator -": (lambda v: js.DenseMatrix(A) - v, ()),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_so_it_is_in_nonlinear_problems(name):
    call, right = NONLINEAR[name]
    for kind, value in {**WRONG, **ODD}.items():
        if kind not in right:
            refused(name, call, kind, value)


@pytest.mark.further
def test_nonlinear_problems_that_start_from_no_number_end_there():
    start = jnp.array([1.0, np.nan])
    infos = [
        js.solve_nonlinear_info(square, B, asked(start)),
        js.solve_nonlinear_info(square, start, asked(B)),
        js.solve_fixed_point_info(lambda x: 0.1 * x, asked(start)),
        js.least_squares_info(square, asked(start)),
        js.minimize_info(lambda x: x @ x, asked(start)),
        js.minimize_info(lambda x: x @ x, asked(start, "Nelder-Mead")),
    ]
    for info in infos:
        assert info.status is js.Status.invalid_input
        assert info.iterations == 0
        assert "x0 or what the function or its derivative is at x0" in info.message


def test_no_number_is_no_solution_where_the_function_does_not_see_it():
    # A comparison with NaN is false, which is 0.
    info = js.solve_nonlinear_info(lambda x: x > 0, jnp.zeros(2), asked(B))
    assert not info.converged


@pytest.mark.parametrize("name", CALLS)
def test_what_is_of_the_wrong_kind_is_refused_in_words(name):
    call, right = CALLS[name]
    for kind, value in WRONG.items():
        if kind in right:
            continue
        refused(name, call, kind, value)


def refused(name, call, kind, value):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(value)
    last = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert "/jaxsolve/" in last.filename, f"{name} of {kind}: {raised.value}"
    assert "raise" in str(last.line), f"{name} of {kind}: {raised.value}"


@pytest.mark.further
def test_lists_of_numbers_are_arrays():
    x = js.solve_linear([[2.0, 0], [0, 4]], [1.0, 1])
    np.testing.assert_allclose(x, [0.5, 0.25])
    several = js.solve_linear(
        [[2.0, 0], [0, 4]], [[1.0, 1], [2, 2]], js.Solve("GMres", rtol=1e-12, x0=[0.0, 0.0])
    )
    assert distance(several, [[0.5, 0.25], [1, 0.5]]) < 1e-10
    assert distance(js.solve_linear(lambda x: 2 * x, [1, 1]), [0.5, 0.5]) < 1e-10
    neumann = [[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]]
    for basis in ([1.0, 1, 1], [[1.0, 1, 1]], [jnp.ones(3)]):
        x = js.solve_linear(neumann, [1.0, 0, -1], js.Solve("CG", rtol=1e-10, null_space=basis))
        assert distance(x, np.linalg.pinv(neumann) @ [1, 0, -1]) < 1e-8
    solve = js.Solve("GMres", preconditioner=[[0.5, 0], [0, 0.25]])
    assert int(js.solve_linear_info([[2.0, 0], [0, 4]], [1.0, 1], solve).iterations) == 1


def _options():
    """Options with a number or a name as default, and what makes no sense of them."""
    for name, cls in vars(js).items():
        if not inspect.isclass(cls) or name in ("Solve", "SolveTape"):
            continue
        parameters = inspect.signature(cls).parameters
        if any(p.default is p.empty for p in parameters.values()):
            continue
        for option, p in parameters.items():
            wrong = {int: -1, float: -1.0, str: "no such"}.get(type(p.default))
            wrong = -1 if option in ("lower", "upper", "steps") else wrong
            # A shift may be traced; a negative one is one of another matrix.
            if wrong is not None and (name, option) != ("Nystrom", "shift"):
                yield pytest.param(cls, option, wrong, id=f"{name}-{option}")


@pytest.mark.parametrize(("cls", "option", "wrong"), list(_options()))
def test_options_that_make_no_sense_are_refused_when_they_are_made(cls, option, wrong):
    with pytest.raises((TypeError, ValueError), match=option if wrong == -1 else "."):
        cls(**{option: wrong})
