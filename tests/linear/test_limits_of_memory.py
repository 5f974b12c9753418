"""What would not fit into memory is refused in words before it is allocated, and "auto" goes another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.memory import available_bytes, device_bytes, require_memory
from tests.preconditioners.problems import poisson

GRID = poisson((48, 48))
#: A hub that is coupled to all others: its neighbours would all be coupled by a product.
STAR = sps.csr_array(
    sps.eye_array(3000) * 2.0
    + sps.coo_array((np.ones(2999), (np.zeros(2999, int), np.arange(1, 3000))), (3000, 3000))
)
STAR = sps.csr_array(STAR + STAR.T)

METHODS = {
    "GMres": (js.GMRES(restart=1000), None),
    "fGMres": (js.FGMRES(restart=1000), None),
    "IDR": (js.IDR(s=400), None),
    "biCG-stab": (js.BiCGStab(l=400), None),
    "banded": (js.Banded(), None),
    "LU": (js.LU(), None),
}
RECIPES = {
    "ilu": js.ILU(),
    "ic": js.Cholesky0(),
    "ilu without fill": js.ILU(level=0),
    "fsai": js.FSAI(),
    "block-jacobi": js.BlockJacobi(size=400),
    "cluster": js.Cluster(count=600),
    "deflation": js.Deflation(count=600),
    "Ruge-Stüben": js.RugeStuben(bottom=600),
    "aggregation": js.SmoothedAggregation(bottom=600),
    "geometric": js.GeometricMultigrid(bottom=600),
    "nystrom": js.Nystrom(rank=600),
}


@pytest.fixture
def little(monkeypatch):
    """A machine with a fifth of a megabyte."""
    monkeypatch.setattr("jaxsolve.core.memory.available_bytes", lambda: 2e5)


@pytest.mark.parametrize("name", METHODS)
def test_methods_refuse_what_does_not_fit(name, little):
    method, recipe = METHODS[name]
    with pytest.raises(
        js.StructureError, match=r"would need [0-9.e-]+ GiB for .*, and this machine has .*\. \w+"
    ):
        js.solve_linear(GRID, np.ones(2304), js.Solve(method, preconditioner=recipe))


@pytest.mark.parametrize("name", RECIPES)
def test_preconditioners_refuse_what_does_not_fit(name, little):
    A = js.SparseMatrix.from_scipy(sps.csr_array(GRID).copy())
    with pytest.raises(
        js.StructureError, match=r"would need [0-9.e-]+ GiB for .*, and this machine has .*\. \w+"
    ):
        RECIPES[name].build(A)


def test_products_of_long_rows_are_refused(little):
    star = js.SparseMatrix.from_scipy(STAR)
    with pytest.raises(js.StructureError, match=r"'fsai' would need .* a product of sparse matrices"):
        js.FSAI(power=2).build(star)


def test_a_hierarchy_that_ends_early_is_not_inverted_densely():
    n = 9000
    rng = np.random.default_rng(0)
    # Couplings with the sign of the diagonal are not strong: nothing is coarsened.
    A = sps.eye_array(n) * 8 + sps.random_array((n, n), density=2 / n, rng=rng)
    with pytest.raises(js.StructureError, match="dense coarse matrix of 9000 rows, and takes 8192 at most"):
        js.RugeStuben().build(js.SparseMatrix.from_scipy(sps.csr_array(A + A.T)))


@pytest.mark.parametrize("compiled", [False, True])
def test_auto_goes_another_way(compiled, monkeypatch):
    monkeypatch.setattr("jaxsolve.core.memory.available_bytes", lambda: 6e5)
    A = js.SparseMatrix.from_scipy(sps.csr_array(GRID + sps.diags_array(0.1 * np.ones(2303), offsets=1)))
    b = jnp.ones(A.shape[0])

    def solved(b):
        return js.solve_linear_info(A, b, js.Solve(preconditioner="auto", max_iterations=2000))

    info = (jax.jit(solved) if compiled else solved)(b)
    assert info.converged
    assert "GMres + " in info.note
    assert "was refused" in info.note
    assert jnp.linalg.norm(A @ info.x - b) <= 1.01e-5 * jnp.linalg.norm(b)


def test_the_limits_of_this_machine():
    assert 1e8 < device_bytes() <= available_bytes()
    with pytest.raises(js.StructureError, match=r"`it` would need 9.3e.290 GiB for more, and"):
        require_memory(1e300, "`it`", "more", "Do less.")


def test_factors_that_the_library_can_not_allocate_are_told_in_words(monkeypatch):
    def exhausted(*args, **options):
        raise MemoryError

    monkeypatch.setattr("scipy.sparse.linalg.splu", exhausted)
    A = sps.csr_array(
        sps.random_array((300, 300), density=0.01, rng=np.random.default_rng(1)) + sps.eye_array(300)
    )
    with pytest.raises(js.StructureError, match="factors of A do not fit into memory"):
        js.solve_linear(A, np.ones(300), js.Solve("sparse-direct"))
