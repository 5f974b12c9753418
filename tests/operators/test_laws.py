"""What all operators obey: products, transposes, adjoints, dense forms, diagonals, batches, derivatives, traits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.core.tree import Packing
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator, rows_operator
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.layout import lay_out
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.nullspace import NullSpace
from tests.core.test_traits import NAMES, holds
from tests.gallery import problems

M, N = 6, 9


class Foreign(js.LinearOperator):
    """What a user writes: shape, dtype, mv, and nothing else."""

    matrix: jax.Array

    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def mv(self, x):
        return self.matrix @ x


def values(m, n, seed, dtype):
    """A dense matrix with about half of its entries zero."""
    A = problems.random(m, n, seed=seed, dtype=dtype)
    return np.where(np.random.default_rng(seed + 1).random((m, n)) < 0.5, A, 0).astype(dtype)


def band(m, n, seed, dtype):
    A = problems.random(m, n, seed=seed, dtype=dtype)
    return np.triu(np.tril(A, 2), -1)


def diagonals(A):
    S = SparseMatrix.from_dense(A)
    layout = S.layout()
    assert isinstance(layout, DiagonalsOperator)
    return layout


def rows(A):
    S = SparseMatrix.from_dense(A)
    layout = rows_operator(S.data, S.pattern)
    assert isinstance(layout, RowsOperator)
    return layout


def coordinates(A):
    # Unsorted, with a repeated position and one outside of the shape, as padding is.
    r, c = np.nonzero(A)
    data = np.concatenate([A[r, c], A[r[:1], c[:1]], [5]]).astype(A.dtype)
    data[0] = 0
    order = np.random.default_rng(1).permutation(len(data))
    r, c = np.append(r, [r[0], A.shape[0]]), np.append(c, [c[0], A.shape[1]])
    return CoordinateOperator(jnp.asarray(data[order]), jnp.asarray(r[order]), jnp.asarray(c[order]), A.shape)


def function(A):
    x, y = (Packing.of(jax.ShapeDtypeStruct((k,), A.dtype)) for k in A.shape[::-1])
    return function_operator(lambda v, matrix: matrix @ v, x, y, A.dtype, (jnp.asarray(A),), {})[0]


def affine(A):
    x, y = (Packing.of(jax.ShapeDtypeStruct((k,), A.dtype)) for k in A.shape[::-1])
    return function_operator(lambda v, matrix: matrix @ v + 3, x, y, A.dtype, (jnp.asarray(A),), {})[0]


def blocks(A):
    top, left = 2, 4
    B = [[A[:top, :left], A[:top, left:]], [A[top:, :left], A[top:, left:]]]
    return js.Block(
        [
            [SparseMatrix.from_dense(B[0][0]), DenseMatrix(jnp.asarray(B[0][1]))],
            [Foreign(jnp.asarray(B[1][0])), rows(B[1][1])],
        ]
    )


#: Each operator as (how it is made from a dense matrix, the matrix).
RECTANGULAR = {
    "dense": (lambda A: DenseMatrix(jnp.asarray(A)), values),
    "sparse": (SparseMatrix.from_dense, values),
    "diagonals": (diagonals, band),
    "rows": (rows, values),
    "coordinates": (coordinates, values),
    "foreign": (lambda A: Foreign(jnp.asarray(A)), values),
    "function": (function, values),
    "affine function": (affine, values),
    "declared": (lambda A: SparseMatrix.from_dense(A).layout().declare(), values),
    "transposed": (lambda A: Foreign(jnp.asarray(A.T)).T, values),
    "conjugated": (lambda A: Foreign(jnp.asarray(A.conj())).conj(), values),
    "scaled": (lambda A: 2 * Foreign(jnp.asarray(A / 2)), values),
    "sum": (lambda A: Foreign(jnp.asarray(A / 2)) + SparseMatrix.from_dense(A / 2), values),
    "difference": (lambda A: Foreign(jnp.asarray(2 * A)) - SparseMatrix.from_dense(A), values),
    "product": (lambda A: DenseMatrix(jnp.asarray(A)) @ js.Identity(A.shape[1], A.dtype), values),
    "blocks": (blocks, values),
}
SQUARE = {
    "identity": (lambda A: js.Identity(len(A), A.dtype), lambda m, n, seed, dtype: np.eye(m, dtype=dtype)),
    "diagonal": (
        lambda A: js.Diagonal(jnp.asarray(np.diag(A))),
        lambda m, n, seed, dtype: np.diag(problems.random(m, seed=seed, dtype=dtype)),
    ),
}
SHAPES = [(M, N), (N, M), (M, M), (1, 5), (5, 1), (1, 1)]


def cases(tall=()):
    for kind, (make, fill) in RECTANGULAR.items():
        yield pytest.param(make, fill, M, N, id=kind)
        if kind in tall:
            yield pytest.param(make, fill, N, M, id=f"{kind}-tall")
    for kind, (make, fill) in SQUARE.items():
        yield pytest.param(make, fill, M, M, id=kind)


every_kind = pytest.mark.parametrize(("make", "fill", "m", "n"), list(cases()))
every_kind_tall_and_wide = pytest.mark.parametrize(
    ("make", "fill", "m", "n"),
    list(cases(tall=("dense", "sparse", "diagonals", "rows", "coordinates", "function"))),
)


def close(x, y):
    tolerance = 100 * np.finfo(np.asarray(x).dtype).eps
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * (1 + np.abs(y).max(initial=0)))


def forms(A):
    """An operator and what it turns into, with what each must be of the matrix."""
    return {
        "itself": (A, lambda D: D),
        "transpose": (A.T, lambda D: D.T),
        "adjoint": (A.H, lambda D: D.conj().T),
        "conjugate": (A.conj(), np.conj),
        "transpose of adjoint": (A.H.T, np.conj),
        "layout": (A.layout(), lambda D: D),
        "transposed layout": (A.layout().T, lambda D: D.T),
    }


@jax.jit
def products(A):
    """The columns of each form; one program, since every eager operation would be one."""
    return {
        name: jax.vmap(op.mv, out_axes=1)(jnp.eye(op.shape[1], dtype=op.dtype))
        for name, (op, _) in forms(A).items()
    }


@jax.jit
def known(A):
    """What an operator can tell without being applied."""
    return A.as_matrix(), A.T.as_matrix(), A.diagonal(), A.T.diagonal(), A.magnitude(), A.layout().magnitude()


@pytest.mark.few(6)
@every_kind_tall_and_wide
def test_an_operator_and_its_transposes_act_like_the_matrix(make, fill, m, n):
    dense = fill(m, n, 5, np.complex128)
    A = make(dense)
    for name, matrix in products(A).items():
        op, of_matrix = forms(A)[name]
        assert op.shape == matrix.shape
        assert op.dtype == matrix.dtype == np.complex128
        close(matrix, of_matrix(dense))


def mixtures(A, dense):
    """Operators of a real one and complex numbers, each with its matrix."""
    m, n = dense.shape
    ends = [js.Diagonal(jnp.asarray(problems.random(k, seed=k, dtype=np.complex128))) for k in (m, n)]
    left, right = (np.diag(np.asarray(end.values)) for end in ends)
    basis = np.linalg.qr(problems.random(m, 2, seed=3, dtype=np.complex128))[0]
    found = {
        "scaled": ((2 - 1j) * A, (2 - 1j) * dense),
        "product": ((1j * A.T) @ A, 1j * dense.T @ dense),
        "sum": (A + 1j * A, (1 + 1j) * dense),
        "block": (
            js.Block([[A, ends[0]], [ends[1], A.T]]),
            np.block([[dense, left], [right, dense.T]]),
        ),
    }
    if m == n:
        kept = np.eye(m) - basis @ basis.conj().T
        found["compressed"] = (NullSpace(jnp.asarray(basis)).compressed(A), kept @ dense @ kept)
    return found


@pytest.mark.few(3)
@every_kind
def test_a_real_operator_maps_complex_vectors_by_their_parts(make, fill, m, n):
    dense = fill(m, n, 5, np.float64)
    A = make(dense)

    @jax.jit
    def images(A):
        return {
            name: op.mv(jnp.asarray(problems.random(op.shape[1], seed=1, dtype=np.complex128)))
            for name, (op, _) in forms(A).items()
        }

    for name, image in images(A).items():
        op, of_matrix = forms(A)[name]
        close(image, of_matrix(dense) @ problems.random(op.shape[1], seed=1, dtype=np.complex128))


@jax.jit
def combined(operators):
    """The columns of operators, of their transposes, adjoints and conjugates."""
    return {
        name: [
            jax.vmap(form.mv, out_axes=1)(jnp.eye(form.shape[1], dtype=complex))
            for form in (op, op.T, op.H, op.conj())
        ]
        for name, op in operators.items()
    }


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("make", "fill", "m", "n"),
    [
        case
        for case in cases()
        if case.id not in ("rows", "diagonals", "coordinates", "sum", "difference", "declared", "blocks")
    ],
)
def test_real_operators_and_complex_numbers_mix(make, fill, m, n):
    dense = fill(m, n, 5, np.float64)
    mixed = mixtures(make(dense), dense)
    for name, found in combined({name: op for name, (op, _) in mixed.items()}).items():
        op, matrix = mixed[name]
        assert op.dtype == np.complex128
        for got, want in zip(found, (matrix, matrix.T, matrix.conj().T, matrix.conj()), strict=True):
            close(got, want)


@every_kind_tall_and_wide
def test_sums_of_leading_rows_are_those_of_the_matrix(make, fill, m, n):
    dense = fill(m, n, 6, np.float64)
    for op, of_matrix in forms(make(dense)).values():
        for count in (1, 2, m + 3):
            sums = op.leading_row_sums(count)
            if sums is not None:
                close(sums, of_matrix(dense).sum(1)[:count])


def test_the_layouts_and_what_holds_them_tell_sums_of_leading_rows():
    A = band(M, N, 6, np.float64)
    for op in (DenseMatrix(jnp.asarray(A)), diagonals(A), diagonals(A).declare(), rows(A)):
        assert op.leading_row_sums(2) is not None


@every_kind
def test_dense_form_diagonal_and_magnitude_are_those_of_the_matrix(make, fill, m, n):
    dense = fill(m, n, 6, np.complex128)
    A = make(dense)
    matrix, transposed, *diagonals, one, other = known(A)
    close(matrix, dense)
    close(transposed, dense.T)
    for diagonal in diagonals:
        close(diagonal, np.diag(dense))
    for magnitude in (one, other):
        # Repeated and outside positions of a coordinate operator are unknown until summed: its bound may be larger.
        if magnitude is not None and not isinstance(A, CoordinateOperator):
            assert float(magnitude) == pytest.approx(np.abs(dense).max())


@every_kind
def test_float32_stays_float32(make, fill, m, n):
    dense = fill(m, n, 5, np.float32)
    x, y = problems.random(n, seed=1, dtype=np.float32), problems.random(m, seed=2, dtype=np.float32)
    Ax, Aty = jax.jit(lambda A: (A @ x, A.T @ y))(make(dense))
    assert Ax.dtype == Aty.dtype == np.float32
    close(Ax, dense @ x)
    close(Aty, dense.T @ y)


@every_kind
def test_operators_pass_through_jit_vmap_and_derivatives(make, fill, m, n):
    dense = fill(m, n, 8, np.float64)
    X = jnp.asarray(problems.random(3, n, seed=3))

    @jax.jit
    def run(A, X):
        y, pull = jax.vjp(A.mv, X[0])
        return jax.vmap(A.mv)(X), jax.jvp(A.mv, (X[0],), (X[1],))[1], y, pull(y)[0]

    batched, tangent, y, pulled = run(make(dense), X)
    close(batched, X @ dense.T)
    close(tangent, dense @ X[1])
    close(pulled, dense.T @ y)


@every_kind
def test_the_derivative_of_a_product_reaches_the_values(make, fill, m, n):
    arrays, rest = jax.tree.flatten(make(fill(m, n, 9, np.float64)))
    floats = [k for k, leaf in enumerate(arrays) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    if not floats:
        return
    x, y = jnp.asarray(problems.random(n, seed=1)), jnp.asarray(problems.random(m, seed=2))

    def bilinear(values):
        full = list(arrays)
        for k, value in zip(floats, values, strict=True):
            full[k] = value
        op = jax.tree.unflatten(rest, full)
        return y @ op.mv(x) + op.T.mv(y) @ x

    at = [jnp.asarray(arrays[k], float) for k in floats]
    step = [jnp.cos(1 + jnp.arange(v.size, dtype=float)).reshape(v.shape) for v in at]

    @jax.jit
    def slopes(at, step):
        gradient = jax.grad(bilinear)(at)
        h = 1e-5
        ahead, behind = (bilinear([v + d * s for v, s in zip(at, step, strict=True)]) for d in (h, -h))
        return sum(jnp.vdot(g, s) for g, s in zip(gradient, step, strict=True)), (ahead - behind) / (2 * h)

    slope, difference = slopes(at, step)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", ["sparse", "dense", "rows", "diagonals", "foreign"])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_every_shape_works(kind, m, n):
    make, fill = RECTANGULAR[kind]
    A = fill(m, n, 10, np.float64)
    if kind == "diagonals":
        S = SparseMatrix.from_dense(A)
        make = lambda A: lay_out(S.data, S.pattern, S.facts)  # noqa: E731
    op = make(A)
    close(op @ np.ones(n), A.sum(1))
    close(op.T @ np.ones(m), A.sum(0))


@pytest.mark.parametrize(("m", "n"), [(0, 0), (0, 3), (3, 0), (4, 4), (3, 5)])
def test_matrices_without_entries_are_zero(m, n):
    A = SparseMatrix.from_dense(np.zeros((m, n)))
    for op in (A, A.T, A.layout(), A.layout().T, rows_operator(A.data, A.pattern), A + A, 2 * A):
        rows_, columns = op.shape
        assert (op @ jnp.ones(columns)).tolist() == [0.0] * rows_
    assert A.nnz == 0
    assert A.diagonal().tolist() == [0.0] * min(m, n)
    assert float(A.magnitude()) == 0
    np.testing.assert_array_equal(A.todense(), np.zeros((m, n)))
    np.testing.assert_array_equal(A.T.as_matrix(), np.zeros((n, m)))


def test_traits_of_combinations_hold_for_their_matrices():
    parts = [
        SparseMatrix.from_dense(problems.poisson(4)).declare(positive_definite=True),
        DenseMatrix(jnp.asarray(problems.definite(4, 1, np.complex128))).declare(positive_definite=True),
        DenseMatrix(jnp.asarray(problems.indefinite(4, 1))).declare(symmetric=True),
        DenseMatrix(jnp.asarray(np.triu(problems.random(4, 4, seed=2)))).declare(upper=True),
        js.Identity(4, np.float64),
        js.Diagonal(jnp.asarray([1.0, -2.0j, 3.0, 0.5])),
    ]
    single = [lambda A: A.T, lambda A: A.H, lambda A: -2.0 * A, lambda A: 1j * A, lambda A: A.layout()]
    double = [lambda A, B: A + B, lambda A, B: A @ B, lambda A, B: A - B]
    combined = [*parts, *[f(A) for A in parts for f in single]]
    combined += [f(A, B) for A, B in itertools.product(parts, repeat=2) for f in double]
    claims = [op for op in combined if op.traits.names()]
    matrices = jax.jit(lambda ops: [op.as_matrix() for op in ops])(claims)
    found = set()
    for op, matrix in zip(claims, matrices, strict=True):
        for name in op.traits.names():
            assert holds(name, np.asarray(matrix)), (name, op)
            found.add(name)
    assert found == set(NAMES)


def test_a_declaration_can_be_taken_back():
    A = DenseMatrix(jnp.eye(3)).declare(symmetric=True, lower=True)
    assert A.declare(lower=False).traits.names() == ("symmetric", "hermitian")


def test_vectors_of_the_wrong_shape_are_refused():
    A = SparseMatrix.from_dense(np.ones((2, 3)))
    with pytest.raises(
        StructureError, match=r"shape \(2, 3\) multiplies vectors of shape \(3,\); got \(2,\)"
    ):
        _ = A @ jnp.ones(2)
    with pytest.raises(StructureError, match=r"got \(3, 4\)\. Use jax\.vmap"):
        _ = A @ jnp.ones((3, 4))


def test_operators_whose_shapes_do_not_fit_are_refused():
    A, B = js.Identity(2, np.float64), js.Identity(3, np.float64)
    with pytest.raises(StructureError, match=r"cannot add operators of shapes \(2, 2\) and \(3, 3\)"):
        _ = A + B
    with pytest.raises(StructureError, match=r"cannot multiply .* 2 columns meet 3 rows"):
        _ = A @ B


#: Linear functions of (u, indices) that JAX's transposition refuses and its reverse mode takes.
ONE_WAY = {
    "set": lambda u, i: (2 * u).at[i].set(u[i]),
    "set twice": lambda u, i: (2 * u).at[jnp.concatenate([i, i])].set(jnp.concatenate([u[i], 5 * u[i]])),
}


#: JAX leaves open which of two writes to a place comes last; on a GPU it differs between a program and its reverse.
DECIDED = [ONE_WAY["set"], pytest.param(ONE_WAY["set twice"], marks=pytest.mark.cpu)]


@pytest.mark.parametrize("f", DECIDED, ids=ONE_WAY)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_products_are_transposed_by_the_reverse_mode(f, dtype):
    packing = Packing.vector(4, dtype)
    i = jnp.array([0, 3])
    A = function_operator(f, packing, packing, dtype, (i,), {})[0]
    D, x = A.as_matrix(), problems.random(4, seed=1, dtype=dtype)

    close(A.T @ x, D.T @ x)
    close(jax.jit(lambda A, x: A.T @ x)(A, x), D.T @ x)
    with pytest.raises(NotImplementedError, match="transpose"):
        jax.linear_transpose(A.mv, x)(x)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_vector_multiplies_an_operator_from_the_left(kind):
    D = values(2, 3, 4, np.complex128)
    x = problems.random(2, seed=1, dtype=np.complex128)
    for A in (Foreign(jnp.asarray(D)), SparseMatrix.from_dense(D), DenseMatrix(jnp.asarray(D))):
        close(kind(x) @ A, x @ D)
        with pytest.raises(StructureError, match=r"shape \(2,\) multiplies .* from the left.*got \(2, 2\)"):
            _ = kind(np.ones((2, 2))) @ A


def test_a_factor_of_an_operator_is_one_number():
    for A in (Foreign(jnp.ones((2, 2))), SparseMatrix.from_dense(np.ones((2, 2)))):
        for product in (lambda A: np.float64(2) * A, lambda A: A * jnp.asarray(2.0), lambda A: A / 0.5):
            close(product(A) @ np.ones(2), [4, 4])
        for product in (lambda A: np.ones(2) * A, lambda A: A * jnp.ones(2)):
            with pytest.raises(StructureError, match=r"multiplied by a number; got an array of shape \(2,\)"):
                product(A)


def test_blocks_that_do_not_fit_are_refused():
    A, B = js.Identity(2, np.float64), js.Identity(3, np.float64)
    with pytest.raises(StructureError, match=r"Block: row 0 has blocks of different sizes \[2, 3\]"):
        js.Block([[A, B]])
    with pytest.raises(StructureError, match="column 1 has no block that gives its size"):
        js.Block([[A, None], [A, None]])
    with pytest.raises(StructureError, match="rows of equal length"):
        js.Block([[A, A], [A]])


def test_a_block_of_zeros_transposes_and_solves():
    B = SparseMatrix.from_dense(np.array([[1.0, 0, 2], [0, 1, -1]]))
    K = js.Block([[2 * js.Identity(3, np.float64), B.T], [B, None]])
    dense = np.block([[2 * np.eye(3), B.todense().T], [B.todense(), np.zeros((2, 2))]])
    close(K.as_matrix(), dense)
    b = problems.random(5, seed=4)
    close(js.solve_linear(K, b, js.Solve("minres", rtol=1e-13)), np.linalg.solve(dense, b))


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(9, 9), (9, 5), (5, 9)])
def test_sums_over_the_entries_of_rows_are_those_of_the_dense_matrix(shape, dtype):
    full = problems.random(*shape, seed=6301, dtype=dtype)
    banded = np.triu(np.tril(full, 1), -2)
    ragged = np.where(problems.random(*shape, seed=6302) > 1, full, 0)
    ragged[1] = full[1]
    x = problems.random(shape[1], seed=6303)
    for A, operator in (
        (full, DenseMatrix(jnp.asarray(full))),
        (banded, SparseMatrix.from_dense(banded).layout()),
        (ragged, SparseMatrix.from_dense(ragged).layout()),
        (banded, SparseMatrix.from_dense(banded).declare(lower=False)),
    ):
        for count in (1, 3, shape[0], 64):
            sums = operator.leading_row_sums(count)
            if sums is not None:
                np.testing.assert_allclose(sums, A[:count].sum(1), atol=1e-14)
        both = operator.row_sums(lambda a, v: (a * v, jnp.abs(a)), jnp.asarray(x))
        np.testing.assert_allclose(both[0], A @ x, atol=1e-13)
        np.testing.assert_allclose(both[1], np.abs(A).sum(1), atol=1e-13)
        assert operator.most_entries is not None
        rows, columns = operator.most_entries
        assert rows >= (A != 0).sum(1).max()
        assert columns >= (A != 0).sum(0).max()
