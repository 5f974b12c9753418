"""The public face: every documented name, no undocumented one, and the documented defaults."""

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

import jaxsolve as js
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS

#: Functions and classes that the documentation fixes.
FUNCTIONS = """
solve_linear solve_linear_info solve_linear_many matrix_from_function jit_compile_linear linearize_operator
factorize setup recycled explain plot spy read_matrix methods preconditioners jit set_logging_level
logdet logdet_info trace_inverse inverse_diagonal rigid_body_modes
solve_nonlinear solve_nonlinear_info solve_fixed_point solve_fixed_point_info
least_squares least_squares_info minimize minimize_info covariance continuation distribute distribute_local
"""
CLASSES = """
Solve SolveInfo SolveTape ConvergenceException NotConverged Diverged SparseMatrix LinearOperator
CG AdaptiveCG BlockCG BlockGMRES BiCG BiCGStab GMRES FGMRES MINRES CR IDR CGS TFQMR LSQR LSMR LU Cholesky QR SVD Banded
SciPyDirect SciPyKrylov SparseDirect
Jacobi BlockJacobi ILU Cholesky0 Chebyshev Cluster SmoothedAggregation FieldSplit AuxiliarySpace
"""
#: Beyond the documentation: what users meet in results and as further options.
FURTHER = """
Status DistributedMatrix Block Diagonal Identity DenseMatrix Pattern Explanation Factorization Trajectory
StructureError TraceError NotLinearError MissingBackendError
Additive Multiplicative Symmetrized Deflation FSAI Neumann Nystrom SSOR Multigrid GeometricMultigrid RugeStuben
Newton PseudoTransient Broyden Anderson Picard GaussNewton LevenbergMarquardt GradientDescent LBFGS NewtonCG
SciPyMinimize SciPyLeastSquares
"""


def public():
    """Names without underscore that are no modules."""
    return {name for name, value in vars(js).items() if name[0] != "_" and not inspect.ismodule(value)}


def test_the_public_names_are_the_documented_ones():
    documented = set(f"{FUNCTIONS} {CLASSES} {FURTHER}".split())
    assert public() == documented


@pytest.mark.parametrize("name", CLASSES.split())
def test_classes_are_classes(name):
    assert inspect.isclass(getattr(js, name))


@pytest.mark.parametrize("name", sorted(public()))
def test_every_public_name_is_documented_and_unambiguous(name):
    value = getattr(js, name)
    # The documentation wants `js.preconditioners()`, and the folder bears the natural name.
    assert f"jaxsolve.{name}" not in sys.modules or name == "preconditioners", "a module of the same name"
    if inspect.isclass(value) or inspect.isfunction(value):
        first = (inspect.getdoc(value) or "").split("\n")[0]
        assert re.fullmatch(r".{8,}[.:]", first), first
        assert not re.match(r"(Return|This|A function|Helper)", first)


@pytest.mark.parametrize("name", FUNCTIONS.split())
def test_functions_have_annotated_arguments(name):
    signature = inspect.signature(getattr(js, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter


def test_solve_has_the_documented_arguments_and_defaults():
    expected = {
        "method": "auto", "rtol": 1e-5, "atol": 0.0, "max_iterations": 1000, "x0": None, "preconditioner": None,
        "suppress": (), "rank_deficiency": None, "null_space": None, "gradient_solve": None, "preprocess": None,
        "progress": None,
    }  # fmt: skip
    parameters = inspect.signature(js.Solve.__init__).parameters
    given = {k: p.default for k, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD and k != "self"}
    assert given == expected
    assert list(given) == list(expected)
    by_name = {"axis_name", "recycle", "inner_dtype", "rel_tol", "abs_tol"}
    assert {k for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY} == by_name
    request = js.Solve()
    fields = expected | {"axis_name": None, "recycle": None, "inner_dtype": None}
    assert {field.name: getattr(request, field.name) for field in dataclasses.fields(request)} == fields


def test_solve_linear_has_the_documented_signature():
    for function in (js.solve_linear, js.solve_linear_info):
        parameters = inspect.signature(function).parameters
        assert list(parameters) == ["A", "b", "solve", "f_args", "grad_for_f", "f_kwargs"]
        assert parameters["grad_for_f"].default is True
        assert parameters["f_args"].kind is inspect.Parameter.VAR_POSITIONAL


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (js.BiCGStab, {"l": 2}),
        (js.GMRES, {"restart": 20}),
        (js.IDR, {"s": 6}),
        (js.SciPyKrylov, {"kind": "cg"}),
    ],
)
def test_options_of_methods_have_the_documented_names(module, options):
    method = module(**options)
    for name, value in options.items():
        assert getattr(method, name) == value


def test_the_registries_are_data():
    assert set(js.methods()) == set(METHODS)
    assert set(js.preconditioners()) == set(PRECONDITIONERS)


@pytest.mark.parametrize(
    "name", ["jacobi", "block-jacobi", "ilu", "ic", "ssor", "chebyshev", "cluster", "amg"]
)
def test_the_documented_preconditioners_are_there(name):
    assert name in PRECONDITIONERS


def test_importing_changes_no_setting_and_computes_nothing():
    code = (
        "import jax; before = dict(jax.config.values); import jaxsolve; after = dict(jax.config.values); "
        "assert before == after; import sys; assert 'matplotlib' not in sys.modules; assert 'tqdm' not in sys.modules; "
        "assert not jax.live_arrays(), jax.live_arrays()"
    )
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(public()))
def test_the_index_of_the_package_holds_every_public_name(name):
    assert re.search(rf"\b{name}\b", js.__doc__ or "")


def test_the_index_holds_no_name_that_there_is_not():
    words = re.findall(
        r"\b[a-z]+_[a-z_]+\b|\b[A-Z]\w*[A-Z]\w*\b", (js.__doc__ or "").split("What there is:")[1]
    )
    others = {"_info", "JAX", "SciPy"}
    assert [word for word in words if word not in others and not hasattr(js, word)] == []
