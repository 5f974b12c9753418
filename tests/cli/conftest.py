import numpy as np
import pytest
import scipy.io
import scipy.sparse


@pytest.fixture
def laplacian(tmp_path):
    """A file with the 5-point Laplacian on 6 x 6 cells: symmetric, weakly dominant, definite."""
    line = 2 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)
    path = tmp_path / "laplacian.mtx"
    scipy.io.mmwrite(path, scipy.sparse.coo_array(np.kron(line, np.eye(6)) + np.kron(np.eye(6), line)))
    return str(path)


@pytest.fixture
def singular(tmp_path):
    """A file with a singular matrix, [[1, 2], [2, 4]]."""
    path = tmp_path / "singular.mtx"
    scipy.io.mmwrite(path, scipy.sparse.coo_array(np.array([[1.0, 2.0], [2.0, 4.0]])))
    return str(path)
