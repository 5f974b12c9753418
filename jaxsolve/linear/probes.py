"""Probes: a few products on the host that show whether a concrete matrix is easy, and of which kind it is."""

from typing import Any

import numpy as np

#: What a probe has to reach to call a matrix easy, relative to its right-hand side.
REACHED = 1e-8
#: Products of a probe. With 40 CG takes 27 on a random graph, 31 on a scale-free one, 6 on Trefethen's matrix; a
#: diffusion matrix takes as many as its grid has unknowns on a side.
PRODUCTS = 40
#: A probe that has not got here after a quarter of its products ends: at an even rate it would be at 1e-2.
EARLY = 0.1


def cg_steps(A: Any) -> int:
    """The steps in which CG with the diagonal as its preconditioner solves a system with A; 0 if they are too many.

    Args:
        A: A real or complex SciPy CSR matrix, Hermitian, its diagonal positive.
    """
    n, scale = A.shape[0], 1 / A.diagonal().real
    r = _probe(A)
    x = np.zeros_like(r)
    z = scale * r
    p, rho, size = z, np.vdot(r, z).real, np.linalg.norm(r)
    for step in range(1, PRODUCTS + 1):
        q = A @ p
        curvature = np.vdot(p, q).real
        if not curvature > 0:
            return 0
        alpha = rho / curvature
        x, r = x + alpha * p, r - alpha * q
        left = np.linalg.norm(r) / size
        if left <= REACHED:
            return step
        if not np.isfinite(left) or (4 * step >= PRODUCTS and left > EARLY) or step >= n:
            return 0
        z = scale * r
        rho, before = np.vdot(r, z).real, rho
        p = z + (rho / before) * p
    return 0


def bicgstab_steps(A: Any) -> int:
    """The steps in which biCG-stab with the diagonal as its preconditioner solves a system; 0 if they are too many.

    Args:
        A: A SciPy CSR matrix without zeros on its diagonal.
    """
    scale = 1 / A.diagonal()
    r = _probe(A)
    shadow, size = r.copy(), np.linalg.norm(r)
    p, v, rho, alpha, omega = np.zeros_like(r), np.zeros_like(r), 1.0, 1.0, 1.0
    with np.errstate(all="ignore"):
        for step in range(1, PRODUCTS // 2 + 1):
            rho, before = np.vdot(shadow, r), rho
            p = r + (rho / before) * (alpha / omega) * (p - omega * v) if step > 1 else r
            v = A @ (scale * p)
            alpha = rho / np.vdot(shadow, v)
            s = r - alpha * v
            t = A @ (scale * s)
            omega = np.vdot(t, s) / np.vdot(t, t).real if t.any() else 0.0
            r = s - omega * t
            left = np.linalg.norm(r) / size
            if left <= REACHED:
                return step
            if not np.isfinite(left) or (8 * step >= PRODUCTS and left > EARLY):
                return 0
    return 0


def skewness(A: Any) -> float:
    """The share of the couplings off the diagonal that A and Aᵀ do not have in common: 0 for A = Aᵀ, 1 for none."""
    size = float(np.abs(A.data).sum() - np.abs(A.diagonal()).sum())
    return float(np.abs((A - A.T).data).sum()) / (2 * size) if size > 0 else 0.0


def repulsion(A: Any) -> float:
    """The share of the couplings off the diagonal that have the sign of the diagonal: 0 for an M-matrix."""
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    off = A.indices != rows
    values = (A.data * np.sign(A.diagonal().real)[rows])[off].real
    size = np.abs(values).sum()
    return float(values[values > 0].sum() / size) if size > 0 else 0.0


def _probe(A: Any) -> np.ndarray:
    """A vector that looks random, without mean where A maps constants to zero."""
    n = A.shape[0]
    b = np.random.default_rng(7919).standard_normal(n).astype(np.result_type(A.dtype, np.float64))
    ones = np.ones(n)
    if np.linalg.norm(A @ ones) <= 100 * np.finfo(A.dtype).eps * np.linalg.norm(abs(A) @ ones):
        b -= b.mean()
    return b
