"""jaxsolve inside lineax and lineax's operators inside jaxsolve: values, gradients, tags, options, results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.gallery.methods import distance

lx = pytest.importorskip("lineax")
from jaxsolve.lineax import Jaxsolve  # noqa: E402  (after the skip)

RNG = np.random.default_rng(3251)
N = 6
M = jnp.asarray(RNG.standard_normal((N, N)) + 6 * np.eye(N))
B = jnp.asarray(RNG.standard_normal(N))
TIGHT = {"rtol": 1e-12}
SPD = M @ M.T


def field(x, k):
    return {"y": k * (3 * x["u"] - jnp.roll(x["u"], 1)) + x["u"] ** 2 / 10}


def jacobian(k):
    return lx.JacobianLinearOperator(lambda x, _: field(x, k), {"u": jnp.arange(5.0)}, None)


REQUESTS = [
    js.Solve(**TIGHT),
    js.Solve("sparse-direct", **TIGHT),
    js.Solve("GMres", preconditioner="ilu", **TIGHT),
    js.Solve("GMres", preconditioner=lambda r: {"u": r["y"] / 6}, **TIGHT),
    js.Solve("biCG-stab", preconditioner=jnp.eye(5) / 6 + jnp.eye(5, k=1) / 9, gradient_solve=js.Solve("LU"), **TIGHT),
]  # fmt: skip


@pytest.mark.few(1)
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("solve", REQUESTS, ids=lambda s: f"{s.method}")
def test_a_jacobian_of_a_pytree_is_solved_with_its_gradients(solve, read):
    def energy(k, b, solver):
        x = lx.linear_solve(jacobian(k), {"y": b}, solver).value
        return (x["u"] ** 2).sum()

    expected = jax.value_and_grad(energy, (0, 1))(2.0, jnp.ones(5), lx.LU())
    found = jax.value_and_grad(energy, (0, 1))(2.0, jnp.ones(5), Jaxsolve(solve, read=read))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert distance(one, other) < 1e-8


@pytest.mark.further
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex128])
def test_batches_and_second_derivatives(dtype):
    A = M.astype(dtype) + (1j * SPD / 9 if dtype == jnp.complex128 else 0)

    def f(k, b):
        solver = Jaxsolve(js.Solve("LU", rtol=1e-12 if dtype == jnp.complex128 else 1e-5))
        return jnp.abs(lx.linear_solve(lx.MatrixLinearOperator(k.astype(dtype) * A), b, solver).value[0]) ** 2

    bs = jnp.stack([B, 2 * B]).astype(dtype)
    k = jnp.asarray(2.0, jnp.finfo(dtype).dtype)
    found = jax.jit(jax.vmap(jax.hessian(f), (None, 0)))(k, bs)
    # |x₀|² is proportional to k⁻².
    x = [np.linalg.solve(np.asarray(A), np.asarray(b))[0] for b in bs]
    assert distance(found, 6 * np.abs(x) ** 2 / 2.0**4) < 1e-4


def test_tags_are_carried_over():
    seen = {
        lx.positive_semidefinite_tag: ("positive_definite", SPD),
        lx.symmetric_tag: ("symmetric", SPD),
        lx.lower_triangular_tag: ("lower", jnp.tril(SPD)),
    }
    for tag, (name, matrix) in seen.items():
        op = lx.MatrixLinearOperator(matrix, tag)
        assert name in Jaxsolve().init(op, {}).A.traits.names()
        function = lx.FunctionLinearOperator(
            lambda v, m=matrix: m @ v, jax.ShapeDtypeStruct((N,), float), tag
        )
        assert name in Jaxsolve(read=False).init(function, {}).A.traits.names()
    negative = lx.MatrixLinearOperator(-SPD, lx.negative_semidefinite_tag)
    found = lx.linear_solve(negative, B, Jaxsolve(js.Solve("CG", **TIGHT)))
    assert distance(found.value, -np.linalg.solve(SPD, B)) < 1e-9


@pytest.mark.further
def test_options_are_used():
    op = lx.MatrixLinearOperator(M)
    solver = Jaxsolve(js.Solve("GMres", **TIGHT))
    plain = lx.linear_solve(op, B, solver)
    exact = lx.MatrixLinearOperator(jnp.linalg.inv(M))
    helped = lx.linear_solve(op, B, solver, options={"preconditioner": exact})
    started = lx.linear_solve(op, B, solver, options={"y0": plain.value})
    assert int(plain.stats["num_steps"]) > 1 >= int(helped.stats["num_steps"])
    assert int(started.stats["num_steps"]) == 0
    assert plain.stats["max_steps"] == 1000
    for solution in (plain, helped, started):
        assert distance(solution.value, np.linalg.solve(M, B)) < 1e-9

    def energy(b):
        options = {"preconditioner": exact, "y0": B}
        return lx.linear_solve(op, b, solver, options=options).value.sum()

    assert distance(jax.grad(energy)(B), np.linalg.solve(M.T, np.ones(N))) < 1e-9
    with pytest.raises(ValueError, match=r"lineax operator; got a .*js\.Solve\(\.\.\., preconditioner"):
        lx.linear_solve(op, B, solver, options={"preconditioner": jnp.eye(N)})


def test_failures_have_the_results_of_lineax():
    op = lx.MatrixLinearOperator(M)
    cases = [
        (lx.RESULTS.max_steps_reached, op, B, js.Solve("GMres", max_iterations=1)),
        (lx.RESULTS.singular, lx.MatrixLinearOperator(jnp.zeros((N, N))), B, js.Solve("LU")),
        (lx.RESULTS.nonfinite_input, op, B * jnp.nan, js.Solve("LU")),
    ]
    for result, A, b, solve in cases:
        assert lx.linear_solve(A, b, Jaxsolve(solve), throw=False).result == result
    with pytest.raises(RuntimeError, match="maximum number of solver steps"):
        lx.linear_solve(op, B, Jaxsolve(js.Solve("GMres", max_iterations=1)))


@pytest.mark.further
def test_tall_systems_are_solved_by_least_squares():
    tall = lx.MatrixLinearOperator(M[:, :4])
    found = lx.linear_solve(tall, B, Jaxsolve(js.Solve("lsmr", **TIGHT))).value
    assert distance(found, np.linalg.lstsq(M[:, :4], B, rcond=None)[0]) < 1e-8


OPERATORS = {
    "matrix": lambda k: lx.MatrixLinearOperator(k * M),
    "function": lambda k: lx.FunctionLinearOperator(lambda v: k * (M @ v), jax.ShapeDtypeStruct((N,), float)),
    "sum": lambda k: lx.MatrixLinearOperator(k * M / 2) + lx.MatrixLinearOperator(k * M / 2),
    "tagged": lambda k: lx.TaggedLinearOperator(k * lx.MatrixLinearOperator(M), ()),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("solve", [js.Solve(**TIGHT), js.Solve("GMres", preconditioner="jacobi", **TIGHT)])
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_of_lineax_is_a_matrix(name, solve):
    x, slope = jax.value_and_grad(lambda k: js.solve_linear(OPERATORS[name](k), B, solve)[0])(2.0)
    assert distance(x, np.linalg.solve(2 * M, B)[0]) < 1e-9
    assert distance(slope, -x / 2) < 1e-9


@pytest.mark.further
def test_structures_are_those_of_the_operator():
    x = js.solve_linear(jacobian(2.0), {"y": jnp.ones(5)})
    assert list(x) == ["u"]
    assert distance(jacobian(2.0).mv(x)["y"], jnp.ones(5)) < 1e-4
    diagonal = lx.DiagonalLinearOperator({"a": 2 * jnp.ones(2), "b": jnp.array(4.0)})
    x = js.solve_linear(diagonal, {"a": jnp.ones(2), "b": jnp.array(1.0)})
    assert distance(x["a"], [0.5, 0.5]) < 1e-6
    assert distance(x["b"], 0.25) < 1e-6
    assert distance(js.factorize(lx.MatrixLinearOperator(M)).solve(B), np.linalg.solve(M, B)) < 1e-9


def test_band_structure_is_read():
    band = lx.TridiagonalLinearOperator(4 * jnp.ones(6), jnp.ones(5), jnp.ones(5))
    assert js.solve_linear_info(band, B).method == "banded"
    assert Jaxsolve().init(band, {}).A.entry_count == 16
