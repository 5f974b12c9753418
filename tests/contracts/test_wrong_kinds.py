"""Public functions given things of the wrong kind say so in words of their own."""

import traceback

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.gallery.methods import distance

A, B = jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.ones(2)
SPARSE = js.SparseMatrix.from_dense(A)
WRONG = {
    "None": None,
    "text": "abc",
    "function": len,
    "ragged": [[1.0, 2.0], [3.0]],
    "object": object(),
    "words": ["one", "two"],
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
    "factorize": (js.factorize, ()),
    "Factorization.solve": (lambda v: js.factorize(A).solve(v), ()),
    "explain, A": (lambda v: js.explain(v, B), ("function",)),
    "explain, b": (lambda v: js.explain(A, v), ()),
    "matrix_from_function, f": (lambda v: js.matrix_from_function(v, B), ("function",)),
    "matrix_from_function, x": (lambda v: js.matrix_from_function(lambda x: x, v), ("ragged",)),
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


@pytest.mark.parametrize("name", CALLS)
def test_what_is_of_the_wrong_kind_is_refused_in_words(name):
    call, right = CALLS[name]
    for kind, value in WRONG.items():
        if kind in right:
            continue
        with pytest.raises((TypeError, ValueError)) as raised:
            call(value)
        place = traceback.extract_tb(raised.value.__traceback__)[-1].filename
        assert "/jaxsolve/" in place, f"{name} of {kind}: {raised.value}"


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
