"""A check that raises when the values are there: at once in eager mode, out of the compiled program under jit."""

import contextlib
import copy
import functools
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import Mesh, PartitionSpec

from jaxsolve.core.options import require_function
from jaxsolve.core.recent import Recent
from jaxsolve.core.shards import axes_inside, cond

checked_p = Primitive("checked")

#: What marks the text of an exception raised inside a compiled program.
_MARK = r"\[jaxsolve failure (\d+)\]"

#: Turns the concrete evidence into the exception to raise, or None. Hashable, compared with `==`.
Judge = Callable[..., Exception | None]


def checked(
    x: Array, failed: Array, evidence: Sequence[Array], judge: Judge, mesh: Mesh | None = None
) -> Array:
    """x, unless `failed`: then what `judge(*evidence)` returns is raised.

    Evaluated eagerly (also where a gradient or a vmap evaluates eagerly), the exception keeps its class. Compiled,
    JAX reports a runtime error with its text; `jit` of this module turns that into the exception again.

    Args:
        x: The value that must not be used unchecked.
        failed: Bool scalar.
        evidence: Arrays handed to `judge` as NumPy arrays; under vmap they all get a leading axis.
        judge: Makes the exception; where it has a method `quietly`, that does so on all devices but the first.
        mesh: The devices on which x lies: each of them raises, since none may wait for one that has.
    """
    return checked_p.bind(x, failed, *evidence, judge=judge, mesh=mesh)


@checked_p.def_impl
def _evaluate(x, failed, *evidence, judge, mesh):
    if np.any(np.asarray(failed)):
        error = judge(*[np.asarray(value) for value in evidence])
        if error is not None:
            raise error
    return x


@checked_p.def_abstract_eval
def _shape(x, failed, *evidence, **static):
    return x


def _batch(args, axes, **static):
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    moved = [
        jnp.broadcast_to(a, (size, *jnp.shape(a))) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(args, axes, strict=True)
    ]
    return checked_p.bind(*moved, **static), 0


def _jvp(primals, tangents, **static):
    return checked_p.bind(*primals, **static), tangents[0]


def _compiled(x, failed, *evidence, judge, mesh):
    # The evidence travels to the host only when something failed; x depends on the callback, so it is not dropped.
    def report(first, *evidence):
        nothing = jax.ShapeDtypeStruct((), np.bool_)
        return jax.pure_callback(_Report(judge), nothing, first, *evidence, vmap_method="sequential")

    def of_device(*evidence):
        return report(lax.axis_index(where.axis_names) == 0, *evidence)

    where: Any = _devices_of(mesh)
    if where is None:
        run = functools.partial(report, np.True_)
    else:
        run = jax.shard_map(
            of_device, mesh=where, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
        )
    bad = cond(jnp.any(failed), lambda: run(*evidence), lambda: jnp.array(False))
    return jnp.where(bad, jnp.zeros_like(x), x)


def _devices_of(mesh: Mesh | None) -> Mesh | None:
    """The devices that report; None for the one of this program.

    A callback outside of `shard_map` runs on one device, in one process, and the others would wait for it.
    """
    if mesh is not None or jax.process_count() == 1 or axes_inside():
        return mesh
    return Mesh(np.array(jax.devices()), ("devices",))


batching.primitive_batchers[checked_p] = _batch
ad.primitive_jvps[checked_p] = _jvp
mlir.register_lowering(checked_p, mlir.lower_fun(_compiled, multiple_results=False))


class _Report:
    """The host side of a compiled check; equal for equal judges, so that programs are shared."""

    def __init__(self, judge: Judge):
        self.judge = judge

    def __call__(self, first, *evidence):
        judge = self.judge if first else getattr(self.judge, "quietly", self.judge)
        error = judge(*[np.asarray(value) for value in evidence])
        if error is None:
            return np.False_
        # JAX passes on the text alone: the number in it leads back to the exception.
        raised = copy.copy(error)
        raised.args = (f"{error} [jaxsolve failure {_FAILURES.file(error)}]",)
        raise raised

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Report) and other.judge == self.judge

    def __hash__(self) -> int:
        return hash(self.judge)


class _Failures:
    """The last exceptions raised inside compiled programs, by number: their text is all that JAX passes on."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._kept: Recent[Exception] = Recent(most_bytes=2**28)

    def file(self, error: Exception) -> int:
        number = next(self._numbers)
        self._kept.keep(error, number)
        return number

    def take(self, text: str) -> Exception | None:
        match = re.search(_MARK, text)
        if match is None:
            return None
        number = int(match.group(1))
        found = self._kept.find(number)
        self._kept.drop(number)
        return found


_FAILURES = _Failures()


def _not_ours(record: logging.LogRecord) -> bool:
    """Whether a log record tells of something else than a failed check."""
    error = record.exc_info[1] if record.exc_info else None
    return re.search(_MARK, str(error)) is None


# JAX logs the traceback of every exception in a callback before it raises it: a page that says nothing more.
logging.getLogger("jax._src.callback").addFilter(_not_ours)


@contextlib.contextmanager
def classes_kept() -> Iterator[None]:
    """Inside, what a check raises in a compiled program keeps its class; the program must end inside too."""
    try:
        yield
    except Exception as error:
        found = _FAILURES.take(str(error))
        if found is None:
            raise
        raise found from None


def jit(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`f` compiled, raising `NotConverged` or `Diverged` with its `result` when a solve inside it fails.

    A thin `equinox.filter_jit`: arrays, and the numbers of a `js.Solve` among the arguments, are traced; everything
    else is static. Waits for the result.

    Args:
        f: Function of pytrees.
        **options: Passed to `equinox.filter_jit`, `donate` for example.

    Returns:
        A function of the same arguments and results.

    Raises:
        TypeError: If f is no function.
        NotConverged: From the compiled function, if a solve inside missed its tolerance.
        Diverged: From the compiled function, if the iterates of a solve inside left for infinity.

    Cost: one trace and compilation for each structure of the arguments; some microseconds a call.

    >>> import jaxsolve as js
    >>> solve = js.jit(lambda A, b: js.solve_linear(A, b))
    >>> solve(2 * jnp.eye(3), jnp.ones(3)).tolist()
    [0.5, 0.5, 0.5]
    """
    require_function("js.jit", f)
    compiled = eqx.filter_jit(f, **options)

    @functools.wraps(f)
    def call(*args, **kwargs):
        try:
            return jax.block_until_ready(compiled(*_data(args), **_data(kwargs)))
        except Exception as error:
            found = _FAILURES.take(str(error))
            if found is None:
                raise
        raise found from None

    return call


def _data(arguments: Any) -> Any:
    """Arguments with the numbers of requests as arrays; what has `with_arrays` says itself how."""

    def is_request(value: Any) -> bool:
        return hasattr(type(value), "with_arrays")

    return jax.tree.map(lambda v: v.with_arrays() if is_request(v) else v, arguments, is_leaf=is_request)
