"""logdet: the logarithm of a determinant, by factors where there are some, else by random vectors.

Its derivative is d log det A = tr(A⁻¹ dA): by the entries of the inverse where those of dA are, else estimated with the
vectors of the value. Both are made of solves, so that they have derivatives of any order.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.checks import checked
from jaxsolve.core.implicit import Rule, implicit
from jaxsolve.core.module import Module
from jaxsolve.core.options import require_count
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import Frozen
from jaxsolve.core.staging import detached
from jaxsolve.core.tangent import pushed
from jaxsolve.core.vector import dot, mul
from jaxsolve.front.request import Solve, method_name
from jaxsolve.linear.inverse_entries import Solver, entries_of_inverse, signs
from jaxsolve.linear.invertible import Factored, factored, read
from jaxsolve.linear.lanczos_quadrature import log_determinant_by_lanczos
from jaxsolve.linear.linear_solve import linear_answer
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.host.backends import DEVICE
from jaxsolve.solvers.krylov.cg import CG


class LogDeterminant(Module):
    """The logarithm of a determinant, and how well it is known.

    Attributes:
        value: log|det A|; -inf where A is singular.
        sign: det A / |det A|: 1 or -1, of a complex A of modulus 1; 0 where A is singular.
        standard_error: Of an estimate; 0 of what factors tell.
        method: How it was found.
    """

    value: Array
    sign: Array
    standard_error: Array
    method: str = eqx.field(static=True)


def logdet(
    A: Any,
    solve: Solve | None = None,
    key: Array | None = None,
    *params: Any,
    x_like: Any = None,
    probes: int = 32,
    steps: int = 64,
) -> Array:
    """log|det A|, differentiable to any order in the values of A and the arguments of a function A.

    Exact where A is factorised: by the pivots of LU or Cholesky for a dense A, of a sparse LU for a sparse one. Else,
    of a symmetric (Hermitian) positive definite A, estimated by stochastic Lanczos quadrature with random vectors out
    of `key`: where `solve` names an iterative method, where A is known by its products alone, and, if there is a key,
    where the package would rather iterate (`js.explain`). The derivative of an estimate is one too, by the same vectors
    and a solve with each.

    Args:
        A: Square dense array (..., n, n), BCOO, BCSR, SciPy sparse matrix, operator, `js.Factorization`, or a linear or
            affine function, of which the linear part counts.
        solve: How systems with A are solved. A method that factorises gives the exact value, an iterative one the
            estimate, whose gradient it solves for; None leaves it to the package.
        key: Of `jax.random`, for an estimate.
        *params: Further arguments of a function A.
        x_like: For a function A: an array, or a pytree of arrays, with the structure of x.
        probes: Random vectors of an estimate: its standard error falls with their square root.
        steps: Steps of Lanczos with each: as many as CG would take to solve well.

    Returns:
        A real number, of shape (...) for a batch of matrices; -inf where A is singular, with derivatives NaN.

    Raises:
        StructureError: If A is not square; a ValueError.
        TypeError: If A is of the wrong kind, or a function without `x_like`.
        ValueError: If an estimate has no key; if A proves not to be positive definite where it has to be.
        NotConverged: From a gradient, if a solve for it failed.

    Cost: one factorisation; its gradient n more solves with its factors (a dense inverse, n³ flops; of a sparse A the
        entries on its pattern are kept), a second derivative n² numbers of memory. An estimate: probes times steps
        products and memory of `steps` vectors; its gradient probes solves.
    Source: Ubaru, Chen and Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.

    The marginal likelihood of a Gaussian process, and its derivative with respect to the length of the kernel:

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> x = jnp.linspace(0.0, 1.0, 20)
    >>> y = jnp.sin(6 * x)
    >>> def likelihood(length):
    ...     K = jnp.exp(-(((x[:, None] - x) / length) ** 2)) + 0.01 * jnp.eye(20)
    ...     return -0.5 * (y @ js.solve_linear(K, y) + js.logdet(K) + 20 * jnp.log(2 * jnp.pi))
    >>> value, slope = jax.value_and_grad(likelihood)(0.3)
    >>> f"{value:.2f} {slope:.2f}"
    '10.04 28.18'
    """
    info = logdet_info(A, solve, key, *params, x_like=x_like, probes=probes, steps=steps)
    return checked(info.value, jnp.any(jnp.isnan(info.value)), (info.value,), _Refusal(info.method))


@in_full
def logdet_info(
    A: Any,
    solve: Solve | None = None,
    key: Array | None = None,
    *params: Any,
    x_like: Any = None,
    probes: int = 32,
    steps: int = 64,
) -> LogDeterminant:
    """log|det A| with the sign of det A, the standard error of an estimate, and how it was found.

    Takes the arguments of `logdet`. Of values of A it raises nothing: `value` is NaN where it is not known.

    Returns:
        An object with `value`, `sign` (1 or -1, of a complex A of modulus 1, 0 where A is singular, as NumPy's
        `slogdet` has it), `standard_error` (0 of what factors tell), each of shape (...) for a batch, and `method`.

    Raises:
        StructureError: If A is not square; a ValueError.
        TypeError: If A is of the wrong kind, or a function without `x_like`.
        ValueError: If an estimate has no key.

    Cost: that of `logdet`.

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> info = js.logdet_info(jnp.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> round(float(info.value), 4), float(info.sign), info.method
    (0.6931, -1.0, 'LU')
    >>> A = jnp.diag(jnp.arange(1.0, 101.0)) + 1.0
    >>> info = js.logdet_info(A, js.Solve("CG"), jax.random.key(0))
    >>> bool(abs(info.value - js.logdet(A)) < 4 * info.standard_error)
    True
    """
    operator, solve = read("logdet", A, solve, params, x_like)
    require_count("logdet", "probes", probes, least=2)
    require_count("logdet", "steps", steps, least=2)

    def one(A: LinearOperator, key: Array | None) -> LogDeterminant:
        found = factored(A, solve, key is not None)
        if isinstance(found, Factored):
            value, sign = implicit(Pivots(), found.matrix, found)
            return LogDeterminant(value, sign, jnp.zeros_like(value), method_name(found.method))
        if key is None:
            raise ValueError(
                f"logdet of this {type(A).__name__} of shape {A.shape} is estimated with random vectors and needs a "
                f"key: js.logdet(A, key=jax.random.key(0)). ({_why(A, solve)}) For the exact value hand over a matrix, "
                "or ask for a factorisation: solve=js.Solve('sparse-direct')."
            )
        A, solving = A.layout(), _for_probes(solve)
        request = Frozen(solving)
        vectors = signs(key, probes, A.shape[0], A.dtype)
        value, error = implicit(Quadrature(request, steps), A, vectors, request.split(solving))
        sign = jnp.where(jnp.isnan(value), value, 1).astype(A.dtype)
        return LogDeterminant(value, sign, error, "stochastic Lanczos quadrature")

    batch = operator.batch_shape
    if not batch:
        return one(operator, key)
    lanes = math.prod(batch)
    stack = jax.tree.map(lambda v: v.reshape(lanes, *v.shape[len(batch) :]), operator)
    keys = None if key is None else jax.random.split(key, lanes)
    info = jax.vmap(one, in_axes=(0, None if key is None else 0))(stack, keys)
    return jax.tree.map(lambda v: v.reshape(batch), info)


def _for_probes(solve: Solve) -> Solve:
    """The request for the solves of a gradient, for which A is positive definite."""
    method, preconditioner = solve.method, solve.preconditioner
    if isinstance(method, str):
        method, preconditioner = CG(), "auto" if preconditioner is None else preconditioner
    return Solve(
        method, solve.rtol, 0.0, solve.max_iterations, None, preconditioner, solve.suppress, 0,
        gradient_solve=solve.gradient_solve, progress=solve.progress,
    )  # fmt: skip


def _why(A: LinearOperator, solve: Solve) -> str:
    asked = not isinstance(solve.method, str)
    return f"`{method_name(solve.method)}` makes no factors." if asked else A.untold()


@dataclasses.dataclass(frozen=True)
class Pivots(Rule):
    """(log|det A|, its sign) as a function of (the matrix, its factors)."""

    def value(self, matrix: Any, found: Factored) -> tuple[Array, Array]:
        sign, size = found.inverse.log_determinant()
        if getattr(found.method, "backend", None) == DEVICE:
            # Factors without exchanges of rows may have grown: then they solve badly, and their pivots are not A's.
            lost = jnp.where(_exact_enough(matrix, found.inverse), 1, jnp.nan)
            size, sign = mul(lost, size), mul(lost, sign).astype(sign.dtype)
        return size, sign

    def tangent(self, args: tuple, tangents: tuple) -> tuple[tuple[Array, Array], tuple[Any, Any]]:
        (matrix, found), moved = args, jax.tree.leaves(tangents[0], is_leaf=_still)
        size, sign = implicit(self, matrix, found)
        (moved,) = moved
        if _still(moved):
            return (size, sign), (None, None)
        # Of a singular matrix nothing is solved for, and the derivative is NaN.
        regular = jnp.isfinite(size)
        weight = jnp.where(regular, 1, jnp.nan).astype(matrix.dtype)
        found = eqx.tree_at(lambda f: f.matrix, found, matrix)

        def solve(units: Array) -> Array:
            return weight * found.solve(jnp.where(regular, units, 0))

        # tr(A⁻¹ dA) = Σ (A⁻¹)ⱼᵢ dAᵢⱼ
        trace = jnp.sum(_transposed_inverse(matrix, solve) * moved)
        if not jnp.iscomplexobj(trace):
            return (size, sign), (trace, None)
        return (size, sign), (trace.real, 1j * trace.imag * sign)


def _still(leaf: Any) -> bool:
    return isinstance(leaf, SymbolicZero)


def _transposed_inverse(matrix: Any, solve: Solver) -> Array:
    """(A⁻¹)ⱼᵢ where A has an entry (i, j), as the values of A lie."""
    n = matrix.shape[0]
    if matrix.dense_form is not None:
        return solve(jnp.eye(n, dtype=matrix.dtype))
    return entries_of_inverse(solve, n, matrix.dtype, matrix.pattern.indices, matrix.pattern.rows)


def _exact_enough(matrix: Any, inverse: LinearOperator) -> Array:
    """Whether factors solve to half the digits, by the componentwise backward error (Higham 2002, section 7.2)."""
    v = signs(jax.random.key(0), 1, matrix.shape[0], matrix.dtype)[0]
    x = inverse.mv(v)
    size = jax.tree.map(jnp.abs, matrix).mv(jnp.abs(x)) + 1
    off = jnp.abs(v - matrix.mv(x))
    return jnp.all(off <= jnp.sqrt(jnp.finfo(size.dtype).eps) * size)


@dataclasses.dataclass(frozen=True)
class Quadrature(Rule):
    """(log det A, its standard error) by Lanczos, as a function of (A, vectors of ±1, numbers of the request)."""

    request: Frozen
    steps: int

    def value(self, A: LinearOperator, vectors: Array, numbers: list) -> tuple[Array, Array]:
        return log_determinant_by_lanczos(A, A.known_diagonal(), vectors, self.steps)

    def tangent(self, args: tuple, tangents: tuple) -> tuple[tuple[Array, Array], tuple[Any, Any]]:
        A, vectors, numbers = args
        value, error = implicit(self, A, vectors, numbers)
        # tr(A⁻¹ dA) = E (A⁻¹ S⁻¹ v)ᴴ dA S v with the scaling S of the value, held.
        d = detached(A.known_diagonal())
        scale = jnp.ones(A.shape[0], error.dtype) if d is None else jax.lax.rsqrt(d.real)
        found = linear_answer(A, mul(1 / scale, vectors), self.request.join(detached(numbers))).x
        moved = pushed(A, tangents[0], lambda A: jax.vmap(A.mv)(mul(scale, vectors)))
        if moved is None:
            return (value, error), (None, None)
        return (value, error), (dot(found, moved).real / len(vectors), None)


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """What `logdet` raises where the value is NaN."""

    method: str

    def __call__(self, value: np.ndarray) -> Exception:
        return ValueError(
            f"log|det A| could not be found ({self.method}): a factorisation without exchanges of rows met a pivot "
            "that vanished, A is not symmetric (Hermitian) positive definite, which this method needs, or A holds NaN. "
            "Use solve=js.Solve('LU') or js.Solve('sparse-direct'), or js.logdet_info, which raises nothing."
        )
