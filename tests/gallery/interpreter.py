"""An evaluation of traced programs without compiling them: operation by operation, loops and branches in Python.

Laws of derivatives judge what JAX's transformations make of a program. Compiled, each would cost seconds; here only
single operations are compiled, once for all laws, and so are whole solves, which are operations too.
"""

from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import scan_parts, while_parts


def interpreted(f: Any) -> Any:
    """f as a function that is traced as under jit, and evaluated here."""

    def of(*args):
        program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), evaluate(program, jax.tree.leaves(args)))

    return of


def evaluate(program: Any, args: Any) -> list[Any]:
    """The results of a closed jaxpr."""
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(jaxpr.invars, args, strict=True))

    def read(atom):
        return atom.val if hasattr(atom, "val") else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in _RULES:
            results = _RULES[name](eqn, inputs)
        elif (inner := _called(eqn.params)) is not None:
            results = evaluate(inner, inputs)
        else:
            results = eqn.primitive.bind(*inputs, **eqn.params)
            results = results if eqn.primitive.multiple_results else [results]
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _called(params: Any) -> Any:
    """The program that an operation only calls: of jit, checkpoint and functions with rules of their own."""
    for name in ("jaxpr", "call_jaxpr", "call"):
        program = params.get(name)
        if hasattr(program, "eqns"):
            return _closed(program)
    return None


def _closed(program: Any) -> Any:
    return program if hasattr(program, "consts") else jax.extend.core.ClosedJaxpr(program, ())


def _while(eqn: Any, inputs: list[Any]) -> list[Any]:
    m, n = while_parts(eqn)
    asked, done, carry = inputs[:m], inputs[m : m + n], inputs[m + n :]
    while np.any(going := np.asarray(evaluate(eqn.params["cond_jaxpr"], [*asked, *carry])[0])):
        moved = evaluate(eqn.params["body_jaxpr"], [*done, *carry])
        # Lanes of a batch that have ended stay as they are.
        carry = moved if np.all(going) else [_where(going, *pair) for pair in zip(moved, carry, strict=True)]
    return carry


def _where(going: Any, moved: Any, old: Any) -> Any:
    return jnp.where(going.reshape(going.shape + (1,) * (moved.ndim - going.ndim)), moved, old)


def _scan(eqn: Any, inputs: list[Any]) -> list[Any]:
    m, n = scan_parts(eqn)
    constants, carry, columns = inputs[:m], inputs[m : m + n], inputs[m + n :]
    rows = []
    turns = range(eqn.params["length"])
    for i in reversed(turns) if eqn.params["reverse"] else turns:
        results = evaluate(eqn.params["jaxpr"], [*constants, *carry, *(column[i] for column in columns)])
        carry = results[:n]
        rows.append(results[n:])
    rows = rows[::-1] if eqn.params["reverse"] else rows
    return [*carry, *(jnp.stack(column) for column in zip(*rows, strict=True))]


def _cond(eqn: Any, inputs: list[Any]) -> list[Any]:
    branches = eqn.params["branches"]
    return evaluate(branches[min(max(int(inputs[0]), 0), len(branches) - 1)], inputs[1:])


def _linear_solve(eqn: Any, inputs: list[Any]) -> list[Any]:
    lengths, programs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    # The constants stand in the order (matvec, vecmat, solve, transpose_solve).
    start = lengths.matvec + lengths.vecmat
    used = inputs[start : start + lengths.solve]
    sides = inputs[start + lengths.solve + lengths.transpose_solve :]
    return evaluate(programs.solve, [*used, *sides])


_RULES = {"while": _while, "scan": _scan, "cond": _cond, "custom_linear_solve": _linear_solve}
