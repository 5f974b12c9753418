"""Problem: a system as the user gave it, turned into flat vectors, operators and batches, or refused."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import NotLinearError, StructureError, TraceError
from jaxsolve.core.foreign_names import suggestion
from jaxsolve.core.shards import axes_of, length, ones
from jaxsolve.core.staging import detached, made_once
from jaxsolve.core.tree import Packing, as_arrays, common, inexact, typed
from jaxsolve.front.request import AUTO, Solve, needs_entries
from jaxsolve.front.structures import Structures
from jaxsolve.linear.real_systems import by_parts, joined
from jaxsolve.operators.conversion import ACCEPTED, as_operator, is_function
from jaxsolve.operators.function import check_output, function_operator
from jaxsolve.operators.lineax_operator import is_lineax, structures_of
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.nullspace import NullSpace, orthonormal
from jaxsolve.tracer.assembly import offset_of, operator_of, read, readable
from jaxsolve.tracer.compiled import LinearFunction
from jaxsolve.tracer.explicit_matrix import with_known_entries


@dataclasses.dataclass(frozen=True)
class Problem:
    """A system in flat form.

    Attributes:
        A: The operator; its arrays have one leading axis where `matrices` is True.
        b: Shape (m,), or (lanes, m) in a batch.
        x0: Shape (n,) or (lanes, n); None for zero.
        structures: Those of x and of b, and the leading axes of a batch.
        matrices: Whether each system of the batch has its own matrix.
    """

    A: LinearOperator
    b: Array
    x0: Array | None
    structures: Structures
    matrices: bool = False


def pose(A: Any, b: Any, solve: Solve, args: tuple, kwargs: dict, grad_for_f: bool) -> Problem:
    """The problem in flat form.

    Args:
        A: What `solve_linear` takes.
        b: The same.
        solve: The request.
        args: Further arguments of a function A.
        kwargs: The same by name.
        grad_for_f: Whether gradients reach A.

    Raises:
        TypeError: If A, b or the request is of the wrong kind.
        StructureError: If shapes do not fit together; the text gives them all.
    """
    if not isinstance(solve, Solve):
        raise TypeError(
            f"the third argument is a js.Solve, such as js.Solve('CG', rtol=1e-8); got {told(solve)}."
        )
    b = as_arrays("b", b)
    x0 = None if solve.x0 is None else as_arrays("x0", solve.x0)
    function = is_function(A)
    if not function and (args or kwargs):
        given = ", ".join([*(type(a).__name__ for a in args), *kwargs])
        meant = [name if name in vars(solve) else suggestion(name, vars(solve)) for name in kwargs]
        options = [option for option in meant if option in vars(solve)]
        request = f" Options are part of the request: js.Solve({options[0]}=...)." if options else ""
        raise TypeError(
            f"further arguments ({given}) are passed on to A, so A must be a function; got {_kind(A)}.{request}"
        )
    if function:
        problem = _pose_function(A, b, x0, args, kwargs, grad_for_f, solve)
    else:
        like, operator = None, as_operator(A, accepted=ACCEPTED)
        if is_lineax(A):
            # Given by products, as functions are; with entries any method can be chosen.
            like, automatic = structures_of(A)[0], solve.method == AUTO and solve.preconditioner is None
            operator = with_known_entries(operator) if automatic or needs_entries(solve) else operator
        problem = _pose_matrix(operator, b, x0, like)
        if not grad_for_f:
            problem = dataclasses.replace(problem, A=detached(problem.A))
    m, n = problem.A.shape
    # Of the many solutions of a wide system the shortest is returned; from a guess the nearest to it would be found.
    return dataclasses.replace(problem, x0=None) if m < n else problem


def _pose_function(
    f: Any, b: Any, x0: Any, args: tuple, kwargs: dict, grad_for_f: bool, solve: Solve
) -> Problem:
    rhs = Packing.of(b)
    unknown = rhs if x0 is None else Packing.of(x0)
    needed = needs_entries(solve)
    # With entries any method can be chosen, they can be rounded, and what was compiled to be read is read.
    automatic = solve.method == AUTO and solve.preconditioner is None
    wanted = needed or automatic or solve.inner_dtype is not None or isinstance(f, LinearFunction)

    def posed(f: Any, b: Any, x0: Any, unknown: Packing, rhs: Packing) -> Problem:
        dtype = inexact(*rhs.dtypes, *([] if x0 is None else unknown.dtypes))
        found = _traced(f, unknown, rhs, dtype, args, kwargs, needed) if wanted else None
        operator, offset = found or function_operator(f, unknown, rhs, dtype, args, kwargs, axes_of((b, x0)))
        if not grad_for_f:
            operator, offset = detached((operator, offset))
        if operator.dtype != dtype:
            # What f returns is wider than b: so is x, as it is for a matrix of that dtype.
            dtype = inexact(operator.dtype, dtype)
            rhs, unknown = rhs.widened(dtype), unknown.widened(dtype)
        vector = rhs.pack(b, dtype)
        if offset is not None:
            vector = vector - offset
        guess = None if x0 is None else unknown.pack(x0, dtype)
        return Problem(operator, vector, guess, Structures(unknown, rhs, dtype))

    def posed_by_parts(unknown: Packing, rhs: Packing) -> Problem:
        unknown, rhs = (dataclasses.replace(p, split=True) for p in (unknown, rhs))
        dtype = rhs.vector_dtype(*rhs.dtypes, *unknown.dtypes)
        guess = None if x0 is None else unknown.pack(x0, dtype)
        sizes = [Packing.vector(p.size, dtype) for p in (unknown, rhs)]
        problem = posed(by_parts(f, unknown, rhs), rhs.pack(b, dtype), guess, *sizes)
        wide = problem.b.dtype
        structures = Structures(unknown.widened(wide), rhs.widened(wide), wide)
        return dataclasses.replace(problem, structures=structures)

    if max(len(unknown.shapes), len(rhs.shapes)) > 1:
        unknown, rhs = joined(f, unknown, rhs, args, kwargs)
        if unknown.mixed:
            return posed_by_parts(unknown, rhs)
    try:
        return posed(f, b, x0, unknown, rhs)
    except NotLinearError:
        unknown, rhs = joined(f, unknown, rhs, args, kwargs)
        if not unknown.has_complex:
            raise
    return posed_by_parts(unknown, rhs)


def _traced(
    f: Any, unknown: Packing, rhs: Packing, dtype: Any, args: tuple, kwargs: dict, needed: bool
) -> tuple[LinearOperator, Array | None] | None:
    """The function as a sparse matrix, and its constant part as a flat vector; None where it has none and needs none.

    Raises:
        TraceError: If the matrix is needed, and the function could not be read.
    """
    x_like = unknown.struct(dtype)
    try:
        if isinstance(f, LinearFunction):
            found = f.plan(x_like, args, kwargs)
        else:
            found = (read if needed else readable)(f, x_like, args, kwargs)
    except TraceError:
        if needed:
            raise
        found = None
    if found is None:
        return None
    plan, arguments = found
    check_output(f, plan.structure, rhs)
    wide = inexact(dtype, *Packing.of(plan.structure).dtypes)
    if wide != dtype:
        return _traced(f, unknown, rhs, wide, args, kwargs, needed)
    offset = rhs.pack(offset_of(plan, f, x_like, args, kwargs), dtype) if plan.affine else None
    # Of known values its preconditioner is made once, while a program around it is traced.
    make = functools.partial(operator_of, plan, arguments)
    return (make() if plan.closed_over else made_once(make, arguments.values)), offset


def _pose_matrix(A: LinearOperator, b: Any, x0: Any, like: Packing | None = None) -> Problem:
    """The problem of a matrix, with x in the structure of x0, else of `like`, else of b."""
    m, n = A.shape
    stack = A.batch_shape
    dtype = inexact(A.dtype, *Packing.of(b).dtypes)
    A = A.astype(dtype)
    leaves = jax.tree.leaves(b)
    single = len(leaves) == 1 and jax.tree.structure(b) == jax.tree.structure(0)
    if single and leaves[0].ndim and leaves[0].shape[-1] == m:
        problem = _pose_batch(A, typed(leaves[0], dtype), x0, stack)
        if like is None or x0 is not None or problem.structures.batch:
            return problem
        unknown = like.widened(dtype)
        return dataclasses.replace(
            problem, structures=dataclasses.replace(problem.structures, unknown=unknown)
        )
    rhs = Packing.of(b)
    if stack or rhs.size != m:
        raise StructureError(_misfit(A.shape, stack, rhs, single))
    unknown = Packing.of(x0) if x0 is not None else rhs if like is None else like
    if unknown.size != n:
        what = "x0" if x0 is not None else "b, which gives the structure of x where there is no x0,"
        raise StructureError(
            f"A of shape {A.shape} needs {n} unknowns; {what} has {unknown.size}: {unknown}."
        )
    guess = None if x0 is None else unknown.pack(jax.tree.map(lambda v: _guess(v, dtype), x0), dtype)
    return Problem(A, rhs.pack(b, dtype), guess, Structures(unknown, rhs, dtype))


def _pose_batch(A: LinearOperator, b: Array, x0: Any, stack: tuple[int, ...]) -> Problem:
    """Systems of shape (..., n, n) with right-hand sides of shape (..., n)."""
    m, n = A.shape
    try:
        batch = jnp.broadcast_shapes(stack, b.shape[:-1]) if stack else b.shape[:-1]
    except ValueError:
        raise StructureError(
            f"the leading axes of A {stack} and of b {b.shape[:-1]} do not broadcast: A of shape "
            f"{(*stack, m, n)} goes with b of shape (..., {m})."
        ) from None
    rhs, unknown = Packing.vector(m, b.dtype), Packing.vector(n, b.dtype)
    guess = None
    if x0 is not None:
        leaves = jax.tree.leaves(x0)
        if len(leaves) != 1:
            raise StructureError(
                f"x0 has {len(leaves)} leaves where b is one array; give it the structure of x."
            )
        (x0,) = leaves
        if x0.shape[-1:] != (n,) and x0.size == n and not batch:
            unknown = Packing.of(x0)
            x0 = x0.reshape(n)
        if x0.shape[-1:] != (n,) or jnp.broadcast_shapes(x0.shape[:-1], batch) != batch:
            either = f" (or ({n},))" if batch else ""
            raise StructureError(f"x0 must have shape {(*batch, n)}{either}; got {x0.shape}.")
        guess = _guess(x0, b.dtype)
    structures = Structures(unknown, rhs, b.dtype, batch)
    if not batch:
        return Problem(A, b, guess, structures)
    lanes = math.prod(batch)
    if stack:
        A = jax.tree.map(
            lambda v: jnp.broadcast_to(v, (*batch, *v.shape[len(stack) :])).reshape(
                lanes, *v.shape[len(stack) :]
            ),
            A,
        )
    b = jnp.broadcast_to(b, (*batch, m)).reshape(lanes, m)
    if guess is not None:
        guess = jnp.broadcast_to(guess, (*batch, n)).reshape(lanes, n)
    return Problem(A, b, guess, structures, bool(stack))


def pose_again(A: LinearOperator, structures: Structures, b: Any, x0: Any) -> Problem:
    """The problem of a function of pytrees that was read before.

    Args:
        A: What was read.
        structures: Those of its vectors.
        b: The right-hand side.
        x0: The first guess, or None.

    Raises:
        StructureError: If b or x0 has another structure, or b a dtype that A has not.
    """
    b = as_arrays("b", b)
    structures.rhs.check(b, "b has the structure that the function returned at js.setup")
    given = structures.rhs.vector_dtype(*Packing.of(b).dtypes)
    if common(given, structures.dtype) != structures.dtype:
        raise StructureError(
            f"this setup is of {structures.dtype.name} vectors, and b is {given.name}: pass x_like of that dtype to "
            "js.setup."
        )
    if x0 is not None:
        x0 = as_arrays("x0", x0)
        structures.unknown.check(x0, "x0 has the structure of x at js.setup")
        x0 = structures.unknown.pack(x0, structures.dtype)
    return Problem(A, structures.rhs.pack(b, structures.dtype), x0, structures)


def _guess(x0: Array, dtype: Any) -> Array:
    if jnp.iscomplexobj(x0) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"x0 is {x0.dtype.name}, but A and b are real, and so is x. Pass x0.real, or a complex b."
        )
    return typed(x0, dtype)


def _misfit(shape: tuple[int, int], stack: tuple[int, ...], rhs: Packing, single: bool) -> str:
    m = shape[0]
    text = f"A of shape {(*stack, *shape)} needs a right-hand side of {m} values; b is {rhs} with {rhs.size}."
    if single and rhs.shapes and len(rhs.shapes[0]) >= 2 and rhs.shapes[0][-2] == m:
        text += (
            " For several right-hand sides in columns use js.solve_linear_many(A, B), or jax.vmap over them."
        )
    return text


# Most solves share these two: built once.
_DETECT, _UNKNOWN = NullSpace(None, True), NullSpace()


def null_space(solve: Solve, structures: Structures) -> NullSpace:
    """The declared null space as an orthonormal basis, or the order to look for constants."""
    m, n, dtype = structures.rhs.size, structures.unknown.size, structures.dtype
    if solve.null_space is None:
        # Over real and imaginary parts constants have two dimensions.
        parts = (
            structures.unknown.constants(dtype) / math.sqrt(length(1))
            if structures.unknown.split and n
            else None
        )
        if solve.rank_deficiency:
            constant = ones(n, dtype)[:, None] * (1 / math.sqrt(max(length(n), 1)))
            return NullSpace(constant if parts is None else parts)
        if parts is not None and solve.rank_deficiency is None and m == n:
            return NullSpace(None, True, None, parts)
        return _DETECT if solve.rank_deficiency is None and m == n else _UNKNOWN
    basis = _basis(solve.null_space, structures.unknown, dtype)
    if solve.rank_deficiency not in (None, basis.shape[1]):
        raise ValueError(
            f"rank_deficiency={solve.rank_deficiency}, but null_space holds {basis.shape[1]} vectors."
        )
    return NullSpace(orthonormal(basis))


def _basis(given: Any, unknown: Packing, dtype: Any) -> Array:
    tree = as_arrays("null_space", given)
    if isinstance(given, list) and isinstance(tree, jax.Array) and tree.ndim == 2:
        tree = list(tree)  # vectors written as lists
    if Packing.of(tree).shapes == unknown.shapes and jax.tree.structure(tree) == unknown.treedef:
        return unknown.pack(tree, dtype)[:, None]
    if isinstance(tree, jax.Array) and tree.shape[:1] == (unknown.size,) and tree.ndim == 2:
        return tree.astype(dtype)
    if isinstance(given, list | tuple):
        vectors = []
        for vector in tree:
            unknown.check(vector, "each vector of null_space has the structure of x")
            vectors.append(unknown.pack(vector, dtype))
        return jnp.stack(vectors, axis=1)
    raise StructureError(
        f"null_space is one vector in the structure of x ({unknown}), a sequence of them, or a matrix of "
        f"{unknown.size} rows; got {Packing.of(tree)}."
    )


def _kind(A: Any) -> str:
    return f"{type(A).__name__}; A may be {ACCEPTED}" if A is None else type(A).__name__
