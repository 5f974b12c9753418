"""Linear functions of one argument and parameters, of every kind that the tracer reads."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import sparse


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A function, the shape (or pytree of shapes) of x, and parameters; `loose` patterns may be supersets."""

    name: str
    f: Callable[..., Any]
    x: Any
    params: tuple = ()
    loose: bool = False
    forward_only: bool = False


RNG = np.random.default_rng(92821)


def vec(*shape):
    return RNG.uniform(0.5, 2.0, shape)


def f64(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float64)


def c128(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.complex128)


CASES: list[Case] = []


def case(name, x, *params, loose=False, forward_only=False):
    def add(f):
        simple(name, f, x, *params, loose=loose, forward_only=forward_only)
        return f

    return add


def simple(name, f, x, *params, loose=False, forward_only=False):
    params = tuple(p if isinstance(p, int) else jnp.asarray(p, jnp.result_type(p)) for p in params)
    CASES.append(Case(name, f, x, params, loose, forward_only))


# ---------------------------------------------------------------- stencils
K1, K2 = vec(7), vec(4, 5)


@case("3-point by pad", f64(7), K1)
def _(x, k):
    p = jnp.pad(x, 1)
    return k * (p[2:] - 2 * x + p[:-2])


@case("3-point by at-add", f64(7), K1)
def _(x, k):
    y = 2 * x * k
    y = y.at[1:].add(-x[:-1] * k[1:])
    return y.at[:-1].add(-x[1:])


@case("3-point periodic", f64(7), K1)
def _(x, k):
    return k * (jnp.roll(x, 1) - 2 * x + jnp.roll(x, -1))


@case("5-point flux form", f64(4, 5), K2)
def _(u, k):
    up = jnp.pad(u, 1)
    kp = jnp.pad(k, 1, mode="edge")
    fx = 0.5 * (kp[1:, 1:-1] + kp[:-1, 1:-1]) * (up[1:, 1:-1] - up[:-1, 1:-1])
    fy = 0.5 * (kp[1:-1, 1:] + kp[1:-1, :-1]) * (up[1:-1, 1:] - up[1:-1, :-1])
    return -(fx[1:] - fx[:-1]) - (fy[:, 1:] - fy[:, :-1])


@case("5-point periodic", f64(4, 5), K2)
def _(u, k):
    out = 0
    for axis in (0, 1):
        flux = 0.5 * (k + jnp.roll(k, -1, axis)) * (jnp.roll(u, -1, axis) - u)
        out = out + jnp.roll(flux, 1, axis) - flux
    return out


@case("7-point 3-D", f64(3, 4, 2), vec(3, 4, 2))
def _(u, k):
    p = jnp.pad(u, 1)
    i = slice(1, -1)
    return k * (p[2:, i, i] + p[:-2, i, i] + p[i, 2:, i] + p[i, :-2, i] + p[i, i, 2:] + p[i, i, :-2] - 6 * u)


@case("Stokes pytree", {"u": f64(3, 5), "v": f64(4, 4), "p": f64(3, 4)}, 1.3)
def _(s, nu):
    def lap(w):
        q = jnp.pad(w, 1)
        return nu * (4 * w - q[2:, 1:-1] - q[:-2, 1:-1] - q[1:-1, 2:] - q[1:-1, :-2])

    p = s["p"]
    return {
        "u": lap(s["u"]) + jnp.pad(p, ((0, 0), (1, 0))) - jnp.pad(p, ((0, 0), (0, 1))),
        "v": lap(s["v"]) + jnp.pad(p, ((1, 0), (0, 0))) - jnp.pad(p, ((0, 1), (0, 0))),
        "p": s["u"][:, 1:] - s["u"][:, :-1] + s["v"][1:] - s["v"][:-1],
    }


@case("mean constraint", (f64(4, 5), f64()), 2.0)
def _(s, k):
    u, m = s
    return k * (jnp.roll(u, 1, 0) - u) + m, jnp.mean(u)


@case("9-point conv", f64(1, 1, 5, 4), vec(1, 1, 3, 3))
def _(u, k):
    return lax.conv_general_dilated(u, k, (1, 1), "SAME")


@case("composition of stencils", f64(4, 5), K2)
def _(u, k):
    def lap(w):
        q = jnp.pad(w, 1)
        return k * (q[2:, 1:-1] + q[:-2, 1:-1] + q[1:-1, 2:] + q[1:-1, :-2] - 4 * w)

    return lap(lap(lap(u)))


@case("random graph Laplacian", f64(9), vec(20))
def _(x, w):
    rng = np.random.default_rng(3)
    s, r = rng.integers(0, 9, 20), rng.integers(0, 9, 20)
    flow = w * (x[s] - x[r])
    return jax.ops.segment_sum(flow, r, 9) - jax.ops.segment_sum(flow, s, 9)


@case("boundary rows set", f64(6), 3.0)
def _(x, k):
    y = k * (2 * x - jnp.roll(x, 1) - jnp.roll(x, -1))
    return y.at[0].set(x[0]).at[-1].set(5 * x[-1])


@case("dirichlet by mask", f64(4, 5), K2)
def _(u, k):
    mask = np.zeros((4, 5), bool)
    mask[1:-1, 1:-1] = True
    lap = jnp.roll(u, 1, 0) + jnp.roll(u, -1, 0) + jnp.roll(u, 1, 1) + jnp.roll(u, -1, 1) - 4 * u
    return jnp.where(mask, k * lap, u)


# ---------------------------------------------------------------- movement
simple("identity", lambda x: x, f64(5))
simple("slice", lambda x: x[1:4], f64(6))
simple("strided slice", lambda x: x[::2, 1::3], f64(5, 7))
simple("reversed", lambda x: x[::-1], f64(6))
simple("flip axes", lambda x: jnp.flip(x, (0, 2)), f64(2, 3, 2))
simple("transpose", lambda x, k: (k * x).transpose(2, 0, 1), f64(2, 3, 2), vec(2, 3, 2))
simple("reshape", lambda x, k: (k * x).reshape(3, 4), f64(2, 6), vec(2, 6))
simple("reshape of lazy factor", lambda x, k: (k[:, None] * x).reshape(-1), f64(3, 4), vec(3))
simple("reshape unit axes", lambda x, k: (k * x)[:, None, :, None], f64(3, 4), vec(3, 1))
simple("squeeze", lambda x: jnp.squeeze(x), f64(1, 3, 1))
simple("broadcast", lambda x, k: jnp.broadcast_to(k * x, (3, 4)), f64(4), vec(4))
simple("broadcast to new axis", lambda x: jnp.broadcast_to(x[:, None], (4, 3)), f64(4))
simple("pad edges", lambda x: jnp.pad(x, 2, mode="edge"), f64(5))
simple("pad wrap", lambda x: jnp.pad(x, 2, mode="wrap"), f64(5))
simple("pad reflect", lambda x: jnp.pad(x, 2, mode="reflect"), f64(5))
simple("pad negative", lambda x, k: lax.pad(k * x, 0.0, [(-1, 2, 0), (1, -1, 0)]), f64(4, 5), K2)
simple("pad interior", lambda x, k: lax.pad(k * x, 0.0, [(1, 0, 2), (-1, -1, 1)]), f64(4, 5), K2)
simple("pad with constant", lambda x: lax.pad(x, 3.0, [(1, 1, 0)]), f64(4))
simple("pad with x", lambda x: lax.pad(x, x[0], [(1, 1, 1)]), f64(4))
simple("concatenate", lambda x, k: jnp.concatenate([x[2:], k * x[:2], x]), f64(5), 2.0)
simple("concatenate with known", lambda x, k: jnp.concatenate([x, k, 2 * x]), f64(3), vec(2))
simple("stack", lambda x: jnp.stack([x, 2 * x, -x], axis=1), f64(4))
simple("split", lambda x: jnp.split(x, 3)[1] - jnp.split(x, 3)[0], f64(6))
simple("roll 2-D", lambda x: jnp.roll(x, (1, -2), (0, 1)), f64(4, 5))
simple("tile", lambda x: jnp.tile(x, (2, 3)), f64(3))
simple("tile a row", lambda x, k: jnp.tile(k * x, (2, 1, 3)), f64(2, 3), vec(2, 1))
simple("unstack", lambda x, k: jnp.unstack(k * x, axis=1)[2] - x[:, 0], f64(2, 3), vec(2, 3))
simple("stack with known", lambda x, k: jnp.stack([k, x, 2 * k * x]), f64(4), vec(4))
simple("repeat", lambda x: jnp.repeat(x, 3), f64(4))
simple("moveaxis and rot90", lambda x: jnp.rot90(x), f64(3, 4))
simple("diag", lambda x: jnp.diag(x), f64(4))
simple("diagonal", lambda x: jnp.diagonal(x), f64(4, 4))
simple("tril", lambda x: jnp.tril(x), f64(4, 3))
simple("kron", lambda x, k: jnp.kron(k, x), f64(3), vec(2))
simple("ravel", lambda x: x.ravel(), f64(3, 4))
simple(
    "sort by known keys", lambda x: lax.sort((jnp.asarray(np.array([3, 1, 2, 0])), x), num_keys=1)[1], f64(4)
)
simple("take along axis", lambda x: jnp.take_along_axis(x, np.array([[1], [0], [2]]), 1), f64(3, 4))

# ---------------------------------------------------------------- arithmetic
simple("scale", lambda x, k: k * x, f64(5), 2.5)
simple("scale by constant", lambda x: 3.0 * x, f64(5))
simple("divide", lambda x, k: x / k, f64(5), vec(5))
simple("negate", lambda x: -x, f64(5))
simple("minus from constant", lambda x, c: c - x, f64(5), vec(5))
simple("affine", lambda x, c: 2 * x + c, f64(5), vec(5))
simple("outer product with known", lambda x, k: x[:, None] * k[None, :], f64(3), vec(4))
simple("zero times", lambda x: 0 * x + jnp.roll(x, 1), f64(4))
simple("cancellation", lambda x: x - x + 2 * jnp.roll(x, 1), f64(4))
simple("masked by constant zeros", lambda x: np.array([1.0, 0, 2, 0, 3]) * x, f64(5))
simple("where static", lambda x: jnp.where(np.array([True, False, True]), x, -x), f64(3))
simple("where traced", lambda x, k: jnp.where(k > 1, x, 2 * jnp.roll(x, 1)), f64(5), vec(5), loose=True)
simple("select_n of three", lambda x: lax.select_n(np.array([0, 2, 1, 0]), x, 2 * x, 3 * x[::-1]), f64(4))
simple("convert dtype", lambda x: x.astype(jnp.float32).astype(jnp.float64), f64(4))
simple("scalar input", lambda x, k: x * k, f64(), vec(3))
simple("scalar broadcasting", lambda x: x + jnp.zeros((2, 3)), f64())
simple("scalar plus array", lambda s: s[0] + s[1], (f64(), f64(3)))
simple("nonlinear in parameters", lambda x, k: jnp.sin(k) * x + jnp.exp(k) * jnp.roll(x, 1), f64(4), vec(4))
simple("power one", lambda x: x**1, f64(3))
simple("average of neighbours", lambda x: (x[1:] + x[:-1]) / 2, f64(6))
simple("diff", lambda x: jnp.diff(x, n=2), f64(6))
simple("gradient", lambda x: jnp.gradient(x), f64(6))
simple("trapezoid", lambda x: jnp.trapezoid(x, dx=0.1), f64(6))
simple("interp of known points", lambda x: jnp.interp(np.array([0.3, 1.7]), np.arange(4.0), x), f64(4))

# ---------------------------------------------------------------- reductions
simple("sum", lambda x: x.sum(), f64(4, 3))
simple("sum axis", lambda x, k: (k * x).sum(0), f64(4, 3), vec(4, 3))
simple("sum keepdims broadcast", lambda x: x - x.sum(1, keepdims=True), f64(3, 4))
simple("mean", lambda x: x - x.mean(), f64(3, 4))
simple("mean row", lambda x: jnp.concatenate([x, x.mean()[None]]), f64(5))
simple("cumsum", lambda x, k: jnp.cumsum(k * x), f64(6), vec(6))
simple("cumsum axis reverse", lambda x: lax.cumsum(x, axis=1, reverse=True), f64(3, 4))
simple("window sum", lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"), f64(7))
simple("window sum strided", lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (2, 2), "VALID"), f64(4, 6))
simple(
    "window sum dilated",
    lambda x: lax.reduce_window(
        x, 0.0, lax.add, (2, 3), (1, 2), ((1, 0), (2, 1)), base_dilation=(2, 1), window_dilation=(1, 2)
    ),
    f64(4, 6),
)
simple("window sum large", lambda x: lax.reduce_window(x, 0.0, lax.add, (70,), (1,), "SAME"), f64(90))
simple("segment mean", lambda x: jax.ops.segment_sum(x, np.array([0, 0, 2, 2, 2]), 4) / 3, f64(5))

# ---------------------------------------------------------------- contractions
simple("matvec constant", lambda x: np.arange(12.0).reshape(3, 4) @ x, f64(4))
simple("matvec traced", lambda x, A: A @ x, f64(4), vec(3, 4))
simple("vecmat", lambda x, A: x @ A, f64(4), vec(4, 3))
simple("matmat", lambda x, A: A @ x, f64(4, 2), vec(3, 4))
simple("einsum", lambda x, A: jnp.einsum("ijk,kl->ilj", x, A), f64(2, 3, 4), vec(4, 2))
simple("einsum batch", lambda x, A: jnp.einsum("bij,bj->bi", A, x), f64(3, 4), vec(3, 2, 4))
simple("einsum trace", lambda x: jnp.einsum("ii->", x), f64(3, 3))
simple("dot with vector", lambda x, k: jnp.dot(x, k), f64(5), vec(5))
simple("tensordot", lambda x, A: jnp.tensordot(A, x, 2), f64(3, 2), vec(4, 3, 2))
simple("chained matmul", lambda x, A: A.T @ (A @ x), f64(4), vec(6, 4))
simple("long chain of matmuls", lambda x, A: A @ (A @ (A @ (A @ (A @ x)))), f64(3, 3), vec(3, 3))
simple(
    "long chain of constant matmuls",
    lambda x: np.tri(4) @ (np.tri(4) @ (np.tri(4) @ (np.tri(4) @ (np.tri(4) @ (2j * x))))),
    f64(4),
)
simple("sparse constant matrix", lambda x: np.diag(np.arange(1.0, 12)) @ x + np.eye(11, k=2) @ x, f64(11))
simple("sparse constant on axis", lambda x: jnp.einsum("ij,kj->ki", np.eye(12, k=1), x), f64(3, 12))
simple(
    "conv strided",
    lambda x, k: lax.conv_general_dilated(x, k, (2, 1), ((1, 0), (2, 1))),
    f64(2, 3, 5, 4),
    vec(2, 3, 3, 2),
)
simple(
    "conv dilated",
    lambda x, k: lax.conv_general_dilated(x, k, (1,), [(2, 1)], lhs_dilation=(2,), rhs_dilation=(2,)),
    f64(1, 2, 5),
    vec(3, 2, 2),
)
simple(
    "conv grouped",
    lambda x, k: lax.conv_general_dilated(x, k, (1,), "SAME", feature_group_count=2),
    f64(1, 4, 5),
    vec(6, 2, 3),
)
simple(
    "conv batch groups",
    lambda x, k: lax.conv_general_dilated(x, k, (1,), "SAME", batch_group_count=2),
    f64(4, 2, 5),
    vec(6, 2, 3),
)
simple(
    "conv nhwc constant kernel",
    lambda x: lax.conv_general_dilated(
        x,
        jnp.array([[0, 1.0, 0], [1, -4, 1], [0, 1, 0]])[:, :, None, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    f64(1, 4, 5, 1),
)
simple(
    "conv of kernel",
    lambda k, x: lax.conv_general_dilated(x, k, (1,), "SAME"),
    f64(2, 3, 3),
    vec(2, 3, 5),
    loose=True,
)
simple("convolve", lambda x, k: jnp.convolve(x, k, mode="full"), f64(6), vec(3))


PAIRS = np.array([[0, 1], [2, 3]])


def bcoo(data):
    index = np.array([[0, 1], [0, 3], [2, 0], [2, 2], [1, 1]])
    return sparse.BCOO((data, jnp.asarray(index)), shape=(3, 4))


simple("BCOO matvec", lambda x, d: bcoo(d) @ x, f64(4), vec(5))
simple("BCOO matmat", lambda x, d: bcoo(d) @ x, f64(4, 2), vec(5))
simple("BCOO data", lambda d, x: bcoo(d) @ x, f64(5), vec(4))
simple("BCOO transposed", lambda x, d: bcoo(d).T @ x, f64(3), vec(5))
simple("BCOO from the left", lambda x, d: x @ bcoo(d), f64(2, 3), vec(5))
simple("BCOO data transposed", lambda d, x: bcoo(d).T @ x, f64(5), vec(3))
simple(
    "BCOO of dense blocks",
    lambda x, d: sparse.BCOO((d, PAIRS), shape=(3, 4, 2)).todense().sum(2) @ x,
    f64(4),
    vec(2, 2),
    loose=True,
)


def bcsr(data):
    return sparse.BCSR((data, np.array([1, 3, 1, 0, 2, 4]), np.array([0, 2, 3, 5])), shape=(3, 4))


simple("BCSR matvec", lambda x, d: bcsr(d) @ x, f64(4), vec(6))
simple("BCSR matmat", lambda x, d: bcsr(d) @ x, f64(4, 2), vec(6))
simple("BCSR data", lambda d, x: bcsr(d) @ x, f64(6), vec(4))

# ---------------------------------------------------------------- indexing
IDX = np.array([3, 0, 0, 2, -1])
simple("gather", lambda x, k: (k * x)[IDX], f64(5), vec(5))
simple("gather rows", lambda x, k: (k * x)[IDX], f64(5, 2), vec(5, 2))
simple("gather columns", lambda x: x[:, IDX], f64(3, 5))
simple("gather pairs", lambda x: x[np.array([0, 1, 1]), np.array([2, 0, 2])], f64(2, 3))
simple("gather mixed", lambda x: x[np.array([1, 0]), :, np.array([2, 1])], f64(2, 2, 3))
simple("gather fill", lambda x: x.at[np.array([0, 9, 2])].get(mode="fill", fill_value=0), f64(4))
simple("gather clip", lambda x: x.at[np.array([0, 9, 2])].get(mode="clip"), f64(4))
simple("scatter add repeated", lambda x, k: jnp.zeros(4).at[IDX % 4].add(k * x), f64(5), vec(5))
simple("scatter add rows", lambda x: jnp.zeros((4, 2)).at[IDX % 4].add(x), f64(5, 2))
simple("scatter add onto x", lambda x: x.at[np.array([1, 1, 3])].add(2 * x[:3]), f64(5))
simple("scatter add known", lambda x, k: x.at[2].add(k), f64(5), 3.0)
simple("scatter subtract", lambda x, k: x.at[1:3].subtract(k * x[2:4]), f64(5), 3.0)
simple("scatter set repeated x", lambda x: x.at[np.array([0, 3])].set(x[np.array([3, 0])]), f64(5))
simple("scatter set window", lambda x, k: x.at[1:3, 2:].set(k * x[:2, :2]), f64(4, 4), vec(2, 2))
simple("scatter multiply", lambda x: x.at[np.array([0, 0, 2])].multiply(np.array([2.0, 3.0, 0.0])), f64(4))
simple("apply at indices", lambda x: (3 * x).at[1:3].apply(lambda a: 2 * a), f64(5))
simple("scatter multiply traced", lambda x, k: x.at[1:3].multiply(k), f64(4), vec(2))
simple("scatter then move", lambda x: jnp.pad(jnp.zeros(4).at[IDX % 4].add(x)[::-1], 1), f64(5))
simple("scatter then scale", lambda x, k: k * jnp.zeros(4).at[IDX % 4].add(x), f64(5), vec(4))
simple("scatter then sum", lambda x: jnp.zeros((4, 3)).at[IDX % 4].add(x).sum(1), f64(5, 3))
simple("scatter then broadcast", lambda x: jnp.broadcast_to(jnp.zeros(4).at[IDX % 4].add(x), (2, 4)), f64(5))
simple(
    "scatter then gather",
    lambda x, k: (k * jnp.zeros(4).at[IDX % 4].add(x))[np.array([0, 3, 3])],
    f64(5),
    vec(4),
)
simple("scatter then concatenate", lambda x: jnp.concatenate([x, jnp.zeros(4).at[IDX % 4].add(x)]), f64(5))
simple("scatter then dot", lambda x, A: A @ jnp.zeros(4).at[IDX % 4].add(x), f64(5), vec(3, 4))
simple(
    "scatter then where", lambda x: jnp.where(np.arange(4) > 1, jnp.zeros(4).at[IDX % 4].add(x), 0), f64(5)
)
simple(
    "scatter then where traced",
    lambda x, k: jnp.where(k > 1, jnp.zeros(4).at[IDX % 4].add(x), 0.0),
    f64(5),
    vec(4),
    loose=True,
)
simple("dynamic slice known", lambda x: lax.dynamic_slice(x, (1, 9), (2, 2)), f64(4, 5))
simple("dynamic update known", lambda x, k: lax.dynamic_update_slice(x, k * x[:2], (3,)), f64(6), 2.0)
simple(
    "dynamic slice traced",
    lambda x, i: lax.dynamic_slice(x, (i.astype(int), 1), (2, 2)),
    f64(4, 5),
    1.2,
    loose=True,
)
simple(
    "dynamic update traced",
    lambda x, i: lax.dynamic_update_slice(x, 3 * x[:2], (i.astype(int),)),
    f64(6),
    2.4,
    loose=True,
)
simple("gather traced", lambda x, i: x[i.astype(int)], f64(6), np.array([2.1, 0.3, 5.4]), loose=True)
simple(
    "scatter traced",
    lambda x, i: jnp.zeros(6).at[i.astype(int)].add(x),
    f64(3),
    np.array([2.1, 2.3, 5.4]),
    loose=True,
)
simple("gather integer parameter", lambda x, i: x[i], f64(6), np.array([2, 0, 5]))
simple("python integer parameter", lambda x, n: x[:n] * n, f64(6), 3)
simple(
    "mesh assembly",
    lambda x, w: (
        jnp.zeros(5)
        .at[np.array([[0, 1], [1, 2], [2, 3], [3, 4]])]
        .add(jnp.einsum("eij,ej->ei", w, x[np.array([[0, 1], [1, 2], [2, 3], [3, 4]])]))
    ),
    f64(5),
    vec(4, 2, 2),
)

# ---------------------------------------------------------------- nested calls
simple("jit inside", lambda x, k: jax.jit(lambda a: k * a + jnp.roll(a, 1))(x), f64(4), vec(4))
simple("remat", lambda x, k: jax.checkpoint(lambda a: k * jnp.roll(a, 2))(x), f64(4), vec(4))
simple("vmap inside", lambda x, A: jax.vmap(lambda a, r: A @ r + a)(x[:, 0], x), f64(3, 4), vec(2, 4))
simple("jvp inside", lambda x, k: jax.jvp(lambda u: jnp.sin(u) * k, (k,), (x,))[1], f64(4), vec(4))
simple("vjp inside", lambda x, k: jax.vjp(lambda u: jnp.cumsum(u**2), k)[1](x)[0], f64(4), vec(4))
simple(
    "linear_transpose inside",
    lambda x: jax.linear_transpose(lambda u: u[1:] - u[:-1], jnp.zeros(5))(x)[0],
    f64(4),
)


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda p, t: (2 * p[0], 2 * t[0]))


@jax.custom_vjp
def tripled(x):
    return 3 * jnp.roll(x, 1)


tripled.defvjp(lambda x: (tripled(x), None), lambda _, g: (3 * jnp.roll(g, -1),))
simple("custom_jvp", lambda x: doubled(x)[::-1], f64(4))


@jax.custom_jvp
def softened(k):
    return jnp.abs(k)


softened.defjvp(lambda p, t: (jnp.abs(p[0]), 0.5 * t[0]))
simple("custom_jvp of parameters", lambda x, k: softened(k) * x, f64(4), vec(4))

# ---------------------------------------------------------------- control flow
simple("cond known", lambda x: lax.cond(True, lambda a: 2 * a, lambda a: a[::-1], x), f64(4))
simple(
    "cond traced",
    lambda x, k: lax.cond(k > 1, lambda a: 2 * a, lambda a: a[::-1], x),
    f64(4),
    1.5,
    loose=True,
)
simple(
    "switch traced",
    lambda x, k: lax.switch(k.astype(int), [lambda a: a, jnp.negative, lambda a: 3 * a], x),
    f64(4),
    1.2,
)
simple("scan map", lambda x, k: lax.scan(lambda c, a: (c, 2 * a * k), 0.0, x)[1], f64(9), 2.0)
simple("scan map with counter", lambda x: lax.scan(lambda i, a: (i + 1, a * i), 0, x)[1], f64(9))
simple("map over rows", lambda x, k: lax.map(lambda r: k @ r, x), f64(5, 3), vec(2, 3))
simple("scan recurrence", lambda x, k: lax.scan(lambda c, a: (k * c + a, c), 0.0, x)[1], f64(6), 0.5)
simple(
    "scan steps",
    lambda x, k: lax.scan(lambda u, _: (u + k * (jnp.roll(u, 1) - u), None), x, None, length=3)[0],
    f64(12),
    0.1,
)
simple("scan reverse", lambda x: lax.scan(lambda c, a: (c + a, 2 * c + a), 0.0, x, reverse=True), f64(6))
simple(
    "scan pytree carry", lambda x: lax.scan(lambda c, a: ((c[1], c[0] + a), c[0]), (0.0, x[0]), x)[0], f64(4)
)
simple("associative scan", lambda x: lax.associative_scan(jnp.add, x), f64(60, 2))
simple(
    "associative scan with factors",
    lambda x, k: lax.associative_scan(jnp.add, k * x, reverse=True),
    f64(30),
    vec(30),
)
simple("fori", lambda x: lax.fori_loop(0, 3, lambda i, u: u + i * jnp.roll(u, 1), x), f64(5))
simple(
    "fori writes",
    lambda x: lax.fori_loop(1, 5, lambda i, y: y.at[i].set(x[i - 1] - 2 * x[i] + x[i + 1]), jnp.zeros(6)),
    f64(6),
)
simple(
    "tangent of a loop with calls inside",
    lambda v, u: jax.jvp(
        lambda a: lax.fori_loop(0, 3, lambda i, w: jnp.where(w > 1, w, 2 * w) * w, a), (u,), (v,)
    )[1],
    f64(4),
    vec(4),
    loose=True,
)
simple(
    "tangent of a long loop with branches inside",
    lambda v, u: jax.jvp(
        lambda a: lax.scan(
            lambda w, _: (
                w + 0.01 * (lax.cond(w[0] > 1, lambda z: jax.jit(jnp.sin)(z), lambda z: 0.6 * z, w) * w - w),
                None,
            ),
            a,
            None,
            length=400,
        )[0],
        (u,),
        (v,),
    )[1],
    f64(3),
    vec(3) / 2,
    loose=True,
)
simple(
    "fori traced bound",
    lambda x, n: lax.fori_loop(0, n.astype(int), lambda i, u: 0.5 * u, x),
    f64(5),
    3.2,
    forward_only=True,
)
simple(
    "while known",
    lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.roll(s[1], 1) + s[1]), (0, x))[1],
    f64(7),
    forward_only=True,
)
simple(
    "while with constants",
    lambda x, k: lax.while_loop(
        lambda s: s[0] < np.array([3]).sum(), lambda s: (s[0] + 1, k * s[1] + x), (0, jnp.zeros(4))
    )[1],
    f64(4),
    vec(4),
    forward_only=True,
)
simple(
    "long fori writes",
    lambda x, k: lax.fori_loop(
        1, 199, lambda i, y: y.at[i].set(k[i] * (x[i - 1] + x[i + 1])), jnp.zeros(200)
    ),
    f64(200),
    vec(200),
)
simple(
    "long scan per element",
    lambda x, k: lax.scan(lambda c, a: (0.9 * c + k * a, 2 * c), x[0], x)[0],
    f64(3, 5),
    2.0,
)
simple(
    "long decay", lambda x, k: lax.scan(lambda c, _: (k * c, None), x, None, length=3000)[0], f64(6), 0.999
)
simple("long scan triangular", lambda x, k: lax.scan(lambda c, a: (k * c + a, c), 0.0, x)[1], f64(70), 0.9)

# ---------------------------------------------------------------- dense along an axis
simple("fft real part", lambda x: jnp.fft.fft(x).real, f64(5))
simple("fft filter", lambda x, k: jnp.fft.ifft(k * jnp.fft.fft(x)).real, f64(6), vec(6))
simple("rfft filter", lambda x, k: jnp.fft.irfft(k * jnp.fft.rfft(x), 7), f64(7), vec(4))
simple("irfft2", lambda x, k: jnp.fft.irfft2(k * jnp.fft.rfft2(x)), f64(3, 4), vec(3, 3))
simple("fft along axis", lambda x: jnp.fft.fft(x, axis=0).imag, f64(4, 3))
simple(
    "triangular solve",
    lambda x, A: jax.scipy.linalg.solve_triangular(A, x, lower=True),
    f64(4),
    np.tril(vec(4, 4)) + np.eye(4),
    loose=True,
)
simple(
    "triangular solve constant",
    lambda x: lax.linalg.triangular_solve(np.tril(np.ones((3, 3))), x, lower=True),
    f64(2, 3),
)
simple(
    "tridiagonal solve",
    lambda x, d: lax.linalg.tridiagonal_solve(-0.2 * d, 2 * d, -0.2 * d, x[:, None])[:, 0],
    f64(5),
    vec(5),
    loose=True,
)
simple("solve", lambda x, A: jnp.linalg.solve(A, x), f64(4), vec(4, 4) + 3 * np.eye(4))
simple(
    "custom_linear_solve",
    lambda x, k: lax.custom_linear_solve(lambda v: k * v, 2 * x, lambda m, b: b / k, symmetric=True),
    f64(4),
    vec(4),
    loose=True,
)
simple(
    "cholesky solve",
    lambda x, A: jax.scipy.linalg.cho_solve((A, True), x),
    f64(3),
    np.tril(vec(3, 3)) + np.eye(3),
    loose=True,
)

# ---------------------------------------------------------------- complex
simple("complex scale", lambda x, k: (1 + 2j) * k * jnp.roll(x, 1), c128(4), vec(4))
simple("complex minus", lambda x, k: -1 * (k * x) + jnp.roll(x, 1), c128(4), vec(4) * (1 + 1j))
simple("complex difference", lambda x, k: k * x - (-1 * k) * jnp.roll(x, 1), c128(4), vec(4) * (1 - 1j))
simple("complex fft", lambda x: jnp.fft.fft(x), c128(5))
simple("real to complex", lambda x: x + 2j * jnp.roll(x, 1), f64(4))
simple("real and imag put together", lambda x: x.real + 1j * x.imag, c128(4))
simple("conj twice", lambda x, k: jnp.conj(k * jnp.conj(x)), c128(4), vec(4) * (1 + 1j))
simple("complex of parts", lambda x: lax.complex(2 * x.real, 2 * x.imag), c128(3))
simple("helmholtz", lambda x, k: jnp.pad(x, 1)[2:] + jnp.pad(x, 1)[:-2] + (k**2 + 0.1j) * x, c128(6), vec(6))
simple(
    "complex pieces of a real x",
    lambda x: jnp.real((1 + 2j) * x) + jnp.imag(jnp.conj((3 - 1j) * x[::-1])),
    f64(4),
)
simple("real and complex leaves", lambda s: (s[0] + s[1], jnp.conj(s[0]) * 2j), (f64(3), c128(3)))

# ---------------------------------------------------------------- shapes
simple("empty", lambda x: 2 * x, f64(0))
simple("empty axis", lambda x: x.sum(1), f64(3, 0))
simple("one", lambda x, k: k * x, f64(1), vec(1))
simple("unit axes", lambda x, k: k * x + x.sum(0, keepdims=True), f64(1, 3, 1), vec(1, 3, 1))
simple("no dependence in one output", lambda x, k: (x, k), f64(3), vec(2))
simple("tall", lambda x: jnp.concatenate([x, x, x]), f64(3))
simple("wide", lambda x: x[:1], f64(6))
simple("pytree out", lambda x: {"a": x[:2], "b": [x.sum(), jnp.outer(x, jnp.arange(1.0, 3))]}, f64(3))
