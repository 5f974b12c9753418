"""What a solve costs beside its program: the calls of Python into the package, and microseconds for tiny systems.

python -m benchmarks.overhead [--repeats 300] [--rounds 9] [--walk]

One row for each kind of call: files, functions and calls of a repeated one, and the least microseconds of one call in
any round. To compare two versions, run each with its own PYTHONPATH, in turns.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import scipy.sparse

import jaxsolve as js
from benchmarks.hops import counted, hops
from benchmarks.timing import report


def calls() -> dict[str, Callable[[], Any]]:
    A, b, CG, LU = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0]), js.Solve("CG"), js.Solve("LU")
    tridiagonal = scipy.sparse.diags_array([-1.0, 4.0, -1.0], offsets=[-1, 0, 1], shape=(100, 100))
    S, ones = js.SparseMatrix.from_scipy(tridiagonal.tocsr()), jnp.ones(100)
    newton = js.Solve("newton", x0=jnp.ones(2))

    def cubic(x: Any) -> Any:
        return x**3

    def loss(b: Any) -> Any:
        return js.solve_linear(A, b, CG).sum()

    return {
        "request and solve": lambda: js.solve_linear(A, b, js.Solve("CG")),
        "dense, CG": lambda: js.solve_linear(A, b, CG),
        "dense, LU": lambda: js.solve_linear(A, b, LU),
        "dense, auto": lambda: js.solve_linear(A, b),
        "sparse, CG": lambda: js.solve_linear(S, ones, CG),
        "gradient": lambda: jax.grad(loss)(b),
        "gradient, traced": lambda: jax.jit(jax.grad(lambda b: loss(b))).trace(b),
        "newton": lambda: js.solve_nonlinear(cubic, b, newton),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--walk", action="store_true", help="print the calls of the first row, one a line")
    options = parser.parse_args()
    for number, (name, run) in enumerate(calls().items()):
        walk = hops(run)
        if options.walk and number == 0:
            print(*[" ".join(hop) for hop in walk], sep="\n")
        repeats = options.repeats if "gradient" not in name and name != "newton" else options.repeats // 10
        best = float("inf")
        for _ in range(options.rounds):
            start = time.perf_counter()
            for _ in range(max(repeats, 1)):
                run()
            best = min(best, (time.perf_counter() - start) / max(repeats, 1))
        report(call=name, **counted(walk), microseconds=best * 1e6)


if __name__ == "__main__":
    main()
