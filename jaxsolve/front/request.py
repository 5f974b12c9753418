"""Solve: what is asked of a solve, as an Equinox module."""

import functools
import numbers
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxsolve.core.array_likes import told, unwrapped
from jaxsolve.core.foreign_names import refuse_option
from jaxsolve.core.names import normalized, unknown_name
from jaxsolve.core.options import is_count
from jaxsolve.core.precision import inner_precision
from jaxsolve.core.recycled import Recycled, recycle_request
from jaxsolve.core.results import ConvergenceException
from jaxsolve.operators.conversion import is_operator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod
from jaxsolve.solvers.nonlinear_registry import NONLINEAR

#: The name that leaves the choice to the package.
AUTO = "auto"
#: What can precondition, for messages.
PRECONDITIONS = (
    "None, a name, a recipe such as js.Jacobi() (any object with build(A)), an operator or matrix, a factorisation, a "
    "function r -> z or a pair (left, right)"
)


def _knows_its_options(make: Callable[..., None]) -> Callable[..., None]:
    """Has a constructor refuse options that it does not have with what was meant."""
    code = make.__code__
    options = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(make)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        for name in given:
            if name not in options:
                refuse_option("js.Solve", name, options)
        make(self, *args, **given)

    return checked


class Solve(eqx.Module):
    """What is asked of a solve.

    Args:
        method: A name (see `js.methods()`; case, hyphens and underscores do not matter) or a method module. "auto"
            leaves it to the package, and the preconditioner too where none is given; `js.explain` tells its choice.
            Where that fails on a concrete system, others are tried, with the iterations that are left.
        rtol: Relative tolerance: converged means ‖b - A x‖ <= max(rtol ‖b‖, atol). May be traced.
        atol: Absolute tolerance, in the units of b. May be traced.
        max_iterations: Steps of the method before it gives up. May be traced.
        x0: First guess, in the structure of the solution. May be traced.
        preconditioner: None (none for a named method; for "auto" part of the choice), "auto", a name (see
            `js.preconditioners()`), a module or any object with `build(A)`, an operator or a matrix, a factorisation
            (`js.factorize`), a function r -> z, or a pair (left, right) of these.
        suppress: Exception classes (`js.NotConverged`, `js.Diverged`) that are not to be raised.
        rank_deficiency: 1 if A maps constants to zero; 0 to switch the detection of that off; None to detect.
        null_space: A basis of the null space of A and of its adjoint: one vector in the structure of x, or a sequence
            of them. Over the real numbers where A is linear over these only: v and 1j * v are two. Where the adjoint
            has another null space 'lsmr' or 'SVD' finds the shortest solution without any.
        gradient_solve: The `Solve` for tangent and adjoint systems; None for this one (without x0 and atol).
        preprocess: Called with the operator before anything else; returns the operator to solve with.
        progress: Whether to show a progress bar.
        inner_dtype: jnp.float32 for iterations, preconditioner and factors in single precision, refined to the dtype of
            b (mixed-precision refinement); the verdict is the same. None for the dtype of b throughout.
        recycle: For 'CG' and 'GMres': how many directions to keep for the next solve, which takes them from
            `info.recycled` of this one; or such a state, or an empty one (`js.recycled`), to use and to renew.
        axis_name: Inside `jax.shard_map`: the axis of the mesh (or a tuple of axes) over which the parts of one system
            lie; None where each device has a system of its own.
        rel_tol: Alias of `rtol`.
        abs_tol: Alias of `atol`.

    Raises:
        ValueError: For unknown names (with the nearest known one) and negative numbers.
        TypeError: For arguments of the wrong kind, and for options that there are not (with the one that was meant).

    >>> Solve("bicg_stab(2)", rtol=1e-8)
    Solve('biCG-stab(2)', rtol=1e-08)
    """

    method: Any
    rtol: Any
    atol: Any
    max_iterations: Any
    x0: Any
    preconditioner: Any
    suppress: tuple[type, ...] = eqx.field(static=True)
    rank_deficiency: int | None = eqx.field(static=True)
    null_space: Any
    gradient_solve: "Solve | None"
    preprocess: Any
    progress: Any = eqx.field(static=True)
    inner_dtype: Any = eqx.field(static=True)
    recycle: Recycled | None
    axis_name: Any = eqx.field(static=True)

    @_knows_its_options
    def __init__(
        self,
        method: Any = AUTO,
        rtol: Any = 1e-5,
        atol: Any = 0.0,
        max_iterations: Any = 1000,
        x0: Any = None,
        preconditioner: Any = None,
        suppress: Any = (),
        rank_deficiency: int | None = None,
        null_space: Any = None,
        gradient_solve: "Solve | None" = None,
        preprocess: Any = None,
        progress: Any = None,
        *,
        inner_dtype: Any = None,
        recycle: Any = None,
        axis_name: Any = None,
        rel_tol: Any = None,
        abs_tol: Any = None,
    ):
        self.method = as_method(method)
        self.rtol = _number("rtol", rtol if rel_tol is None else rel_tol)
        self.atol = _number("atol", atol if abs_tol is None else abs_tol)
        self.max_iterations = _count("max_iterations", max_iterations)
        self.x0 = x0
        self.preconditioner = as_preconditioner(preconditioner)
        self.suppress = () if isinstance(suppress, tuple) and not suppress else _classes(suppress)
        if not (rank_deficiency is None or isinstance(rank_deficiency, numbers.Integral)):
            raise TypeError(f"rank_deficiency expects None, 0 or 1; got {told(rank_deficiency)}.")
        if rank_deficiency not in (None, 0, 1) and null_space is None:
            raise ValueError(
                f"rank_deficiency={rank_deficiency} does not say which vectors A maps to zero; "
                "pass a basis as null_space=."
            )
        self.rank_deficiency = rank_deficiency
        self.null_space = null_space
        if gradient_solve is not None and not isinstance(gradient_solve, Solve):
            raise TypeError(f"gradient_solve expects a Solve; got {type(gradient_solve).__name__}.")
        self.gradient_solve = gradient_solve
        if preprocess is not None and not callable(preprocess):
            raise TypeError(
                f"preprocess expects a function of the operator; got {type(preprocess).__name__}."
            )
        self.preprocess = preprocess
        if not (progress is None or isinstance(progress, bool) or is_count(progress)):
            raise TypeError(f"progress expects True, False or a number of iterations; got {told(progress)}.")
        self.progress = progress
        self.inner_dtype = None if inner_dtype is None else inner_precision(inner_dtype)
        self.recycle = (
            None if recycle is None else recycle_request(recycle, self.method, method_name(self.method))
        )
        self.axis_name = axis_name if axis_name is None else _axis(axis_name)
        if (recycle is not None) + (inner_dtype is not None) + (axis_name is not None) > 1:
            raise ValueError(
                "recycle, inner_dtype and axis_name are not made for each other; leave all but one out."
            )
        if getattr(gradient_solve, "recycle", None) is not None:
            raise ValueError(
                "the solves of gradients keep no directions; leave recycle out of gradient_solve."
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes over which the parts of one system lie, () for none."""
        if self.axis_name is None:
            return ()
        return self.axis_name if isinstance(self.axis_name, tuple) else (self.axis_name,)

    def with_arrays(self) -> "Solve":
        """The same request with its numbers as arrays: `js.jit` traces these, so that new ones compile nothing."""
        numbers = (self.rtol, self.atol, self.max_iterations)
        arrays = [jax.device_put(np.asarray(v)) if isinstance(v, int | float) else v for v in numbers]
        other = None if self.gradient_solve is None else self.gradient_solve.with_arrays()
        return eqx.tree_at(
            lambda s: (s.rtol, s.atol, s.max_iterations, s.gradient_solve),
            self,
            (*arrays, other),
            is_leaf=lambda leaf: leaf is None,
        )

    def __repr__(self) -> str:
        parts = [repr(method_name(self.method))]
        for name, default in (("rtol", 1e-5), ("atol", 0.0), ("max_iterations", 1000)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and value == default):
                parts.append(f"{name}={value!r}")
        if self.axis_name is not None:
            parts.append(f"axis_name={self.axis_name!r}")
        if self.preconditioner is not None:
            parts.append(f"preconditioner={preconditioner_name(self.preconditioner)}")
        if self.inner_dtype is not None:
            parts.append(f"inner_dtype={self.inner_dtype.name}")
        if self.recycle is not None:
            parts.append(f"recycle={self.recycle.count if self.recycle.directions is None else self.recycle}")
        return f"Solve({', '.join(parts)})"


def as_method(method: Any) -> Any:
    """The method module of a name; modules and "auto" are returned as they are.

    Raises:
        ValueError: For an unknown name; the text lists the known ones and the nearest.
    """
    if isinstance(method, AbstractMethod | AbstractNonlinearMethod):
        return method
    if isinstance(method, type) and issubclass(method, AbstractMethod | AbstractNonlinearMethod):
        return method()
    if not isinstance(method, str):
        raise TypeError(
            f"method expects a name or a method module such as js.CG(); got {type(method).__name__}. "
            f"Names: {', '.join(METHODS)}."
        )
    return _named(method, len(METHODS) + len(NONLINEAR))


@functools.lru_cache(maxsize=256)
def _named(method: str, known_names: int) -> Any:
    """The method of a name, looked up once for as many known names as there are."""
    form = normalized(method)
    if form == AUTO:
        return AUTO
    nonlinear = {normalized(name): make for name, make in NONLINEAR.items()}
    if form in nonlinear:
        return nonlinear[form]()
    # biCG-stab(2), IDR(4), GMres(50): a number in brackets sets the method's one option; IDR(s) is IDR.
    match = re.fullmatch(r"([^()]*)(?:\((\w+)\))?", form)
    stem, option = match.groups() if match else (form, None)
    known = {normalized(name).split("(")[0]: make for name, make in METHODS.items()}
    if stem in known:
        make = known[stem]
        if option is None or option in ("l", "s"):
            return make()
        if option.isdigit() and make().option is not None:
            return make(**{str(make().option): int(option)})
    raise ValueError(unknown_name("method", method, [AUTO, *METHODS, *NONLINEAR]))


def forget_names() -> None:
    """Has names looked up anew, once a method was registered."""
    _named.cache_clear()


def method_name(method: Any) -> str:
    """The name of a method for people, with its option where that is not the default."""
    if isinstance(method, str):
        return method
    option = type(method).option
    if option is None or getattr(method, option) == getattr(type(method)(), option):
        return method.name
    return f"{method.name.split('(')[0]}({getattr(method, option)})"


def as_preconditioner(preconditioner: Any) -> Any:
    """The recipe of a name; modules, operators, functions and pairs of them are returned as they are.

    Raises:
        ValueError: For an unknown name.
        TypeError: For anything that cannot precondition.
    """
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        form = normalized(preconditioner)
        if form in ("none", ""):
            return None
        if form == AUTO:
            return AUTO
        known = {normalized(name): make for name, make in PRECONDITIONERS.items()}
        if form not in known:
            raise ValueError(unknown_name("preconditioner", preconditioner, [AUTO, *PRECONDITIONERS]))
        return known[form]()
    if isinstance(preconditioner, tuple):
        if len(preconditioner) != 2:
            raise TypeError(
                f"a tuple of preconditioners is a pair (left, right); got {len(preconditioner)} entries."
            )
        return tuple(as_preconditioner(part) for part in preconditioner)
    if isinstance(preconditioner, type) and issubclass(preconditioner, AbstractPreconditioner):
        return preconditioner()
    if isinstance(preconditioner, AbstractPreconditioner) or is_operator(preconditioner):
        return preconditioner
    if hasattr(type(preconditioner), "__jax_array__"):
        return unwrapped(preconditioner)
    inverse = getattr(preconditioner, "inverse", None)
    if is_operator(inverse):
        return inverse  # of a factorisation
    if callable(preconditioner) or is_recipe(preconditioner):
        return preconditioner
    if isinstance(preconditioner, list) or hasattr(preconditioner, "shape"):
        return preconditioner
    raise TypeError(f"preconditioner expects {PRECONDITIONS}; got {type(preconditioner).__name__}.")


def is_recipe(preconditioner: Any) -> bool:
    """Whether a preconditioner is made of A: a module of the package, or any object with `build(A)`."""
    return isinstance(preconditioner, AbstractPreconditioner) or (
        hasattr(preconditioner, "build") and not is_operator(preconditioner)
    )


def preconditioner_name(preconditioner: Any) -> str:
    """The name of a preconditioner for people."""
    if preconditioner is None or isinstance(preconditioner, str):
        return str(preconditioner)
    if isinstance(preconditioner, tuple):
        return f"({', '.join(preconditioner_name(part) for part in preconditioner)})"
    return getattr(preconditioner, "name", None) or getattr(
        preconditioner, "__name__", type(preconditioner).__name__
    )


def refuse_axes(solve: Solve | None, what: str) -> None:
    """Refuses a request for one system over several devices where there is no such thing.

    Raises:
        ValueError: In words.
    """
    if isinstance(solve, Solve) and solve.axes:
        raise ValueError(
            f"axis_name={solve.axis_name!r}: js.solve_linear and js.solve_linear_info solve one system over the "
            f"devices of a mesh, with a matrix or a function; {what} does not."
        )


def needs_entries(solve: Solve | None) -> bool:
    """Whether a request needs the entries of A, and not only products with it."""
    if solve is None:
        return False
    recipes = solve.preconditioner if isinstance(solve.preconditioner, tuple) else (solve.preconditioner,)
    recipe = any(isinstance(part, str) or is_recipe(part) for part in recipes)
    method = isinstance(solve.method, AbstractMethod) and solve.method.entries
    return recipe or method or needs_entries(solve.gradient_solve)


def _axis(name: Any) -> Any:
    if isinstance(name, str) or (isinstance(name, tuple) and name and all(isinstance(n, str) for n in name)):
        return name
    raise TypeError(f"axis_name expects the name of a mesh axis, a tuple of names or None; got {told(name)}.")


def _number(name: str, value: Any) -> Any:
    if hasattr(type(value), "__jax_array__"):
        value = unwrapped(value)
    if isinstance(value, int | float | np.number | np.ndarray) and not isinstance(value, bool):
        if not np.all(np.asarray(value) >= 0):
            fault = "NaN" if np.any(np.isnan(value)) else "negative"
            raise ValueError(f"{name} must not be {fault}; got {value}.")
        return value
    if eqx.is_array(value) and not isinstance(value, np.bool_):
        return value
    raise TypeError(f"{name} expects a number; got {type(value).__name__}.")


def _count(name: str, value: Any) -> Any:
    value = _number(name, value)
    kind = value.dtype if eqx.is_array(value) or isinstance(value, np.generic) else np.dtype(type(value))
    if not np.issubdtype(kind, np.integer) and not (isinstance(value, float) and value.is_integer()):
        raise TypeError(f"{name} counts steps and must be an integer; got {value} of type {kind}.")
    return int(value) if isinstance(value, float) else value


def _classes(suppress: Any) -> tuple[type, ...]:
    classes: tuple[Any, ...] = tuple(suppress) if isinstance(suppress, tuple | list | set) else (suppress,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, ConvergenceException)):
            raise TypeError(
                f"suppress expects exception classes out of js.NotConverged, js.Diverged; got {told(cls)}."
            )
    return classes
