"""Everything that solve_linear accepts, in the structure it was given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance, relative_residual

N = 6
D = problems.convection(N)
B = problems.random(N, seed=2)
X = np.linalg.solve(D, B)
SOLVE = js.Solve("biCG-stab", rtol=1e-10)


class Own(js.LinearOperator):
    """A user's operator with a parameter."""

    diagonal_value: jax.Array
    count: int

    shape = property(lambda self: (self.count, self.count))
    dtype = property(lambda self: self.diagonal_value.dtype)

    def mv(self, x):
        padded = jnp.pad(x, 1)
        return self.diagonal_value * x - 1.5 * padded[:-2] - 0.5 * padded[2:]


def stencil(x):
    padded = jnp.pad(x, 1)
    return 2.2 * x - 1.5 * padded[:-2] - 0.5 * padded[2:]


KINDS = {
    "numpy": D,
    "jax": jnp.asarray(D),
    "list": D.tolist(),
    "BCOO": BCOO.fromdense(jnp.asarray(D)),
    "padded BCOO": BCOO.fromdense(jnp.asarray(D), nse=20),
    "BCSR": BCSR.fromdense(jnp.asarray(D)),
    "csr_matrix": sps.csr_matrix(D),
    "csr_array": sps.csr_array(D),
    "coo_array": sps.coo_array(D),
    "dia_array": sps.dia_array(D),
    "SparseMatrix": js.SparseMatrix.from_dense(D),
    "DenseMatrix": js.DenseMatrix(jnp.asarray(D)),
    "operator": Own(jnp.asarray(2.2), N),
    "algebra": 2 * js.SparseMatrix.from_dense(D / 2),
    "function": stencil,
    "affine function": lambda x: stencil(x) + 0.0 * jnp.arange(N),
    "compiled function": jax.jit(stencil),
    "method of an object": js.SparseMatrix.from_dense(D).mv,
}


@pytest.mark.parametrize("A", KINDS.values(), ids=KINDS)
def test_every_kind_of_matrix_is_solved(A):
    assert distance(js.solve_linear(A, B, SOLVE), X) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("A", KINDS.values(), ids=KINDS)
def test_every_kind_of_matrix_is_solved_inside_jit(A):
    assert distance(jax.jit(lambda b: js.solve_linear(A, b, SOLVE))(B), X) < 1e-8


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "solve",
    [
        js.Solve("banded"),
        *(js.Solve("GMres", rtol=1e-10, preconditioner=p) for p in ("ilu", "ssor", "block-jacobi", "amg")),
    ],
    ids=["banded", "ilu", "ssor", "block-jacobi", "amg"],
)
def test_the_entries_of_an_operator_are_read_off_its_products(solve):
    def x(value, solve=solve):
        return js.solve_linear(Own(value, N), B, solve)

    assert distance(x(jnp.asarray(2.2)), X) < 1e-8
    assert distance(jax.jit(x)(2.2), X) < 1e-8


@pytest.mark.further
def test_gradients_reach_an_operator_whose_entries_are_read():
    def total(value, solve):
        return js.solve_linear(Own(value, N), B, solve).sum()

    slope = jax.grad(total)(2.2, js.Solve("GMres", rtol=1e-12, preconditioner="ilu"))
    assert float(slope) == pytest.approx(-np.linalg.solve(D.T, np.ones(N)) @ X, rel=1e-8)


def test_the_entries_of_a_large_operator_are_read_off_its_products():
    b = jnp.ones(20_000)
    info = js.solve_linear_info(Own(jnp.asarray(2.2), len(b)), b, js.Solve("sparse-direct", rtol=1e-10))
    assert info.converged


@pytest.mark.parametrize(
    "b", [B.tolist(), tuple(B), jnp.asarray(B), B], ids=["list", "tuple", "jax", "numpy"]
)
def test_right_hand_sides_may_be_any_array(b):
    if not isinstance(b, tuple):
        # A list of numbers is an array.
        assert distance(js.solve_linear(D, b, SOLVE), X) < 1e-8
    else:
        # A tuple is a pytree of its numbers, and the solution has its structure.
        x = js.solve_linear(D, b, SOLVE)
        assert type(x) is type(b)
        assert distance(np.array(x), X) < 1e-8


@pytest.mark.further
def test_arguments_of_a_function_come_by_place_and_by_name():
    def f(x, k, *, shift=0.0):
        return k * stencil(x) + shift

    for x in (
        js.solve_linear(f, B, SOLVE, 2.0),
        js.solve_linear(f, B, SOLVE, k=2.0),
        js.solve_linear(f, B, SOLVE, jnp.asarray(2.0), shift=0.0),
    ):
        assert distance(x, X / 2) < 1e-8
    assert distance(js.solve_linear(f, B, SOLVE, 1.0, shift=1.0), np.linalg.solve(D, B - 1)) < 1e-8


def test_whole_numbers_and_flags_may_steer_a_function():
    def f(x, times, flag, name):
        assert name == "given"
        for _ in range(times):
            x = 2 * x
        return x if flag else 0 * x

    np.testing.assert_allclose(js.solve_linear(f, B, SOLVE, 3, True, name="given"), B / 8)


def test_pytrees_go_in_and_come_out():
    def f(x):
        return {"u": 3 * x["u"] + x["p"][0], "p": [2 * x["p"][0] - x["u"].sum()]}

    b = {"u": jnp.asarray(problems.random(2, 3, seed=4)), "p": [jnp.asarray(1.0)]}
    x = js.solve_linear(f, b, SOLVE)
    assert jax.tree.structure(x) == jax.tree.structure(b)
    assert x["u"].shape == (2, 3)
    for one, other in zip(jax.tree.leaves(f(x)), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_unknowns_may_have_another_structure_than_b():
    def f(x):
        return jnp.concatenate([3 * x["u"], 2 * x["v"]])

    x = js.solve_linear(
        f, jnp.arange(5.0), js.Solve("biCG-stab", rtol=1e-10, x0={"u": jnp.zeros(2), "v": jnp.zeros(3)})
    )
    np.testing.assert_allclose(x["u"], [0, 1 / 3], atol=1e-9)
    np.testing.assert_allclose(x["v"], [1, 1.5, 2], atol=1e-9)


def test_matrices_solve_for_pytrees_and_grids_of_their_size():
    grid = problems.random(2, 3, seed=5)
    x = js.solve_linear(D, {"grid": grid}, SOLVE)
    assert distance(x["grid"].ravel(), np.linalg.solve(D, grid.ravel())) < 1e-8
    A = js.SparseMatrix.from_dense(D)
    x = js.solve_linear(A, {"grid": grid}, js.Solve("biCG-stab", rtol=1e-10, x0={"grid": grid}))
    assert distance(x["grid"].ravel(), np.linalg.solve(D, grid.ravel())) < 1e-8


def test_fields_of_several_axes_are_unknowns_of_a_function():
    def laplace(u):
        p = jnp.pad(u, 1)
        return 4.5 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2]

    b = problems.random(3, 4, seed=6)
    u = js.solve_linear(laplace, b, js.Solve("CG", rtol=1e-10))
    np.testing.assert_allclose(laplace(u), b, atol=1e-8)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("A", "b", "x"),
    [
        (np.float32, np.float32, np.float32),
        (np.float64, np.float32, np.float64),
        (np.float32, np.float64, np.float64),
        (np.float32, np.int32, np.float32),
        (np.int64, np.int64, np.float64),
        (np.complex64, np.float32, np.complex64),
        (np.float64, np.complex64, np.complex128),
    ],
)
def test_the_solution_has_the_common_dtype_and_no_wider_one(A, b, x):
    matrix = (2 * np.eye(2) + [[0, 1], [0, 0]]).astype(A)
    for given in (matrix, sps.csr_array(matrix)):
        assert js.solve_linear(given, np.array([1, 2]).astype(b), js.Solve("CGS", rtol=1e-4)).dtype == x


def test_the_dtype_of_a_function_is_that_of_b_and_of_what_it_returns():
    assert js.solve_linear(lambda x: 2 * x, np.ones(2, np.float32), js.Solve("CGS")).dtype == np.float32
    wide = js.solve_linear_info(lambda x: jnp.asarray(D) @ x, B.astype(np.float32), SOLVE)
    assert wide.x.dtype == np.float64
    assert relative_residual(D, wide.x, B.astype(np.float32)) <= 1.01 * SOLVE.rtol
    traced = js.solve_linear(js.jit_compile_linear(lambda x: jnp.asarray(D) @ x), B.astype(np.float32), SOLVE)
    assert traced.dtype == np.float64
    turned = js.solve_linear(lambda x: 2j * x, np.ones(2), js.Solve("CGS"))
    np.testing.assert_allclose(turned, [-0.5j, -0.5j])


@pytest.mark.further
def test_a_real_matrix_solves_for_complex_unknowns():
    b = B + 1j * problems.random(N, seed=9)
    for A in (D, js.SparseMatrix.from_dense(D), stencil):
        assert distance(js.solve_linear(A, b, SOLVE), np.linalg.solve(D, b)) < 1e-8


def test_a_guess_that_solves_is_returned_unchanged():
    info = js.solve_linear_info(D, B, js.Solve("biCG-stab", rtol=1e-8, x0=X))
    assert info.iterations == 0
    np.testing.assert_array_equal(info.x, X)
    # A guess so good that its residual is far below b's is within the tolerance of b, not of itself.
    near = js.solve_linear_info(D, B, js.Solve("CGS", rtol=1e-5, x0=X * (1 + 1e-7)))
    assert near.iterations == 0


def test_many_right_hand_sides_are_columns():
    columns = problems.random(N, 3, seed=7)
    x = js.solve_linear_many(D, columns, SOLVE)
    np.testing.assert_allclose(x, np.linalg.solve(D, columns), atol=1e-8)
    with pytest.raises(ValueError, match=r"A of shape \(6, 6\) goes with B of shape \(6, k\); got \(6,\)"):
        js.solve_linear_many(D, B)
    many = js.solve_linear_many(sps.csr_array(D), columns, js.Solve("biCG-stab", rtol=1e-10, x0=columns))
    np.testing.assert_allclose(many, np.linalg.solve(D, columns), atol=1e-8)


def test_preprocess_replaces_the_operator():
    seen = []

    def halve(A):
        seen.append(A)
        return 2 * A

    x = js.solve_linear(D, B, js.Solve("biCG-stab", rtol=1e-10, preprocess=halve))
    assert isinstance(seen[0], js.LinearOperator)
    assert distance(x, X / 2) < 1e-8


def test_auto_solves_what_it_is_given():
    for A in (
        D,
        sps.csr_array(D),
        stencil,
        js.SparseMatrix.from_dense(problems.poisson(N)).declare(positive_definite=True),
    ):
        x = js.solve_linear(A, B)
        residual = B - (A(x) if callable(A) else A @ x)
        assert np.linalg.norm(residual) <= 1.01e-5 * np.linalg.norm(B)


def test_empty_systems_are_solved():
    assert js.solve_linear(np.zeros((0, 0)), np.zeros(0), SOLVE).shape == (0,)
    assert js.solve_linear(lambda x: x, {"a": jnp.zeros((0, 2))}, SOLVE)["a"].shape == (0, 2)


def test_auto_proves_what_the_entries_of_a_constant_matrix_tell():
    poisson = sps.csr_array(problems.poisson(40))
    b = np.ones(40)

    def chosen(A):
        return js.explain(A, b, js.Solve(preconditioner="jacobi"))

    assert chosen(poisson).method == "CG"
    assert "A is proved definite" in str(chosen(poisson))
    assert chosen(poisson - sps.eye_array(40)).method == "minres"
    assert chosen(poisson + sps.diags_array([np.ones(39)], offsets=[1])).method == "IDR(s)"
    assert jax.jit(lambda A: js.solve_linear_info(A, b).x)(js.SparseMatrix.from_scipy(poisson)).shape == (40,)
    assert js.solve_linear_info(poisson, b, js.Solve(preconditioner="jacobi")).method == "CG"


@pytest.mark.parametrize(
    ("A", "solve", "text"),
    [
        (lambda x: 3 * x, js.Solve("CG"), "matrix-free: only products"),
        (
            lambda x: 3 * x,
            js.Solve("CG", preconditioner="jacobi"),
            "sparse matrix: the method or the preconditioner",
        ),
        (js.jit_compile_linear(lambda x: 3 * x), js.Solve("CG"), "sparse matrix: it is decorated"),
    ],
)
def test_explain_says_whether_a_function_is_read(A, solve, text):
    assert text in str(js.explain(A, jnp.ones(3), solve))
