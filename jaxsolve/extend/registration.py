"""Registration by one call: a method, a preconditioner, a direct backend or a tracing rule of one's own."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from jaxsolve.core.compat import Primitive
from jaxsolve.core.names import normalized
from jaxsolve.front.request import forget_names
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.direct.sparse.static_factors import static_factors
from jaxsolve.solvers.host.backends import BACKENDS, DEVICE
from jaxsolve.solvers.host.factor import AbstractRecipe
from jaxsolve.solvers.host.library_backend import LibraryBackend
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from jaxsolve.tracer.rule_registry import Rule, rule_for, set_rule

#: A class that is returned as it came, so that `register_*` decorates.
Class = TypeVar("Class", bound=type)
#: Names that mean something else.
TAKEN = ("auto", "none", "")


def register_method(cls: Class) -> Class:
    """Makes a method, linear or nonlinear, known by its `name`: `js.Solve(name)`, `js.methods()`, error messages.

    Also a decorator. A class registered again (a cell of a notebook run twice) takes the place of its former self.

    Args:
        cls: A subclass of `AbstractMethod` or of `AbstractNonlinearMethod` that can be made without arguments.

    Returns:
        The class.

    Raises:
        TypeError: If it is none, or lacks something.
        ValueError: If the name is taken.
    """
    given: Any = cls
    if isinstance(given, type) and issubclass(given, AbstractNonlinearMethod):
        name = _named("register_method", given, AbstractNonlinearMethod)
        if given.step is AbstractNonlinearMethod.step:
            raise TypeError(
                f"register_method: {cls.__name__} lacks step; define step(self, problem, s, target), which returns the "
                "next (x, memory)."
            )
        if not getattr(cls, "solves", ()):
            raise TypeError(
                f"register_method: {cls.__name__} does not say what it solves; set solves = ('equations',), or what of "
                "'equations', 'fixed points', 'least squares', 'minima' it is for."
            )
        _put("register_method", name, cls, NONLINEAR, METHODS)
    else:
        name = _named("register_method", cls, AbstractMethod)
        _put("register_method", name, cls, METHODS, NONLINEAR)
    forget_names()
    return cls


def register_preconditioner(cls: Class) -> Class:
    """Makes a preconditioner known by its `name`: `js.Solve(preconditioner=name)`, `js.preconditioners()`, messages.

    Also a decorator. A class registered again takes the place of its former self.

    Args:
        cls: A subclass of `AbstractPreconditioner` that can be made without arguments.

    Returns:
        The class.

    Raises:
        TypeError: If it is none, or lacks something.
        ValueError: If the name is taken.
    """
    _put(
        "register_preconditioner",
        _named("register_preconditioner", cls, AbstractPreconditioner),
        cls,
        PRECONDITIONERS,
    )
    return cls


def register_backend(name: str, recipe: Callable[..., Any]) -> None:
    """Makes a direct library known: `js.SparseDirect(backend=name)`, `js.factorize(A, backend=name)`.

    Args:
        name: What it is called.
        recipe: A function `factorise(A) -> substitute`. A is a SciPy CSC matrix in double precision, real or complex;
            `substitute(rhs, form)` returns the solutions for the columns of `rhs` (n, k) with A, Aᵀ or Aᴴ as `form` is
            "N", "T" or "H". It raises RuntimeError or `numpy.linalg.LinAlgError` for a singular matrix. Solutions are
            refined and judged by the package. (Or a class of recipes of the package's own kind, made of a pattern.)

    Raises:
        TypeError: If the name is no text or the recipe no function.
        ValueError: If the name is taken.

    >>> import scipy.sparse.linalg
    >>> register_backend("scipy-lu", lambda A: scipy.sparse.linalg.splu(A).solve)
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"register_backend(name, recipe): the name is a text; got {name!r}.")
    if not callable(recipe):
        raise TypeError(
            f"register_backend({name!r}, recipe): the recipe is a function factorise(A) -> substitute(rhs, form); got "
            f"{recipe!r}."
        )
    own = isinstance(recipe, type) and issubclass(recipe, AbstractRecipe)
    made = recipe if own else LibraryBackend(name, recipe)
    _free("register_backend", name, made, {**BACKENDS, DEVICE: static_factors})
    BACKENDS[name] = made


def rule(*primitives: Primitive) -> Callable[[Rule], Rule]:
    """Decorates how the tracer reads a primitive of one's own.

    The rule is called as rule(scope, eqn, *inputs), with inputs of which at least one depends linearly on the unknown,
    and returns the output (a list of them for a primitive of several results): most simply `expand(scope, eqn, f,
    *inputs)`, with f the same function in operations that JAX has.

    Raises:
        TypeError: If something else than a primitive is given, or the rule is no function.
        ValueError: If a primitive has another rule.
    """
    for primitive in primitives:
        if not isinstance(primitive, Primitive):
            raise TypeError(
                f"extend.rule expects primitives, such as jax.extend.core.Primitive('mine'); got {primitive!r}. Write "
                "@extend.rule(mine_p)."
            )
    if not primitives:
        raise TypeError("extend.rule needs the primitive that the rule is for: @extend.rule(mine_p).")

    def register(function: Rule) -> Rule:
        if not callable(function):
            raise TypeError(f"extend.rule decorates a function rule(scope, eqn, *inputs); got {function!r}.")
        for primitive in primitives:
            before = rule_for(primitive)
            if before is not None and not _same(before, function):
                raise ValueError(
                    f"extend.rule: `{primitive}` has a rule already, {before.__module__}.{before.__qualname__}."
                )
        for primitive in primitives:
            set_rule(primitive, function)
        return function

    return register


def _named(caller: str, cls: Any, base: type) -> str:
    """The name of a class, which is found to be complete."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        kinds = "AbstractMethod or AbstractNonlinearMethod" if base is AbstractMethod else base.__name__
        given = f"the object {cls!r}; pass its class" if isinstance(cls, base) else repr(cls)
        raise TypeError(f"{caller} expects a subclass of extend.{kinds}; got {given}.")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise TypeError(
            f"{caller}: {cls.__name__} lacks {missing}; define what extend.{base.__name__} asks for."
        )
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or normalized(name) in TAKEN:
        raise TypeError(
            f"{caller}: {cls.__name__} needs a name of its own, as in name: ClassVar[str] = 'mine'; got {name!r}."
        )
    try:
        cls()
    except TypeError as error:
        raise TypeError(
            f"{caller}: {cls.__name__}() must make it, since a name in js.Solve does; give every field a default "
            f"({error})."
        ) from error
    return name


def _put(caller: str, name: str, cls: type, registry: dict[str, Any], *others: dict[str, Any]) -> None:
    for known in (registry, *others):
        _free(caller, name, cls, known)
    # The same class under another spelling or a new name leaves the old one.
    for former in [key for key, made in registry.items() if _same(made, cls)]:
        if former != name and normalized(former) == normalized(name):
            del registry[former]
    registry[name] = cls


def _free(caller: str, name: str, made: Any, known: dict[str, Any]) -> None:
    """Refuses a name that something else has."""
    for other, there in known.items():
        if _stem(other) == _stem(name) and not _same(there, made):
            raise ValueError(
                f"{caller}: the name {name!r} is taken by {_told(there)}; choose another one. Taken: "
                f"{', '.join(_sorted(known))}."
            )


def _stem(name: str) -> str:
    """What names are compared by; what stands in brackets is an option."""
    return normalized(name).split("(")[0]


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=str.casefold)


def _same(before: Any, after: Any) -> bool:
    """Whether two things are one, perhaps defined twice."""
    if isinstance(before, LibraryBackend) and isinstance(after, LibraryBackend):
        return _same(before.factorise, after.factorise)
    if before is after:
        return True
    names = ("__module__", "__qualname__")
    return (inspect.isroutine(before) or isinstance(before, type)) and all(
        getattr(before, key, None) == getattr(after, key, object()) for key in names
    )


def _told(there: Any) -> str:
    if isinstance(there, LibraryBackend):
        there = there.factorise
    inner = getattr(there, "func", there)
    return f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', repr(inner))}"
