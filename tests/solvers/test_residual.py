"""A verdict of convergence rests on a residual that is computed sharply enough for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.vector import exponent
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.residual import PRODUCTS, Residual
from jaxsolve.solvers.units import rescaled, unit_of
from tests.gallery import problems

N = 40
REAL, COMPLEX = np.float32, np.complex64


class Hidden(LinearOperator):
    """A matrix of which only the products are known."""

    matrix: jax.Array
    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def mv(self, x):
        return self.matrix @ x


def banded(dtype):
    return np.triu(np.tril(problems.random(N, N, seed=5200, dtype=dtype), 2), -2)


def scattered(dtype):
    """Rows of a few entries and one full one, so that the layout has a tail."""
    A = problems.random(N, N, seed=5201, dtype=dtype) * (problems.random(N, N, seed=5202) > 1.2)
    A[3] = problems.random(N, seed=5203, dtype=dtype)
    return A.astype(dtype) + 4 * np.eye(N, dtype=dtype)


def sparse(A):
    return SparseMatrix.from_dense(A).layout()


OPERATORS = {
    "dense": (
        lambda A: DenseMatrix(jnp.asarray(A)),
        lambda dtype: problems.random(N, N, seed=5204, dtype=dtype),
    ),
    "diagonals": (sparse, banded),
    "rows": (sparse, scattered),
}


def residual_of(A, b):
    real = jnp.finfo(b.dtype).dtype
    of_A, of_b = exponent(unit_of(A, b)[0]), exponent(jnp.max(jnp.abs(b)))
    scaled = b * jnp.asarray(2.0 ** -int(of_b), real)
    return Residual(A, rescaled(A, -of_A, real), scaled, of_A, of_b), 2.0 ** int(of_b)


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("dtypes", [(REAL, REAL), (REAL, COMPLEX), (COMPLEX, COMPLEX)])
def test_the_residual_of_a_solution_is_known_to_half_its_digits_and_more(kind, dtypes):
    make, matrix = OPERATORS[kind]
    A = matrix(dtypes[0])
    x = problems.random(N, seed=5205, dtype=dtypes[1])
    wide = np.promote_types(A.dtype, np.float64)
    # b - A x is a thousandth of the rounding of b: nothing of it is left in a plain residual.
    b = (A.astype(wide) @ x).astype(x.dtype)
    exact = b - A.astype(wide) @ x
    residual, unit = residual_of(make(A), jnp.asarray(b))
    sharp, norm, rounding, products = jax.jit(lambda r, x: r(x, jnp.float32(1e-7), jnp.float32(1)))(
        residual, x
    )
    plain = b - np.asarray(make(A).mv(jnp.asarray(x)))
    error = np.linalg.norm(np.asarray(sharp) * unit - exact)
    assert error < 3e-3 * np.linalg.norm(exact)
    assert np.linalg.norm(plain - exact) > 30 * error
    assert float(norm) * unit == pytest.approx(np.linalg.norm(exact), rel=3e-3)
    # The bound covers what the plain residual was off, and not by far.
    assert np.linalg.norm(plain - exact) < float(rounding) * unit < 1e3 * np.linalg.norm(plain - exact)
    assert int(products) == 1 + PRODUCTS


@pytest.mark.few(3)
@pytest.mark.parametrize("method", ["CG", "LU", "GMres", "lsmr", "sparse-direct", "scipy-CG"])
@pytest.mark.parametrize("kind", [np.asarray, sps.csr_array, "function"])
def test_a_tolerance_below_rounding_is_never_met(method, kind):
    A, b = np.float32(np.diag(np.arange(1, N + 1)) + 0.1), np.ones(N, np.float32)
    given = (lambda x, A: A @ x) if kind == "function" else kind(A)
    extra = (A,) if kind == "function" else ()
    info = js.solve_linear_info(given, b, js.Solve(method, rtol=1e-10), *extra)
    true = np.linalg.norm(b - A.astype(float) @ np.asarray(info.x, float))
    assert info.status is js.Status.stagnation
    # Of a function there are only two residuals with different rounding, and the larger one counts.
    assert 0.7 * true < float(info.residual_norm) < (10 if kind == "function" else 1.01) * true
    # What the message calls attainable is that.
    rtol = float(info.message.split("rtol=")[1].split()[0])
    assert js.solve_linear_info(given, b, js.Solve(method, rtol=rtol), *extra).converged
    assert "direct" not in info.message.removeprefix(method)


def test_a_first_guess_is_judged_as_sharply():
    A, b = np.float32(np.diag(np.arange(1, N + 1)) + 0.1), np.ones(N, np.float32)
    x0 = np.float32(np.linalg.solve(A.astype(float), b))
    info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-9, x0=x0))
    assert not info.converged


def test_a_solution_that_the_dtype_holds_is_found_at_any_tolerance():
    info = js.solve_linear_info(
        np.float32(problems.poisson(N)), np.ones(N, np.float32), js.Solve("LU", rtol=1e-12)
    )
    assert info.converged
    k = np.arange(1, N + 1)
    np.testing.assert_array_equal(info.x, k * (N + 1 - k) / 2)


def test_ordinary_solves_spend_no_product_on_it():
    A, b = problems.definite(N, 5206), problems.random(N, seed=5207)
    info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-8))
    assert info.function_evaluations == info.iterations + 2
