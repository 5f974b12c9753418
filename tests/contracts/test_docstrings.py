"""The docstrings of the public names: every section that applies, in one order, true to the signature and the code."""

import builtins
import inspect
import re

import equinox as eqx
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core import errors
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.solvers.host.direct import AbstractHostDirect
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod

#: In this order: what goes in, what comes out, what is raised, what is solved (built), cost, source, an example.
ORDER = ("Args", "Attributes", "Returns", "Raises", "Solves", "Builds", "Cost", "Source", ">>>")
#: The sections of each kind of public name. `Args` applies to whatever has parameters.
SECTIONS = {
    "function that computes": "Args Returns Raises Cost >>>",
    "function that shows": "Args Returns >>>",
    "method": "Args Raises Solves Cost Source >>>",
    "recipe": "Args Raises Builds Cost Source >>>",
    "operator": "Args Raises Cost >>>",
    "matrix in parts": "Attributes Raises Cost >>>",
    "result": "Attributes >>>",
    "request": "Args Raises >>>",
}
KINDS = {
    **dict.fromkeys(
        ["methods", "preconditioners", "set_logging_level", "plot", "spy"], "function that shows"
    ),
    **dict.fromkeys(["Pattern", "Factorization"], "matrix in parts"),
    **dict.fromkeys(["SolveInfo", "Explanation", "Trajectory", "Status"], "result"),
    **dict.fromkeys(["Solve", "SolveTape"], "request"),
}
#: Parent classes of the others.
PARENTS = {
    AbstractMethod: "method",
    AbstractNonlinearMethod: "method",
    AbstractPreconditioner: "recipe",
    js.LinearOperator: "operator",
    Exception: "result",
}
#: Objects of the classes whose attributes only an object has.
INSTANCES = {
    "Pattern": lambda: js.SparseMatrix.from_dense(np.eye(2)).pattern,
    "Status": lambda: js.Status.converged,
    **{
        name: lambda: js.NotConverged("", None)
        for name in ("ConvergenceException", "NotConverged", "Diverged")
    },
}
NAMES = sorted(
    name for name, value in vars(js).items() if name[0] != "_" and not inspect.ismodule(value)
)  # fmt: skip


def kind_of(name):
    value = getattr(js, name)
    if name in KINDS:
        return KINDS[name]
    if inspect.isfunction(value):
        return "function that computes"
    return next(kind for parent, kind in PARENTS.items() if issubclass(value, parent))


def text_of(name):
    return inspect.getdoc(getattr(js, name)) or ""


def sections_of(text):
    """The text of each section, and the names of the sections in order."""
    parts = re.split(rf"^({'|'.join(ORDER)})(?::|(?<=>>>))", text, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for section, body in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(section, "")
        found[section] += body
    return found


def items_of(body):
    """The names that a section of items explains."""
    return [item.lstrip("*") for item in re.findall(r"^    (\*{0,2}\w+): ", body, re.MULTILINE)]


def parameters_of(name):
    """The parameters that a user may give; none of an abstract class, and of errors, which the package makes."""
    value = getattr(js, name)
    if value is js.LinearOperator or (inspect.isclass(value) and issubclass(value, Exception)):
        return []
    return list(inspect.signature(value).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_every_section_that_applies_is_there_in_order(name):
    text = text_of(name)
    found = sections_of(text)
    wanted = SECTIONS[kind_of(name)].split()
    if not parameters_of(name) or re.search(r"Takes the arguments of `\w+`", text):
        wanted = [section for section in wanted if section != "Args"]
    if (
        inspect.isfunction(getattr(js, name))
        and inspect.signature(getattr(js, name)).return_annotation is None
    ):
        wanted.remove("Returns")
    assert not [section for section in wanted if section not in found]
    assert list(found) == sorted(found, key=ORDER.index)


@pytest.mark.parametrize("name", [name for name in NAMES if "Args" in sections_of(text_of(name))])
def test_every_argument_is_explained_and_no_other(name):
    assert items_of(sections_of(text_of(name))["Args"]) == parameters_of(name)


@pytest.mark.parametrize("name", [name for name in NAMES if "Attributes" in sections_of(text_of(name))])
def test_every_attribute_that_is_explained_exists(name):
    value, items = getattr(js, name), items_of(sections_of(text_of(name))["Attributes"])
    fields = getattr(value, "__dataclass_fields__", {})
    assert items
    thing = INSTANCES[name]() if name in INSTANCES else value
    assert not [item for item in items if item not in fields and not hasattr(thing, item)]


@pytest.mark.parametrize("name", [name for name in NAMES if "Raises" in sections_of(text_of(name))])
def test_the_errors_are_exceptions_that_there_are(name):
    items = items_of(sections_of(text_of(name))["Raises"])
    assert items
    for item in items:
        error = next(getattr(m, item) for m in (js, errors, builtins) if hasattr(m, item))
        assert issubclass(error, Exception)


@pytest.mark.parametrize("name", [name for name in NAMES if kind_of(name) == "method"])
def test_a_method_says_shapes_dtypes_storage_and_source(name):
    found, method = sections_of(text_of(name)), getattr(js, name)
    if issubclass(method, AbstractMethod):
        assert re.search(r"shape \((m|n),\s+n\)", found["Solves"])
        assert re.search(r"real\s+or\s+complex|double\s+precision", found["Solves"])
        if not issubclass(method, AbstractHostDirect | js.SciPyKrylov):
            assert method.storage in found["Cost"]
    assert re.search(r"storage|memory|vectors", found["Cost"])
    assert re.search(r"\(\d{4}\)|`scipy\.", found["Source"])


@pytest.mark.parametrize("name", [name for name in NAMES if kind_of(name) == "recipe"])
def test_a_recipe_says_shape_and_dtype_of_what_it_builds_and_its_source(name):
    found = sections_of(text_of(name))
    assert re.search(r"shape\s+\(n,\s+n\)", found["Builds"])
    assert "dtype" in found["Builds"]
    assert re.search(r"\(\d{4}\)|that of `\w+`", found["Source"])


@pytest.mark.parametrize("name", [name for name in NAMES if kind_of(name) == "function that computes"])
def test_a_function_says_the_shape_or_the_structure_of_what_it_returns(name):
    told = sections_of(text_of(name))["Returns"]
    assert re.search(r"[Ss]hape|structure|object|same arguments|`Explanation`|`SparseMatrix`", told)


def test_options_that_are_refused_are_told():
    """A class that checks its fields says which exception a wrong one raises."""
    for name in NAMES:
        value = getattr(js, name)
        if inspect.isclass(value) and issubclass(value, eqx.Module) and hasattr(value, "__check_init__"):
            assert {"ValueError", "StructureError"} & set(items_of(sections_of(text_of(name))["Raises"])), (
                name
            )
