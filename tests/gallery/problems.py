"""Named matrices: what they are, and why they are here."""

import numpy as np


def poisson(n: int) -> np.ndarray:
    """The second difference with fixed ends: symmetric positive definite."""
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def poisson_2d(rows: int, columns: int) -> np.ndarray:
    """The five-point Laplacian on a grid with fixed edges."""
    return np.kron(poisson(rows), np.eye(columns)) + np.kron(np.eye(rows), poisson(columns))


def neumann(n: int) -> np.ndarray:
    """The second difference with insulated ends: symmetric, constants are its null space."""
    A = poisson(n)
    A[0, 0] = A[-1, -1] = 1
    return A


def neumann_2d(rows: int, columns: int) -> np.ndarray:
    """The five-point Laplacian on an insulated grid."""
    return np.kron(neumann(rows), np.eye(columns)) + np.kron(np.eye(rows), neumann(columns))


def periodic(n: int) -> np.ndarray:
    """The second difference on a ring: circulant, singular, zero row and column sums."""
    return 2 * np.eye(n) - np.roll(np.eye(n), 1, 0) - np.roll(np.eye(n), -1, 0)


def periodic_drift(n: int) -> np.ndarray:
    """Diffusion and drift on a ring: non-symmetric, constants on both sides of its null space."""
    return periodic(n) + 0.7 * (np.eye(n) - np.roll(np.eye(n), 1, 0))


def convection(n: int, drift: float = 0.5) -> np.ndarray:
    """Diffusion with drift to one side: non-symmetric, diagonally dominant, non-normal."""
    return 2.2 * np.eye(n) - (1 + drift) * np.eye(n, k=-1) - (1 - drift) * np.eye(n, k=1)


def pentadiagonal(n: int) -> np.ndarray:
    """Five non-symmetric diagonals whose pivots need exchanging: the main one is not the largest."""
    diagonals = {-2: 0.3, -1: -2.0, 0: 1.0, 1: 0.5, 2: 0.1}
    return sum((v * np.eye(n, k=k) for k, v in diagonals.items()), np.zeros((n, n)))


def grcar(n: int) -> np.ndarray:
    """Grcar's matrix: eigenvalues sensitive to rounding, far from normal."""
    return -np.eye(n, k=-1) + sum((np.eye(n, k=k) for k in range(4)), np.zeros((n, n)))


def shift(n: int) -> np.ndarray:
    """The cyclic shift: GMRES makes no progress before step n, and short recurrences divide by zero."""
    return np.roll(np.eye(n), 1, 0)


def skew(n: int) -> np.ndarray:
    """A skew-symmetric matrix (n even): pᵀAp = 0 for every p."""
    return np.eye(n, k=1) - np.eye(n, k=-1)


def hilbert(n: int) -> np.ndarray:
    """The Hilbert matrix: positive definite, singular to working precision from n = 12 on."""
    i = np.arange(n)
    return 1 / (i[:, None] + i + 1.0)


def graded(n: int, decades: float = 12) -> np.ndarray:
    """A diagonal over many decades, coupled to its neighbours: badly scaled, not badly posed."""
    d = np.logspace(0, decades, n)
    return np.diag(d) + 0.1 * np.diag(np.sqrt(d[1:] * d[:-1]), 1) + 0.2 * np.diag(np.sqrt(d[1:] * d[:-1]), -1)


def saddle(n: int) -> np.ndarray:
    """A symmetric saddle point: indefinite, zeros on the diagonal. n is the number of unknowns."""
    m = n // 3
    B = np.eye(m, n - m) + np.eye(m, n - m, k=1)
    return np.block([[poisson(n - m), B.T], [B, np.zeros((m, m))]])


def rank_one(n: int) -> np.ndarray:
    """All ones: rank one."""
    return np.ones((n, n))


def nilpotent(n: int) -> np.ndarray:
    """The upper shift: singular, all eigenvalues zero."""
    return np.eye(n, k=1)


def dominant(n: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """A random dense matrix, non-symmetric (and non-Hermitian), made well conditioned by its diagonal."""
    A = random(n, n, seed=seed, dtype=dtype) / np.sqrt(n)
    return (A + 3 * np.eye(n)).astype(dtype)


def definite(n: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """A random Hermitian positive definite matrix."""
    A = random(n, n, seed=seed, dtype=dtype) / np.sqrt(n)
    return (A @ A.conj().T + np.eye(n)).astype(dtype)


def indefinite(n: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """A random Hermitian matrix with eigenvalues of both signs, away from zero."""
    Q, _ = np.linalg.qr(random(n, n, seed=seed, dtype=dtype))
    signs = np.where(np.arange(n) % 3 == 0, -1, 1) * np.linspace(1, 2, n)
    return ((Q * signs) @ Q.conj().T).astype(dtype)


def random(*shape: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """Normal random numbers, complex where the dtype is."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


#: Matrices on which methods fail or stall in their own ways; none may be called solved when it is not.
HARD = {
    "hilbert": hilbert,
    "graded": graded,
    "skew": skew,
    "shift": shift,
    "grcar": grcar,
    "nilpotent": nilpotent,
    "rank one": rank_one,
    "saddle": saddle,
    "pentadiagonal": pentadiagonal,
    "insulated": neumann,
    "zero": lambda n: np.zeros((n, n)),
}
