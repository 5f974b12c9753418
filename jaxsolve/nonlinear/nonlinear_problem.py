"""Statement: a nonlinear problem as a program on flat vectors, and the condition that holds at its solution."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.array_likes import is_list_of_numbers, stands_alone, unwrapped
from jaxsolve.core.errors import NotLinearError, StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing, common, inexact, refuse_posing, typed
from jaxsolve.core.vector import squared_norm
from jaxsolve.nonlinear.differentiation_modes import differentiable
from jaxsolve.nonlinear.robust_cost import LEAST, RobustCost, Weighted, unweighted
from jaxsolve.operators.linearity import Degree, degree
from jaxsolve.operators.program import Program, separated, trace_program
from jaxsolve.solvers.nonlinear_methods import FIT, FIXED_POINT, MINIMUM, ROOT
from jaxsolve.tracer.dependence import steering


class Given(NamedTuple):
    """What the solution depends on: everything that gradients reach.

    Attributes:
        parameters: What the function closes over, and its further arguments.
        rhs: The flat right-hand side of equations, None otherwise.
        lower: Lower bounds of shape (n,), None for none.
        upper: Upper bounds.
        constants: What constraints close over.
        loss: The scale of a loss, and what the loss closes over.
        motion: What a retraction closes over.
        slopes: What its derivative at 0 closes over.
    """

    parameters: tuple[Array, ...]
    rhs: Array | None = None
    lower: Array | None = None
    upper: Array | None = None
    constants: tuple[Array, ...] = ()
    loss: tuple[Array, ...] = ()
    motion: tuple[Array, ...] = ()
    slopes: tuple[Array, ...] = ()


@dataclasses.dataclass(frozen=True)
class Statement:
    """A problem without its numbers. Static under jit; equal functions make equal statements.

    Attributes:
        goal: `ROOT`, `FIXED_POINT`, `FIT` or `MINIMUM`.
        program: Of (*parameters, x): what the user's function returns, flat.
        unknown: The structure of x.
        image: The structure of what the function returns.
        dtype: The dtype of flat vectors.
        bounded: Whether there are bounds.
        loss: What residuals cost, None for half the sum of their squares.
        motion: Of (*motion, x, step): the x at the end of a step along a retraction; None where that is x + step.
        slope: Of (*slopes, x, step): the derivative of that at the step 0, applied to a step.
        chart: The problem over such steps, with the numbers of `near`.
    """

    goal: str
    program: Program
    unknown: Packing
    image: Packing
    dtype: Any
    bounded: bool = False
    loss: RobustCost | None = None
    motion: Program | None = None
    slope: Program | None = None
    chart: "Statement | None" = None

    @property
    def steps(self) -> Packing:
        """The structure of a step."""
        return self.unknown if self.chart is None else self.chart.unknown

    def near(self, given: Given, x: Array) -> tuple["Statement", Given, Array]:
        """The problem in which steps from x are unknown, what it depends on, and where x lies in it."""
        if self.chart is None:
            return self, given, x
        there = given._replace(parameters=(*given.motion, *given.parameters, x))
        return self.chart, there, jnp.zeros(self.steps.size, x.dtype)

    def moved(self, given: Given, x: Array, step: Array) -> Array:
        """The x at the end of a step."""
        return x + step if self.motion is None else self.motion(*given.motion, x, step)[0]

    def along(self, given: Given, x: Array, step: Array) -> Array:
        """How x moves along a small step, linear in it."""
        return step if self.slope is None else self.slope(*given.slopes, x, step)[0]

    def costing(self, loss: RobustCost) -> "Statement":
        """The problem with a loss."""
        chart = None if self.chart is None else self.chart.costing(loss)
        return dataclasses.replace(self, loss=loss, chart=chart)

    def value(self, given: Given, x: Array) -> Array:
        """y - f(x), g(x) - x, the residuals r(x), or the number to minimise."""
        (y,) = self.program(*given.parameters, x)
        if given.rhs is not None:
            return given.rhs - y
        return y - x if self.goal == FIXED_POINT else y

    def objective(self, given: Given, x: Array) -> Array:
        """What is minimised: f(x), or ½‖r(x)‖², or the cost of r(x) by a loss."""
        value = self.value(given, x)
        if self.goal == MINIMUM:
            return value
        return squared_norm(value) / 2 if self.loss is None else self.loss.value(given.loss, value)

    def weighted(self, given: Given, r: Array, least: Array | float = LEAST) -> Weighted:
        """Residuals as those of a least-squares problem, with the least curvature of a loss."""
        return unweighted(r) if self.loss is None else self.loss.weighted(given.loss, r, least)

    def gradient(self, given: Given, x: Array) -> tuple[Array, Array]:
        """The objective and its gradient."""
        return jax.value_and_grad(lambda x: self.objective(given, x))(x)

    def condition(self, given: Given, x: Array) -> Array:
        """What vanishes at the solution, of shape (n,): its derivatives give those of the solution."""
        if self.goal in (ROOT, FIXED_POINT):
            return -self.value(given, x)
        statement, there, z = self.near(given, x)
        return self.projected(given, x, statement.gradient(there, z)[1])

    def projected(self, given: Given, x: Array, gradient: Array) -> Array:
        """The gradient, or with bounds x - P(x - ∇f): zero where no step that stays inside descends."""
        if not self.bounded:
            return gradient
        return x - jnp.clip(x - gradient, given.lower, given.upper)


def state(
    goal: str, f: Callable[..., Any], x0: Any, y: Any, args: tuple, kwargs: dict, split: bool = False
) -> tuple[Statement, Given, Array]:
    """The statement of a problem, what it depends on, and the flat first guess.

    Complex equations that have a complex derivative are stated over complex numbers. Others, fits and minima are
    stated over the real and imaginary parts.

    Args:
        goal: What is asked.
        f: f(x, *args, **kwargs).
        x0: The first guess, which has the structure of x.
        y: The right-hand side of equations, None otherwise.
        args: Further arguments; floats and arrays in them are traced.
        kwargs: The same by name.
        split: Whether vectors have to be real.

    Raises:
        StructureError: If f returns something else than the problem needs.
        TypeError: If f is no function, or x0, y or what f returns holds something else than numbers.
    """
    if not callable(f):
        raise TypeError(
            f"the first argument is a function of x that returns numbers; got {type(f).__name__} ({f!r:.60})."
        )
    x0 = arrays("x0", x0)
    y = None if y is None else arrays("y", y)
    unknown = Packing.of(x0, split=split or goal in (FIT, MINIMUM))
    unknown = _joined(unknown, y) if split else unknown
    if not unknown.size:
        raise StructureError("x0 holds no numbers, so there is nothing to solve for.")
    dtypes = unknown.dtypes if y is None else (*unknown.dtypes, *Packing.of(y).dtypes)
    return _stated(goal, f, x0, y, args, kwargs, unknown, inexact(*dtypes))


def _stated(
    goal: str, f: Any, x0: Any, y: Any, args: tuple, kwargs: dict, unknown: Packing, dtype: Any
) -> tuple[Statement, Given, Array]:
    if unknown.split:
        dtype = _part(dtype)
    values, merged = separated(args, kwargs)
    images: list[Packing] = []

    def flat(values: list[Array], x: Array) -> Array:
        args, kwargs = merged(values)
        out = f(unknown.unpack(x), *args, **kwargs)
        out = None if out is None else arrays(f"what {_name(f)} returns", out)
        image = Packing.of(out)
        _check(goal, f, image, unknown, None if y is None else Packing.of(y))
        wide = inexact(dtype, *image.dtypes)
        if unknown.split:
            image, wide = dataclasses.replace(_joined(image, y), split=True), _part(wide)
        images.append(image)
        return typed(jax.tree.leaves(out)[0].reshape(()), wide) if goal == MINIMUM else image.pack(out, wide)

    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values]
    program, constants, out = trace_program(flat, shapes, jax.ShapeDtypeStruct((unknown.size,), dtype))
    if out.dtype != dtype:
        unknown = unknown if unknown.split else unknown.widened(out.dtype)
        return _stated(goal, f, x0, y, args, kwargs, unknown, jnp.dtype(out.dtype))
    inputs = (*constants, *values)
    program = differentiable(
        program, [*map(jnp.asarray, inputs), jax.ShapeDtypeStruct((unknown.size,), dtype)]
    )
    if jnp.issubdtype(dtype, jnp.complexfloating) and not _holomorphic(program, inputs, unknown.size, dtype):
        unknown = dataclasses.replace(_joined(unknown, y), split=True)
        return _stated(goal, f, x0, y, args, kwargs, unknown, dtype)
    program = Program(program.jaxpr, positions(program, inputs))
    image = images[-1]
    if goal in (ROOT, FIXED_POINT) and image.size != unknown.size:
        raise StructureError(
            f"{_name(f)} gives {image.size} equations for {unknown.size} unknowns{_of_parts(unknown)}; use "
            "least_squares for those."
        )
    rhs = None if y is None else image.pack(y, dtype)
    given = Given(tuple(jnp.asarray(c) for c in inputs), rhs)
    return Statement(goal, program, unknown, image, jnp.dtype(dtype)), given, unknown.pack(x0, dtype)


def positions(program: Program, inputs: Sequence[Any]) -> dict[int, np.ndarray]:
    """The concrete integers among the inputs that say which elements of x go where, by their places.

    With them the sparse derivative of a function that gathers can be read.
    """
    steers = steering(program.jaxpr, [False] * len(inputs) + [True])
    return {k: np.asarray(v) for k, v in enumerate(inputs) if steers[k] and not is_traced(v)}


def _part(dtype: Any) -> Any:
    """The dtype of real parts."""
    return jnp.finfo(dtype).dtype


def _of_parts(unknown: Packing) -> str:
    return (
        ", real and imaginary parts by themselves (a complex x0 makes complex unknowns)"
        if unknown.split
        else ""
    )


def _joined(packing: Packing, tree: Any) -> Packing:
    """Complex where either is, leaf by leaf, if they have one structure."""
    other = packing if tree is None else Packing.of(tree)
    if (packing.treedef, packing.shapes) != (other.treedef, other.shapes):
        return packing
    dtypes = tuple(common(a, b) for a, b in zip(packing.dtypes, other.dtypes, strict=True))
    return dataclasses.replace(packing, dtypes=dtypes)


def _holomorphic(program: Program, inputs: Sequence[Any], size: int, dtype: Any) -> bool:
    """Whether the derivative of a program of (*inputs, x) is linear over the complex numbers."""

    def tangent(inputs: list[Array], x: Array, v: Array) -> Array:
        return jax.jvp(lambda x: program(*inputs, x)[0], (x,), (v,))[1]

    x = jax.ShapeDtypeStruct((size,), dtype)
    shapes = [jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)) for v in inputs]
    degrees = [Degree.constant] * (len(shapes) + 1) + [Degree.linear]
    try:
        degree(jax.make_jaxpr(tangent)(shapes, x, x), degrees, complex_input=True)
    except NotLinearError:
        return False
    return True


def _name(f: Any) -> str:
    return getattr(f, "__name__", "the function")


def _check(goal: str, f: Any, image: Packing, unknown: Packing, rhs: Packing | None) -> None:
    name = _name(f)
    if goal == MINIMUM:
        if len(image.shapes) != 1 or image.size != 1:
            raise StructureError(
                f"{name} returned {image}; minimize needs one number. Sum it up, or for a batch of separate problems "
                "use jax.vmap over minimize."
            )
        if jnp.issubdtype(image.dtypes[0], jnp.complexfloating):
            raise TypeError(f"{name} returned a complex number, and those have no least; take its real part.")
        return
    if goal == FIT:
        if not image.size:
            raise StructureError(f"{name} returned no residuals.")
        return
    wanted, what = (unknown, "x") if rhs is None else (rhs, "y")
    if (image.treedef, image.shapes) != (wanted.treedef, wanted.shapes):
        raise StructureError(
            f"{name} returned {image}, but {what} is {wanted}: they must have one structure."
        )


def arrays(name: str, tree: Any) -> Any:
    """A tree of numbers as arrays; a list of numbers or of scalars is one array.

    Scalars too, so that a function of an array may return `[x[0] ** 2, x[1]]`.
    """

    def one(value: Any) -> bool:
        return stands_alone(value) or is_list_of_numbers(value, scalars=True)

    def array(leaf: Any) -> Array:
        refuse_posing(name, leaf)
        if isinstance(leaf, list):
            try:
                return jnp.asarray(leaf)
            except (TypeError, ValueError) as error:
                raise StructureError(f"{name} holds a list of rows of different lengths: {error}") from None
        leaf = unwrapped(leaf)
        number = isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex)
        kind = leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype if number else None
        if kind is None or not (jnp.issubdtype(kind, jnp.number) or jnp.issubdtype(kind, jnp.bool_)):
            of = "" if kind is None else f" of {kind}"
            raise TypeError(
                f"{name} must be an array or a pytree of arrays; got a {type(leaf).__name__}{of} in it."
            )
        return jnp.asarray(leaf)

    if tree is None:
        raise TypeError(f"{name} must be an array or a pytree of arrays; got None.")
    return jax.tree.map(array, tree, is_leaf=one)
