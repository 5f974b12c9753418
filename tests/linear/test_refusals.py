"""Malformed input is refused at once: what was given, what was expected, what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
import scipy.sparse.linalg as spl

import jaxsolve as js
from jaxsolve.core.errors import NotLinearError, StructureError

A = np.diag([2.0, 3.0, 4.0]) + np.eye(3, k=1)
b = np.ones(3)
#: The request without its declared types.
ANY: Any = js.Solve


def refused(kind, text, *args, **kwargs):
    with pytest.raises(kind, match=text):
        js.solve_linear(*args, **kwargs)


def test_structure_errors_are_value_errors():
    assert issubclass(StructureError, ValueError)
    assert issubclass(NotLinearError, ValueError)


def test_what_is_no_matrix():
    refused(
        TypeError,
        r"A must be an array of shape \(\.\.\., m, n\), a BCOO, BCSR or SciPy.*; got NoneType",
        None,
        b,
    )
    refused(TypeError, r"A must be .*; got str", "CG", b)
    refused(StructureError, r"got an array of shape \(3,\)", b, b)


def test_products_of_scipy():
    refused(
        TypeError, r"got SciPy's MatrixLinearOperator, whose .* as a function", spl.aslinearoperator(A), b
    )


def test_half_precision():
    half = jnp.asarray(A, jnp.bfloat16)
    refused(TypeError, r"float32, float64, complex64 or complex128; got bfloat16\. Convert", half, half[0])
    refused(TypeError, "got float16", lambda x: 2 * x, jnp.ones(3, jnp.float16))
    x = js.solve_linear(half, jnp.ones(3, jnp.float32))
    assert x.dtype == jnp.float32


@pytest.mark.parametrize("x0", [np.zeros(3) + 1j, np.zeros((3, 1)) + 1j])
def test_a_complex_guess_for_a_real_system(x0):
    refused(TypeError, "x0 is complex.* but A and b are real, and so is x", A, b, js.Solve(x0=x0))


def test_a_right_hand_side_that_does_not_fit():
    refused(
        StructureError,
        r"A of shape \(3, 3\) needs a right-hand side of 3 values; b is array\(4,\) with 4\.$",
        A,
        np.ones(4),
    )


def test_columns_are_not_guessed():
    text = r"needs .* of 3 values; b is array\(3, 5\) with 15\. For several .*js\.solve_linear_many\(A, B\)"
    refused(StructureError, text, A, np.ones((3, 5)))


def test_batches_that_do_not_broadcast():
    text = r"the leading axes of A \(2,\) and of b \(4,\) do not broadcast: A of shape \(2, 3, 3\) goes with b of shape"
    refused(StructureError, text, np.stack([A, A]), np.ones((4, 3)))


def test_a_batch_of_matrices_with_a_pytree():
    refused(StructureError, r"A of shape \(2, 3, 3\) needs", np.stack([A, A]), {"a": b})


def test_a_right_hand_side_of_the_wrong_kind():
    refused(TypeError, "b must be an array or a pytree of arrays; got a str in it", A, {"a": "text"})
    refused(TypeError, "b must be an array or a pytree of arrays; got a function in it", A, lambda x: x)


def test_a_guess_that_does_not_fit():
    refused(StructureError, r"x0 must have shape \(3,\).*; got \(4,\)", A, b, js.Solve("CG", x0=np.ones(4)))
    refused(StructureError, "x0 has 2 leaves where b is one array", A, b, js.Solve("CG", x0={"a": b, "b": b}))
    text = r"A of shape \(3, 3\) needs 3 unknowns; x0 has 4: \{'a': array\(4,\)\}"
    refused(StructureError, text, A, {"a": b}, js.Solve("CG", x0={"a": np.ones(4)}))
    refused(StructureError, r"x0 must have shape", A, b, js.Solve("CG", x0=np.ones((7, 3))))


def test_a_function_that_returns_something_else():
    text = r"shorter returned array\(2,\), but the right-hand side is array\(3,\).*give x0 if the unknown has another"

    def shorter(x):
        return x[:2]

    refused(StructureError, text, shorter, b)


def test_a_function_that_is_not_linear():
    text = r"not linear in its first argument: `mul` at \S*test_refusals\.py:\d+ .*js\.solve_nonlinear"
    refused(NotLinearError, text, lambda x: x * x.sum(), b)
    refused(NotLinearError, "divides by", lambda x: 2 / x, b)


def test_arguments_for_a_matrix():
    text = (
        r"further arguments \(float, conductivity\) are passed on to A, so A must be a function; got ndarray"
    )
    refused(TypeError, text, A, b, js.Solve(), 2.0, conductivity=3)


def test_a_request_that_is_none():
    refused(
        TypeError,
        r"the third argument is a js\.Solve, such as js\.Solve\('CG', rtol=1e-8\); got 'CG'",
        A,
        b,
        "CG",
    )


def test_an_unknown_method():
    with pytest.raises(
        ValueError, match=r"unknown method 'GMRS'\. Did you mean 'GMres'\? Known: .*auto, banded"
    ):
        js.Solve("GMRS")
    with pytest.raises(
        TypeError, match=r"method expects a name or a method module such as js\.CG\(\); got int\. Names: "
    ):
        js.Solve(3)


def test_an_unknown_preconditioner():
    with pytest.raises(
        ValueError, match=r"unknown preconditioner 'jaccobi'\. Did you mean 'jacobi'\? Known: "
    ):
        js.Solve(preconditioner="jaccobi")
    with pytest.raises(TypeError, match=r"preconditioner expects None, a name, .*; got int"):
        js.Solve(preconditioner=3)
    with pytest.raises(TypeError, match=r"a pair \(left, right\); got 3 entries"):
        js.Solve(preconditioner=("jacobi", None, None))


@pytest.mark.parametrize("name", ["rtol", "atol", "max_iterations"])
def test_numbers_that_are_none(name):
    with pytest.raises(ValueError, match=f"{name} must not be negative; got -1"):
        ANY(**{name: -1})
    with pytest.raises(TypeError, match=f"{name} expects a number; got str"):
        ANY(**{name: "small"})
    refused(
        StructureError,
        rf"{name} must be a number or have the batch's shape \(\); got shape \(2,\)",
        A,
        b,
        ANY("CG", **{name: np.ones(2, int)}),
    )


def test_numbers_that_stop_nothing():
    with pytest.raises(ValueError, match="rtol must not be NaN; got nan"):
        js.Solve(rtol=float("nan"))
    with pytest.raises(
        TypeError, match=r"max_iterations counts steps and must be an integer; got 10\.5 of type"
    ):
        js.Solve(max_iterations=10.5)
    with pytest.raises(TypeError, match="max_iterations counts steps and must be an integer"):
        js.Solve(max_iterations=jnp.asarray(10.0))
    assert js.Solve(max_iterations=1e3).max_iterations == 1000


def test_suppress_of_other_exceptions():
    with pytest.raises(
        TypeError,
        match=r"suppress expects exception classes out of js\.NotConverged, js\.Diverged; got <class 'V",
    ):
        js.Solve(suppress=ValueError)


def test_a_gradient_solve_that_is_none():
    with pytest.raises(TypeError, match="gradient_solve expects a Solve; got str"):
        ANY(gradient_solve="CG")


def test_a_preprocess_that_is_none():
    with pytest.raises(TypeError, match="preprocess expects a function of the operator; got int"):
        js.Solve(preprocess=3)


def test_a_rank_deficiency_without_its_vectors():
    with pytest.raises(
        ValueError,
        match=r"rank_deficiency=2 does not say which vectors A maps to zero; pass a basis as null_space=",
    ):
        js.Solve(rank_deficiency=2)
    refused(
        ValueError,
        "rank_deficiency=1, but null_space holds 2 vectors",
        A,
        b,
        js.Solve("CG", rank_deficiency=1, null_space=np.eye(3)[:, :2]),
    )


def test_a_null_space_that_does_not_fit():
    text = r"null_space is one vector in the structure of x \(array\(3,\)\), a sequence of them, or a matrix of 3 rows"
    refused(StructureError, text, A, b, js.Solve("CG", null_space=np.ones(4)))
    refused(StructureError, text, A, b, js.Solve("CG", null_space=np.ones((4, 2))))


def test_a_preconditioner_that_does_not_fit():
    refused(
        StructureError,
        r"the preconditioner of A \(3, 3\) has shape \(3, 3\); got \(2, 2\)",
        A,
        b,
        js.Solve("CG", preconditioner=np.eye(2)),
    )
    refused(StructureError, "returned array", A, b, js.Solve("CG", preconditioner=lambda r: r[:2]))
    refused(
        NotLinearError,
        "as a preconditioner, the function is not linear",
        A,
        b,
        js.Solve("CG", preconditioner=lambda r: r * r),
    )


def test_a_band_that_is_unknown_or_exceeded():
    with pytest.raises(
        StructureError,
        match=r"`banded` needs to know the band of A.*js\.Banded\(lower=\.\.\., upper=\.\.\.\)",
    ):
        jax.jit(lambda A: js.solve_linear(A, b, js.Solve("banded")))(A)
    refused(
        StructureError,
        r"A has 2 diagonals below and 0 above .* was told 1 and 1",
        np.eye(3) + np.eye(3, k=-2),
        b,
        js.Solve("tridiagonal"),
    )


def test_refusals_come_while_tracing_too():
    with pytest.raises(StructureError, match="needs a right-hand side of 3 values"):
        jax.jit(lambda b: js.solve_linear(A, b))(np.ones(4))
    with pytest.raises(StructureError, match="needs a right-hand side of 3 values"):
        jax.grad(lambda b: js.solve_linear(sps.csr_array(A), b).sum())(np.ones(4))


def test_aliases_of_the_tolerances():
    solve = js.Solve("CG", rel_tol=1e-3, abs_tol=1e-7)
    assert (solve.rtol, solve.atol) == (1e-3, 1e-7)


def test_a_request_prints_as_it_was_written():
    assert (
        repr(js.Solve("bicg_stab(2)", rtol=1e-8, preconditioner="jacobi"))
        == "Solve('biCG-stab(2)', rtol=1e-08, preconditioner=jacobi)"
    )
    assert repr(js.Solve()) == "Solve('auto')"
    assert repr(js.Solve(preconditioner=lambda r: r)) == "Solve('auto', preconditioner=<lambda>)"


def test_jnp_scalars_are_numbers():
    solve = js.Solve("CG", rtol=jnp.asarray(1e-3), max_iterations=np.int64(5))
    assert js.solve_linear_info(np.eye(3), b, solve).converged
