import gzip

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from jaxsolve.io import read_matrix, read_vector, write_vector


def example(dtype=float):
    rng = np.random.default_rng(48271)
    A = scipy.sparse.random_array((7, 5), density=0.4, rng=rng, dtype=float).tocsr()
    return (A * (1 + 2j) if np.issubdtype(dtype, np.complexfloating) else A).astype(dtype)


def write(A, path):
    if path.name.endswith(".npz"):
        scipy.sparse.save_npz(path, A)
    elif path.name.endswith(".npy"):
        np.save(path, A.toarray())
    elif path.name.endswith(".gz"):
        scipy.io.mmwrite(path.with_suffix(""), A)
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    else:
        scipy.io.mmwrite(path, A)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", ["A.mtx", "A.mtx.gz", "A.npz", "A.npy"])
def test_all_formats_give_the_same_matrix(tmp_path, name, dtype):
    A = example(dtype)
    write(A, tmp_path / name)
    read = read_matrix(tmp_path / name)
    assert read.shape == A.shape
    assert read.nnz == A.nnz
    np.testing.assert_array_equal(np.asarray(read.todense()), A.toarray())


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dia", "bsr"])
def test_every_sparse_format_of_scipy_is_read(tmp_path, kind):
    A = example().asformat(kind)
    scipy.sparse.save_npz(tmp_path / "A.npz", A)
    np.testing.assert_array_equal(np.asarray(read_matrix(tmp_path / "A.npz").todense()), A.toarray())


def test_symmetric_storage_is_expanded_and_declared(tmp_path):
    path = tmp_path / "A.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real symmetric\n3 3 4\n1 1 1\n2 1 5\n2 2 1\n3 3 1\n")
    A = read_matrix(path)
    np.testing.assert_array_equal(np.asarray(A.todense()), [[1, 5, 0], [5, 1, 0], [0, 0, 1]])
    assert A.traits.symmetric
    assert A.traits.hermitian
    assert not A.traits.positive_definite


def test_patterns_and_integers_become_floats_and_repeated_entries_are_summed(tmp_path):
    path = tmp_path / "A.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern general\n2 3 3\n1 1\n1 1\n2 3\n")
    A = read_matrix(path)
    assert jnp.issubdtype(A.dtype, jnp.floating)
    np.testing.assert_array_equal(np.asarray(A.todense()), [[2, 0, 0], [0, 0, 1]])


def test_explicit_zeros_are_kept(tmp_path):
    path = tmp_path / "A.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1\n1 2 0\n2 2 4\n")
    assert read_matrix(path).nnz == 3


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("A.mtx", b"no matrix", "no Matrix Market file"),
        ("A.mtx", b"", "no Matrix Market file"),
        ("A.mtx.gz", b"not zipped", "no Matrix Market file"),
        ("A.npz", b"PK\x03\x04broken", "no SciPy sparse matrix"),
        ("A.npy", b"\x93NUMPYbroken", "no NumPy array"),
        ("A.txt", b"1 2", "ends in none of .mtx"),
    ],
)
def test_malformed_files_are_refused_by_name(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=text):
        read_matrix(tmp_path / name)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.mtx"):
        read_matrix(tmp_path / "absent.mtx")


def test_arrays_of_more_axes_are_refused(tmp_path):
    np.save(tmp_path / "A.npy", np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="a matrix has two axes"):
        read_matrix(tmp_path / "A.npy")


@pytest.mark.parametrize("name", ["b.npy", "b.mtx"])
def test_vectors_come_back_bitwise(tmp_path, name):
    b = np.random.default_rng(16807).standard_normal(11) / 3
    write_vector(tmp_path / name, b)
    np.testing.assert_array_equal(read_vector(tmp_path / name), b)


def test_a_sparse_column_and_a_row_are_vectors(tmp_path):
    scipy.io.mmwrite(tmp_path / "b.mtx", scipy.sparse.coo_array(np.array([[0.0], [2.0], [0.0]])))
    assert read_vector(tmp_path / "b.mtx").tolist() == [0, 2, 0]
    np.save(tmp_path / "b.npy", np.array([[1, 2, 3]]))
    assert read_vector(tmp_path / "b.npy").tolist() == [1, 2, 3]


def test_several_columns_are_no_vector(tmp_path):
    np.save(tmp_path / "b.npy", np.ones((3, 2)))
    with pytest.raises(ValueError, match="one column"):
        read_vector(tmp_path / "b.npy")


def test_unknown_endings_are_refused_when_writing(tmp_path):
    with pytest.raises(ValueError, match=r"neither \.npy nor \.mtx"):
        write_vector(tmp_path / "x.csv", np.ones(2))


def test_matlab_files_are_read(tmp_path):
    A = example()
    cases = {
        "named": {"A": A, "other": np.ones(3)},
        "alone": {"K": A, "title": "a title"},
        "dense": {"A": A.toarray()},
        "collection": {"Problem": {"name": "HB/x", "A": A, "b": np.ones((7, 1))}},
    }
    for name, variables in cases.items():
        path = tmp_path / f"{name}.mat"
        scipy.io.savemat(path, variables)
        np.testing.assert_array_equal(np.asarray(read_matrix(path).todense()), A.toarray())
    np.testing.assert_array_equal(read_vector(tmp_path / "collection.mat"), np.ones(7))
    scipy.io.savemat(tmp_path / "two.mat", {"K": A, "M": A})
    with pytest.raises(ValueError, match="no variable A, but K, M"):
        read_matrix(tmp_path / "two.mat")
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(64))
    with pytest.raises(ValueError, match="no MATLAB file that can be read"):
        read_matrix(tmp_path / "new.mat")


def harwell_boeing(kind, pointers, indices, values):
    """A file by the format's own description (Duff, Grimes and Lewis 1989): fields of fixed width."""
    n = len(pointers) - 1
    lines = [f"{'a test':72}{'KEY':8}", f"{3:14d}{1:14d}{1:14d}{1:14d}"]
    lines += [f"{kind:14}{n:14d}{n:14d}{len(values):14d}{0:14d}", f"{'(8I6)':16}{'(8I6)':16}{'(8E14.6)':20}"]
    lines += ["".join(f"{p:6d}" for p in part) for part in (pointers, indices)]
    return "\n".join([*lines, "".join(f"{v:14.6E}" for v in values)]) + "\n"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("rua", [[4, 0, 0], [-1, 5, 0], [0, -2, 6]]),
        ("RSA", [[4, -1, 0], [-1, 5, -2], [0, -2, 6]]),
        ("rza", [[4, 1, 0], [-1, 5, 2], [0, -2, 6]]),
    ],
)
def test_harwell_boeing_files_are_read_and_symmetric_storage_is_expanded(tmp_path, kind, expected):
    path = tmp_path / "A.rb"
    path.write_text(harwell_boeing(kind, [1, 3, 5, 6], [1, 2, 2, 3, 3], [4.0, -1, 5, -2, 6]))
    A = read_matrix(path)
    np.testing.assert_array_equal(np.asarray(A.todense()), expected)
    assert A.traits.symmetric == (kind == "RSA")


def test_harwell_boeing_files_of_scipy_are_read(tmp_path):
    A = example()
    scipy.io.hb_write(tmp_path / "A.rua", A)
    np.testing.assert_allclose(np.asarray(read_matrix(tmp_path / "A.rua").todense()), A.toarray())


@pytest.mark.parametrize("kind", ["CUA", "PUA", "RUE"])
def test_harwell_boeing_files_that_scipy_does_not_know_are_refused(tmp_path, kind):
    path = tmp_path / "A.rua"
    path.write_text(harwell_boeing(kind, [1, 2], [1], [4.0]))
    with pytest.raises(ValueError, match="no Harwell-Boeing file that can be read"):
        read_matrix(path)


def test_numbers_of_fortran_that_are_not_read_are_refused(tmp_path):
    path = tmp_path / "A.rua"
    path.write_text(harwell_boeing("RUA", [1, 2], [1], [4.0]).replace("4.000000E+00", "4.000000D+00"))
    with pytest.raises(ValueError, match="no Harwell-Boeing file that can be read"):
        read_matrix(path)
