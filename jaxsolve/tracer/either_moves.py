"""Movements of values of either kind: those that depend on the unknown, and known arrays."""

from typing import Any

from jaxsolve.tracer import element_moves, factors
from jaxsolve.tracer.factors import OPAQUE
from jaxsolve.tracer.rule_registry import depends


def turned(value: Any, permutation: Any) -> Any:
    """`lax.transpose`."""
    if value is OPAQUE:
        return value
    return element_moves.transpose(value, permutation) if depends(value) else value.transpose(permutation)


def reshaped(value: Any, shape: tuple[int, ...]) -> Any:
    """`lax.reshape`, C order."""
    if value is OPAQUE:
        return value
    return element_moves.reshape(value, shape) if depends(value) else value.reshape(shape)


def cut(value: Any, index: list[tuple[int, int, int]]) -> Any:
    """`lax.slice` by (start, limit, stride) of each axis."""
    if value is OPAQUE:
        return value
    if depends(value):
        return element_moves.cut(value, *zip(*index, strict=True))
    return value[tuple(slice(*one) for one in index)]


def padded(value: Any, config: list[tuple[int, int, int]]) -> Any:
    """`lax.pad` with zeros."""
    if value is OPAQUE:
        return value
    return element_moves.pad(value, config) if depends(value) else factors.pad(value, config, 0)
