"""Coarse solves: the dense inverse below the last level, generalised where it is singular, on device and host."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memory import require_memory
from jaxsolve.core.tree import common
from jaxsolve.preconditioners.xla_barriers import after

#: Products of blocks of this size BLAS makes on one thread. Its threads wait for each other: beside another program on
#: two cores, Cholesky's inverse of 256 rows took 860 ms, alone 2 ms, by blocks 1.5 ms in both cases.
BLOCK = 32
#: Coarse matrices up to this size are inverted, as long as a dense A of that size is factorised (`DENSE_LIMIT`).
MOST_ROWS = 8192


def require_room_for_inverse(size: int, dtype: Any, owner: str) -> None:
    """Refuses a coarse matrix that is too large to be inverted densely.

    Raises:
        StructureError: If it has more than `MOST_ROWS` rows, or does not fit into memory.
    """
    if size > MOST_ROWS:
        raise StructureError(
            f"{owner} would invert a dense coarse matrix of {size} rows, and takes {MOST_ROWS} at most. Use 'jacobi' "
            "or 'ilu' where A coarsens so slowly, or fewer coarse unknowns."
        )
    # The matrix, the inverse, and two in blocks while it is made.
    needed = 4 * size**2 * np.dtype(dtype).itemsize
    instead = "Use fewer coarse unknowns, 'ilu' or 'jacobi'."
    require_memory(needed, owner, f"a dense coarse matrix of {size} rows", instead)


def generalised_inverse(E: Array, hermitian: bool = False) -> Array:
    """The inverse of a dense matrix of shape (k, k), generalised where it is singular.

    The pseudo-inverse after scaling by the diagonal, so that coefficients of very different size do not pass
    for singularity; directions below k eps of the largest singular value count as the null space.

    Args:
        E: The matrix.
        hermitian: Whether E is known to be Hermitian; the generalised inverse takes half the time then.
    """
    kind = E.dtype
    # LAPACK has no half precision.
    E = E.astype(common(kind, jnp.float32))
    d = jnp.abs(jnp.diagonal(E))
    largest = jnp.max(d, initial=0)
    d = jnp.where(d > 0, d, jnp.where(largest > 0, largest, 1))
    scale = (1 / jnp.sqrt(d)).astype(E.dtype)
    scaled = E * scale[:, None] * scale[None, :]
    k = max(E.shape[0], 1)
    tiny = 4 * k * jnp.finfo(E.dtype).eps
    # 13 ms by singular values for k = 256, 2 ms by elimination, which finds the same where none of them is tiny:
    # ‖E‖₁ ‖E⁻¹‖₁ is at least 1/k of the quotient of the largest and the smallest one. NaN compares false.
    plain = jnp.linalg.inv(scaled)
    plain = (plain + jnp.conj(plain.T)) / 2 if hermitian else plain
    regular = k * tiny * jnp.linalg.norm(scaled, 1) * jnp.linalg.norm(plain, 1) < 1

    # The branch is a loop of at most one round: under vmap `lax.cond` would start both sides at once. `after` keeps
    # the work of a round behind the elimination.
    def generalised(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix = after(carry[1].real[:1, :1], scaled)
        return jnp.array(False), jnp.linalg.pinv(matrix, rtol=tiny, hermitian=hermitian)

    _, inverse = lax.while_loop(lambda carry: carry[0], generalised, (~regular, plain))
    return (inverse * scale[:, None] * scale[None, :]).astype(kind)


def without_constants(E: Any, hermitian: bool) -> Any:
    """A coarse matrix whose rows sum to zero but for rounding, with sums of zero to its own rounding.

    The products that made it have terms of the size of finer levels, and so has their rounding: a 2 x 2 matrix below a
    grid of 99 points was regular by 4e-15 of its largest singular value, and its inverse had entries of 6e13.
    """
    E = E - E.mean(axis=1, keepdims=True)
    return E - E.mean(axis=0, keepdims=True) if hermitian else E


def host_inverse(E: np.ndarray, hermitian: bool) -> np.ndarray:
    """`generalised_inverse` on the host."""
    if not len(E):
        return E
    d = np.abs(np.diagonal(E))
    largest = d.max(initial=0)
    scale = 1 / np.sqrt(np.where(d > 0, d, largest if largest > 0 else 1))
    scaled = E * scale[:, None] * scale[None, :]
    tiny = 4 * max(len(E), 1) * np.finfo(E.dtype).eps
    if not np.isfinite(scaled).all():
        return np.full_like(E, np.nan)
    inverse = _regular_inverse(scaled, tiny)
    if inverse is None and hermitian:
        inverse = _inverse_beside(scaled, 1 / scale, tiny)
    if inverse is None:
        inverse = np.linalg.pinv(scaled, rcond=tiny, hermitian=hermitian)
    elif hermitian:
        inverse = (inverse + inverse.conj().T) / 2
    return inverse * scale[:, None] * scale[None, :]


def _inverse_beside(E: np.ndarray, v: np.ndarray, tiny: float) -> np.ndarray | None:
    """The pseudo-inverse of a Hermitian matrix whose null space is spanned by v; None where that is not so.

    With v of unit length, E⁺ = (E + v vᴴ)⁻¹ - v vᴴ: for 256 rows 37 ms instead of 1051 by eigenvalues beside another
    program, whose threads BLAS waits for.
    """
    v = v / np.sqrt(np.sum(np.square(v)))
    if not np.abs((E * v).sum(axis=1)).max(initial=0) < tiny:
        return None
    projector = v[:, None] * v
    inverse = _regular_inverse(E + projector, tiny)
    return None if inverse is None else inverse - projector


def _regular_inverse(E: np.ndarray, tiny: float) -> np.ndarray | None:
    """The inverse by elimination; None where it is not exact, or a singular value may be below `tiny`."""
    with np.errstate(all="ignore"):
        blocks = in_blocks(E)
        try:
            inverse = eliminated(blocks)
        except np.linalg.LinAlgError:
            return None
        # Pivots are chosen within blocks alone: the product shows whether that was enough.
        product = (inverse[:, None] @ blocks.swapaxes(0, 1)[None]).sum(axis=2)
    rounding = np.sqrt(np.finfo(E.dtype).eps)
    exact = np.abs(product - in_blocks(np.eye(len(E), dtype=E.dtype))).max(initial=0) < rounding
    # ‖E‖₁ ‖E⁻¹‖₁ is at least 1/k of the quotient of the largest and the smallest singular value. NaN compares false.
    condition = np.prod([np.abs(T).sum(axis=(0, 2)).max(initial=0) for T in (blocks, inverse)])
    n = len(E)
    if not exact or not condition < max(1 / (n * tiny), 1 / rounding):
        return None
    return inverse.swapaxes(1, 2).reshape(len(blocks) * BLOCK, -1)[:n, :n]


def in_blocks(E: np.ndarray) -> np.ndarray:
    """A square matrix as an array [i, j] of blocks, the identity in what is added to fill the last ones."""
    count = -(-len(E) // BLOCK)
    whole = np.eye(count * BLOCK, dtype=E.dtype)
    whole[: len(E), : len(E)] = E
    return np.ascontiguousarray(whole.reshape(count, BLOCK, count, BLOCK).swapaxes(1, 2))


def eliminated(blocks: np.ndarray) -> np.ndarray:
    """The inverse of a matrix in blocks, by Gauss and Jordan.

    Raises:
        LinAlgError: If a block on the diagonal is singular when its turn comes.
    """
    T = blocks.copy()
    for k in range(len(T)):
        pivot = np.linalg.inv(T[k, k])
        row, column = pivot @ T[k], T[:, k].copy()
        column[k] = 0
        T -= column[:, None] @ row[None]
        T[:, k] = -(column @ pivot)
        row[k] = pivot
        T[k] = row
    return T
