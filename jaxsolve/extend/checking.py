"""check: the laws of the package on a thing of the user's."""

from typing import Any

from jaxsolve.core.compat import Primitive
from jaxsolve.core.names import normalized, unknown_name
from jaxsolve.core.precision import in_full
from jaxsolve.extend import (
    backend_laws,
    method_laws,
    nonlinear_laws,
    operator_laws,
    preconditioner_laws,
    rule_laws,
)
from jaxsolve.extend.findings import Report, judged
from jaxsolve.front.request import as_method, as_preconditioner
from jaxsolve.operators.conversion import is_operator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.host.backends import BACKENDS, DEVICE
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from jaxsolve.tracer.rule_registry import primitives_of, rule_for

#: What can be checked, for people.
KINDS = (
    "a method, a nonlinear method or a preconditioner (the class, an object or its name), an operator, a tracing rule "
    "or its primitive, or the name of a direct backend"
)


@in_full
def check(thing: Any, *examples: Any) -> Report:
    """Runs the package's laws on a thing: takes seconds.

    Everything is checked in the precision of the session, on small systems of the kinds that it declares, and on the
    examples.

    Args:
        thing: A method, nonlinear method or preconditioner (class, object or name), an operator, a tracing rule or its
            primitive, the name of a direct backend.
        *examples: What it is checked on, too: pairs (A, b) for a method, matrices for a preconditioner and a backend,
            (f, x) or (f, x, *parameters) for a rule, where f is a function in which its primitive occurs.

    Returns:
        A `Report`, which prints as a table of the laws.

    Raises:
        BrokenLaw: If a law is broken; an AssertionError that names the laws, the numbers and where to look.
        TypeError: If there are no laws for such a thing.
        MissingBackendError: If the package of a direct backend is not installed.
        ValueError: For an unknown name.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> check(js.Diagonal(jnp.array([1.0, 2.0, 3.0]))).passed
    True
    """
    if isinstance(thing, str):
        return _named(thing, examples)
    if isinstance(thing, type):
        thing = _made(thing)
    if isinstance(thing, AbstractMethod):
        subject = method_laws.Subject.of(thing, examples)
        return judged(f"method {thing.name}", subject, method_laws.METHOD_LAWS)
    if isinstance(thing, AbstractNonlinearMethod):
        _no_examples("a nonlinear method", examples)
        return judged(
            f"nonlinear method {thing.name}", nonlinear_laws.Subject(thing), nonlinear_laws.NONLINEAR_LAWS
        )
    if isinstance(thing, AbstractPreconditioner):
        found = preconditioner_laws.Subject.of(thing, examples)
        return judged(f"preconditioner {thing.name}", found, preconditioner_laws.PRECONDITIONER_LAWS)
    if is_operator(thing):
        _no_examples("an operator", examples)
        return judged(
            f"operator {type(thing).__name__}", operator_laws.Subject(thing), operator_laws.OPERATOR_LAWS
        )
    primitives = (thing,) if isinstance(thing, Primitive) else primitives_of(thing) if callable(thing) else ()
    if not primitives:
        raise TypeError(f"check expects {KINDS}; got {thing!r}.")
    return _rules(primitives, examples)


def _rules(primitives: tuple[Primitive, ...], examples: tuple[Any, ...]) -> Report:
    for primitive in primitives:
        if rule_for(primitive) is None:
            raise TypeError(f"`{primitive}` has no rule; write one with @extend.rule({primitive.name}_p).")
    reports = [
        judged(f"rule of {p}", rule_laws.Subject.of(p, examples), rule_laws.RULE_LAWS) for p in primitives
    ]
    if len(reports) == 1:
        return reports[0]
    names = ", ".join(p.name for p in primitives)
    return Report(f"rule of {names}", tuple(finding for report in reports for finding in report.findings))


def _made(cls: type) -> Any:
    try:
        return cls()
    except TypeError as error:
        raise TypeError(
            f"check makes a {cls.__name__} without arguments, which fails ({error}); pass an object instead."
        ) from error


def _named(name: str, examples: tuple[Any, ...]) -> Report:
    form = normalized(name)
    for registry, make in (
        (METHODS, as_method),
        (NONLINEAR, as_method),
        (PRECONDITIONERS, as_preconditioner),
    ):
        if form in {normalized(known) for known in registry}:
            return check(make(name), *examples)
    if name in (*BACKENDS, DEVICE):
        subject = backend_laws.Subject.of(name, examples)
        return judged(f"backend {name}", subject, backend_laws.BACKEND_LAWS)
    known = [*METHODS, *NONLINEAR, *PRECONDITIONERS, *BACKENDS, DEVICE]
    raise ValueError(unknown_name("method, preconditioner or backend", name, known))


def _no_examples(kind: str, examples: tuple[Any, ...]) -> None:
    if examples:
        raise TypeError(f"check of {kind} takes no examples; got {len(examples)}.")
