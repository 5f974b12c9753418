"""A null space costs an iteration nothing where A maps it to zero, and is taken out of products where not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.operators.conversion import as_operator
from jaxsolve.solvers.nullspace import Compressed, NullSpace, orthonormal
from tests.gallery import problems
from tests.gallery.methods import distance

N = 12
NEUMANN = np.asarray(problems.neumann_2d(3, 4))
Q, _ = np.linalg.qr(problems.random(N, N, seed=8, dtype=np.complex128))
TWICE = (Q * np.r_[0, 0, np.linspace(1, 2, N - 2)]) @ Q.conj().T
ONES = np.ones((N, 1))
B = problems.random(N, seed=2)


@pytest.mark.parametrize(
    ("A", "basis", "exact"),
    [
        (NEUMANN, ONES, True),
        (np.float32(NEUMANN), np.float32(ONES), True),
        (TWICE, Q[:, :2] @ np.array([[1, 2], [3j, 1]]), True),
        (problems.poisson(N), ONES, False),
        (np.linspace(1, 3, N)[:, None] * NEUMANN, ONES, False),  # constants are mapped to zero, by Aᴴ others
        (NEUMANN * np.linspace(1, 3, N), ONES, False),
        (TWICE, Q[:, [0, 2]], False),
        (np.full((N, N), np.nan), ONES, False),
    ],
)
def test_a_null_space_is_verified_from_both_sides(A, basis, exact):
    nulls = NullSpace(orthonormal(jnp.asarray(basis, A.dtype)))
    for unit in (1.0, 1e-20, 1e20):
        size = jnp.asarray(unit, jnp.finfo(A.dtype).dtype)
        found, products = nulls.verified(as_operator(jnp.asarray(A * np.float32(unit))), size)
        assert (bool(found.exact), products) == (exact, 2)


def test_products_are_left_alone_where_it_is_verified():
    A, x = as_operator(jnp.asarray(NEUMANN)), jnp.asarray(B)
    basis = orthonormal(jnp.asarray(ONES))
    alone, taken = (Compressed(A, NullSpace(basis, exact=jnp.array(e))) for e in (True, False))
    np.testing.assert_array_equal(alone.mv(x), A.mv(x))
    shifted = Compressed(as_operator(A.as_matrix() + 1), taken.nulls)
    assert abs(np.sum(shifted.mv(x))) < 1e-13


@pytest.mark.few(1)
@pytest.mark.parametrize("method", ["CG", "GMres"])
def test_solutions_without_a_part_of_vectors_that_are_not_mapped_to_zero_are_found(method):
    A = problems.poisson(N)
    x = B - B.mean()
    info = js.solve_linear_info(A, A @ x, js.Solve(method, rtol=1e-10, null_space=ONES))
    assert bool(info.converged)
    assert distance(info.x, x) < 1e-8


@pytest.mark.further
def test_of_a_batch_each_null_space_is_verified_for_itself():
    As = jnp.stack([NEUMANN, np.asarray(problems.poisson(N))])
    x = B - B.mean()
    bs = jnp.einsum("kij,j->ki", As, x)
    solve = js.Solve("CG", rtol=1e-10, rank_deficiency=1)
    for found in (
        js.solve_linear(As, bs, solve),
        jax.vmap(lambda A, b: js.solve_linear(A, b, solve))(As, bs),
    ):
        assert distance(found, np.stack([x, x])) < 1e-8


@pytest.mark.few(1)
@pytest.mark.parametrize("preconditioner", [None, "jacobi"])
def test_rounding_that_is_left_in_the_iteration_is_out_of_the_solution(preconditioner):
    # As far as float32 goes: the null space's part grows with every product that is not projected.
    weights = np.exp(problems.random(N, seed=3))
    A = np.float32(weights[:, None] * NEUMANN * weights)
    v = 1 / weights
    b = np.float32(weights * (B - B.mean()))
    solve = js.Solve("CG", rtol=3e-7, null_space=np.float32(v), preconditioner=preconditioner)
    info = js.solve_linear_info(js.SparseMatrix.from_dense(A), b, solve)
    x = np.float64(info.x)
    assert distance(x, np.linalg.pinv(weights[:, None] * NEUMANN * weights) @ np.float64(b)) < 1e-4
    assert abs(v @ x) < 1e-6 * np.linalg.norm(v) * np.linalg.norm(x)
