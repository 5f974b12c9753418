"""Small public calls with their answers, run under one of JAX's switches in a process of its own.

`python -m tests.contracts.switches jax_numpy_dtype_promotion strict [words]` runs those whose name holds a word, and
prints one line for each that fails; a number n instead of words runs one call of each kind, the n-th in turn. The
switches are global and part of the key of compiled programs, so that they are set before anything else runs.
"""

# ruff: noqa: E731 - a call is a line here.

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sps
from jax.experimental.sparse import BCOO

import jaxsolve as js
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_methods import FIT, FIXED_POINT, MINIMUM, ROOT
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from tests.gallery import problems
from tests.gallery.methods import made, system

#: A function of the number one, as an array, and what it returns. Everything depends on the number, so that the
#: function can be compiled and differentiated.
Call = tuple[Callable[[Any], Any], Any]
CALLS: dict[str, Callable[[], Call]] = {}
#: The names of the calls that one maker makes.
KINDS: dict[str, list[str]] = {}


def call(make: Callable[..., Call], *arguments: Any) -> None:
    """Lists a call under the name of its maker and arguments."""
    name = " ".join([make.__name__.replace("_", " "), *map(str, arguments)])
    CALLS[name] = lambda: make(*arguments)
    KINDS.setdefault(make.__name__, []).append(name)


def calls(*choices: Any) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Lists a maker, for each choice of an argument where there are any."""

    def listed(make: Callable[..., Call]) -> Callable[..., Call]:
        for choice in choices:
            call(make, choice)
        if not choices:
            call(make)
        return make

    return listed


def grid(dtype: Any = np.float64) -> Any:
    """Diffusion on a grid, large enough for a hierarchy."""
    return sps.csr_array(problems.poisson_2d(11, 11) + 0.1 * np.eye(121)).astype(dtype)


def stencil(u: Any, k: Any) -> Any:
    """A linear function of u, not symmetric."""
    return k * (3.1 * u - 0.9 * jnp.roll(u, 1) - jnp.roll(u, -1))


A, B = system("biCG-stab")
S = sps.csr_array(np.where(abs(A) > np.median(abs(A)), A, 0))
RIGHT = problems.random(121, seed=4)
STENCIL = 3.1 * np.eye(13) - 0.9 * np.roll(np.eye(13), 1, 0) - np.roll(np.eye(13), -1, 0)
TIGHT = 1e-10
#: SciPy's methods share their way to the host: one stands for all.
OURS = [name for name in METHODS if not name.startswith("scipy") or name == "scipy-GMres"]


@calls(*METHODS)
def dense(name: str) -> Call:
    M, b = system(name)
    return lambda k: js.solve_linear(
        k * M, jnp.asarray(b), js.Solve(made(name), rtol=TIGHT)
    ), np.linalg.solve(M, b)


@calls("CG", "GMres", "lsmr", "LU", "banded", "sparse-direct", "scipy-GMres")
def sparse(name: str) -> Call:
    M, b = system(name)
    return lambda k: js.solve_linear(
        sps.csr_array(M), k * b, js.Solve(made(name), rtol=TIGHT)
    ), np.linalg.solve(M, b)


@calls(*OURS)
def complex_numbers(name: str) -> Call:
    M, b = system(name, dtype=np.complex128)
    solve = js.Solve(made(name), rtol=TIGHT)
    return lambda k: js.solve_linear(k.astype(complex) * M, jnp.asarray(b), solve), np.linalg.solve(M, b)


@calls(*OURS)
def single_precision(name: str) -> Call:
    M, b = system(name, dtype=np.float32)
    solve = js.Solve(made(name), rtol=1e-4)
    return lambda k: js.solve_linear(k.astype(np.float32) * M, jnp.asarray(b), solve), np.linalg.solve(M, b)


@calls("CG", "minres", "GMres", "biCG", "lsmr", "LU", "QR", "banded", "sparse-direct", "scipy-GMres")
def gradient(name: str) -> Call:
    M, b = system(name)
    solve = js.Solve(made(name), rtol=TIGHT)
    slope = jax.grad(lambda k: js.solve_linear(k * M, b, solve).sum())
    return slope, -np.linalg.solve(M, b).sum()


@calls("CG", "GMres", "LU", "sparse-direct")
def second_derivative(name: str) -> Call:
    M, b = system(name)
    solve = js.Solve(made(name), rtol=TIGHT)
    return jax.hessian(lambda k: js.solve_linear(k * M, b, solve).sum()), 2 * np.linalg.solve(M, b).sum()


@calls("CG", "GMres", "lsmr", "LU", "banded", "sparse-direct", "scipy-GMres")
def lanes(name: str) -> Call:
    M, b = system(name)
    solve = js.Solve(made(name), rtol=TIGHT)
    one = lambda k: js.solve_linear(k * M, jnp.asarray(b), solve)
    return lambda k: jax.vmap(one)(jnp.stack([k, 2 * k])), np.linalg.solve(M, b) * np.array([[1], [0.5]])


@calls("lsqr", "lsmr", "QR", "auto", "scipy-lsmr")
def tall(name: str) -> Call:
    M = A[:, :7]
    one = lambda k: js.solve_linear(k * M, jnp.asarray(B), js.Solve(name, rtol=TIGHT)).sum()
    x = np.linalg.lstsq(M, B)[0].sum()
    return lambda k: (one(k), jax.grad(one)(k)), (x, -x)


@calls("lsqr", "lsmr", "QR", "auto")
def wide(name: str) -> Call:
    M = A[:7]
    one = lambda k: js.solve_linear(k * M, jnp.asarray(B[:7]), js.Solve(name, rtol=TIGHT)).sum()
    x = np.linalg.lstsq(M, B[:7])[0].sum()
    return lambda k: (one(k), jax.grad(one)(k)), (x, -x)


@calls(*PRECONDITIONERS)
def constant_matrix_with(name: str) -> Call:
    G = js.SparseMatrix.from_scipy(grid())
    solve = js.Solve("fGMres", rtol=TIGHT, preconditioner=name)
    return lambda k: js.solve_linear(G, k * RIGHT, solve), np.linalg.solve(grid().toarray(), RIGHT)


@calls(*PRECONDITIONERS)
def traced_values_with(name: str) -> Call:
    G = js.SparseMatrix.from_scipy(grid())
    solve = js.Solve("CG", rtol=TIGHT, preconditioner=name)
    one = jax.jit(lambda k: js.solve_linear(k * G, jnp.asarray(RIGHT), solve).sum())
    return one, np.linalg.solve(grid().toarray(), RIGHT).sum()


@calls("jacobi", "block-jacobi", "ilu", "ssor", "chebyshev", "cluster", "amg")
def complex_matrix_with(name: str) -> Call:
    M = (grid() * (1 + 0.2j)).tocsr()
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=name)
    return lambda k: js.solve_linear(M, k * RIGHT, solve), np.linalg.solve(M.toarray(), RIGHT)


@calls(*PRECONDITIONERS)
def real_matrix_and_complex_right_hand_side_with(name: str) -> Call:
    solve = js.Solve("fGMres", rtol=TIGHT, preconditioner=name)
    right = RIGHT * (1 + 2j)
    return lambda k: js.solve_linear(grid(), k.astype(complex) * right, solve), np.linalg.solve(
        grid().toarray(), right
    )


@calls("jacobi", "block-jacobi", "ilu", "ic", "ssor", "chebyshev", "fsai", "cluster", "amg")
def single_precision_with(name: str) -> Call:
    solve = js.Solve("CG", rtol=1e-4, preconditioner=name)
    right = RIGHT.astype(np.float32)
    return (
        lambda k: js.solve_linear(grid(np.float32), k.astype(np.float32) * right, solve),
        np.linalg.solve(grid().toarray(), RIGHT),
    )


@calls("jacobi", "ilu", "amg", "chebyshev")
def gradient_with(name: str) -> Call:
    G = js.SparseMatrix.from_scipy(grid())
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=name)
    one = lambda k: js.solve_linear(k * G, jnp.asarray(RIGHT), solve).sum()
    return jax.jit(jax.grad(one)), -np.linalg.solve(grid().toarray(), RIGHT).sum()


@calls()
def preconditioning_by_a_function() -> Call:
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=lambda r: r / 3)
    return lambda k: js.solve_linear(k * A, jnp.asarray(B), solve), np.linalg.solve(A, B)


@calls()
def preconditioning_on_the_device() -> Call:
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=js.ILU(level=0))
    return lambda k: js.solve_linear(grid(), k * RIGHT, solve), np.linalg.solve(grid().toarray(), RIGHT)


@calls("auto", "GMres", "biCG-stab", "LU", "sparse-direct")
def function(name: str) -> Call:
    solve = js.Solve(name, rtol=TIGHT)
    one = lambda k: js.solve_linear(stencil, jnp.asarray(B), solve, k)
    x = np.linalg.solve(STENCIL, B)
    return lambda k: (one(k), jax.grad(lambda k: one(k).sum())(k)), (x, -x.sum())


@calls()
def affine_function() -> Call:
    f = lambda u, k: stencil(u, k) + k
    return lambda k: js.solve_linear(f, jnp.asarray(B), js.Solve(rtol=TIGHT), k), np.linalg.solve(
        STENCIL, B - 1
    )


@calls()
def compiled_function() -> Call:
    one = jax.jit(lambda k: js.solve_linear(stencil, jnp.asarray(B), js.Solve(rtol=TIGHT), k))
    return one, np.linalg.solve(STENCIL, B)


@calls()
def lanes_of_gradients() -> Call:
    solve = js.Solve("GMres", rtol=TIGHT)
    slope = jax.grad(lambda k: js.solve_linear(stencil, jnp.asarray(B), solve, k).sum())
    x = np.linalg.solve(STENCIL, B).sum()
    return lambda k: jax.vmap(slope)(jnp.stack([k, 2 * k])), np.array([-x, -x / 4])


@calls()
def lanes_of_right_hand_sides() -> Call:
    one = lambda b: js.solve_linear(A, b, js.Solve("GMres", rtol=TIGHT))
    x = np.linalg.solve(A, B)
    return lambda k: jax.vmap(one)(jnp.stack([k * B, 2 * k * B])), np.stack([x, 2 * x])


@calls("auto", "GMres", "LU", "sparse-direct")
def batch(name: str) -> Call:
    x = np.linalg.solve(A, B)
    many, right = np.stack([A, 2 * A]), np.stack([B, B])
    return lambda k: js.solve_linear(k * many, right, js.Solve(name, rtol=TIGHT)), np.stack([x, x / 2])


@calls("auto", "GMres", "lsmr", "LU", "QR", "tridiagonal", "banded", "sparse-direct", "scipy-GMres")
def real_matrix_and_complex_right_hand_side(name: str) -> Call:
    M, b = (A, B) if name == "auto" else system(name)
    c = b * (1 + 2j)
    solve = js.Solve(name if name == "auto" else made(name), rtol=TIGHT)
    return lambda k: js.solve_linear(k * M, jnp.asarray(c), solve), np.linalg.solve(M, c)


@calls()
def complex_matrix_and_real_right_hand_side() -> Call:
    M = A * (1 + 2j)
    return lambda k: js.solve_linear(jnp.asarray(M), k * B), np.linalg.solve(M, B)


@calls()
def trees() -> Call:
    f = lambda u: {"p": 3 * u["p"] + u["q"].sum(), "q": 2 * u["q"] - u["p"]}
    M = np.array([[3.0, 1, 1], [-1, 2, 0], [-1, 0, 2]])
    x = np.linalg.solve(M, [1.0, 2, 3])
    right = lambda k: {"p": k, "q": k * np.array([2.0, 3.0])}
    return lambda k: js.solve_linear(f, right(k), js.Solve("GMres", rtol=TIGHT)), {"p": x[0], "q": x[1:]}


@calls("auto", "CG", "minres")
def insulated(name: str) -> Call:
    M = problems.neumann_2d(3, 4)
    b = B[:12] - B[:12].mean()
    solve = js.Solve(name, rtol=TIGHT, rank_deficiency=1)
    return lambda k: js.solve_linear(k * M, jnp.asarray(b), solve), np.linalg.lstsq(M, b)[0]


@calls()
def null_space_of_its_own() -> Call:
    M = problems.neumann_2d(3, 4)
    b = B[:12] - B[:12].mean()
    solve = js.Solve("CG", rtol=TIGHT, null_space=jnp.ones((12, 1)))
    one = lambda k: js.solve_linear(k * M, jnp.asarray(b), solve)
    x = np.linalg.lstsq(M, b)[0]
    return lambda k: (one(k), jax.grad(lambda k: one(k)[0])(k)), (x, -x[0])


@calls()
def information() -> Call:
    solve = js.Solve("GMres", rtol=TIGHT, x0=jnp.ones(13))
    one = lambda k: js.solve_linear_info(k * A, jnp.asarray(B), solve)
    return lambda k: (lambda info: (info.x, info.converged))(one(k)), (np.linalg.solve(A, B), True)


@calls()
def a_solve_that_fails() -> Call:
    solve = js.Solve("GMres", rtol=TIGHT, max_iterations=2)
    return lambda k: js.solve_linear_info(k * A, jnp.asarray(B), solve).converged, False


@calls()
def zero_right_hand_side() -> Call:
    return lambda k: js.solve_linear(k * A, jnp.zeros(13), js.Solve("CG")), np.zeros(13)


@calls()
def one_unknown() -> Call:
    return lambda k: js.solve_linear(jnp.full((1, 1), 2.0) * k, jnp.ones(1)), np.array([0.5])


@calls()
def factors() -> Call:
    x = np.linalg.solve(S.toarray(), np.stack([B, 2 * B], axis=1))
    factors = js.factorize(S)
    columns = lambda k: k * np.stack([B, 2 * B], axis=1)
    return lambda k: (factors.solve(k * B), factors.solve(columns(k))), (x[:, 0], x)


@calls()
def factors_of_the_adjoint() -> Call:
    slope = jax.grad(lambda k: js.factorize(k * A).solve(B).sum())
    return lambda k: (js.factorize(k * A).solve_transpose(B), slope(k)), (
        np.linalg.solve(A.T, B), -np.linalg.solve(A, B).sum(),
    )  # fmt: skip


@calls("jacobi", "ilu")
def set_up_once(name: str) -> Call:
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=name)
    ready = js.setup(S, solve, refresh="never")
    return lambda k: js.solve_linear(ready.update(js.SparseMatrix.from_scipy(S) * k), B), (
        np.linalg.solve(S.toarray(), B)
    )


@calls("auto", "GMres")
def columns(name: str) -> Call:
    right = np.stack([B, 2 * B, B**2], axis=1)
    return (
        lambda k: js.solve_linear_many(k * A, jnp.asarray(right), js.Solve(name, rtol=TIGHT)),
        np.linalg.solve(A, right),
    )


@calls()
def matrix_of_a_function() -> Call:
    return lambda k: js.matrix_from_function(stencil, jnp.zeros(13), k)[0].todense(), STENCIL


@calls()
def compiled_linear_function() -> Call:
    return lambda k: js.jit_compile_linear(stencil)(jnp.asarray(B), k), STENCIL @ B


@calls()
def jacobian() -> Call:
    f = lambda u, k: k * u**3 - jnp.roll(u, 1)
    matrix = np.diag(3 * B**2) - np.roll(np.eye(13), 1, 0)
    return lambda k: js.linearize_operator(f, jnp.asarray(B), k).todense(), matrix


@calls("diagonals", "rows", "coordinates")
def sparse_layout(kind: str) -> Call:
    M = (
        sps.csr_array(np.where(abs(A) > np.median(abs(A)), A, 0) + 9 * np.eye(13))
        if kind == "rows"
        else sps.csr_array(STENCIL)
    )
    given = BCOO.from_scipy_sparse(M)
    c = B * (1 + 2j)
    one = lambda k: js.solve_linear(
        k * given if kind == "coordinates" else M, jnp.asarray(c), js.Solve("GMres", rtol=TIGHT)
    )
    return jax.jit(one), np.linalg.solve(M.toarray(), c)


@calls()
def operators() -> Call:
    M = js.SparseMatrix.from_scipy(S)
    dense = S.toarray()
    return lambda k: ((k * M).mv(jnp.asarray(B)), (M.T @ (k * B)), (k * M).todense(), (M + k * M).todense()), (
        dense @ B, dense.T @ B, dense, 2 * dense,
    )  # fmt: skip


@calls()
def blocks() -> Call:
    M = js.Block(
        [[js.DenseMatrix(jnp.asarray(A)), None], [js.Identity(13, jnp.float64), js.Diagonal(jnp.asarray(B))]]
    )
    matrix = np.block([[A, np.zeros((13, 13))], [np.eye(13), np.diag(B)]])
    right = np.concatenate([B, B])
    return lambda k: js.solve_linear(M, k * right, js.Solve("LU", rtol=TIGHT)), np.linalg.solve(matrix, right)


def _roots(name: str) -> js.Solve:
    return js.Solve(name, x0=jnp.ones(13), rtol=1e-9)


def _of(goal: Any) -> list[str]:
    return [name for name, make in NONLINEAR.items() if goal in make().solves]


@calls("dense", "sparse", "device")
def determinant(kind: str) -> Call:
    M = js.SparseMatrix.from_scipy(S)
    request = js.Solve(js.SparseDirect("device") if kind == "device" else "auto")
    scaled = (
        (lambda k: k * jnp.asarray(S.toarray()))
        if kind == "dense"
        else lambda k: js.SparseMatrix(k * M.data, M.pattern)
    )
    one = lambda k: js.logdet(scaled(k), request)
    return lambda k: (one(k), jax.grad(one)(k)), (np.linalg.slogdet(S.toarray())[1], 13.0)


@calls()
def complex_values_on_the_device() -> Call:
    M = js.SparseMatrix.from_scipy(S * (1 + 0.5j))
    request = js.Solve(js.SparseDirect("device"), rtol=TIGHT)
    one = lambda k: js.solve_linear(
        js.SparseMatrix(jnp.asarray(k, M.dtype) * M.data, M.pattern), jnp.asarray(B), request
    )
    return one, np.linalg.solve(S.toarray() * (1 + 0.5j), B)


@calls("lsqr", "lsmr")
def damped_least_squares(name: str) -> Call:
    damped = {"lsqr": js.LSQR, "lsmr": js.LSMR}[name]
    one = lambda k: js.solve_linear(jnp.asarray(A), jnp.asarray(B), js.Solve(damped(damp=k), rtol=TIGHT))
    x = np.linalg.solve(A.T @ A + np.eye(13), A.T @ B)
    return one, x


@calls(*_of(ROOT))
def root(name: str) -> Call:
    f = lambda u, k: k * u + 0.03 * u**3 + 0.1 * jnp.roll(u, 1)
    y = f(jnp.asarray(B), 1.0)
    one = lambda k: js.solve_nonlinear(f, y, _roots(name), k)
    # f_k + f_u du = 0.
    J = np.diag(1 + 0.09 * B**2) + 0.1 * np.roll(np.eye(13), 1, 0)
    return lambda k: (one(k), jax.grad(lambda k: one(k).sum())(k)), (B, -np.linalg.solve(J, B).sum())


@calls(*_of(FIXED_POINT))
def fixed_point(name: str) -> Call:
    g = lambda u, k: k * (0.3 * jnp.sin(u) + B)
    one = lambda k: js.solve_fixed_point(g, _roots(name), k)
    x = np.ones(13)
    for _ in range(60):
        x = 0.3 * np.sin(x) + B
    return lambda k: (one(k), jax.grad(lambda k: one(k).sum())(k)), (x, (x / (1 - 0.3 * np.cos(x))).sum())


@calls(*_of(FIT))
def fit(name: str) -> Call:
    t = np.linspace(0, 1, 7)
    r = lambda p, k: k * p[0] * jnp.exp(-p[1] * t) - 2 * np.exp(-0.7 * t)
    one = lambda k: js.least_squares(r, js.Solve(name, x0=jnp.ones(2), rtol=1e-9), k)
    return lambda k: (one(k), jax.grad(lambda k: one(k).sum())(k)), (np.array([2, 0.7]), -2.0)


@calls(*_of(MINIMUM))
def minimum(name: str) -> Call:
    rough = name in ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
    f = lambda p, k: ((k * p - np.array([3.0, 2.0])) ** 2).sum() + 0.1 * p[0] ** 2 * p[1] ** 2
    one = lambda k: js.minimize(f, js.Solve(name, x0=jnp.ones(2), rtol=1e-4 if rough else 1e-7), k)
    if rough or name == "GD":
        return one, MINIMUM_OF_F
    return lambda k: (one(k), jax.grad(lambda k: one(k).sum())(k)), (MINIMUM_OF_F, SLOPE_OF_F)


def _minimum() -> tuple[np.ndarray, float]:
    """The minimum and the derivative of its sum, by Newton's method in NumPy."""
    p = np.ones(2)
    for _ in range(60):
        a, b = p
        slope = 2 * (p - np.array([3.0, 2.0])) + 0.2 * np.array([a * b * b, a * a * b])
        curvature = 2 * np.eye(2) + 0.2 * np.array([[b * b, 2 * a * b], [2 * a * b, a * a]])
        p = p - np.linalg.solve(curvature, slope)
    # ∂f'/∂k at k = 1 of k² p² - 2 k c p, by p: 4 p - 2 c.
    return p, -np.linalg.solve(curvature, 4 * p - 2 * np.array([3.0, 2.0])).sum()


MINIMUM_OF_F, SLOPE_OF_F = _minimum()


@calls()
def bounded_minimum() -> Call:
    f = lambda p, k: ((k * p - np.array([3.0, 2.0])) ** 2).sum()
    solve = js.Solve(x0=jnp.ones(2), rtol=1e-7)
    return lambda k: js.minimize(f, solve, k, bounds=(0.0, 2.5)), np.array([2.5, 2.0])


@calls()
def constrained_minimum() -> Call:
    f = lambda p, k: ((k * p - np.array([3.0, 2.0])) ** 2).sum()
    line = {"type": "eq", "fun": lambda p: p.sum() - 4}
    return lambda k: js.minimize(f, js.Solve(x0=jnp.ones(2)), k, constraints=[line]), np.array([2.5, 1.5])


@calls()
def lanes_of_roots() -> Call:
    one = lambda k: js.solve_nonlinear(
        lambda u: u + k * u**3, jnp.full(3, 2.0), js.Solve(x0=jnp.ones(3), rtol=1e-9)
    )
    roots = [float(np.real(np.roots([k, 0, 1, -2])[-1])) for k in (1.0, 2.0)]
    return lambda k: jax.vmap(one)(jnp.stack([k, 2 * k])), np.tile(np.array(roots)[:, None], 3)


@calls()
def explanation() -> Call:
    def explained(k: Any) -> Any:
        with contextlib.redirect_stdout(None):
            return k * float("LU" in str(js.explain(A, B)))

    return explained, 1.0


@calls()
def tape() -> Call:
    def taped(k: Any) -> Any:
        with js.SolveTape(record_trajectories=True) as solves:
            x = js.solve_linear(A, k * B, js.Solve("GMres", rtol=TIGHT))
        return x, len(solves), bool(solves[0].converged)

    return taped, (np.linalg.solve(A, B), 1, True)


@calls()
def tape_of_a_search() -> Call:
    def taped(k: Any) -> Any:
        with js.SolveTape(record_trajectories=True) as solves:
            p = js.minimize(lambda p: ((p - k) ** 2).sum(), js.Solve("L-BFGS-B", x0=jnp.zeros(2)))
        return p, len(solves), bool(solves[0].converged)

    return taped, (np.ones(2), 1, True)


def answers(f: Callable[[Any], Any], expected: Any, tolerance: float) -> str:
    """What is wrong with f(1), nothing where it is right."""
    try:
        got = jax.device_get(f(jax.device_put(np.float64(1))))
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.max(np.abs(other)))
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def run(flag: str, value: Any, words: list[str]) -> int:
    """The number of calls that fail under a switch; each is printed."""
    jax.config.update("jax_enable_x64", True)
    guarded = flag == "jax_transfer_guard"
    turns = [names[int(n) % len(names)] for n in words if n.isdigit() for names in KINDS.values()]
    skipped = () if flag in PROMOTING else MIXED
    if not guarded:
        jax.config.update(flag, value)
    failed = 0
    for name, make in CALLS.items():
        wanted = name in turns if turns else not words or any(word in name for word in words)
        if not wanted or name.startswith(skipped):
            continue
        f, expected = make()
        tolerance = 1e-2 if "single" in name or name.split()[-1] in ROUGH else 1e-5
        wrong = ""
        if not guarded:
            wrong = answers(f, expected, tolerance)
        elif name not in EAGER:
            # What a compiled program needs beside its arguments is there when it is compiled.
            f = jax.jit(f)
            wrong = answers(f, expected, tolerance)
            with jax.transfer_guard(value):
                wrong = wrong or answers(f, expected, tolerance)
        if wrong:
            failed += 1
            print(f"{name}: {wrong}", flush=True)
    return failed


#: Methods that find a minimum by values alone.
ROUGH = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA", "GD")
#: Switches for which dtypes matter, and the calls that are about those alone.
PROMOTING = ("jax_numpy_dtype_promotion", "jax_numpy_rank_promotion")
MIXED = ("complex", "single precision", "real matrix and complex")
#: What tells of a solve on the host, and is no part of a program.
EAGER = ("explanation", "tape", "tape of a search")

if __name__ == "__main__":
    switch, setting, *rest = sys.argv[1:]
    sys.exit(min(run(switch, {"True": True, "False": False}.get(setting, setting), rest), 99))
