"""Implicit gradients: three routes, any order, every kind of matrix, and failures that are raised."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery import problems
from tests.gallery.methods import distance, hermitian_only, made, matrix

N = 5
TIGHT = js.Solve("biCG-stab", rtol=1e-12)
W = jnp.asarray(problems.random(N, seed=3))
A0, B0 = jnp.asarray(problems.dominant(N, 1)), jnp.asarray(problems.random(N, seed=2))
C0 = jnp.asarray(problems.dominant(N, 1, np.complex128))
Z0 = jnp.asarray(problems.random(N, seed=2, dtype=np.complex128))


def loss(A, b, solve=TIGHT):
    x = js.solve_linear(A, b, solve)
    return jnp.sum(W * jnp.sin(jnp.abs(x) ** 2)) if jnp.iscomplexobj(x) else jnp.sum(W * jnp.sin(x))


def dense_loss(A, b):
    x = jnp.linalg.solve(A, b.astype(jnp.result_type(A, b)))
    return jnp.sum(W * jnp.sin(jnp.abs(x) ** 2)) if jnp.iscomplexobj(x) else jnp.sum(W * jnp.sin(x))


def close(found, expected, tolerance=1e-9):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert distance(one, other) < tolerance


@pytest.mark.parametrize(
    ("A", "b"), [(A0, B0), (C0, Z0), (C0, B0), (A0, Z0)], ids=["real", "complex", "complex A", "complex b"]
)
def test_reverse_gradients_equal_those_of_a_dense_solve(A, b):
    close(jax.grad(loss, (0, 1))(A, b), jax.grad(dense_loss, (0, 1))(A, b))


@pytest.mark.further
def test_hessians_are_those_of_a_dense_solve():
    close(jax.jit(jax.hessian(loss, 1))(A0, B0), jax.hessian(dense_loss, 1)(A0, B0))
    mixed = jax.jit(jax.jacfwd(jax.grad(loss, 0), 1))(A0, B0)
    close(mixed, jax.jacfwd(jax.grad(dense_loss, 0), 1)(A0, B0))


@pytest.mark.slow
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("argument", [0, 1])
def test_second_derivatives_of_every_route_agree(outer, inner, argument):
    found = jax.jit(outer(inner(loss, argument), argument))(A0, B0)
    close(found, jax.hessian(dense_loss, argument)(A0, B0))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_hessians_of_every_method_are_those_of_a_dense_solve(name):
    A = jnp.asarray(matrix(name, N))
    solve = js.Solve(made(name), rtol=1e-12)

    def of(solver, s):
        # A symmetric direction, so that every method may take it.
        D = jnp.eye(N) + 0.1 * jnp.diag(jnp.arange(N - 1.0), 1) + 0.1 * jnp.diag(jnp.arange(N - 1.0), -1)
        return jnp.sum(W * solver(A + s[0] * D, s[1] * B0) ** 2)

    s = jnp.array([0.3, 0.7])
    found = jax.jit(jax.hessian(functools.partial(of, lambda A, b: js.solve_linear(A, b, solve))))(s)
    close(found, jax.hessian(functools.partial(of, jnp.linalg.solve))(s), 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_gradients_of_every_method_are_right(name, dtype):
    A, b = jnp.asarray(matrix(name, N, dtype)), B0.astype(dtype)
    solve = js.Solve(made(name), rtol=1e-5)
    found = jax.grad(functools.partial(loss, solve=solve), (0, 1))(A, b)
    assert all(g.dtype == dtype for g in found)
    expected = jax.grad(dense_loss, (0, 1))(A, b)
    if name in ("tridiagonal", "banded"):
        band = 1 if name == "tridiagonal" else 2
        found, expected = ([jnp.triu(jnp.tril(g[0], band), -band), g[1]] for g in (found, expected))
    close(found, expected, 1e-3)


def test_the_hermitian_adjoint_is_not_mistaken_for_the_transpose():
    # With A = Aᴴ declared, the transposed solve is with conj(A): solving with A itself is off in the third digit.
    A = jnp.asarray(problems.definite(N, 1, np.complex128))
    operator = js.DenseMatrix(A).declare(positive_definite=True)
    solve = js.Solve("CG", rtol=1e-12)
    found = jax.grad(lambda b: loss(operator, b, solve))(Z0)
    close(found, jax.grad(dense_loss, 1)(A, Z0))


def test_the_gradient_of_a_symmetric_sparse_matrix_is_not_symmetrised():
    A = js.SparseMatrix.from_dense(problems.poisson(N)).declare(positive_definite=True)
    found = jax.grad(lambda A: loss(A, B0, js.Solve("CG", rtol=1e-13)))(A)
    expected = jax.grad(dense_loss)(A.todense(), B0) * (A.todense() != 0)
    close(found.todense(), expected)
    assert distance(found.todense(), found.todense().T) > 0.1


@pytest.mark.parametrize("kind", ["SparseMatrix", "BCOO", "BCSR"])
def test_gradients_of_sparse_values_live_on_the_pattern(kind):
    dense = problems.convection(N)
    A = js.SparseMatrix.from_dense(dense)
    forms = {
        "SparseMatrix": lambda data: js.SparseMatrix(data, A.pattern),
        "BCOO": lambda data: BCOO((data, A.to_bcoo().indices), shape=A.shape),
        "BCSR": lambda data: BCSR(
            (data, jnp.asarray(A.pattern.indices), jnp.asarray(A.pattern.indptr)), shape=A.shape
        ),
    }
    found = jax.grad(lambda data: loss(forms[kind](data), B0))(A.data)
    expected = jax.grad(dense_loss)(jnp.asarray(dense), B0)[A.pattern.rows, A.pattern.indices]
    close(found, expected)


def test_gradients_with_traced_indices_are_right():
    dense = jnp.asarray(problems.convection(N))
    bcoo = BCOO.fromdense(dense)
    found = jax.jit(jax.grad(lambda data, indices: loss(BCOO((data, indices), shape=(N, N)), B0)))(
        bcoo.data, bcoo.indices
    )
    rows, cols = np.asarray(bcoo.indices).T
    close(found, jax.grad(dense_loss)(dense, B0)[rows, cols])


def stencil(x, k):
    return k * x - 0.5 * jnp.roll(x, 1) - 0.2 * jnp.roll(x, -1)


def stencil_matrix(k):
    return jax.vmap(lambda e: stencil(e, k), out_axes=1)(jnp.eye(N))


def test_gradients_reach_the_arguments_of_a_function():
    k = 2 + jnp.arange(N) / N
    expected = jax.grad(lambda k: dense_loss(stencil_matrix(k), B0))(k)

    def of(solve_with):
        return jax.grad(lambda k: jnp.sum(W * jnp.sin(solve_with(k))))(k)

    close(of(lambda k: js.solve_linear(stencil, B0, TIGHT, k)), expected)
    close(of(lambda k: js.solve_linear(stencil, B0, TIGHT, k=k)), expected)
    close(of(lambda k: js.solve_linear(lambda x: stencil(x, k), B0, TIGHT)), expected)


def test_gradients_reach_the_offset_of_an_affine_function():
    found = jax.grad(lambda c: jnp.sum(W * js.solve_linear(lambda x: A0 @ x + c * jnp.arange(N), B0, TIGHT)))(
        2.0
    )
    expected = -W @ jnp.linalg.solve(A0, jnp.arange(N))
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_gradients_of_integer_right_hand_sides_reach_the_matrix():
    b = jnp.arange(N)
    close(jax.grad(loss)(A0, b), jax.grad(dense_loss)(A0, b.astype(float)))


def test_gradients_of_pytrees_with_some_constant_leaves():
    def f(x, k):
        return {"u": k * x["u"] + 0.3 * x["p"].sum(), "p": 2 * x["p"] - x["u"][:2]}

    def of(u, k):
        x = js.solve_linear(f, {"u": u, "p": jnp.ones(2)}, TIGHT, k)
        return jnp.sum(jnp.sin(x["u"])) + x["p"] @ jnp.array([1.0, 2.0])

    def dense(u, k):
        x = jnp.linalg.solve(
            jnp.block([[2 * jnp.eye(2), -jnp.eye(2, 3)], [0.3 * jnp.ones((3, 2)), k * jnp.eye(3)]]),
            jnp.concatenate([jnp.ones(2), u]),
        )
        return jnp.sum(jnp.sin(x[2:])) + x[:2] @ jnp.array([1.0, 2.0])

    u = jnp.array([1.0, -2.0, 0.5])
    close(jax.grad(of, (0, 1))(u, 3.0), jax.grad(dense, (0, 1))(u, 3.0))


@pytest.mark.parametrize("size", [1e-100, 1e-13, 1e20])
def test_cotangents_of_any_size_are_solved_as_well(size):
    # An absolute tolerance is in the units of b and must not touch the adjoint, whose units are others.
    solve = js.Solve("biCG-stab", rtol=1e-10, atol=1e-5)
    found = jax.grad(lambda b: size * jnp.sum(W * js.solve_linear(A0, b, solve)))(B0)
    assert distance(found / size, jnp.linalg.solve(A0.T, W)) < 1e-8


def test_a_zero_cotangent_gives_zero():
    assert not np.any(jax.grad(lambda b: 0 * jnp.sum(js.solve_linear(A0, b, TIGHT)))(B0))


def test_the_guess_is_not_used_for_tangents_and_has_no_gradient():
    def of(b, x0):
        return loss(A0, b, js.Solve("biCG-stab", rtol=1e-12, x0=x0))

    in_b, in_guess = jax.grad(of, (0, 1))(B0, 1e3 * W)
    close(in_b, jax.grad(dense_loss, 1)(A0, B0), 1e-8)
    assert not np.any(in_guess)


def test_the_gradient_in_tolerances_and_preconditioner_is_zero():
    def of(rtol, scale):
        return loss(A0, B0, js.Solve("biCG-stab", rtol=rtol, preconditioner=js.Diagonal(scale * jnp.ones(N))))

    assert jax.grad(of, (0, 1))(1e-8, 0.3) == (0, 0)


def test_grad_for_f_cuts_the_path_through_the_matrix():
    def of(A, b):
        return jnp.sum(W * jnp.sin(js.solve_linear(A, b, TIGHT, grad_for_f=False)))

    in_A, in_b = jax.grad(of, (0, 1))(A0, B0)
    assert not np.any(in_A)
    close(in_b, jax.grad(dense_loss, 1)(A0, B0))
    k = 2 + jnp.arange(N) / N
    cut = jax.grad(
        lambda k: jnp.sum(js.solve_linear(lambda x, k: stencil(x, k) + k, B0, TIGHT, k, grad_for_f=False))
    )(k)
    assert not np.any(cut)


@pytest.mark.further
def test_the_adjoint_uses_the_transposed_preconditioner():
    n = 40
    A = problems.convection(n, drift=0.9) + np.diag(np.linspace(0, 2, n))
    near = np.linalg.inv(A + 1e-3 * problems.random(n, n, seed=1))
    counts = []

    def counted(r):
        jax.debug.callback(lambda: counts.append(1))
        return jnp.asarray(near) @ r

    solve = js.Solve("GMres", rtol=1e-10, preconditioner=js.DenseMatrix(jnp.asarray(near)), max_iterations=8)
    b, w = problems.random(n, seed=2), problems.random(n, seed=3)
    # Eight iterations do not suffice without a preconditioner, nor with the one of A for Aᵀ.
    found = jax.grad(lambda b: w @ js.solve_linear(A, b, solve))(b)
    assert distance(found, np.linalg.solve(A.T, w)) < 1e-8
    function = js.Solve("GMres", rtol=1e-10, preconditioner=lambda r: jnp.asarray(near) @ r, max_iterations=8)
    found = jax.grad(lambda b: w @ js.solve_linear(A, b, function))(b)
    assert distance(found, np.linalg.solve(A.T, w)) < 1e-8


def test_gradient_solve_is_used_for_gradients_only():
    forward = js.Solve(
        "biCG-stab", rtol=1e-12, gradient_solve=js.Solve("GMres", rtol=1e-10, max_iterations=0)
    )
    assert js.solve_linear_info(A0, B0, forward).method == "biCG-stab"
    with pytest.raises(
        js.NotConverged, match="GMres, in the adjoint solve of a gradient, did not converge"
    ) as caught:
        jax.grad(lambda b: loss(A0, b, forward))(B0)
    assert caught.value.result.is_adjoint
    good = js.Solve("biCG-stab", rtol=1e-3, gradient_solve=js.Solve("GMres", rtol=1e-12, atol=1e3))
    w = js.solve_linear(A0, B0, good)
    found = jax.grad(lambda b: W @ js.solve_linear(A0, b, good))(B0)
    assert distance(w, jnp.linalg.solve(A0, B0)) < 1e-2
    assert distance(found, jnp.linalg.solve(A0.T, W)) < 1e-10


# A solve that needs one step forward (b is an eigenvector) and more for a general cotangent.
LINE = jnp.asarray(problems.poisson(12))
MODE = jnp.asarray(np.sin(np.pi * np.arange(1, 13) / 13))
ONE_STEP = js.Solve("CG", rtol=1e-8, max_iterations=2)
TILTED = jnp.asarray(problems.random(12, seed=5))


def tilted(b, solve=ONE_STEP, A=LINE):
    return TILTED @ js.solve_linear(A, b, solve)


def test_an_adjoint_that_fails_raises_its_class_out_of_an_eager_gradient():
    assert js.solve_linear_info(LINE, MODE, ONE_STEP).status is js.Status.converged
    with pytest.raises(
        js.NotConverged, match=r"CG, in the adjoint solve of a gradient, did not converge"
    ) as caught:
        jax.grad(tilted)(MODE)
    result = caught.value.result
    assert result.status is js.Status.max_iterations
    assert result.is_adjoint
    assert result.x.shape == (12,)
    assert result.iterations == 2


def test_a_tangent_that_fails_raises_its_class():
    with pytest.raises(js.NotConverged, match="in the tangent solve of a gradient") as caught:
        jax.jvp(tilted, (MODE,), (TILTED,))
    assert not caught.value.result.is_adjoint


def test_a_failing_adjoint_raises_under_our_jit_and_under_plain_jit():
    with pytest.raises(js.NotConverged, match="in the adjoint solve"):
        js.jit(jax.grad(tilted))(MODE)
    with pytest.raises(Exception, match="in the adjoint solve of a gradient, did not converge"):
        jax.block_until_ready(jax.jit(jax.grad(tilted))(MODE))


def test_a_failing_adjoint_raises_under_vmap():
    with pytest.raises(
        js.NotConverged, match=r"in the adjoint solve of a gradient, 1 of 2 systems failed \(lanes 1\)"
    ):
        jax.vmap(jax.grad(lambda b, w: w @ js.solve_linear(LINE, b, ONE_STEP)))(
            jnp.stack([MODE, MODE]), jnp.stack([MODE, TILTED])
        )


def test_suppress_covers_gradients():
    quiet = js.Solve("CG", rtol=1e-8, max_iterations=2, suppress=js.NotConverged)
    assert np.all(np.isfinite(jax.grad(lambda b: tilted(b, quiet))(MODE)))


def test_information_about_a_solve_is_differentiable_and_never_raises():
    def of(b):
        info = js.solve_linear_info(LINE, b, ONE_STEP)
        return TILTED @ info.x + 0 * info.residual_norm

    assert np.all(np.isfinite(jax.grad(of)(MODE)))


@pytest.mark.further
def test_gradients_under_vmap_are_those_of_a_loop():
    As = jnp.stack([A0, A0.T + jnp.eye(N), 2 * A0])
    bs = jnp.stack([B0, W, B0 + W])
    found = jax.vmap(jax.grad(loss, (0, 1)))(As, bs)
    expected = jax.vmap(jax.grad(dense_loss, (0, 1)))(As, bs)
    close(found, expected)
    native = jax.grad(lambda As, bs: jnp.sum(W * jnp.sin(js.solve_linear(As, bs, TIGHT))), (0, 1))(As, bs)
    close(native, expected)


def test_gradients_flow_through_a_scan_of_solves():
    def step(x, _):
        return js.solve_linear(A0, x, TIGHT), None

    found = jax.jit(jax.grad(lambda b: W @ jax.lax.scan(step, b, None, length=3)[0]))(B0)
    assert distance(found, jnp.linalg.matrix_power(jnp.linalg.inv(A0).T, 3) @ W) < 1e-9


def test_declared_hermitian_methods_differentiate_in_general_directions():
    # The derivative of x in A leaves the symmetric matrices: only A itself must be symmetric.
    names = [name for name in METHODS if hermitian_only(name)]
    assert names
    name = names[0]
    A = jnp.asarray(matrix(name, N))
    found = jax.grad(lambda A: loss(A, B0, js.Solve(made(name), rtol=1e-12)))(A)
    close(found, jax.grad(dense_loss)(A, B0))
