"""Polynomials of the matrix: Chebyshev and Neumann. Only products with A, no dot products."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import require_count, require_number
from jaxsolve.core.shards import while_loop
from jaxsolve.core.staging import detached
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul, plain_norm, scattered
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    as_square,
    inherited,
    is_self_transposed,
    reciprocal,
)
from jaxsolve.preconditioners.xla_barriers import somewhere

#: Power iterations for the largest eigenvalue; 12 reach 0.9 of it on all stencils and meshes tried.
POWER_STEPS = 12
#: The factor of the estimate, which comes from below.
SAFETY = 1.1


class Chebyshev(AbstractPreconditioner):
    """The Chebyshev polynomial in D⁻¹A that is smallest on the upper part of the spectrum.

    The interval is [λ / ratio, λ] with λ the largest eigenvalue of D⁻¹A, estimated by power iterations and bounded
    by Gershgorin's circles where the entries are known. Iterations fall by about the degree while the products
    stay, so that it pays where dot products are dear: on a GPU, over many devices.

    Args:
        degree: Products with A an application.
        ratio: Upper over lower end of the interval; 2 degree² where None.

    Raises:
        StructureError: If `degree` is less than 1 or `ratio` below 1; from `build`, if A is not square.

    Builds: an operator of shape (n, n) in the dtype of A, by products with A alone; positive definite where A is.
    Cost: set-up 12 products, application `degree` products; 4 vectors of memory.
    Source: Saad (2003), algorithm 12.1.

    >>> import jaxsolve as js
    >>> A = 2 * jnp.eye(8) - jnp.eye(8, k=1) - jnp.eye(8, k=-1)
    >>> eigenvalues = jnp.linalg.eigvals(js.Chebyshev(degree=4).build(A).as_matrix() @ A).real
    >>> bool(eigenvalues.max() / eigenvalues.min() < jnp.linalg.cond(A) / 4)
    True
    """

    name: ClassVar[str] = "chebyshev"
    needs: ClassVar[str] = "real positive spectrum of D⁻¹A; products are enough"
    cost: ClassVar[str] = "set-up 12 products, application `degree` products"
    by_products: ClassVar[bool] = True

    degree: int = eqx.field(static=True, default=4)
    ratio: float | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require_count("Chebyshev", "degree", self.degree)
        if self.ratio is not None:
            require_number("Chebyshev", "ratio", self.ratio, 1)

    def build(self, A: Any) -> LinearOperator:
        """The polynomial as an operator."""
        A = as_square(A, self.name)
        fast, inverse, largest = _scaled_spectrum(A)
        return self.polynomial(fast, 1 / inverse, largest, inherited(A))

    def from_spectrum(self) -> Callable[..., LinearOperator]:
        """`polynomial`."""
        return self.polynomial

    def polynomial(
        self, A: LinearOperator, diagonal: Array, largest: Array, facts: Traits
    ) -> "ChebyshevPolynomial":
        """The polynomial of a matrix whose diagonal D and largest eigenvalue of D⁻¹A are known."""
        ratio = 2.0 * self.degree**2 if self.ratio is None else self.ratio
        return ChebyshevPolynomial(A, diagonal, largest, max(ratio, 1.01), self.degree + 1, facts)


class Neumann(AbstractPreconditioner):
    """The first terms of the Neumann series of (ω D⁻¹A)⁻¹.

    `Chebyshev` of the same degree is better; this one needs no lower end of an interval.

    Args:
        degree: Products with A an application.

    Raises:
        StructureError: If `degree` is less than 0; from `build`, if A is not square.

    Builds: an operator of shape (n, n) in the dtype of A, by products with A alone; positive definite where A is.
    Cost: set-up 12 products, application `degree` products; 3 vectors of memory.
    Source: Saad (2003), section 12.3.1.

    >>> import jaxsolve as js
    >>> A = 2 * jnp.eye(8) - jnp.eye(8, k=1) - jnp.eye(8, k=-1)
    >>> eigenvalues = jnp.linalg.eigvals(js.Neumann(degree=3).build(A).as_matrix() @ A).real
    >>> bool(eigenvalues.max() / eigenvalues.min() < jnp.linalg.cond(A) / 2)
    True
    """

    name: ClassVar[str] = "neumann"
    needs: ClassVar[str] = "positive spectrum of D⁻¹A; products are enough"
    cost: ClassVar[str] = "set-up 12 products, application `degree` products"
    by_products: ClassVar[bool] = True

    degree: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        require_count("Neumann", "degree", self.degree, 0)

    def build(self, A: Any) -> LinearOperator:
        """The truncated series as an operator."""
        A = as_square(A, self.name)
        fast, inverse, largest = _scaled_spectrum(A)
        return NeumannSeries(fast, largest / inverse, self.degree, inherited(A))


def _scaled_spectrum(A: LinearOperator) -> tuple[LinearOperator, Array, Array]:
    """The fast form of A, the inverse of its diagonal (ones where unknown), the spectral radius of D⁻¹A."""
    d = A.known_diagonal()
    inverse = jnp.ones(A.shape[0], A.dtype) if d is None else reciprocal(d)
    fast = A.layout()
    return fast, inverse, largest_eigenvalue(fast, inverse, A.absolute_row_sums())


def largest_eigenvalue(A: LinearOperator, inverse: Array, row_sums: Array | None) -> Array:
    """An upper estimate of the largest |eigenvalue| of D⁻¹A, where `inverse` is the diagonal of D⁻¹.

    Power iterations times `SAFETY`, and at most Gershgorin's bound where the row sums of |A| are given: they end where
    they reach it. Not differentiated.
    """
    A, inverse, row_sums = detached((A, inverse, row_sums))
    real = jnp.finfo(A.dtype).dtype
    bound = jnp.asarray(jnp.inf, real)
    if row_sums is not None:
        bound = jnp.max(row_sums * jnp.abs(inverse), initial=0).astype(real)
    start = scattered(A.shape[0], real).astype(inverse.dtype)

    def goes_on(carry):
        k, _, size = carry
        return (k < POWER_STEPS) & somewhere(size < bound)

    def advance(carry):
        k, v, size = carry
        w = inverse * A.mv(v)
        norm = plain_norm(w)
        v = w / jnp.where(norm > 0, norm, 1).astype(w.dtype)
        return k + 1, v, jnp.where(size < bound, SAFETY * norm, size)

    first = start / plain_norm(start).astype(start.dtype)
    _, _, size = while_loop(goes_on, advance, (0, first, jnp.zeros((), real)))
    estimate = jnp.minimum(size, bound)
    return jnp.where(estimate > 0, estimate, 1)


def chebyshev_steps(
    A: LinearOperator, diagonal: Array, interval: tuple[Any, Any], steps: int, b: Array, x: Array | None
) -> Array:
    """The vector after `steps` Chebyshev steps for D⁻¹A x = D⁻¹b; from 0 where x is None.

    Costs `steps` products, one less from 0. Dividing by the diagonal, not multiplying by its inverse, keeps
    XLA from fusing one product into the next on the CPU, where it would compute the first again for each
    entry of the second.
    """
    lower, upper = interval
    centre, radius = (upper + lower) / 2, (upper - lower) / 2
    sigma = centre / radius
    rho = 1 / sigma
    dtype = common(diagonal, b)
    diagonal = diagonal.astype(dtype)
    r = (b if x is None else b - A.mv(x)).astype(dtype) / diagonal
    d = r / jnp.asarray(centre, r.dtype)
    y = d if x is None else x + d
    for _ in range(steps - 1):
        r = r - A.mv(d) / diagonal
        previous, rho = rho, 1 / (2 * sigma - rho)
        d = mul(rho * previous, d) + mul(2 * rho / radius, r)
        y = y + d
    return y


class ChebyshevPolynomial(Wrapper):
    """The operator that makes a number of Chebyshev steps from zero."""

    operator: LinearOperator
    scale: Array
    largest: Array
    ratio: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The steps from zero towards the solution for the right-hand side x."""
        interval = (self.largest / self.ratio, self.largest)
        return chebyshev_steps(self.operator, self.scale, interval, self.steps, x, None)

    def transpose(self) -> LinearOperator:
        """The same polynomial of the transpose: p(D⁻¹A)D⁻¹ transposed is p(D⁻¹Aᵀ)D⁻¹."""
        if is_self_transposed(self):
            return self
        T = self.operator.T
        return ChebyshevPolynomial(T, self.scale, self.largest, self.ratio, self.steps, self.facts.T)


class NeumannSeries(Wrapper):
    """The operator Σ (I - D⁻¹A)ᵏ D⁻¹ for k up to a degree."""

    operator: LinearOperator
    scale: Array
    degree: int = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The damped Jacobi sweeps from zero towards the solution for the right-hand side x."""
        scale = self.scale.astype(common(self.scale, x))
        y = x.astype(scale.dtype) / scale
        for _ in range(self.degree):
            y = y + (x.astype(scale.dtype) - self.operator.mv(y)) / scale
        return y

    def transpose(self) -> LinearOperator:
        """The same series of the transpose."""
        if is_self_transposed(self):
            return self
        return NeumannSeries(self.operator.T, self.scale, self.degree, self.facts.T)
