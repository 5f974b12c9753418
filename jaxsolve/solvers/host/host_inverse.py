"""HostInverse: an inverse (exact or incomplete) whose factors stay on the host, as an operator of a JAX program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.host_call import host_call
from jaxsolve.core.staging import detached, is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.store import DIGEST_WORDS, digest
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.operators.host_products import HostOperator, Products
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.host.factor import FACTORS, AbstractFactor, AbstractRecipe, apply


class HostInverse(LinearOperator):
    """The inverse of a matrix by factors that the host holds.

    The program carries the digest of the values, which is the factors' key in `FACTORS`; where they are no longer
    there they are made again from the values. One application costs a callback (0.1 ms and copies of two vectors).

    Args:
        key: The digest, uint32 of shape (4,).
        data: The values of the matrix, read only where the factors have to be made again.
        status: `Status` of the factorisation.
        recipe: How the factors are made.
        size: n.
        transposed: Whether this is the inverse of the transpose.
        facts: What is known of the inverse.
    """

    key: Array
    data: Array
    status: Array
    recipe: AbstractRecipe = eqx.field(static=True)
    size: int = eqx.field(static=True)
    transposed: bool = eqx.field(static=True, default=False)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.size, self.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the matrix."""
        return self.data.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    @property
    def description(self) -> str:
        """What was factorised with which options, and what of it fell back; unknown where the values are traced."""
        if not self.size:
            return "no unknowns, nothing to factorise"
        if is_traced((self.key, self.data)):
            return "factors of a traced matrix"
        if self.key.ndim > 1:
            return f"factors of a batch of matrices of shape {self.key.shape[:-1]}"
        return factor_of(self.recipe, np.asarray(self.key), np.asarray(self.data)).description

    @property
    def told(self) -> str:
        """The same, and how it is applied."""
        return f"{self.description}; on the host, by substitution"

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x."""
        result = jax.ShapeDtypeStruct((self.size,), common(self.dtype, x.dtype))
        x = x.astype(result.dtype)
        if not self.size:
            return x
        solve, again = _Solve(self.recipe, self.transposed), _SolveAgain(self.recipe, self.transposed)
        (z,) = host_call(solve, (result,), (np.nan,), self.key, x)
        # Where the factors are forgotten z is NaN; the values travel to the host only then. (A flag beside z would
        # cost 25 µs a call.)
        return lax.cond(
            jnp.isnan(z[0]),
            lambda: host_call(again, (result,), (np.nan,), self.key, self.data, x, z)[0],
            lambda: z,
        )

    def log_determinant(self) -> tuple[Array, Array]:
        """Sign (complex: unit phase) and log|det| of A by its pivots; NaN of a library that does not tell them."""
        dtype = jnp.dtype(self.dtype)
        results = jax.ShapeDtypeStruct((), dtype), jax.ShapeDtypeStruct((), jnp.finfo(dtype).dtype)
        if not self.size:
            return jnp.ones((), dtype), jnp.zeros((), results[1].dtype)
        call = _LogDeterminant(self.recipe)
        sign, size = host_call(call, results, (np.nan, np.nan), self.key, self.data)
        return sign, size

    def on_host(self) -> HostOperator:
        """The solutions by the factors themselves."""
        factor = factor_of(self.recipe, np.asarray(self.key), np.asarray(self.data))

        def solve(x: np.ndarray, transposed: bool) -> np.ndarray:
            return apply(factor, x.reshape(1, -1), transposed)[0]

        return Products(
            self.shape,
            self.dtype,
            lambda x: solve(x, self.transposed),
            # A⁻ᴴ x = conj(A⁻ᵀ conj(x))
            lambda x: solve(x.conj(), not self.transposed).conj(),
        )

    def release(self) -> None:
        """Lets the host forget the factors, which are made again where they are used again."""
        if not is_traced(self.key):
            FACTORS.discard((self.recipe, np.asarray(self.key).tobytes()))

    def transpose(self) -> "HostInverse":
        """The inverse of the transpose, by the same factors."""
        return HostInverse(
            self.key, self.data, self.status, self.recipe, self.size, not self.transposed, self.facts.T
        )


def host_inverse(recipe: AbstractRecipe, data: Array, size: int, facts: Traits = Traits()) -> HostInverse:
    """The inverse by a factorisation, which is made now where the values are known, else when the program runs.

    Args:
        recipe: How to factorise.
        data: Values in the order that the recipe expects.
        size: n.
        facts: What is known of the inverse.
    """
    data = detached(data)
    make = _Make(recipe)
    if not size:
        keys, status = jnp.zeros(DIGEST_WORDS, jnp.uint32), jnp.array(int(Status.converged), jnp.int32)
    elif is_traced(data):
        key = jax.ShapeDtypeStruct((DIGEST_WORDS,), jnp.uint32)
        code = jax.ShapeDtypeStruct((), jnp.int32)
        keys, status = host_call(make, (key, code), (0, int(Status.host_failure)), data)
    else:
        keys, status = (jnp.asarray(value[0]) for value in make(np.asarray(data)[None]))
    return HostInverse(keys, data, status, recipe, size, False, facts)


def factor_of(recipe: AbstractRecipe, key: np.ndarray, data: np.ndarray, batch: int = 1) -> AbstractFactor:
    """The factors of one matrix, from the store or made again."""
    return FACTORS.get((recipe, key.tobytes()), lambda: recipe.factor(data), batch)


@dataclasses.dataclass(frozen=True)
class _Make:
    recipe: AbstractRecipe

    def __call__(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = np.stack([digest(values) for values in data])
        factors = [
            factor_of(self.recipe, key, values, len(data)) for key, values in zip(keys, data, strict=True)
        ]
        return keys, np.array([int(factor.status) for factor in factors], np.int32)


@dataclasses.dataclass(frozen=True)
class _Solve:
    recipe: AbstractRecipe
    transposed: bool

    def __call__(self, keys: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        if len(keys) == 1:
            factor = FACTORS.find((self.recipe, keys[0].tobytes()))
            return (np.full_like(x, np.nan) if factor is None else apply(factor, x, self.transposed),)
        x = np.broadcast_to(x, (len(keys), x.shape[1]))
        z = np.full_like(x, np.nan)
        for lanes in _lanes(keys):
            factor = FACTORS.find((self.recipe, keys[lanes[0]].tobytes()))
            if factor is not None:
                z[lanes] = apply(factor, x[lanes], self.transposed)
        return (z,)


@dataclasses.dataclass(frozen=True)
class _SolveAgain:
    recipe: AbstractRecipe
    transposed: bool

    def __call__(self, keys: np.ndarray, data: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray]:
        size = max(map(len, (keys, data, x, z)))
        missing = np.isnan(z[:, 0])
        if not missing.any():
            return (np.broadcast_to(z, (size, z.shape[1])),)
        keys, data, x, missing = (
            np.broadcast_to(array, (size, *array.shape[1:])) for array in (keys, data, x, missing)
        )
        solved = np.array(np.broadcast_to(z, x.shape))
        for lanes in _lanes(keys):
            if missing[lanes].any():
                factor = factor_of(self.recipe, keys[lanes[0]], data[lanes[0]], size)
                solved[lanes] = apply(factor, x[lanes], self.transposed)
        return (solved,)


def _lanes(keys: np.ndarray) -> list[np.ndarray]:
    """The lanes of a batch that share a key."""
    _, inverse = np.unique(keys, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1)


@dataclasses.dataclass(frozen=True)
class _LogDeterminant:
    recipe: AbstractRecipe

    def __call__(self, keys: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = max(len(keys), len(data))
        lanes = [np.broadcast_to(v, (size, v.shape[1])) for v in (keys, data)]
        found = [
            factor_of(self.recipe, key, values, size).log_determinant()
            for key, values in zip(*lanes, strict=True)
        ]
        signs, sizes = np.array([sign for sign, _ in found]), np.array([value for _, value in found])
        return (signs if np.iscomplexobj(data) else np.real(signs)), sizes
