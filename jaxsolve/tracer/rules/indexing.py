"""Gather, scatter and dynamic slices: known indices move elements, traced ones select by 0 and 1."""

from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.compat import Equation, prims, scatter_function, scatter_sub_p
from jaxsolve.core.errors import TraceError
from jaxsolve.tracer import element_moves, sums
from jaxsolve.tracer.dense_coupling import dense
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.index_positions import gathered, scattered
from jaxsolve.tracer.interpreter import within
from jaxsolve.tracer.products import contract, keep, scale
from jaxsolve.tracer.refusal import not_linear, place
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.value import Linear, is_zero


def _are_known(scope: Scope, *indices: Any) -> bool:
    """Whether the indices are known; the reading notes where they are not."""
    known = all(isinstance(i, np.ndarray) for i in indices)
    scope.traced_indices = scope.traced_indices or not known
    return known


@rule(prims.gather_p)
def _gather(scope: Scope, eqn: Equation, x: Linear, indices: Any) -> Linear:
    """Elements at known indices, y[i] = x[p[i]]: row i has a one in column p[i].

    Traced indices make the coupling dense.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x[np.array([2, 0])], np.zeros(3))[0].todense().tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if not _are_known(scope, indices):
        return dense(scope, eqn, [x, indices], complex_linear=True)[0]
    positions = gathered(indices, x.shape, eqn.params).reshape(eqn.outvars[0].aval.shape)
    fill = eqn.params["fill_value"]
    filled = bool((positions < 0).any()) and fill != 0

    def read(array: Any) -> Any:
        # Fill with zeros, not with NaN: a factor of something absent.
        return prims.gather_p.bind(array, jnp.asarray(indices), **{**eqn.params, "fill_value": 0})

    return element_moves.take(x, positions, read, affine=filled)


@rule(prims.scatter_add_p, scatter_sub_p)
def _scatter_add(scope: Scope, eqn: Equation, operand: Any, indices: Any, updates: Any) -> Linear:
    """y[i] = k[i] ± Σ u[e] over the e with p[e] = i: the rows of the updates are added to row p[e].

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.zeros(2).at[np.array([1, 1])].add(x), np.zeros(2))
    >>> A.todense().tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if not _are_known(scope, indices):
        return dense(scope, eqn, [operand, indices, updates], complex_linear=True)[0]
    out = eqn.outvars[0].aval
    pieces = [operand] if depends(operand) else []
    if depends(updates):
        sign = -1 if eqn.primitive is scatter_sub_p else 1
        targets = scattered(indices, out.shape, updates.shape, eqn.params).reshape(updates.shape)

        def write(array: Any) -> Any:
            zeros = jnp.zeros(out.shape, array.dtype)
            return sign * eqn.primitive.bind(zeros, jnp.asarray(indices), array, **eqn.params)

        pieces.append(sums.scaled(element_moves.dispatch(updates, targets, out.shape, write), sign))
    affine = any(not depends(v) and not is_zero(v) for v in (operand, updates))
    return sums.add(pieces, out.dtype, affine)


@rule(prims.scatter_mul_p)
def _scatter_multiply(scope: Scope, eqn: Equation, operand: Any, indices: Any, updates: Any) -> Linear:
    """y[i] = x[i] Π u[e] over the e with p[e] = i: a diagonal matrix of known products.

    >>> import jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: x.at[np.array([0, 0])].multiply(3.0), np.zeros(2))
    >>> A.todense().tolist()
    [[9.0, 0.0], [0.0, 1.0]]
    """
    if depends(updates):
        not_linear(eqn, scope.enclosing, "multiplies by values that depend on that argument")
    _are_known(scope, indices)
    if any(v is OPAQUE for v in (indices, updates)):
        return scale(operand, OPAQUE, operand.dtype)

    def multiply() -> Any:
        ones = jnp.ones(operand.shape, operand.dtype)
        return eqn.primitive.bind(ones, jnp.asarray(indices), jnp.asarray(updates), **eqn.params)

    if not (is_host(indices) and is_host(updates)):
        return scale(operand, multiply(), operand.dtype)
    with jax.ensure_compile_time_eval():
        values = np.asarray(multiply())
    return scale(operand, values, operand.dtype)


@rule(prims.scatter_p)
def _scatter(scope: Scope, eqn: Equation, operand: Any, indices: Any, updates: Any) -> Linear:
    """Elements replaced: y[p[e]] = u[e], and y[i] = x[i] elsewhere.

    The operand loses these rows, and the updates stand there instead.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x.at[0].set(4 * x[1]), np.zeros(2))[0].todense().tolist()
    [[0.0, 4.0], [0.0, 1.0]]
    """
    known, function = _are_known(scope, indices), scatter_function(eqn)
    if not known:
        if function is not None:
            _not_known(scope, eqn)
        return dense(scope, eqn, [operand, indices, updates], complex_linear=True)[0]
    out, shape = eqn.outvars[0].aval, eqn.invars[2].aval.shape
    targets = scattered(indices, out.shape, shape, eqn.params).reshape(-1)
    if function is not None:
        return _changed(scope, eqn, operand, targets, function)
    source = np.full(int(np.prod(out.shape, dtype=int)), -1, np.int64)
    present = np.flatnonzero(targets >= 0)
    source[targets[present]] = present
    source = source.reshape(out.shape)

    def write(array: Any) -> Any:
        return eqn.primitive.bind(
            jnp.zeros(out.shape, array.dtype), jnp.asarray(indices), array, **eqn.params
        )

    above = element_moves.take(updates, source, write) if depends(updates) else updates
    return _replaced(operand, above, source >= 0, out)


def _changed(scope: Scope, eqn: Equation, operand: Any, targets: np.ndarray, function: Any) -> Linear:
    """`x.at[indices].apply(function)`: the elements at the targets pass through a function of their own."""
    out = eqn.outvars[0].aval
    if not depends(operand):
        not_linear(eqn, scope.enclosing, "combines elements with updates that depend on that argument")
    times = np.bincount(targets[targets >= 0], minlength=operand.size).reshape(out.shape)
    if times.max(initial=0) > 1:
        _not_known(scope, eqn)
    every = jax.ShapeDtypeStruct((operand.size,), out.dtype)
    jaxpr = jax.make_jaxpr(jax.vmap(function))(every, every)
    flat = element_moves.reshape(operand, (operand.size,))
    (changed,) = within(scope, eqn, jaxpr, [flat, np.zeros(operand.size, out.dtype)])
    hit = times > 0
    if depends(changed):
        changed = keep(element_moves.reshape(changed, out.shape), hit, out.dtype)
    return _replaced(operand, changed, hit, out)


def _not_known(scope: Scope, eqn: Equation) -> NoReturn:
    raise TraceError(
        f"`{eqn.primitive.name}` at {place(eqn, scope.enclosing)} applies a function at indices that are traced or "
        "repeated. Apply it to all elements and choose by jnp.where, or keep this operator matrix-free."
    )


def _replaced(operand: Any, above: Any, hit: np.ndarray, out: Any) -> Linear:
    """The operand where `hit` is False and the updates, in their places already, where it is True."""
    affine = any(not depends(v) and not is_zero(v) for v in (operand, above))
    if not depends(operand):
        return Linear(out.shape, out.dtype, above.terms, above.scatters, affine or above.affine)
    below = keep(operand, hit == 0, out.dtype)
    if not depends(above):
        return Linear(out.shape, out.dtype, below.terms, below.scatters, affine or below.affine)
    return sums.overlaid(below, above, hit, out.dtype, affine)


@rule(prims.dynamic_slice_p)
def _dynamic_slice(scope: Scope, eqn: Equation, x: Linear, *starts: Any) -> Linear:
    """A window, y[i] = x[s + i]: known starts cut; a traced s makes y = S x with S[i, j] = [s + i = j].

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.dynamic_slice(x, (1,), (2,)), np.zeros(3))
    >>> A.todense().tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    sizes = eqn.params["slice_sizes"]
    if _are_known(scope, *starts):
        low = [_corner(s, n, size) for s, n, size in zip(starts, x.shape, sizes, strict=True)]
        return element_moves.cut(x, low, [a + size for a, size in zip(low, sizes, strict=True)])
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        x = _along(x, axis, _shifted(start, x.shape[axis], size, x.dtype), size)
    return x


@rule(prims.dynamic_update_slice_p)
def _dynamic_update(scope: Scope, eqn: Equation, operand: Any, update: Any, *starts: Any) -> Linear:
    """A window replaced, y[s + i] = u[i], and y[j] = x[j] outside; a traced s makes y = (1 - w) x + Sᵀ u.

    Here w is 1 inside of the window, and S the matrix of `_dynamic_slice`.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.lax.dynamic_update_slice(x, 3 * x[2:], (0,)), np.zeros(3)
    ... )
    >>> A.todense().tolist()
    [[0.0, 0.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    out, sizes = eqn.outvars[0].aval, eqn.invars[1].aval.shape
    shape = out.shape
    if _are_known(scope, *starts):
        low = [_corner(s, n, size) for s, n, size in zip(starts, shape, sizes, strict=True)]
        hit = np.zeros(shape, bool)
        hit[tuple(slice(a, a + size) for a, size in zip(low, sizes, strict=True))] = True
        if depends(update):
            margins = zip(low, shape, sizes, strict=True)
            update = element_moves.pad(update, [(a, n - a - size, 0) for a, n, size in margins])
        return _replaced(operand, update, hit, out)
    affine = any(not depends(v) and not is_zero(v) for v in (operand, update))
    pieces = []
    if depends(operand):
        pieces.append(keep(operand, _outside(starts, shape, sizes), out.dtype))
    if depends(update):
        for axis, (start, n) in enumerate(zip(starts, shape, strict=True)):
            selection = _shifted(start, n, sizes[axis], out.dtype)
            update = _along(update, axis, selection if selection is OPAQUE else selection.T, n)
        pieces.append(update)
    return sums.add(pieces, out.dtype, affine)


def _corner(start: Any, size: int, window: int) -> int:
    return int(np.clip(int(start), 0, size - window))


def _shifted(start: Any, size: int, window: int, dtype: Any) -> Any:
    """The matrix of shape (window, size) that cuts a window at a traced start: ones where start + i = j."""
    if window == size:
        return np.eye(size, dtype=dtype)
    if start is OPAQUE:
        return OPAQUE
    corner = jnp.clip(start, 0, size - window)
    return (corner + jnp.arange(window)[:, None] == jnp.arange(size)).astype(dtype)


def _along(x: Linear, axis: int, matrix: Any, size: int) -> Linear:
    """The value with `matrix`, of shape (size, x.shape[axis]), applied along one axis."""
    if isinstance(matrix, np.ndarray):
        return x
    y = contract(x, matrix, (size, x.shape[axis]), ([axis], [1], [], []), x.dtype)
    rank = len(x.shape)
    return element_moves.transpose(y, [*range(axis), rank - 1, *range(axis, rank - 1)])


def _outside(starts: Sequence[Any], shape: tuple[int, ...], sizes: Sequence[int]) -> Any:
    """The mask of the elements that an update at traced starts leaves alone."""
    if any(s is OPAQUE for s in starts):
        return OPAQUE
    inside = jnp.ones(shape, bool)
    for axis, (start, n, size) in enumerate(zip(starts, shape, sizes, strict=True)):
        corner = jnp.clip(start, 0, n - size)
        place = lax.broadcasted_iota(jnp.int32, shape, axis)
        inside = inside & (place >= corner) & (place < corner + size)
    return ~inside
