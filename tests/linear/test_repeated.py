"""Calls like one before: only their program is remembered, nothing of their values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsolve as js
from jaxsolve.linear import repeated

A = jnp.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 5.0]])
b = jnp.array([1.0, 2.0, 3.0])


class Scaling(js.LinearOperator):
    """Multiplies by d: an operator of a user."""

    d: jax.Array

    @property
    def shape(self):
        return (self.d.size, self.d.size)

    @property
    def dtype(self):
        return self.d.dtype

    def mv(self, x):
        return self.d * x

    def transpose(self):
        return self

    def conj(self):
        return self


def _sparse(matrix):
    return js.SparseMatrix.from_scipy(scipy.sparse.csr_array(np.asarray(matrix)))


@pytest.mark.parametrize("method", ["CG", "LU"])
def test_new_values_are_solved_with(method):
    solve = js.Solve(method, rtol=1e-6)
    for factor in (1.0, 2.0, -3.0):
        x = js.solve_linear(factor * A, b / factor, solve)
        np.testing.assert_allclose(factor**2 * A @ x, b, rtol=1e-5)


@pytest.mark.parametrize("made", [_sparse, lambda m: Scaling(jnp.diag(m))], ids=["sparse", "operator"])
def test_new_values_of_operators_are_solved_with(made, monkeypatch):
    repeats, at_once = [], repeated.RepeatedSystem.at_once
    monkeypatch.setattr(
        repeated.RepeatedSystem, "at_once", lambda system, watch: repeats.append(1) or at_once(system, watch)
    )
    for factor in (1.0, 2.0, 3.0):
        M = made(factor * A)
        x = js.solve_linear(M, b, js.Solve("GMres", rtol=1e-6))
        np.testing.assert_allclose(M.mv(x), b, rtol=1e-5)
    assert len(repeats) == 2


def test_new_numbers_of_the_request_count():
    infos = [js.solve_linear_info(A, b, js.Solve("CG", max_iterations=k)) for k in (1, 3, 2)]
    assert [int(info.iterations) for info in infos] == [1, 3, 2]
    targets = [
        js.solve_linear_info(A, b, js.Solve("CG", rtol=r, atol=a)).target
        for r, a in ((0.1, 0.0), (0.01, 1.0))
    ]
    np.testing.assert_allclose(targets, [0.1 * jnp.linalg.norm(b), 1.0], rtol=1e-6)


def test_a_first_guess_counts():
    x = jnp.linalg.solve(A, b)
    counts = [int(js.solve_linear_info(A, b, js.Solve("CG", x0=x0)).iterations) for x0 in (0 * x, 0 * x, x)]
    assert counts == [3, 3, 0]


def test_what_is_suppressed_counts():
    for suppress in ((), js.NotConverged, ()):
        asked = js.Solve("CG", rtol=1e-8, max_iterations=1, suppress=suppress)
        if suppress:
            assert js.solve_linear(A, b, asked).shape == (3,)
        else:
            with pytest.raises(js.NotConverged, match="iteration limit") as error:
                js.solve_linear(A, b, asked)
            assert int(error.value.result.iterations) == 1


@pytest.mark.further
def test_shapes_and_dtypes_count():
    solve = js.Solve("CG", rtol=1e-6)
    for right in (b, jnp.stack([b, 2 * b]), 1j * b, b):
        x = js.solve_linear(A, right, solve)
        assert (x.shape, x.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(x @ A.T, right, rtol=1e-5)
    stack = jnp.stack([A, 2 * A])
    for _ in range(2):
        np.testing.assert_allclose(
            js.solve_linear(stack, b, solve)[1] * 2, js.solve_linear(A, b, solve), rtol=1e-5
        )


def test_gradients_reach_the_matrix_or_not():
    solve = js.Solve("CG", rtol=1e-6)

    def loss(A, reached):
        return js.solve_linear(A, b, solve, grad_for_f=reached).sum()

    for _ in range(2):
        js.solve_linear(A, b, solve)
    assert jnp.any(jax.grad(loss)(A, True) != 0)
    assert not jnp.any(jax.grad(loss)(A, False) != 0)


def test_a_repeated_solve_can_be_explained(capsys):
    infos = [js.solve_linear_info(k * A, b, js.Solve("CG")) for k in (1.0, 2.0)]
    texts = [str(js.explain(info)).splitlines()[1] for info in infos]
    assert all(text.startswith("A: ") for text in texts)
    capsys.readouterr()
