"""The forms of methods for several devices, on one: as good as those that they stand for."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.solvers.krylov.basis import orthogonalise_in_two_sums
from jaxsolve.solvers.krylov.bicgstab_in_two_sums import BiCGStabInTwoSums
from jaxsolve.solvers.krylov.cg_in_one_sum import CGInOneSum

rng = np.random.default_rng(0)


def definite(n, dtype=float):
    G = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if dtype is complex else 0)
    return (G @ G.conj().T / n + np.eye(n)).astype(dtype)


def plate(n):
    """The square of the second difference, of condition 2e6 for n = 60."""
    second = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    return second @ second


@pytest.mark.parametrize(
    ("A", "rtol"),
    [
        (plate(60), 1e-9),
        pytest.param(definite(30, complex), 1e-12, marks=pytest.mark.further),
        pytest.param(definite(30, np.float32), 1e-5, marks=pytest.mark.further),
    ],
)
def test_cg_takes_as_many_steps(A, rtol):
    b = rng.standard_normal(len(A)).astype(A.dtype)
    of_cg, found = (
        js.solve_linear_info(A, b, js.Solve(method, rtol=rtol, preconditioner="jacobi"))
        for method in (js.CG(), CGInOneSum())
    )
    assert found.converged
    assert abs(int(found.iterations) - int(of_cg.iterations)) <= 2
    assert np.linalg.norm(A @ np.asarray(found.x) - b) <= rtol * np.linalg.norm(b)


@pytest.mark.further
def test_cg_of_any_sign_and_its_failures():
    A, b = definite(20), rng.standard_normal(20)
    assert js.solve_linear_info(-A, b, js.Solve(CGInOneSum(), rtol=1e-10)).converged
    assert js.solve_linear_info(A[:1, :1], b[:1], js.Solve(CGInOneSum())).converged
    exchange = js.solve_linear_info(np.array([[0.0, 1.0], [1.0, 0.0]]), [1.0, 0.0], js.Solve(CGInOneSum()))
    assert exchange.status.name == js.solve_linear_info(
        np.array([[0.0, 1.0], [1.0, 0.0]]), [1.0, 0.0], js.Solve("CG")
    ).status.name  # fmt: skip
    indefinite = np.diag(np.r_[np.ones(10), -np.linspace(1, 3, 10)])
    few = js.solve_linear_info(indefinite, np.ones(20), js.Solve(CGInOneSum(), max_iterations=2))
    assert few.status.name == "negative_curvature"
    # A right-hand side out of reach is no answer.
    singular = js.solve_linear_info(np.diag([0.0, 1.0, 2.0]), np.ones(3), js.Solve(CGInOneSum()))
    assert not singular.converged


@pytest.mark.parametrize("dtype", [pytest.param(float, marks=pytest.mark.further), complex])
def test_bicgstab_solves_the_same_systems(dtype):
    A = (
        np.eye(40) * 4
        + rng.standard_normal((40, 40)) / 4
        + (1j * np.diag(np.arange(40) / 10) if dtype is complex else 0)
    )
    b = rng.standard_normal(40).astype(dtype)
    of_both = [js.solve_linear_info(A, b, js.Solve(m, rtol=1e-11, preconditioner="jacobi"))
               for m in (js.BiCGStab(), BiCGStabInTwoSums())]  # fmt: skip
    assert all(info.converged for info in of_both)
    assert abs(int(of_both[0].iterations) - int(of_both[1].iterations)) <= 2
    np.testing.assert_allclose(of_both[1].x, np.linalg.solve(A, b), atol=1e-9)
    # A multiple of the identity is met by one step, whose residual is rounding.
    assert js.solve_linear_info(
        3 * np.eye(5), np.ones(5), js.Solve(BiCGStabInTwoSums(), rtol=1e-12)
    ).converged


@pytest.mark.parametrize("share", [1.0, 1e-7, 1e-15])
def test_two_sums_leave_vectors_orthogonal(share):
    """Also where nearly all of w lies in the space, and its norm is not known from the first sums."""
    Q = np.linalg.qr(rng.standard_normal((30, 6)))[0].T
    w = Q[:5].T @ rng.standard_normal(5) + share * Q[5]
    h, rest, of_w, norm = orthogonalise_in_two_sums(jnp.asarray(Q[:5]), jnp.asarray(w))
    np.testing.assert_allclose(of_w, np.linalg.norm(w), rtol=1e-14)
    np.testing.assert_allclose(norm, np.linalg.norm(rest), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(h) @ Q[:5] + np.asarray(rest), w, atol=1e-14)
    if share > 1e-14:
        assert np.abs(Q[:5] @ np.asarray(rest)).max() <= 1e-14 * float(norm)
