"""Solves of arrays that are spread over a mesh. Run by `test_on_a_mesh`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxsolve as js
from tests.gallery.several_devices import case, main

SPECS = {"rows": P("x", None), "columns": P(None, "y"), "blocks": P("x", "y")}
host = np.random.default_rng(0).standard_normal((8, 8))


def product(u: jax.Array, k: Any = 5.0) -> jax.Array:
    return k * u - jnp.roll(u, 1, 0) - jnp.roll(u, -1, 0) - 0.5 * jnp.roll(u, 1, 1)


def mesh(kind: Any) -> Any:
    return jax.make_mesh((2, 2), ("x", "y"), axis_types=(kind, kind))


def close(x: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(x), expected, rtol=1e-8, atol=1e-8)


def alike(x: Any, b: Any) -> bool:
    """Whether x lies as b does, or under jit where the compiler may place it (on automatic axes, of JAX 0.12 on)."""
    free = jax.__version_info__ >= (0, 12) and AxisType.Explicit not in b.sharding.mesh.axis_types
    return x.sharding == b.sharding or free


REQUEST = js.Solve("GMres", rtol=1e-11)


def lie_alike(kind: Any, *names: str) -> None:
    alone = np.asarray(js.solve_linear(product, host, REQUEST))
    slope = np.asarray(jax.grad(lambda b: jnp.sum(js.solve_linear(product, b, REQUEST) ** 2))(host))
    for name in names:
        b = jax.device_put(host, NamedSharding(mesh(kind), SPECS[name]))
        for solve in (lambda b: js.solve_linear(product, b, REQUEST), lambda b: js.solve_linear(product, b)):
            for x in (solve(b), jax.jit(solve)(b)):
                close(x, alone)
                assert alike(x, b), (name, x.sharding)
        info = jax.jit(lambda b: js.solve_linear_info(product, b, REQUEST))(b)
        assert info.converged
        assert alike(info.x, b)
        of_b = jax.jit(jax.grad(lambda b: jnp.sum(js.solve_linear(product, b, REQUEST) ** 2)))(b)
        close(of_b, slope)
        of_k = jax.jit(jax.grad(lambda k, b: jnp.sum(js.solve_linear(product, b, REQUEST, k))))(5.0, b)
        close(of_k, jax.grad(lambda k: jnp.sum(js.solve_linear(product, host, REQUEST, k)))(5.0))


@case
def automatic_axes() -> None:
    lie_alike(AxisType.Auto, *SPECS)


@case
def explicit_axes() -> None:
    lie_alike(AxisType.Explicit, *SPECS)


@case
def one_of_each() -> None:
    for kind, name in ((AxisType.Auto, "columns"), (AxisType.Explicit, "blocks")):
        b = jax.device_put(host, NamedSharding(mesh(kind), SPECS[name]))
        solve = jax.jit(lambda b: js.solve_linear(lambda u: 3 * u - jnp.roll(u, 1, 0) - jnp.roll(u, -1, 0), b,
                                                  js.Solve("CG", rtol=1e-10)))  # fmt: skip
        x = solve(b)
        close(3 * x - np.roll(x, 1, 0) - np.roll(x, -1, 0), host)
        assert alike(x, b)


@case
def matrices() -> None:
    matrix = np.eye(64) * 4 - np.eye(64, k=1) - np.eye(64, k=-1)
    A = js.SparseMatrix.from_dense(matrix)
    expected = np.linalg.solve(matrix, host.ravel())
    for kind in (AxisType.Auto, AxisType.Explicit):
        b = jax.device_put(host.ravel(), NamedSharding(mesh(kind), P(("x", "y"))))
        for request in (
            js.Solve("CG", rtol=1e-11, preconditioner="jacobi"),
            js.Solve("sparse-direct"),
            js.Solve("LU"),
        ):
            for x in (
                js.solve_linear(A, b, request),
                jax.jit(lambda b, r=request: js.solve_linear(A, b, r))(b),
            ):
                close(x, expected)
                assert alike(x, b), (kind, request, x.sharding)


if __name__ == "__main__":
    main()
