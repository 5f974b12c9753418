"""A factorisation: compiled, of functions, and as a preconditioner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

N = 12


def pair(kind):
    """A matrix and one near it, which is factorised."""
    rng = np.random.default_rng(3)
    A = 4 * np.eye(N) + problems.convection(N) + 0.1 * rng.normal(size=(N, 1)) * rng.normal(size=N)
    near = problems.convection(N) + 4 * np.eye(N)
    if kind == "complex":
        A, near = A + 0.5j * np.eye(N), near + 0.5j * np.eye(N)
    return A, near


def preconditioners(near):
    F = js.factorize(sps.csr_array(near))
    half = N // 2

    def part(r):
        return jnp.concatenate(
            [F.solve(jnp.concatenate([r[:half], jnp.zeros(N - half)]))[:half], r[half:] / 5]
        )

    return {
        "itself": F,
        "bound": F.solve,
        "lambda": lambda r: F.solve(r),
        "solve": lambda r: js.solve_linear(sps.csr_array(near), r, js.Solve("sparse-direct")),
        "part": part,
    }


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[("real", name) for name in ("itself", "lambda")],
        *[pytest.param("real", name, marks=pytest.mark.slow) for name in ("bound", "solve", "part")],
        *[
            pytest.param("complex", name, marks=pytest.mark.slow)
            for name in ("itself", "lambda", "bound", "solve", "part")
        ],
    ],
)
def test_a_factorisation_preconditions_forward_and_adjoint(kind, name):
    A, near = pair(kind)
    b = np.random.default_rng(4).normal(size=N) + (1j if kind == "complex" else 0)
    solve = js.Solve("GMres", rtol=1e-12, preconditioner=preconditioners(near)[name])
    info = js.solve_linear_info(A, b, solve)
    assert bool(info.converged)
    assert name == "part" or int(info.iterations) <= 3  # a change of rank one
    assert distance(info.x, np.linalg.solve(A, b)) < 1e-10
    # The gradient of Re(wᵀ x) in b is A⁻ᵀ w (JAX's convention for complex b).
    w = np.arange(1.0, N + 1)
    gradient = jax.jit(jax.vmap(jax.grad(lambda b: jnp.real(w @ js.solve_linear(A, b, solve)))))
    assert distance(gradient(jnp.stack([jnp.asarray(b)] * 2))[1], np.linalg.solve(A.T, w)) < 1e-10


def test_a_complex_factorisation_is_refused_for_a_real_system():
    A, near = pair("complex")
    with pytest.raises(TypeError, match="preconditioner is complex128, but A and b are real"):
        js.solve_linear(A.real, np.ones(N), js.Solve("GMres", preconditioner=js.factorize(near)))


@pytest.mark.further
def test_solves_of_a_factorisation_are_differentiable_twice_and_heard():
    A, _ = pair("real")
    b, w = jnp.arange(1.0, N + 1), np.linspace(1, 2, N)
    inverse = np.linalg.inv(A)

    def value(t):
        return jnp.sum(w * js.factorize(js.DenseMatrix(A + t * jnp.eye(N))).solve(b) ** 2)

    def reference(t):
        return jnp.sum(w * jnp.linalg.solve(A + t * jnp.eye(N), b) ** 2)

    assert distance(jax.hessian(value)(0.5), jax.hessian(reference)(0.5)) < 1e-8
    solver = js.factorize(A)
    with js.SolveTape() as solves:
        solver.solve(b)
        jax.jit(solver.solve)(b)
    assert [info.method for info in solves] == ["sparse-direct"] * 2
    assert distance(jax.jit(solver.solve)(b), inverse @ b) < 1e-10
    assert distance(jax.jit(solver.solve_transpose)(b), inverse.T @ b) < 1e-10


def test_bound_methods_compile():
    A = js.SparseMatrix.from_dense(pair("real")[0])
    x = jnp.arange(1.0, N + 1)
    for operator in (A, A.layout(), 2 * A, A.T, js.DenseMatrix(A.todense())):
        assert distance(jax.jit(operator.mv)(x), operator.as_matrix() @ x) < 1e-12
        assert distance(js.jit(operator.mv)(x), operator.as_matrix() @ x) < 1e-12
    assert {A.mv: 1}[A.mv] == 1
    assert A.mv != (2 * A).mv
    assert (A.mv.__name__, "product" in (A.mv.__doc__ or "")) == ("mv", True)
    # A pytree of the values of its matrix: they are traced, not constants.
    moved = jax.tree.map(lambda v: 2 * v, A.mv)
    assert distance(moved(x), 2 * A.mv(x)) < 1e-12
    assert distance(jax.jit(js.Jacobi().build)(A).mv(x), x / jnp.diag(A.todense())) < 1e-12


@pytest.mark.slow
def test_functions_are_factorised_and_solved_by_columns():
    f = lambda x: 3 * x - jnp.roll(x, 1) + 2.0  # noqa: E731
    M = 3 * np.eye(N) - np.roll(np.eye(N), 1, axis=0)
    B = np.random.default_rng(5).normal(size=(N, 3))
    solver = js.factorize(f, x_like=jnp.zeros(N))
    assert distance(solver.solve(B[:, 0]), np.linalg.solve(M, B[:, 0] - 2)) < 1e-12
    assert distance(solver.solve(B), np.linalg.solve(M, B - 2)) < 1e-12
    assert distance(solver.solve_transpose(B[:, 0]), np.linalg.solve(M.T, B[:, 0])) < 1e-12
    X = js.solve_linear_many(f, B, js.Solve("GMres", rtol=1e-10, x0=B))
    assert distance(X, np.linalg.solve(M, B - 2)) < 1e-8
    scaled = js.solve_linear_many(lambda x, k: k * f(x) - 2 * k, B, None, 2.0)
    assert distance(scaled, np.linalg.solve(2 * M, B)) < 1e-8
    with pytest.raises(TypeError, match=r"js.factorize\(f, x_like=x\)"):
        js.factorize(f)


class Half:
    """A recipe that knows nothing of the package but `build`."""

    def __init__(self, made):
        self.made = made

    def build(self, A):
        return self.made(A)


@pytest.mark.parametrize("system", ["matrix", "function"])
def test_any_object_with_build_is_a_recipe(system):
    D = problems.convection(N)
    A = D if system == "matrix" else lambda x: jnp.asarray(D) @ x
    solve = js.Solve("GMres", rtol=1e-10, preconditioner=Half(lambda A: js.Diagonal(1 / A.diagonal())))
    b = jnp.arange(1.0, N + 1)
    assert distance(js.solve_linear(A, b, solve), np.linalg.solve(D, b)) < 1e-8
    assert distance(jax.jit(lambda b: js.solve_linear(A, b, solve))(b), np.linalg.solve(D, b)) < 1e-8
    with pytest.raises(TypeError, match=r"what Half.build returns must be an array .* got function"):
        js.solve_linear(A, b, js.Solve("GMres", preconditioner=Half(lambda A: lambda r: r)))


def test_what_suppresses_every_failure_calls_nothing_on_the_host():
    A, b = jnp.eye(3) + 1, jnp.ones(3)
    for classes, calls in (((js.ConvergenceException,), 0), ((js.NotConverged, js.Diverged), 0), ((), 1)):
        solve = js.Solve("GMres", suppress=classes)
        program = jax.jit(lambda A, b, solve=solve: js.solve_linear(A, b, solve))
        assert program.lower(A, b).as_text().count("callback") == calls
        gradient = jax.jit(jax.grad(lambda b, solve=solve: js.solve_linear(A, b, solve).sum()))
        assert (gradient.lower(b).as_text().count("callback") > 0) == (calls > 0)
