"""Plan: what one reading of a function found; its values are pure functions of the parameters.

The reading walks the jaxpr once and leaves a jaxpr from the parameters to the factors, beside the static positions.
Constants of that jaxpr (index arrays, and arrays the user closed over) enter programs as arguments.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxsolve.core.compat import Tracer, constants_as_arguments, open_jaxpr
from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import LITERAL_BYTES, index_array, staged
from jaxsolve.core.tree import common
from jaxsolve.operators.pattern import Pattern
from jaxsolve.tracer.band_search import find_bands
from jaxsolve.tracer.bands import Bands
from jaxsolve.tracer.complex_parts import is_complex, is_inexact
from jaxsolve.tracer.dense_coupling import whole
from jaxsolve.tracer.entries import Reading, reading
from jaxsolve.tracer.factors import is_host
from jaxsolve.tracer.interpreter import interpret
from jaxsolve.tracer.output_terms import Piece, concatenated, pieces_of, placed
from jaxsolve.tracer.refusal import TooLarge
from jaxsolve.tracer.rows import Order, ordered
from jaxsolve.tracer.rule_registry import Scope, depends
from jaxsolve.tracer.sums import united
from jaxsolve.tracer.value import is_zero, unknown


class Plan:
    """The matrix and offset of a function for one structure of its arguments.

    Attributes:
        shape: (m, n), the sizes of the raveled output and input.
        dtype: Of the matrix.
        affine: Whether the function may add an offset.
        structure: The output as a pytree of shapes and dtypes.
        closed_over: Whether the function closes over traced values, so that the plan holds for this call only.
    """

    def __init__(self, jaxpr: Any, structure: Any, x: Any, values: Sequence[Any]):
        """Reads a jaxpr of (x, values), which returns `structure`; only the shapes and dtypes of both matter."""
        self.structure = structure
        shapes = shapes_of(values)
        leaves = jax.tree.leaves(x)
        sizes = [math.prod(leaf.shape) for leaf in leaves]
        outputs = jax.tree.leaves(self.structure)
        self.sizes = [math.prod(out.shape) for out in outputs]
        self.shape = (sum(self.sizes), sum(sizes))
        self.dtype = common(*[leaf.dtype for leaf in (*outputs, *leaves)]) if outputs else leaves[0].dtype
        self._scope = Scope(not any(is_complex(leaf.dtype) for leaf in leaves), self.shape[1])
        self.pieces: list[Piece] = []
        self.affine = False
        found = jax.make_jaxpr(functools.partial(self._read, jaxpr, leaves))(*shapes)
        self.pieces = placed(self.pieces, open_jaxpr(found)[0])
        self._factors, constants = constants_as_arguments(found)
        self._constants = [_held(c) for c in constants]
        self.closed_over = any(isinstance(c, Tracer) for c in self._constants)
        self.diagonals = jax.jit(self._diagonals)
        self._compiled = jax.jit(self._entries)

    def _read(self, jaxpr: Any, leaves: Sequence[Any], *values: Any) -> list[Any]:
        """Interprets the jaxpr, keeps the positions and returns the traced factors."""
        integer, start, inputs = np.int32 if self.shape[1] < 2**31 else np.int64, 0, []
        for leaf in leaves:
            inputs.append(unknown(leaf.shape, leaf.dtype, start, integer))
            start += inputs[-1].size
        results = [united(y) if depends(y) else y for y in self._interpreted(jaxpr, inputs, values)]
        self.affine = any(y.affine if depends(y) else not is_zero(y) for y in results)
        for y, out in zip(results, jax.tree.leaves(self.structure), strict=True):
            if depends(y) and not is_inexact(out.dtype):
                raise StructureError(f"expected floating outputs of a linear function; got {out.dtype.name}.")
        real = np.concatenate([np.full(math.prod(leaf.shape), not is_complex(leaf.dtype)) for leaf in leaves])
        self.pieces, traced = pieces_of(results, real)
        return traced

    def _interpreted(self, jaxpr: Any, unknowns: list[Any], values: Sequence[Any]) -> list[Any]:
        """The outputs of the jaxpr; where a piece is too large to be read, a small jaxpr is read by products."""
        try:
            return interpret(self._scope, jaxpr, [*unknowns, *values])
        except TooLarge:
            found = whole(jaxpr, unknowns, values, not self._scope.real)
            if found is None:
                raise
            self._scope.note("a dense block of the whole function")
            return found

    @property
    def notes(self) -> list[str]:
        """Remarks for the report."""
        return self._scope.notes

    @property
    def needs_integers(self) -> bool:
        """Whether positions would be fewer if integer parameters were known."""
        return self._scope.traced_indices

    @functools.cached_property
    def bands(self) -> Bands | None:
        """The diagonals, where they are few and full."""
        return find_bands(self.pieces, self.shape, self.sizes)

    @functools.cached_property
    def _order(self) -> Order:
        found = None if self.bands is None else self.bands.order()
        return ordered(self.pieces, self.shape) if found is None else found

    @functools.cached_property
    def _reading(self) -> Reading:
        return reading(self.pieces, self._order)

    @functools.cached_property
    def _known(self) -> tuple[Pattern, np.ndarray] | None:
        """Pattern and values of a matrix without traced factors; entries that cancel exactly are left out."""
        if any(piece.traced is not None for piece in self.pieces):
            return None
        order = ordered(self.pieces, self.shape)
        pattern, every = order.pattern, concatenated(self.pieces, [], self.dtype)
        data = every[order.places]
        if order.repeats is not None:
            np.add.at(data, order.repeats[0], every[order.repeats[1]])
        if not data.all():
            kept = data != 0
            before = np.concatenate([[0], np.cumsum(kept)])
            pattern = Pattern.of(before[pattern.indptr], pattern.indices[kept], pattern.shape)
            data = data[kept]
        return pattern, data

    @property
    def pattern(self) -> Pattern:
        """The positions."""
        return self._order.pattern if self._known is None else self._known[0]

    def values(self, values: Sequence[Any]) -> Any:
        """The entries in CSR order, of shape (nnz,); a NumPy array where nothing is traced."""
        if self._known is not None:
            return self._known[1]
        indices = [index_array(a) for a in self._reading.indices()]
        return self._compiled(self.constants(), values, indices)

    def constants(self) -> list[Any]:
        """The constants of the jaxpr of factors, as arguments for `diagonals`."""
        return [c if isinstance(c, Tracer) else _argument(c) for c in self._constants]

    def _diagonals(self, constants: list[Any], values: list[Any]) -> Array:
        """The diagonals of shape (number of diagonals, m)."""
        assert self.bands is not None
        return self.bands.values(self._factors(*constants, *values), self.dtype)

    def _entries(self, constants: list[Any], values: list[Any], indices: list[Array]) -> Array:
        return self._reading.entries(self._factors(*constants, *values), indices, self.dtype)


def shapes_of(values: Sequence[Any]) -> list[Any]:
    """The shapes and dtypes of arrays and numbers."""
    return [jax.ShapeDtypeStruct(v.shape, v.dtype, weak_type=v.weak_type) for v in map(jax.typeof, values)]


def _held(constant: Any) -> Any:
    """A constant of a jaxpr as it is kept: on the host if it came from there."""
    return constant if isinstance(constant, jax.Array) else np.asarray(constant)


def _argument(constant: Any) -> Any:
    if is_host(constant):
        return index_array(constant)
    if staged() and constant.nbytes > LITERAL_BYTES:
        return index_array(np.asarray(constant))
    return constant
