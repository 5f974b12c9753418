"""What a user's own operator obeys: it is solved by whatever solves the `SparseMatrix` with its entries.

One operator tells its products alone, the other one its entries, too. Both are tridiagonal.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.tracer.explicit_matrix import explicit
from tests.gallery.methods import distance

N = 24
ROWS = np.concatenate([np.arange(1, N), np.arange(N), np.arange(N - 1)])
COLUMNS = np.concatenate([np.arange(N - 1), np.arange(N), np.arange(1, N)])
PATTERN, ORDER, _ = js.SparseMatrix.from_dense(np.eye(N)).pattern.from_coo(ROWS, COLUMNS, (N, N))
B = jnp.cos(jnp.arange(N) ** 2.0)


class Told(js.LinearOperator):
    """What a user writes: fields, shape, dtype, products."""

    lower: jax.Array
    middle: jax.Array
    upper: jax.Array

    shape = property(lambda self: (N, N))
    dtype = property(lambda self: self.middle.dtype)

    def mv(self, x):
        p = jnp.pad(x, 1)
        return self.lower * p[:-2] + self.middle * x + self.upper * p[2:]


class WithEntries(Told):
    """The same with its entries."""

    def entries(self):
        data = jnp.concatenate([self.lower[1:], self.middle, self.upper[:-1]])
        return js.SparseMatrix(data[ORDER], PATTERN)


class Hidden(WithEntries):
    """One that can be multiplied, and not read."""

    def mv(self, x):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda A, x: np.asarray(A) @ x, result, self.entries().todense(), x)


def sparse(*fields):
    return WithEntries(*fields).entries()


OPERATORS = {"products": Told, "entries": WithEntries}


@functools.cache
def fields(kind):
    """The diagonals of a definite matrix, or of a complex one without symmetry."""
    k = jnp.arange(N)
    lower, middle = -1 - 0.1 * jnp.sin(k), 3 + jnp.sin(2 * k)
    if kind == "definite":
        return lower, middle, jnp.append(lower[1:], 0.0)
    return lower * (1 + 0.3j), middle * (1 - 0.2j), -0.5 + 0.2j * jnp.cos(k)


@functools.cache
def expected(kind):
    """The solution and the gradients of `loss`, by the dense matrix."""
    values = fields(kind)
    solution = lambda values: jnp.linalg.solve(sparse(*values).todense(), B + 0 * values[1])  # noqa: E731
    return solution(values), jax.grad(lambda values: loss(solution(values)))(values)


def loss(x):
    return jnp.sum(jnp.abs(x) ** 2)


REQUESTS = {name: js.Solve(name, rtol=1e-11) for name in METHODS}
REQUESTS |= {
    f"GMres + {name}": js.Solve("GMres", rtol=1e-11, preconditioner=name) for name in PRECONDITIONERS
}
#: Those that need entries come first.
NEEDY = ("banded", "sparse-direct", "GMres + ilu", "GMres + ssor", "GMres + amg")
ORDERED = [*NEEDY, *(name for name in REQUESTS if name not in NEEDY)]
every_request = pytest.mark.parametrize(
    "name", [name if name in NEEDY else pytest.param(name, marks=pytest.mark.slow) for name in ORDERED]
)


def outcome(make, request, kind):
    """How a solve ends, and its solution."""
    try:
        info = js.solve_linear_info(make(*fields(kind)), B, request)
    except (StructureError, NotImplementedError) as refusal:
        return type(refusal).__name__, None
    return info.status.name, info.x


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["definite", "complex"])
@every_request
def test_an_operator_is_solved_like_its_sparse_matrix(name, kind):
    status, x = outcome(sparse, REQUESTS[name], kind)
    for make in OPERATORS.values():
        found, own = outcome(make, REQUESTS[name], kind)
        assert found == status
        if x is not None and status == "converged":
            assert distance(own, x) < 1e-8
            assert distance(own, expected(kind)[0]) < 1e-8


@pytest.mark.few(1)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", ["definite", "complex"])
@every_request
def test_gradients_reach_the_fields_of_an_operator(name, kind, operator):
    make, request = OPERATORS[operator], REQUESTS[name]
    if outcome(sparse, request, kind)[0] != "converged":
        pytest.skip("not solved as a sparse matrix")

    @jax.jit
    def at(values):
        return jax.value_and_grad(
            lambda values: (lambda x: (loss(x), x))(js.solve_linear(make(*values), B, request)), has_aux=True
        )(values)

    (_, x), found = at(fields(kind))
    assert distance(x, expected(kind)[0]) < 1e-8
    for got, want in zip(found, expected(kind)[1], strict=True):
        assert distance(got, want) < 1e-7


@pytest.mark.further
@pytest.mark.parametrize("operator", OPERATORS)
@every_request
def test_a_batch_of_operators_is_solved_lane_by_lane(name, operator):
    lanes = jnp.array([1.0, 2.0])
    solve = lambda c: js.solve_linear(  # noqa: E731
        OPERATORS[operator](*(c * v for v in fields("definite"))), B, REQUESTS[name]
    )
    if outcome(sparse, REQUESTS[name], "definite")[0] != "converged":
        pytest.skip("not solved as a sparse matrix")
    X = jax.vmap(solve)(lanes)
    assert distance(X, expected("definite")[0] / lanes[:, None]) < 1e-8


@pytest.mark.further
def test_what_an_operator_says_is_believed():
    A = Hidden(*fields("definite"))
    dense = np.asarray(A.entries().todense())
    np.testing.assert_allclose(A.diagonal(), np.diag(dense))
    np.testing.assert_allclose(A.as_matrix(), dense)
    np.testing.assert_allclose((2 * A).diagonal(), 2 * np.diag(dense))
    np.testing.assert_allclose(explicit(A.T).as_matrix(), dense.T)
    assert explicit(A.declare(positive_definite=True)).traits.positive_definite
    assert js.solve_linear_info(A, B).method == "banded"
    for name in ("GMres + ilu", "sparse-direct", "banded", "scipy-direct"):
        assert distance(js.solve_linear(A, B, REQUESTS[name]), expected("definite")[0]) < 1e-8


def test_what_is_read_is_sparse_unless_it_is_full():
    assert explicit(Told(*fields("definite"))).entries().pattern == PATTERN

    class Full(js.LinearOperator):
        matrix: jax.Array
        shape = property(lambda self: self.matrix.shape)
        dtype = property(lambda self: self.matrix.dtype)

        def mv(self, x):
            return self.matrix @ x

    full = explicit(Full(jnp.asarray(np.random.default_rng(1).standard_normal((80, 80)))))
    assert isinstance(full, DenseMatrix)


def test_wrong_entries_are_refused():
    class Smaller(WithEntries):
        def entries(self):
            return js.SparseMatrix.from_dense(np.eye(3))

    class Other(WithEntries):
        def entries(self):
            return np.eye(N)

    with pytest.raises(
        StructureError, match=r"Smaller.entries\(\) has shape \(3, 3\), but the operator \(24, 24\)"
    ):
        js.solve_linear(Smaller(*fields("definite")), B)
    with pytest.raises(
        TypeError, match=r"Other.entries\(\) must return a js.SparseMatrix or None; got a ndarray"
    ):
        js.solve_linear(Other(*fields("definite")), B)


def test_positions_that_are_not_known_are_told_in_words():
    A = js.matrix_from_function(lambda x: 3 * x - jnp.roll(x, 1), jnp.zeros(5))[0]
    solve = jax.jit(lambda A: js.solve_linear(A, jnp.ones(5), js.Solve("GMres", preconditioner="ilu")))
    with pytest.raises(StructureError, match="the indices of this one are traced"):
        solve(A)


def test_a_batch_of_an_operator_is_what_it_says():
    class Stack(Told):
        batch_shape = property(lambda self: self.middle.shape[:-1])

    values = tuple(jnp.stack([v, 2 * v]) for v in fields("definite"))
    X = js.solve_linear(Stack(*values), jnp.stack([B, B]), js.Solve("banded"))
    assert distance(X, jnp.stack([expected("definite")[0], expected("definite")[0] / 2])) < 1e-8
    with pytest.raises(StructureError, match=r"built of one matrix; got a batch of shape \(2,\)"):
        js.Jacobi().build(Stack(*values))
