"""One system over the devices of a mesh, inside `jax.shard_map`; and a system a device. Run by `test_one_system`."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxsolve as js
from tests.gallery.several_devices import COUNT, case, main

N = 32
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
b = np.random.default_rng(0).standard_normal(N)
cg = functools.partial(js.Solve, "CG", rtol=1e-12, axis_name="r")
gmres = functools.partial(js.Solve, "GMres", rtol=1e-12, axis_name="r")


@functools.cache
def mesh(kind: str = "auto") -> Any:
    return jax.make_mesh((COUNT,), ("r",), axis_types=(KINDS[kind],))


def extended(u: jax.Array) -> jax.Array:
    """The rows of a device between the last one of the device before and the first one of the next, on a ring."""
    ring = [(i, (i + 1) % COUNT) for i in range(COUNT)]
    before = lax.ppermute(u[-1:], "r", ring)
    after = lax.ppermute(u[:1], "r", [(j, i) for i, j in ring])
    return jnp.concatenate([before, u, after])


def product(u: jax.Array, k: Any = 4.0, c: Any = 1.0) -> jax.Array:
    """Periodic: k u_i - u_(i-1) - c u_(i+1)."""
    e = extended(u)
    return k * u - e[:-2] - c * e[2:]


def dense(k: Any = 4.0, c: Any = 1.0, n: int = N) -> np.ndarray:
    eye = np.eye(n)
    return k * eye - np.roll(eye, 1, 0) - c * np.roll(eye, -1, 0)


ROWS = P("r")


def parts(f: Callable, ins: Any = ROWS, outs: Any = ROWS, **options: Any) -> Callable:
    return jax.shard_map(f, mesh=mesh(), in_specs=ins, out_specs=outs, **options)


def close(x: Any, expected: Any, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(x), expected, rtol=1e-9, atol=atol)


def refused(words: str, kind: Any, f: Callable, *args: Any) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        f(*args)


@case
def a_solve_and_its_verdict() -> None:
    def solved(b, k):
        info = js.solve_linear_info(product, b, cg(), k)
        return info.x, info.converged, info.iterations

    # The verdict is one: it goes out as a value that does not vary over the devices.
    x, converged, iterations = jax.jit(parts(solved, (P("r"), P()), (P("r"), P(), P())))(b, 4.0)
    close(x, np.linalg.solve(dense(), b))
    assert converged
    assert 10 < iterations < 20


@case
def gradients() -> None:
    x = np.linalg.solve(dense(), b)
    w = np.cos(np.arange(N))
    solve = jax.jit(parts(lambda b, k: js.solve_linear(product, b, cg(), k), (P("r"), P())))
    of_b, of_k = jax.grad(lambda b, k: w @ solve(b, k), argnums=(0, 1))(b, 4.0)
    adjoint = np.linalg.solve(dense(), w)
    close(of_b, adjoint)
    close(of_k, -adjoint @ x)


@case
def refusals() -> None:
    def solve(request, A: Any = product):
        return jax.jit(parts(lambda b: js.solve_linear(A, b, request)))(b)

    refused("Name the axis: js.Solve('CG', axis_name='r')", ValueError, solve, js.Solve("CG"))
    refused("the axes here are 'r'", ValueError, solve, js.Solve("CG", axis_name="q"))
    refused("not inside one", ValueError, js.solve_linear, dense(), b, cg())
    for method in ("auto", "LU", "sparse-direct", "scipy-CG"):
        refused("Methods that sum over devices: CG", ValueError, solve, js.Solve(method, axis_name="r"))
    for recipe in ("ilu", "auto", "amg"):
        refused("made of a whole matrix", ValueError, solve, cg(preconditioner=recipe))
    refused("lambda r: r / d", ValueError, solve, cg(preconditioner="jacobi"))
    refused("rank_deficiency=1", ValueError, solve, cg(null_space=jnp.ones(8)))
    refused("gradient_solve has axis_name=None", ValueError, solve, cg(gradient_solve=js.Solve("CG")))
    refused("axis_name expects", TypeError, lambda: js.Solve("CG", axis_name=3))
    refused("js.setup", ValueError, lambda: js.solve_linear(js.setup(dense()), b, cg()))
    refused("beforehand", ValueError, lambda: js.setup(dense(), cg()))
    refused("does not", ValueError, lambda: js.solve_nonlinear(jnp.sin, 0.5, cg(x0=0.1)))
    refused("logdet", ValueError, lambda: js.logdet(dense(), cg()))


@case
def methods() -> None:
    for name in ("biCG", "biCG-stab(2)", "CGS", "tfQMR", "IDR(s)", "GMres", "fGMres", "lsqr", "lsmr"):
        request = js.Solve(name, rtol=1e-12, axis_name="r")
        solve = jax.jit(parts(lambda b, r=request: js.solve_linear(product, b, r, 4.0, 0.5)))
        x, pull = jax.vjp(solve, b)
        close(x, np.linalg.solve(dense(4.0, 0.5), b))
        close(pull(jnp.asarray(b))[0], np.linalg.solve(dense(4.0, 0.5).T, b))
    for name in ("CG-adaptive", "minres", "CR"):
        request = js.Solve(name, rtol=1e-12, axis_name="r")
        solve = parts(lambda b, r=request: js.solve_linear(product, b, r), check_vma=False)
        close(jax.jit(solve)(b), np.linalg.solve(dense(), b))


@case
def preconditioners() -> None:
    d = 3 + np.arange(N) % 5.0
    matrix = dense(0.0) + np.diag(d)

    class Known(js.LinearOperator):
        d: jax.Array
        shape = property(lambda self: (N // COUNT, N // COUNT))
        dtype = property(lambda self: self.d.dtype)

        def mv(self, x):
            return product(x, self.d)

        def diagonal(self):
            return self.d

    def by_diagonal(d, b):
        return js.solve_linear(Known(d), b, cg(preconditioner="jacobi"))

    close(jax.jit(parts(by_diagonal, (P("r"), P("r"))))(d, b), np.linalg.solve(matrix, b))
    for M in (lambda r: r / 4, lambda r: r / 4 + (r - product(r) / 4) / 4):
        x = jax.jit(parts(lambda b, M=M: js.solve_linear(product, b, gmres(preconditioner=M))))(b)
        close(x, np.linalg.solve(dense(), b))


@case
def singular_and_small() -> None:
    c = b - b.mean()
    for declared in (None, 1):
        request = cg(rtol=1e-10, rank_deficiency=declared)
        x = jax.jit(parts(lambda b, r=request: js.solve_linear(product, b, r, 2.0)))(c)
        close(dense(2.0) @ np.asarray(x), c, 1e-8)
        assert abs(x.mean()) < 1e-12
    solve = jax.jit(parts(lambda b: js.solve_linear(product, b, cg())))
    close(solve(b[:COUNT]), np.linalg.solve(dense(n=COUNT), b[:COUNT]))  # one row a device
    close(solve(0 * b), 0 * b)
    guessed = jax.jit(parts(lambda b: js.solve_linear(product, b, cg(x0=b))))
    close(guessed(b), np.linalg.solve(dense(), b))
    # Zero on all devices but one.
    e = np.zeros(N)
    e[0] = 1
    x, pull = jax.vjp(solve, e)
    close(x, np.linalg.inv(dense())[0])
    close(pull(jnp.asarray(e))[0], np.linalg.inv(dense())[0])


@case
def other_structures() -> None:
    X = np.linalg.solve(dense(), b)
    solve = parts(lambda b: js.solve_linear(product, b, cg()))
    close(solve(b), X)  # not compiled
    lanes = parts(jax.vmap(lambda b: js.solve_linear(product, b, cg())), P(None, "r"), P(None, "r"))
    close(jax.jit(lanes)(np.stack([b, 2 * b, 0 * b])), np.stack([X, 2 * X, 0 * X]))
    c = b + 1j * b[::-1]
    complex_ = jax.jit(parts(lambda b: js.solve_linear(product, b, gmres(), 4 + 1j)))
    close(complex_(c), np.linalg.solve(dense(4 + 1j), c))

    def pair(t):
        return {"u": product(t["u"]), "v": 5 * t["v"] + extended(t["u"])[2:]}

    def of_pair(u, v):
        return js.solve_linear(pair, {"u": u, "v": v}, gmres())

    x = jax.jit(parts(of_pair, (P("r"), P("r"))))(b, b)
    close(x["u"], X)
    close(x["v"], (b - np.roll(X, -1)) / 5)
    of_sum = jax.jit(parts(lambda b: js.solve_linear(lambda u: u + lax.psum(u.sum(), "r"), b, cg())))
    close(of_sum(b), np.linalg.solve(np.eye(N) + np.ones((N, N)), b))
    of_constant = jax.jit(parts(lambda b: js.solve_linear(product, jnp.ones(N // COUNT), cg())))
    close(of_constant(b), np.full(N, 0.5))


@case
def derivatives_inside() -> None:
    X = np.linalg.solve(dense(), b)

    def loss(b):
        return lax.psum(jnp.sum(js.solve_linear(product, b, cg()) ** 2), "r")

    close(jax.jit(parts(jax.grad(loss)))(b), 2 * np.linalg.solve(dense(), X))

    def twice(k, b):
        x, _ = lax.scan(lambda c, _: (js.solve_linear(product, c, cg(), k), None), b, None, length=2)
        return lax.psum(jnp.sum(x * jnp.cos(x)), "r")

    def on_one_device(k, b):
        x = jnp.linalg.solve(k * np.eye(N) + dense(0.0), jnp.linalg.solve(k * np.eye(N) + dense(0.0), b))
        return jnp.sum(x * jnp.cos(x))

    second = jax.jit(parts(jax.hessian(twice), (P(), P("r")), P()))(4.0, b)
    close(second, jax.hessian(on_one_device)(4.0, b))


@case
def failures() -> None:
    short = parts(lambda b: js.solve_linear(product, b, cg(max_iterations=2)))
    refused("after 2 iterations", js.NotConverged, js.jit(short), b)
    refused("after 2 iterations", Exception, lambda b: jax.block_until_ready(jax.jit(short)(b)), b)
    with js.SolveTape() as solves:
        jax.block_until_ready(jax.jit(parts(lambda b: js.solve_linear(product, b, cg())))(b))
    assert len(solves) == COUNT  # one entry a device, with its part of x
    assert solves[0].x.shape == (N // COUNT,)


@case
def a_system_a_device() -> None:
    def own(u, k: Any = 3.0):
        return k * u - 0.5 * jnp.roll(u, 1) - jnp.roll(u, -1)

    n = N // COUNT
    matrix = dense(3.0, 1.0, n) + 0.5 * np.roll(np.eye(n), 1, 0)
    X = np.linalg.solve(matrix, b.reshape(COUNT, n).T).T.ravel()
    A = js.SparseMatrix.from_dense(matrix)
    for kind in KINDS:
        put = jax.device_put(b, NamedSharding(mesh(kind), P("r")))
        for request in (js.Solve("GMres", rtol=1e-12), js.Solve(rtol=1e-12), js.Solve("LU", rtol=1e-12)):
            for what in (own, A, matrix):
                if what is own and request.method != "auto" and request.method.name == "LU":
                    continue
                solve = jax.shard_map(
                    lambda b, w=what, r=request: js.solve_linear(w, b, r),
                    mesh=mesh(kind),
                    in_specs=P("r"),
                    out_specs=P("r"),
                )
                x = jax.jit(solve)(put)
                close(x, X)
                assert x.sharding == put.sharding


if __name__ == "__main__":
    main()
