"""Derivatives of every kind of system, given in every form: in loops and lanes they are those of dense formulas."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

import jaxsolve as js
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery import problems
from tests.gallery.derivatives import holds, third_derivatives
from tests.gallery.families import N
from tests.gallery.methods import mostly_slow

RECTANGULAR = [name for name in METHODS if METHODS[name]().rectangular]
TIGHT = 1e-11
#: A loop, lanes, and a loop whose residuals are made anew.
LOOPS = [("scan",), ("vmap of all",), ("checkpoint", "scan")]
loops = pytest.mark.parametrize(
    "names", [LOOPS[0], *(pytest.param(n, marks=pytest.mark.slow) for n in LOOPS[1:])]
)


class User(js.LinearOperator):
    """An operator as a user writes it."""

    values: jax.Array

    @property
    def shape(self):
        return self.values.shape

    @property
    def dtype(self):
        return self.values.dtype

    def mv(self, x):
        return self.values @ x


class Half(eqx.Module):
    """An unknown in two parts."""

    head: jax.Array
    tail: jax.Array

    @classmethod
    def of(cls, x):
        return cls(x[:2], x[2:])

    def whole(self):
        return jnp.concatenate([self.head, self.tail])


ROWS, COLUMNS = np.nonzero(np.ones((N, N)))
PATTERN = js.SparseMatrix.from_dense(np.ones((N, N))).pattern


def product(x, M):
    return M @ x


def affine(x, M, offset):
    return M @ x - 0.5 * offset


def in_parts(x, M):
    return Half.of(M @ x.whole())


def with_pytree(A, b, solve):
    return js.solve_linear(in_parts, Half.of(b), solve, A).whole()


#: Every form of A, each as a solver of (A, b, solve).
FORMS = {
    "array": js.solve_linear,
    "matrix": lambda A, b, solve: js.solve_linear(js.DenseMatrix(A), b, solve),
    "sparse": lambda A, b, solve: js.solve_linear(js.SparseMatrix(A[ROWS, COLUMNS], PATTERN), b, solve),
    "BCOO": lambda A, b, solve: js.solve_linear(
        BCOO((A[ROWS, COLUMNS], np.stack([ROWS, COLUMNS], 1)), shape=(N, N)), b, solve
    ),
    "BCOO with traced indices": lambda A, b, solve: js.solve_linear(BCOO.fromdense(A, nse=N * N), b, solve),
    "function by position": lambda A, b, solve: js.solve_linear(product, b, solve, A),
    "function by keyword": lambda A, b, solve: js.solve_linear(product, b, solve, M=A),
    "function by closure": lambda A, b, solve: js.solve_linear(lambda x: A @ x, b, solve),
    "affine function": lambda A, b, solve: js.solve_linear(affine, 0.5 * b, solve, A, offset=b),
    "compiled function": lambda A, b, solve: js.solve_linear(js.jit_compile_linear(product), b, solve, A),
    "matrix from function": lambda A, b, solve: js.solve_linear(
        js.matrix_from_function(product, b, A)[0], b, solve
    ),
    "pytree": with_pytree,
    "operator": lambda A, b, solve: js.solve_linear(User(A), b, solve),
    "transposed operator": lambda A, b, solve: js.solve_linear(User(A.T).T, b, solve),
    "sum": lambda A, b, solve: js.solve_linear(User(0.75 * A) + js.DenseMatrix(0.25 * A), b, solve),
    "scaled": lambda A, b, solve: js.solve_linear(User(A) * (1 + A[0, 0]), b * (1 + A[0, 0]), solve),
    "product": lambda A, b, solve: js.solve_linear(User(A) @ User(A), A @ b, solve),
    "stack": lambda A, b, solve: (
        js.solve_linear(jnp.stack([A, 2 * A]), jnp.stack([b, b]), solve).sum(0) / 1.5
    ),
    "several sides": lambda A, b, solve: js.solve_linear(A, jnp.stack([b, 2 * b]), solve).sum(0) / 3,
    "many": lambda A, b, solve: js.solve_linear_many(A, jnp.stack([b, 2 * b], 1), solve).sum(1) / 3,
    "information": lambda A, b, solve: js.solve_linear_info(A, b, solve).x,
    "js.jit": lambda A, b, solve: js.jit(js.solve_linear)(A, b, solve),
    "refined": lambda A, b, solve: (x := js.solve_linear(A, b, solve)) + js.solve_linear(A, b - A @ x, solve),
}


@pytest.mark.further
@loops
@pytest.mark.parametrize(
    "form",
    mostly_slow(
        FORMS, ["sparse", "function by position", "function by keyword", "function by closure", "pytree"]
    ),
)
def test_every_form_of_a_matrix(form, names):
    solve = js.Solve("biCG-stab", rtol=TIGHT)
    holds(names, lambda A, b: FORMS[form](A, b, solve))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GMres", "lsmr", "LU", "sparse-direct"])
@pytest.mark.parametrize("form", ["sparse", "function by closure", "pytree", "operator", "product", "stack"])
def test_forms_of_a_matrix_by_other_methods(form, method):
    solve = js.Solve(method, rtol=TIGHT)
    holds(("scan",), lambda A, b: FORMS[form](A, b, solve))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sparse", "function by keyword", "operator", "scaled", "pytree"])
def test_forms_of_a_complex_matrix(form):
    solve = js.Solve("GMres", rtol=TIGHT)
    holds(("scan",), lambda A, b: FORMS[form](A, b, solve), dtype=np.complex128)


@pytest.mark.further
@loops
@pytest.mark.parametrize("name", mostly_slow(PRECONDITIONERS, ["jacobi", "ilu"]))
def test_preconditioners_with_traced_values(name, names):
    pattern = js.SparseMatrix.from_dense(problems.poisson_2d(4, 4)).pattern
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner=name)

    def solver(A, b):
        return js.solve_linear(js.SparseMatrix(A[pattern.rows, pattern.indices], pattern), b, solve)

    holds(names, solver, "grid")


OPTIONS = {
    "function": lambda A, b: {"preconditioner": lambda r: r / jnp.diag(A)},
    "operator": lambda A, b: {"preconditioner": js.Diagonal(1 / jnp.diag(A))},
    "inverse": lambda A, b: {"preconditioner": js.DenseMatrix(jnp.linalg.inv(A) + 0.01)},
    "pair": lambda A, b: {"preconditioner": (js.Diagonal(1 / jnp.diag(A)), lambda r: 2 * r)},
    "guess": lambda A, b: {"x0": b**2},
    "tolerance": lambda A, b: {"rtol": TIGHT * jnp.exp(-(b[0] ** 2))},
    "gradient_solve": lambda A, b: {"gradient_solve": js.Solve("LU")},
    "preprocess": lambda A, b: {"preprocess": lambda A: js.DenseMatrix(A.as_matrix())},
}


@pytest.mark.further
@loops
@pytest.mark.parametrize("option", mostly_slow(OPTIONS, ["function"]))
def test_options_that_depend_on_parameters_change_no_derivative(option, names):
    holds(
        names,
        lambda A, b: js.solve_linear(A, b, js.Solve("GMres", **{"rtol": TIGHT, **OPTIONS[option](A, b)})),
    )


def many(solver, b):
    return solver.solve(jnp.stack([b, 2 * b], 1)).sum(1) / 3


FACTORED = {
    "solve": lambda A, b: js.factorize(A).solve(b),
    "transposed": lambda A, b: js.factorize(A.T).solve_transpose(b),
    "many": lambda A, b: many(js.factorize(A), b),
    "sparse": lambda A, b: js.factorize(js.SparseMatrix(A[ROWS, COLUMNS], PATTERN)).solve(b),
}


@pytest.mark.few(1)
@loops
@pytest.mark.parametrize("dtype", mostly_slow([np.float64, np.complex128], [np.float64]))
@pytest.mark.parametrize("form", mostly_slow(FACTORED, ["solve"]))
def test_factorisations(form, dtype, names):
    holds(names, FACTORED[form], dtype=dtype)


def test_a_factorisation_made_outside_of_the_loop():
    A = problems.dominant(N, 7)
    solver = js.factorize(A)

    def correction(M, b):
        # M x = b by a fixed-point step that is exact at its fixed point: derivatives pass through b alone.
        x = jnp.linalg.solve(M, b)
        return solver.solve(A @ x)

    holds(("scan",), correction)


@pytest.mark.few(1)
@loops
@pytest.mark.parametrize("kind", ["tall", "wide"])
@pytest.mark.parametrize("method", mostly_slow(RECTANGULAR, ["lsmr", "QR", "SVD"]))
def test_rectangular_systems(method, kind, names):
    solve = js.Solve(method, rtol=TIGHT)
    holds(names, lambda A, b: js.solve_linear(A, b, solve), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tall", "wide"])
@pytest.mark.parametrize("method", RECTANGULAR)
def test_complex_rectangular_systems(method, kind):
    solve = js.Solve(method, rtol=TIGHT)
    holds(("scan",), lambda A, b: js.solve_linear(A, b, solve), kind, np.complex128)


@pytest.mark.slow
@pytest.mark.parametrize("method", RECTANGULAR)
def test_a_guess_of_a_wide_system_changes_no_derivative(method):
    def solver(A, b):
        return js.solve_linear(A, b, js.Solve(method, rtol=TIGHT, x0=A[0] + b[1]))

    holds(("scan",), solver, "wide")


@pytest.mark.further
@loops
@pytest.mark.parametrize("kind", ["deficient tall", "deficient wide", "deficient square"])
@pytest.mark.parametrize("method", mostly_slow(["lsmr", "lsqr", "SVD"], ["lsmr", "SVD"]))
def test_systems_of_less_than_full_rank(method, kind, names):
    solve = js.Solve(method, rtol=TIGHT)
    holds(names, lambda A, b: js.solve_linear(A, b, solve), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deficient tall", "deficient wide", "deficient square"])
@pytest.mark.parametrize("method", ["lsmr", "SVD"])
def test_complex_systems_of_less_than_full_rank(method, kind):
    solve = js.Solve(method, rtol=TIGHT)
    holds(("scan",), lambda A, b: js.solve_linear(A, b, solve), kind, np.complex128)


SINGULAR = {"CG": "singular, definite", "minres": "singular, definite", "GMres": "singular", "LU": "singular"}
NULLS = {
    "detected": lambda q: {},
    "rank_deficiency": lambda q: {"rank_deficiency": 1},
    "null_space": lambda q: {"null_space": q},
    "null_space of any length": lambda q: {"null_space": 3 * q},
}


@loops
@pytest.mark.parametrize("null", mostly_slow(NULLS, ["detected"]))
@pytest.mark.parametrize("method", mostly_slow(SINGULAR, ["CG"]))
def test_systems_with_a_null_space_that_stays(method, null, names):
    def solver(A, b, q):
        return js.solve_linear(A, b, js.Solve(method, rtol=TIGHT, **NULLS[null](q)))

    holds(names, solver, SINGULAR[method])


# Also what finds the least norm whatever is declared, and whose own rule knows that the null space turns.
TURNING = {**SINGULAR, **dict.fromkeys(("lsmr", "lsqr", "scipy-lsmr", "QR"), "singular")}


@pytest.mark.few(1)
@loops
@pytest.mark.parametrize("method", mostly_slow(TURNING, ["CG", "lsmr"]))
def test_systems_with_a_null_space_that_turns(method, names):
    def solver(A, b, q):
        return js.solve_linear(A, b, js.Solve(method, rtol=TIGHT, null_space=q))

    holds(names, solver, TURNING[method].replace("singular", "turning"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["singular", "turning"])
def test_complex_systems_with_a_null_space(kind):
    def solver(A, b, q):
        return js.solve_linear(A, b, js.Solve("GMres", rtol=TIGHT, null_space=q))

    holds(("scan",), solver, kind, np.complex128)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tall", "wide", "deficient tall", "turning"])
def test_third_derivatives_of_least_squares_and_singular_systems(kind):
    def solver(A, b, *q):
        return js.solve_linear(A, b, js.Solve("lsmr", rtol=TIGHT, null_space=q[0] if q else None))

    holds(("scan",), solver, kind, wanted=third_derivatives)
