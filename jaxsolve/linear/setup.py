"""setup: what is made of a matrix once, for any number of solves."""

from typing import Any

import jax.numpy as jnp

from jaxsolve.core.precision import in_full
from jaxsolve.front.request import Solve, preconditioner_name
from jaxsolve.linear.deferred_preconditioner import frozen_recipe
from jaxsolve.linear.inverses import Inverses
from jaxsolve.linear.lagging import Refresh
from jaxsolve.linear.preparation import chosen
from jaxsolve.linear.problem import null_space
from jaxsolve.linear.reading import read_system
from jaxsolve.linear.ready import Ready, start


@in_full
def setup(
    A: Any, solve: Solve | None = None, *f_args: Any, x_like: Any = None, refresh: Any = None, **f_kwargs: Any
) -> Ready:
    """A system set up once: its operator as it runs, its preconditioner or factors, and the request.

    `js.solve_linear(ready, b)`, `js.solve_linear_info` and `js.solve_linear_many` solve with it; a `js.Solve` given
    there may change rtol, atol, max_iterations, x0, suppress and progress. Method and preconditioner are chosen here.

    Args:
        A: What `js.solve_linear` takes; a matrix with leading axes is a batch of systems.
        solve: What is asked.
        *f_args: Further arguments of a function A.
        x_like: For a function A: arrays like x, where the request has no first guess.
        refresh: When `ready.update(A)` makes preconditioner or factors anew: "always", "never", a number k (at every
            k-th update), "growth" (once a solve takes twice the iterations of the first one with them, or fails) or
            "growth(1.5)". Given, they are made in a form that does not depend on the values of A, as in jit: the
            carry of a scan keeps its structure. None: always, and of known values as well as these allow.
        **f_kwargs: Further arguments by name.

    Returns:
        A `Ready`, an object that is a pytree: it passes through jit, scan (as constant and as carry), vmap and grad.
        Its `repr` tells method, preconditioner, layout and bytes. `ready.update(A)` is the same for new values on the
        same positions. Gradients reach the values of A through the setup, and the operator in a `Ready`; what is made
        of A has none. Preconditioners and factors that lag cost iterations only, to the tolerance of the request:
        where a solve fails with them, its program makes them anew and solves again.

    Raises:
        TypeError: If A is of the wrong kind, is set up already, or a function without `x_like`.
        StructureError: If shapes do not fit the method.
        ValueError: If `refresh` is no policy.

    Cost: that of the preconditioner (`js.preconditioners()`) or of the factors, once; a solve then costs its
        iterations. A policy other than "always" holds the entries of A beside its layout.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = jnp.array([[4.0, 1.0], [1.0, 3.0]])
    >>> ready = js.setup(A, js.Solve("CG", preconditioner="jacobi"))
    >>> [round(v, 4) for v in js.solve_linear(ready, jnp.array([1.0, 2.0])).tolist()]
    [0.0909, 0.6364]
    >>> js.solve_linear(ready.update(2 * A), jnp.array([10.0, 8.0]), js.Solve(rtol=1e-10)).round(4).tolist()
    [1.0, 1.0]
    """
    if isinstance(A, Ready):
        raise TypeError(
            f"js.setup takes a matrix or a function; got a {A!r}, which is set up already. Use it as it is, or "
            "ready.update(A) for new values."
        )
    solve = Solve() if solve is None else solve
    if not isinstance(solve, Solve):
        raise TypeError(f"the second argument is a js.Solve, such as js.Solve('CG'); got {solve!r}.")
    policy = Refresh.of(refresh)
    reading = read_system(A, solve, f_args, f_kwargs, x_like)
    problem = reading.problem
    choice = chosen(solve, problem.A)
    other = None if solve.gradient_solve is None else chosen(solve.gradient_solve, problem.A)
    choices = [None if c is None else (c.method, c.preconditioner) for c in (choice, other)]
    nulls = null_space(solve, problem.structures)
    request = frozen_recipe((solve, choices))
    count = start(jnp.finfo(problem.structures.dtype).dtype)
    return Ready(
        A=reading.operator,
        inverses=Inverses.of(choices, problem, nulls, policy),
        offset=reading.offset,
        nulls=nulls,
        settings=request.split((solve, choices)),
        age=count,
        first=count,
        request=request,
        reasons=choice.reasons,
        rule=choice.rule,
        pattern=reading.pattern,
        structures=reading.structures,
        refresh=policy,
        label=preconditioner_name(choice.preconditioner),
    )
