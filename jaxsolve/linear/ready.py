"""Ready: a system without its right-hand side, set up once: operator, preconditioner or factors, and request."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.module import Module
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import Frozen, SolveInfo
from jaxsolve.core.staging import detached
from jaxsolve.front.request import Solve, method_name
from jaxsolve.front.structures import Structures
from jaxsolve.linear.auto import Choice
from jaxsolve.linear.deferred_preconditioner import Made
from jaxsolve.linear.execution import LinearSystem
from jaxsolve.linear.inverses import Inverses
from jaxsolve.linear.lagging import Lagged, Refresh
from jaxsolve.linear.overriding import overridden
from jaxsolve.linear.problem import Problem, pose, pose_again
from jaxsolve.linear.reading import Reading, read_system
from jaxsolve.linear.rule import Rule
from jaxsolve.linear.stacked_systems import StackedSystems
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace


class Ready(Module):
    """A system that `js.setup` made, without its right-hand side: a pytree for jit, scan, vmap and grad.

    Derivatives reach the matrix by the field `A`; what was made of it has none. Its leaves are inexact but for index
    arrays and keys of factors on the host: where there are some, `jax.grad` by a `Ready` wants `allow_int=True`.

    Attributes:
        A: The operator in the form that runs; a batch of matrices as it was given.
        inverses: The preconditioner or the factors, and those for gradients.
        offset: The value at zero of the function that A was read from, a flat vector; None for a matrix.
        nulls: The null space of A.
        settings: The arrays of the request.
        age: The updates since the inverse was made.
        first: The iterations of the first solve with it, 0 where that is not known.
        request: Request and methods without their arrays.
        reasons: Why these methods.
        rule: The rule that chose them, None where they were asked for.
        pattern: The positions of the entries of A, where they are known.
        structures: Those of the vectors of a function of a pytree, else None.
        refresh: When an update makes the inverse anew; None for always, as well as the values allow.
        label: The name of the preconditioner.
    """

    A: LinearOperator
    inverses: Inverses
    offset: Array | None
    nulls: NullSpace
    settings: list[Any]
    age: Array
    first: Array
    request: Frozen = eqx.field(static=True)
    reasons: tuple[str, ...] = eqx.field(static=True)
    rule: Rule | None = eqx.field(static=True)
    pattern: Pattern | None = eqx.field(static=True)
    structures: Structures | None = eqx.field(static=True)
    refresh: Refresh | None = eqx.field(static=True)
    label: str = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns, after the leading axes of a batch."""
        return (*self.stack, *self.A.shape)

    @property
    def stack(self) -> tuple[int, ...]:
        """The leading axes of a batch of matrices."""
        return self.A.batch_shape if self.age.ndim == 0 else ()

    @property
    def solve(self) -> Solve:
        """The request."""
        return self.request.join(self.settings)[0]

    def update(self, A: Any, *f_args: Any, after: SolveInfo | None = None, **f_kwargs: Any) -> "Ready":
        """The same for new values on the same positions; also in jit and as the carry of a scan.

        The preconditioner or the factors are made anew where `refresh` of `js.setup` says so. Those that are kept
        change the iterations only: where a solve fails with them, its program makes them anew and solves again.

        Args:
            A: A matrix of the same kind, shape, dtype and positions, or the function.
            *f_args: Further arguments of a function A.
            after: How the last solve went, which refresh="growth" looks at.
            **f_kwargs: Further arguments by name.

        Raises:
            StructureError: If A has another shape, dtype or other positions.
            TypeError: If A is of another kind.
            ValueError: If `after` is missing.
        """
        self._check_single()
        reading = read_system(A, self.solve, f_args, f_kwargs, self._x_like())
        self._check(A, reading)
        if self.refresh is not None and self.refresh.growth is not None and after is None:
            raise ValueError(
                "refresh='growth' looks at the iterations of the last solve: ready.update(A, after=info) with the "
                "result of js.solve_linear_info(ready, b)."
            )
        due, age, first = self._due(after)
        args = self._methods(), reading.problem, self.nulls, self.refresh, self.inverses, due
        inverses = Inverses.of(*args)
        new = (reading.operator, inverses, reading.offset, age, first)
        return eqx.tree_at(
            lambda r: (r.A, r.inverses, r.offset, r.age, r.first), self, new, is_leaf=lambda v: v is None
        )

    @in_full
    def system(self, b: Any, solve: Solve, grad_for_f: bool) -> LinearSystem:
        """The system with a right-hand side."""
        self._check_single()
        if self.structures is None:
            problem = pose(self.A, b, solve, (), {}, grad_for_f)
        else:
            problem = pose_again(self.A, self.structures, b, solve.x0)
        if self.offset is not None:
            offset = self.offset if grad_for_f else detached(self.offset)
            problem = dataclasses.replace(problem, b=problem.b - offset)
        if not grad_for_f:
            problem = dataclasses.replace(problem, A=detached(problem.A))
        inverses = self._of_lanes(problem) if problem.matrices else self.inverses
        choice, of_gradient = self._choices(inverses)
        kind = StackedSystems if problem.matrices else LinearSystem
        return kind(problem, solve, choice, self.nulls, of_gradient)

    def asked(self, solve: Solve | None, f_args: tuple = (), f_kwargs: dict | None = None) -> Solve:
        """The request with the tolerances, limit, first guess and observers of another one.

        Raises:
            TypeError: If that is no `Solve`, or if there are arguments of a function.
            ValueError: If it asks for what can't be changed any more.
        """
        if f_args or f_kwargs:
            raise TypeError(
                "further arguments of a function belong to js.setup(f, solve, ...) and to ready.update(f, ...)."
            )
        return self.solve if solve is None else overridden(self.solve, solve, self._method)

    def over_columns(self, f_args: tuple, f_kwargs: dict) -> "Ready":
        """Itself, where it solves for flat vectors with one matrix.

        Raises:
            TypeError: If there are arguments of a function.
            StructureError: If it does not.
        """
        self.asked(None, f_args, f_kwargs)
        if self.stack or self.structures is not None:
            function = "" if self.structures is None else f"a function of {self.structures.unknown}"
            held = f"a batch of shape {self.stack}" if self.stack else function
            raise StructureError(
                f"js.solve_linear_many solves for the columns of (n, k) with one matrix; this setup is of {held}. Use "
                "jax.vmap over js.solve_linear(ready, b)."
            )
        return self

    def __repr__(self) -> str:
        method = method_name(self._method)
        name = method if self.label == "None" else f"{method} + {self.label}"
        shape = "x".join(map(str, self.shape))
        parts = [name, f"{type(self.A).__name__} {shape} {jnp.dtype(self.A.dtype).name}"]
        own = self.inverses.own
        told = getattr(own.old if isinstance(own, Lagged) else own, "description", None)
        if told is not None:
            parts.append(f"on the host {told}")
        if self.refresh is not None:
            parts.append(f"refresh={self.refresh}")
        return f"Ready({', '.join([*parts, _size(self)])})"

    def _choices(self, inverses: Inverses) -> tuple[Choice, Choice | None]:
        (method, _), other = self._methods()
        own = None if method.preconditioned and inverses.own is None else Made(inverses.own)
        choice = Choice(method, own, self.reasons, self.rule)
        return choice, None if other is None else Choice(other[0], Made(inverses.of_gradient), self.reasons)

    def _methods(self) -> Any:
        """Method and recipe, and those for gradients or None."""
        return self.request.join(self.settings)[1]

    @property
    def _method(self) -> AbstractMethod:
        return self._methods()[0][0]

    def _of_lanes(self, problem: Problem) -> Inverses:
        """The inverses with one axis of lanes, as the matrices of a posed batch."""
        batch, stack = problem.structures.batch, self.stack
        lanes = math.prod(batch)

        def spread(v: Any) -> Any:
            own = jnp.shape(v)[len(stack) :]
            return jnp.broadcast_to(v, (*batch, *own)).reshape(lanes, *own)

        return jax.tree.map(spread, self.inverses)

    def _x_like(self) -> Any:
        """A tree like x, of a function."""
        n = self.A.shape[1]
        if self.structures is None:
            return jnp.zeros(n, self.A.dtype)
        return self.structures.unknown.unpack(jnp.zeros(n, self.structures.dtype))

    def _check_single(self) -> None:
        if self.age.ndim:
            raise StructureError(
                f"these are the setups of a batch of shape {self.age.shape}, made by vmap; use each by "
                "jax.vmap(lambda ready, b: js.solve_linear(ready, b))."
            )

    def _check(self, given: Any, new: Reading) -> None:
        """Refuses an update by what does not fit."""
        A, kind = new.operator, type(given).__name__
        if (self.offset is None) != (new.offset is None) or new.structures != self.structures:
            raise TypeError(
                f"update takes what js.setup was given, with new values; got a {kind} of another kind."
            )
        stack = A.batch_shape
        if (*stack, *A.shape) != self.shape:
            raise StructureError(
                f"update takes A of shape {self.shape}, as at js.setup; got {(*stack, *A.shape)}."
            )
        if A.dtype != self.A.dtype:
            raise StructureError(
                f"update takes A of dtype {self.A.dtype}, as at js.setup; got {A.dtype}. Convert it, or set up anew."
            )
        if new.pattern != self.pattern:
            held, got = (p.nnz if p is not None else "unknown" for p in (self.pattern, new.pattern))
            raise StructureError(
                f"update takes new values on the positions of js.setup ({held} entries); this {kind} has other "
                f"positions ({got} entries). Store explicit zeros, or set up anew."
            )
        if jax.tree.structure(A) != jax.tree.structure(self.A):
            raise TypeError(
                f"update takes what js.setup was given, with new values; this {kind} is executed as "
                f"{type(A).__name__}, that was {type(self.A).__name__}, or they compute differently."
            )

    def _due(self, after: SolveInfo | None) -> tuple[Any, Array, Array]:
        """Whether the inverse is to be made anew, the updates since it was, and the iterations it started with."""
        policy, zero = self.refresh, jnp.zeros_like(self.age)
        if policy is None or policy.every == 1:
            return True, self.age, self.first
        if policy.growth is not None:
            assert after is not None
            count = jnp.maximum(jnp.max(jnp.asarray(after.iterations)), 1).astype(self.first.dtype)
            first = jnp.where(self.first == 0, count, self.first)
            due = (count > policy.growth * first) | ~jnp.all(jnp.asarray(after.converged))
            return due, jnp.where(due, zero, self.age + 1), jnp.where(due, zero, first)
        due = False if policy.every is None else self.age + 1 >= policy.every
        return due, jnp.where(due, zero, self.age + 1), self.first


def _size(tree: Any) -> str:
    """The bytes of all arrays of a tree, each counted once."""
    leaves = {id(v): v for v in jax.tree.leaves(tree) if hasattr(v, "dtype")}
    size = float(sum(np.size(v) * v.dtype.itemsize for v in leaves.values()))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def start(dtype: Any) -> Array:
    """A count that starts: of an inexact dtype, so that it has a derivative, which vanishes."""
    with jax.ensure_compile_time_eval():
        return jnp.zeros((), dtype)
