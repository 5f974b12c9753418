"""Program: a jaxpr that equals every other jaxpr of the same text, so that equal functions share one compilation."""

import contextlib
import contextvars
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.compat import ClosedJaxpr, Equation, Literal, Var, function_of, lifted, open_jaxpr
from jaxsolve.operators.program_text import jaxpr_key, names_in

#: Numbers of one program that are its inputs; of an unrolled loop the rest stays in it.
MOST_NUMBERS = 64


class Program:
    """A function of arrays as a jaxpr without constants: `program(*constants, *inputs)`.

    Compared by structure, not by the identity of the Python function it came from: a lambda written anew in each
    turn of a loop is the same program each time.

    Attributes:
        jaxpr: The closed jaxpr; its constants were turned into leading inputs.
        held: Inputs whose values belong to the program, by their place: what is read inside `values_held` finds these
            where it is traced otherwise. Programs with other values there are other programs.
    """

    def __init__(self, jaxpr: ClosedJaxpr, held: dict[int, np.ndarray] | None = None):
        self.jaxpr = jaxpr
        self.held = held or {}
        values = tuple((k, v.shape, str(v.dtype), digest(v)) for k, v in self.held.items())
        self._key = (jaxpr_key(jaxpr), values)
        self._hash = hash(self._key)

    def __call__(self, *inputs: Array | np.ndarray) -> list[Array]:
        known = self.held if _HELD.get() else {}
        return function_of(self.jaxpr)(*(known.get(k, value) for k, value in enumerate(inputs)))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Program) and self._hash == other._hash and self._key == other._key
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Program({len(self.jaxpr.eqns)} equations)"

    @functools.cached_property
    def primitives(self) -> frozenset[str]:
        """The names of the operations, those of inner programs included.

        >>> program, *_ = trace_program(lambda x: jnp.roll(2 * x, 1), jnp.ones(3))
        >>> sorted(program.primitives - {"jit", "pjit"})
        ['concatenate', 'mul', 'slice']
        """
        return frozenset(names_in(self.jaxpr))


_HELD = contextvars.ContextVar("_HELD", default=False)


@contextlib.contextmanager
def values_held() -> Iterator[None]:
    """A context in which programs are called with the values that belong to them, so that those are known."""
    token = _HELD.set(True)
    try:
        yield
    finally:
        _HELD.reset(token)


def digest(values: Any) -> bytes:
    """What stands for the values of a concrete array in comparisons."""
    if jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
        values = jax.random.key_data(values)
    # As bytes, since NumPy hands out no other memory of half precision.
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return hashlib.blake2b(flat.data, digest_size=16).digest()


def separated(args: tuple, kwargs: dict) -> tuple[list[Array], Callable[[list[Array]], tuple[tuple, dict]]]:
    """The numbers among the arguments of a function as arrays, and how arguments are made of such arrays again.

    Python ints and bools may steer the code (axes, flags): they stay what they are.
    """
    leaves, treedef = jax.tree.flatten((args, kwargs))
    numeric = [isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex) for leaf in leaves]
    values = [jnp.asarray(leaf) for leaf, number in zip(leaves, numeric, strict=True) if number]

    def merged(values: list[Array]) -> tuple[tuple, dict]:
        numbers = iter(values)
        mixed = [next(numbers) if number else leaf for leaf, number in zip(leaves, numeric, strict=True)]
        return jax.tree.unflatten(treedef, mixed)

    return values, merged


def trace_program(f: Callable[..., Any], *inputs: Any) -> tuple[Program, list[Any], Any]:
    """The program of a function, the values it closes over, and the structure of its output.

    Python numbers that f computes with are such values, too: with other numbers it is the same program.

    Args:
        f: Function of pytrees.
        *inputs: Arrays or `jax.ShapeDtypeStruct`s in the places of its arguments.

    Returns:
        A program of (*closed-over values, *leaves of inputs); those values, tracers among them; the output's
        pytree of shapes.

    >>> one, numbers, _ = trace_program(lambda x: 3.25 * x, jnp.ones(3))
    >>> other, others, _ = trace_program(lambda x: 7.5 * x, jnp.ones(3))
    >>> one == other, float(numbers[0]), float(others[0])
    (True, 3.25, 7.5)
    """
    closed, out = jax.make_jaxpr(f, return_shape=True)(*inputs)
    inner, _ = open_jaxpr(lifted(closed))
    equations, places, numbers = _without_numbers(inner.eqns)
    invars = [*places, *inner.invars]
    names = inner.debug_info._replace(arg_names=("",) * len(invars))
    program = Program(ClosedJaxpr(inner.replace(invars=invars, eqns=equations, debug_info=names), []))
    return program, [*numbers, *open_jaxpr(closed)[1]], out


def _without_numbers(equations: Sequence[Equation]) -> tuple[list[Equation], list[Any], list[np.ndarray]]:
    """The equations with variables in the places of their numbers, these variables, and the numbers."""
    changed: list[Equation] = []
    places: list[Any] = []
    numbers: list[np.ndarray] = []
    for eqn in equations:
        invars: list[Any] = list(eqn.invars)
        for k, v in enumerate(invars):
            if len(places) < MOST_NUMBERS and isinstance(v, Literal) and _varies(v):
                aval: Any = v.aval
                invars[k] = Var(aval)
                places.append(invars[k])
                numbers.append(np.asarray(v.val, aval.dtype))
        changed.append(eqn.replace(invars=invars) if invars != list(eqn.invars) else eqn)
    return changed, places, numbers


def _varies(literal: Any) -> bool:
    """Whether a literal is a number that may be another one the next time."""
    # Integers steer. What stands in formulas stays in the program: zero says that a sum is linear.
    return (
        np.ndim(literal.val) == 0
        and bool(jnp.issubdtype(literal.aval.dtype, jnp.inexact))
        and abs(complex(literal.val)) not in (0.0, 0.5, 1.0, 2.0)
    )
