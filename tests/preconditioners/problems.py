"""Matrices for the tests of preconditioners."""

import numpy as np
import scipy.sparse as sps

from jaxsolve.operators.sparse import SparseMatrix


def poisson(shape, ends="fixed", weights=None) -> sps.csr_matrix:
    """The Laplacian on a grid with `fixed`, `insulated` or `periodic` ends, each axis with a weight."""

    def line(n):
        T = sps.lil_matrix(2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
        if ends == "insulated":
            T[0, 0] = T[-1, -1] = 1
        if ends == "periodic":
            T[0, -1] = T[-1, 0] = -1
        return T

    weights = [1.0] * len(shape) if weights is None else weights
    total = None
    for axis, weight in enumerate(weights):
        term = weight * sps.identity(1)
        for k, n in enumerate(shape):
            term = sps.kron(term, line(n) if k == axis else sps.identity(n))
        total = term if total is None else total + term
    return sps.csr_matrix(total)


def rough(n, seed=0) -> sps.csr_matrix:
    """Diffusion on an n by n grid with independent log-normal conductivities, contrast about 10⁶."""
    rng = np.random.default_rng(seed)
    i = np.arange(n * n).reshape(n, n)
    across, along = np.exp(2 * rng.standard_normal((2, n + 1, n + 1)))
    across, along = across[:, :n], along[:n]
    diagonal = across[1:] + across[:-1] + along[:, 1:] + along[:, :-1]
    one = [i[1:].ravel(), i[:, 1:].ravel()]
    two = [i[:-1].ravel(), i[:, :-1].ravel()]
    off = [-across[1:-1].ravel(), -along[:, 1:-1].ravel()]
    rows = np.concatenate([*one, *two, i.ravel()])
    cols = np.concatenate([*two, *one, i.ravel()])
    return sps.csr_matrix((np.concatenate([*off, *off, diagonal.ravel()]), (rows, cols)))


def convection(n, wind=50.0) -> sps.csr_matrix:
    """Upwind convection and diffusion on an n by n grid, wind (1, 0.5)."""
    back = sps.csr_matrix(np.eye(n) - np.eye(n, k=-1))
    one = sps.identity(n)
    drift = sps.kron(back, one) + 0.5 * sps.kron(one, back)
    return sps.csr_matrix(poisson((n, n)) + wind / (n + 1) * drift)


def irregular(n, seed=11) -> sps.csr_matrix:
    """The graph Laplacian of the nearest neighbours of random points in a square, plus a little."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(n, 2))
    order = np.argsort(points[:, 0])
    points = points[order]
    rows, cols = [], []
    for i in range(n):
        near = np.arange(max(0, i - 40), min(n, i + 41))
        distance = np.linalg.norm(points[near] - points[i], axis=1)
        cols.append(near[np.argsort(distance)[1:6]])
        rows.append(np.full(5, i))
    W = sps.csr_matrix((np.ones(5 * n), (np.concatenate(rows), np.concatenate(cols))), shape=(n, n))
    W = W.maximum(W.T)
    return sps.csr_matrix(sps.diags(np.asarray(W.sum(axis=1)).ravel() + 1e-3) - W)


def couplings(kind, dtype, seed=2718) -> sps.csr_matrix:
    """Random couplings on the pattern of a grid or of an irregular graph, with an empty diagonal."""
    rng = np.random.default_rng(seed)
    A = (poisson((9, 11)) if kind == "grid" else irregular(90)).tocoo()
    values = -rng.uniform(0.2, 1.8, A.nnz)
    if np.issubdtype(dtype, np.complexfloating):
        values = values * np.exp(0.3j * rng.standard_normal(A.nnz))
    B = sps.csr_matrix((values, (A.row, A.col)), A.shape)
    B.setdiag(0)
    return B


def dominant(B, dtype, **traits) -> SparseMatrix:
    """Couplings with a diagonal that makes them definite."""
    B = sps.csr_matrix(B)
    B.setdiag(np.asarray(abs(B).sum(axis=1)).ravel() + 0.1)
    return SparseMatrix.from_scipy(sps.csr_matrix(B).astype(dtype)).declare(**traits)


def elasticity(n, bulk=1.0) -> tuple[sps.csr_matrix, np.ndarray]:
    """Springs along the edges and diagonals of an n by n lattice held at one side, and its rigid body motions.

    Two displacements a point, numbered together.
    """
    i = np.arange(n * n).reshape(n, n)
    place = np.stack([np.repeat(np.arange(n), n), np.tile(np.arange(n), n)], axis=1).astype(float)
    A = sps.lil_matrix((2 * n * n, 2 * n * n))
    for one, two in (
        (i[1:], i[:-1]),
        (i[:, 1:], i[:, :-1]),
        (i[1:, 1:], i[:-1, :-1]),
        (i[1:, :-1], i[:-1, 1:]),
    ):
        for p, q in zip(one.ravel(), two.ravel(), strict=True):
            along = (place[p] - place[q]) / np.linalg.norm(place[p] - place[q])
            spring = bulk * np.outer(along, along)
            for k, m, sign in ((p, p, 1), (q, q, 1), (p, q, -1), (q, p, -1)):
                A[2 * k : 2 * k + 2, 2 * m : 2 * m + 2] += sign * spring
    turn = np.stack([-place[:, 1], place[:, 0]], axis=1).reshape(-1)
    B = np.stack([np.tile([1.0, 0.0], n * n), np.tile([0.0, 1.0], n * n), turn], axis=1)
    free = np.arange(2 * n, 2 * n * n)
    return sps.csr_matrix(A)[free][:, free], B[free]
