"""Damped least squares: min ‖b - A x‖² + λ²‖x‖² beside dense normal equations, SciPy and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg as spla

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

TALL = problems.random(9, 5, seed=1)
WIDE = TALL.T
SQUARE = problems.random(5, 5, seed=3)
DEFICIENT = TALL @ np.diag([1.0, 1, 1, 0, 0]) @ problems.random(5, 5, seed=4)
COMPLEX = problems.random(6, 4, seed=5, dtype=np.complex128)
MATRICES = {"tall": TALL, "wide": WIDE, "square": SQUARE, "deficient": DEFICIENT, "complex": COMPLEX}


def rhs(A, seed=2):
    return problems.random(A.shape[0], seed=seed, dtype=A.dtype)


def reference(A, b, damp):
    n = A.shape[1]
    return jnp.linalg.solve(A.conj().T @ A + damp**2 * jnp.eye(n), A.conj().T @ b)


def asked(damp, kind=js.LSMR, **options):
    return js.Solve(kind(damp=damp), rtol=1e-12, **options)


@pytest.mark.few(2)
@pytest.mark.parametrize("stored", ["dense", "sparse"])
@pytest.mark.parametrize("kind", [js.LSMR, js.LSQR])
@pytest.mark.parametrize("name", MATRICES)
def test_the_solution_is_that_of_the_damped_normal_equations(name, kind, stored):
    A, damp = MATRICES[name], 0.7
    b = rhs(A)
    given = A if stored == "dense" else js.SparseMatrix.from_dense(A)
    info = js.solve_linear_info(given, b, asked(damp, kind))
    assert info.status is js.Status.least_squares
    assert distance(info.x, reference(A, b, damp)) < 1e-9
    assert info.residual.shape == b.shape
    np.testing.assert_allclose(info.residual, b - A @ np.asarray(info.x), atol=1e-12)
    whole = np.hypot(np.linalg.norm(info.residual), damp * np.linalg.norm(info.x))
    assert float(info.residual_norm) == pytest.approx(whole, rel=1e-10)


@pytest.mark.further
def test_the_meaning_is_scipys_and_a_guess_changes_nothing():
    b, damp = rhs(TALL), 0.5
    expected = spla.lsmr(TALL, b, damp=damp, atol=1e-14, btol=1e-14)[0]
    for guess in (None, 10 + problems.random(5, seed=6)):
        assert distance(js.solve_linear(TALL, b, asked(damp, x0=guess)), expected) < 1e-9


def test_no_damping_is_what_it_was():
    b = rhs(TALL)
    plain = js.solve_linear_info(TALL, b, js.Solve("lsmr"))
    for damp in (None, 0, 0.0):
        info = js.solve_linear_info(TALL, b, js.Solve(js.LSMR(damp=damp)))
        np.testing.assert_array_equal(info.x, plain.x)
        assert info.iterations == plain.iterations
    for A in (WIDE * np.r_[1, 100, 1, 1, 1, 1, 1, 1, 1],):
        x = jax.jit(lambda damp, A=A: js.solve_linear(A, rhs(A), asked(damp)))(0.0)
        assert distance(x, np.linalg.pinv(A) @ rhs(A)) < 1e-8


def difference(A):
    """A map from 2 x 3 arrays to pairs of vectors."""

    def f(x, scale):
        y = A @ x.ravel() * scale
        return {"first": y[:4], "rest": y[4:]}

    return f


@pytest.mark.further
def test_functions_whose_x_has_another_structure_than_b_are_damped_under_vmap_too():
    A = problems.random(9, 6, seed=7)
    b = {"first": jnp.asarray(rhs(A)[:4]), "rest": jnp.asarray(rhs(A)[4:])}

    def of(damp):
        info = js.solve_linear_info(difference(A), b, asked(damp, x0=jnp.zeros((2, 3))), 2.0)
        return info.x, info.residual

    damps = jnp.array([0.0, 0.3, 2.0])
    x, r = jax.vmap(of)(damps)
    for k, damp in enumerate(damps):
        expected = reference(2 * A, rhs(A), damp)
        assert distance(x[k].ravel(), expected) < 1e-9
        assert distance(r["rest"][k], (rhs(A) - 2 * A @ expected)[4:]) < 1e-9


@pytest.mark.further
def test_a_batch_of_matrices_is_damped():
    As, bs = np.stack([TALL, 2 * TALL]), np.stack([rhs(TALL), rhs(TALL, 8)])
    x = js.solve_linear(As, bs, asked(0.4))
    for k in range(2):
        assert distance(x[k], reference(As[k], bs[k], 0.4)) < 1e-9


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("wide", marks=pytest.mark.slow),
        pytest.param("deficient", marks=pytest.mark.slow),
        pytest.param("complex", marks=pytest.mark.slow),
    ],
)
def test_derivatives_of_any_order_are_those_of_the_formula(name):
    A = jnp.asarray(MATRICES[name])
    w, b = jnp.asarray(problems.random(A.shape[1], seed=9)), jnp.asarray(rhs(A))

    def loss(solve):
        def of(damp, t):
            x = solve(A * (1 + t) + t**2, b * (1 + t), damp)
            return jnp.sum(w * jnp.abs(x) ** 2)

        return of

    ours = loss(lambda A, b, damp: js.solve_linear(A, b, asked(damp)))
    dense = loss(reference)

    def in_scan(f):
        def of(args):
            def step(c, s):
                return c + f(args[0] * s, args[1]), None

            return jax.lax.scan(step, 0.0, jnp.array([0.7, 1.0]))[0]

        return of

    at = jnp.array([0.6, 0.1])
    np.testing.assert_allclose(jax.hessian(in_scan(ours))(at), jax.hessian(in_scan(dense))(at), rtol=1e-6)
    assert float(jax.jvp(ours, (0.6, 0.1), (1.0, 0.0))[1]) == pytest.approx(
        float(jax.grad(dense)(0.6, 0.1)), rel=1e-7
    )


@pytest.mark.further
def test_the_derivative_in_the_damping_is_that_of_the_formula():
    b, w = rhs(TALL), problems.random(5, seed=9)
    found = jax.grad(lambda damp: w @ js.solve_linear(TALL, b, asked(damp)))(0.6)
    assert float(found) == pytest.approx(float(jax.grad(lambda d: w @ reference(TALL, b, d))(0.6)), rel=1e-8)


@pytest.mark.further
def test_a_preconditioner_is_applied_from_the_right():
    A = TALL * np.r_[1e3, 1, 1, 1, 1e-3]
    M = np.diag(1 / np.sqrt(np.sum(A**2, 0) + 0.01))
    info = js.solve_linear_info(A, rhs(A), asked(0.1, preconditioner=M))
    assert bool(info.converged)
    assert distance(info.x, reference(A, rhs(A), 0.1)) < 1e-8


@pytest.mark.parametrize(
    "damp", [-1.0, np.nan, np.inf, 1j, True, "much", np.ones(2), np.array(-1.0), jnp.array(1)]
)
def test_dampings_that_make_no_sense_are_refused(damp):
    for kind in (js.LSMR, js.LSQR):
        with pytest.raises(ValueError, match="damp must be"):
            kind(damp=damp)


def test_a_traced_damping_that_is_no_number_is_invalid_input():
    info = jax.jit(lambda damp: js.solve_linear_info(TALL, rhs(TALL), asked(damp)))(np.nan)
    assert js.Status(int(info.code)) is js.Status.invalid_input
    assert np.all(np.isnan(info.x))


def test_what_does_not_go_with_damping_is_refused():
    damped = js.LSMR(damp=1.0)
    for options, words in (
        ({"rank_deficiency": 1}, "leave out null_space"),
        ({"preconditioner": "jacobi"}, "a matrix or an operator of shape"),
        ({"gradient_solve": js.Solve(damped)}, "gradient_solve is for the same"),
    ):
        with pytest.raises(ValueError, match=words):
            js.solve_linear(SQUARE, rhs(SQUARE), js.Solve(damped, **options))
    with pytest.raises(ValueError, match=r"js\.setup"):
        js.solve_linear(js.setup(SQUARE, js.Solve(damped)), rhs(SQUARE))
