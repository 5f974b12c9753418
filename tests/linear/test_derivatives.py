"""Derivatives beyond those of one regular system: of residuals, of least-norm solutions, of null spaces that turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.experimental import pallas as pl

import jaxsolve as js

TALL = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
B = jnp.array([1.0, -1.0, 2.0])
RNG = np.random.default_rng(4)


def directional(f, order):
    """Value and derivatives along a line, each by another composition."""
    return {
        0: f,
        1: jax.jacfwd(f),
        2: jax.jacfwd(jax.jacrev(f)),
        3: jax.jacrev(jax.jacrev(f)),
    }[order]


def agree(f, g, p, orders=(1, 3), rtol=1e-6):
    for order in orders:
        found, expected = (jax.jit(directional(h, order))(p) for h in (f, g))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-8, err_msg=f"composition {order}")


@pytest.mark.further
@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("QR", "residual"),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in (("lsmr", "residual"), ("QR", "residual_norm"))),
    ],
)
def test_residuals_of_least_squares_have_derivatives(method, field):
    solve = js.Solve(method, rtol=1e-13)

    def found(p):
        info = js.solve_linear_info(TALL + p * TALL**2 / 10, B * jnp.cos(p), solve)
        return (getattr(info, field) ** 2).sum()

    def by_hand(p):
        A, b = TALL + p * TALL**2 / 10, B * jnp.cos(p)
        return ((b - A @ jnp.linalg.solve(A.T @ A, A.T @ b)) ** 2).sum()

    agree(found, by_hand, 0.3)


def test_the_norm_of_a_residual_moves_as_the_residual_does():
    # r = (I - A A⁺) b, so that d‖r‖ = rᵀ db / ‖r‖ for an A that stands still.
    b, db = jnp.asarray(B), jnp.asarray(RNG.standard_normal(len(B)))
    norm, along = jax.jvp(lambda b: js.solve_linear_info(TALL, b, js.Solve("QR")).residual_norm, (b,), (db,))
    r = b - TALL @ jnp.linalg.lstsq(TALL, b)[0]
    assert float(norm) == pytest.approx(float(jnp.linalg.norm(r)), rel=1e-9)
    assert float(along) == pytest.approx(float(r @ db / norm), rel=1e-9)


def test_the_residual_of_a_solve_that_stops_early_has_the_derivative_of_its_x():
    A = TALL.T @ TALL
    solve = js.Solve("GMres", max_iterations=1, rtol=1e-12)

    def both(b):
        info = js.solve_linear_info(A, b, solve)
        return info.x, info.residual

    b = jnp.array([1.0, 2.0])
    _, (dx, dr) = jax.jvp(both, (b,), (jnp.array([0.3, -1.0]),))
    np.testing.assert_allclose(dr, jnp.array([0.3, -1.0]) - A @ dx, atol=1e-12)
    assert jnp.abs(dr).max() > 1e-3


def deficient(p):
    """Of rank 2 for every p, its range and its null space turning."""
    U = scipy.linalg.qr(RNG_U)[0]
    c, s = jnp.cos(p), jnp.sin(p)
    turn = jnp.eye(5).at[jnp.array([0, 0, 2, 2]), jnp.array([0, 2, 0, 2])].set(jnp.stack([c, -s, s, c]))
    tilt = jnp.eye(4).at[jnp.array([1, 1, 3, 3]), jnp.array([1, 3, 1, 3])].set(jnp.stack([c, -s, s, c]))
    core = jnp.zeros((5, 4)).at[0, 0].set(3 + p).at[1, 1].set(2.0)
    return jnp.asarray(U) @ turn @ core @ tilt


RNG_U = RNG.standard_normal((5, 5))


def pseudo_inverse(A, rank):
    """By singular vectors of the leading values, as polynomials of A: differentiable where `jnp.linalg.pinv` is not."""
    # A⁺ = Aᵀ (A Aᵀ)⁺, by the limit of (AᵀA + ε)⁻¹Aᵀ in exact arithmetic of two steps of Richardson's extrapolation.
    del rank
    total, I = 0.0, jnp.eye(A.shape[1])
    for k, weight in enumerate((1 / 3, -2.0, 8 / 3)):
        total = total + weight * jnp.linalg.solve(A.T @ A + 2e-4 * 2.0**-k * I, A.T)
    return total


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        pytest.param(method, shape, marks=pytest.mark.slow)
        for method in ("lsmr", "lsqr", "scipy-lsmr")
        for shape in ("tall", "wide", "square")
    ],
)
def test_least_norm_solutions_of_deficient_systems_turn_with_the_matrix(method, shape):
    b = jnp.asarray(RNG.standard_normal(5))
    views = {"tall": lambda A: A, "wide": lambda A: A.T, "square": lambda A: A[:4] + 0 * A[1:]}
    solve = js.Solve(method, rtol=1e-13)

    def matrix(p):
        A = deficient(p)
        if shape == "square":
            c, s = jnp.cos(p), jnp.sin(p)
            left, right = jnp.array([c, s, 0.5 * c]), jnp.array([s, c, 1.0])
            return jnp.outer(left, right)
        return views[shape](A)

    def found(p):
        A = matrix(p)
        return jnp.sum(jnp.sin(js.solve_linear_info(A, b[: A.shape[0]], solve).x))

    def expected(p):
        A = matrix(p)
        return jnp.sum(jnp.sin(pseudo_inverse(A, 2) @ b[: A.shape[0]]))

    agree(found, expected, 0.3, rtol=1e-5)


@pytest.mark.parametrize("method", [pytest.param("lsmr", marks=pytest.mark.slow), "QR"])
def test_a_guess_does_not_show_in_the_solution_of_a_wide_system(method):
    A, b, x0 = jnp.array([[1.0, 2.0, 0.5]]), jnp.array([3.0]), jnp.array([1.0, 0.0, 2.0])
    solve = js.Solve(method, rtol=1e-12, x0=x0)

    def found(p):
        return js.solve_linear(A + p * A**2, b, solve)[0]

    agree(found, lambda p: (jnp.linalg.pinv(A + p * A**2) @ b)[0], 0.2, orders=(0, 1))


@pytest.mark.further
@pytest.mark.parametrize(
    "method",
    ["CG", "LU", *(pytest.param(m, marks=pytest.mark.slow) for m in ("minres", "GMres", "sparse-direct"))],
)
def test_a_null_space_that_turns_takes_the_solution_with_it(method):
    def turn(p):
        c, s = jnp.cos(p), jnp.sin(p)
        return jnp.eye(3).at[jnp.array([1, 1, 2, 2]), jnp.array([1, 2, 1, 2])].set(jnp.stack([c, -s, s, c]))

    def found(p):
        Q = turn(p)
        A = Q @ jnp.diag(jnp.array([3.0, 1.0, 0.0])) @ Q.T
        b = A @ Q @ jnp.stack([1 + p, jnp.ones(()), jnp.zeros(())])
        return jnp.sum(jnp.exp(js.solve_linear(A, b, js.Solve(method, rtol=1e-12, null_space=Q[:, 2]))))

    def expected(p):
        return jnp.sum(jnp.exp(turn(p) @ jnp.stack([1 + p, jnp.ones(()), jnp.zeros(())])))

    agree(found, expected, 0.3)


@pytest.mark.further
def test_a_tangent_of_pure_rounding_is_no_inconsistency():
    # In two dimensions x is along one vector for every p: its tangent, beside that of the null space, is rounding.
    def found(p):
        q = jnp.stack([jnp.cos(p), jnp.sin(p)])
        A = 2.0 * jnp.outer(q, q)
        return js.solve_linear(A, 2 * q, js.Solve("CG", rtol=1e-10, null_space=jnp.stack([-q[1], q[0]])))

    agree(found, lambda p: jnp.stack([jnp.cos(p), jnp.sin(p)]), 0.3)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["lsmr", pytest.param("lsqr", marks=pytest.mark.further)])
@pytest.mark.parametrize("dtype", [pytest.param(np.float64, marks=pytest.mark.further), np.complex128])
def test_solutions_of_least_norm_in_scaled_columns_are_transposed_there(name, dtype, rng):
    B = rng.normal(size=(9, 3)).astype(dtype) + (
        1j * rng.normal(size=(9, 3)) if dtype == np.complex128 else 0
    )
    A = jnp.asarray(np.hstack([B, B[:, :1] + B[:, 1:2]]) * np.array([1.0, 1e3, 1.0, 1e-3]))
    b, c = (jnp.asarray(rng.normal(size=n).astype(dtype)) for n in (9, 4))

    def x(b):
        return js.solve_linear(A, b, js.Solve(name, rtol=1e-10))

    columns = jnp.stack([x(e) for e in jnp.eye(9, dtype=dtype)])
    for found in (jax.linear_transpose(x, b)(c)[0], jax.vjp(x, b)[1](c)[0]):
        np.testing.assert_allclose(found, columns @ c, rtol=1e-8, atol=1e-8 * float(jnp.abs(columns).max()))


@pytest.mark.parametrize(
    ("dependent", "order"),
    [
        (True, 1),
        pytest.param(False, 1, marks=pytest.mark.further),
        *(pytest.param(d, 3, marks=pytest.mark.slow) for d in (False, True)),
    ],
)
def test_derivatives_are_taken_in_scaled_columns(dependent, order, rng):
    B0, B1, b0, b1 = (jnp.asarray(rng.normal(size=s)) for s in ((9, 3), (9, 3), (9,), (9,)))
    # The scales are powers of two (`solvers.units`), those of columns which keep their lengths.
    units = np.array([1.0, 2.0**10, 2.0**-10] + [1.0] * dependent)
    lengths = units * np.sqrt(np.array([3.0, 5.0, 7.0] + [3.0 + 5.0] * dependent))

    def A(p):
        B = jnp.linalg.qr(B0 + p * B1)[0] * np.sqrt(np.array([3.0, 5.0, 7.0]))
        return jnp.hstack([B, B[:, :1] + B[:, 1:2]] if dependent else [B]) * units

    def x(p):
        return js.solve_linear(A(p), b0 + p * b1, js.Solve("lsmr", rtol=1e-12)) * units

    def expected(p):
        S = 1 / jnp.exp2(jnp.floor(jnp.log2(lengths)))
        scaled = A(p) * S
        if not dependent:
            return jnp.linalg.solve(scaled.T @ scaled, scaled.T @ (b0 + p * b1)) * S * units
        return S * units * (jnp.linalg.pinv(scaled, rtol=1e-10) @ (b0 + p * b1))

    agree(x, expected, 0.3, [order])


@pytest.mark.further
def test_solves_are_transposed_in_their_right_hand_side():
    A = jnp.asarray(RNG.standard_normal((4, 4))) + 4 * jnp.eye(4)
    p = jnp.ones(4)

    def solve(b):
        return js.solve_linear(A, b, js.Solve(rtol=1e-12))

    np.testing.assert_allclose(jax.linear_transpose(solve, p)(p)[0], jnp.linalg.solve(A.T, p), rtol=1e-9)

    @jax.custom_jvp
    def ruled(p):
        return jnp.linalg.solve(A, p)

    ruled.defjvp(lambda primals, tangents: (ruled(*primals), solve(tangents[0])))
    np.testing.assert_allclose(jax.jacrev(ruled)(p), jnp.linalg.inv(A), rtol=1e-8, atol=1e-10)

    def root(p):
        def newton(f, y):
            return js.solve_nonlinear(f, jnp.zeros(4), js.Solve("newton", x0=y, rtol=1e-12))

        return jax.lax.custom_root(
            lambda y: A @ y + y**3 - p, p, newton, lambda g, y: js.solve_linear(g, y, js.Solve(rtol=1e-12))
        )

    expected = jnp.linalg.solve((A + jnp.diag(3 * root(p) ** 2)).T, jnp.ones(4))
    np.testing.assert_allclose(jax.grad(lambda p: root(p).sum())(p), expected, rtol=1e-7)


SINGULAR = jnp.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.few(1)
@pytest.mark.parametrize("way", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize(
    "method", ["LU", *(pytest.param(m, marks=pytest.mark.slow) for m in ("GMres", "lsmr"))]
)
def test_what_has_no_derivative_has_none(way, method):
    b = jnp.array([1.0, 0.0])
    matrices = jnp.stack([SINGULAR + jnp.eye(2), jnp.full((2, 2), jnp.inf)])

    def x(k, matrices):
        return js.solve_linear_info(k * matrices, b, js.Solve(method, rtol=1e-10)).x

    assert np.isnan(way(x)(2.0, SINGULAR)).all() == (method != "lsmr")
    found = jax.vmap(way(x), (None, 0))(2.0, matrices)
    np.testing.assert_allclose(found[0], -jnp.linalg.solve(matrices[0], b) / 4, rtol=1e-8)
    assert np.isnan(found[1]).all()


@pytest.mark.further
def test_a_singular_lane_leaves_the_gradient_of_the_others_alone():
    b = jnp.array([1.0, 0.0])

    def first(k):
        return js.solve_linear_info(k * jnp.stack([SINGULAR + jnp.eye(2), SINGULAR]), b).x[0, 0]

    expected = -jnp.linalg.solve(SINGULAR + jnp.eye(2), b)[0] / 4
    np.testing.assert_allclose(jax.grad(first)(2.0), expected, rtol=1e-8)


def kernel(x):
    """2 x by an operation that JAX differentiates forward only."""

    def write(x, y):
        y[...] = 2.0 * x[...]

    return pl.pallas_call(write, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)


class Twice(js.LinearOperator):
    shape = property(lambda self: (3, 3))
    dtype = property(lambda self: jnp.dtype(float))

    def mv(self, x):
        return kernel(x)

    def transpose(self):
        return self


@pytest.mark.further
def test_the_transpose_is_that_of_the_operator_or_refused_in_words():
    b = jnp.array([1.0, 2.0, 3.0])

    def total(A):
        return lambda b: jnp.sum(js.solve_linear(A, b, js.Solve("CG", rtol=1e-10)) ** 2)

    np.testing.assert_allclose(jax.grad(total(Twice()))(b), b / 2, rtol=1e-9)
    np.testing.assert_allclose(jax.jvp(total(kernel), (b,), (b,))[1], jnp.sum(b**2) / 2, rtol=1e-9)
    with pytest.raises(NotImplementedError, match=r"js\.LinearOperator with a method `transpose\(\)`"):
        jax.grad(total(kernel))(b)
