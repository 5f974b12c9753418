"""lineax's own tests, solved by jaxsolve: `python -m benchmarks.lineax_suite CHECKOUT [options]`.

CHECKOUT is lineax's repository (its packages hold no tests): `git clone https://github.com/patrick-kidger/lineax`; the
options are pytest's. Tests that take no solvers from tests/helpers.py run with lineax's. Strict dtype and rank
promotion are on, as lineax has them.
"""

import importlib
import os
import sys

import jax
import pytest


def solvers() -> list[tuple]:
    """Each with the tags its matrices have, and whether it solves singular ones."""
    import lineax as lx  # noqa: PLC0415

    import jaxsolve as js  # noqa: PLC0415
    from jaxsolve.lineax import Jaxsolve  # noqa: PLC0415

    tight = {"rtol": 1e-13}
    return [
        (Jaxsolve(js.Solve(**tight)), (), False),
        (Jaxsolve(js.Solve("sparse-direct", **tight)), (), False),
        (Jaxsolve(js.Solve("GMres", **tight)), (), False),
        (Jaxsolve(js.Solve("GMres", preconditioner="ilu", **tight)), (), False),
        (Jaxsolve(js.Solve("CG", **tight)), lx.positive_semidefinite_tag, False),
        (Jaxsolve(js.Solve("CG", **tight), read=False), lx.negative_semidefinite_tag, False),
        (Jaxsolve(js.Solve("lsmr", **tight), full_rank=False), (), True),
    ]


def main(checkout: str, *options: str) -> int:
    os.chdir(checkout)
    sys.path.insert(0, checkout)
    for name, value in (
        ("enable_x64", True),
        ("numpy_dtype_promotion", "strict"),
        ("numpy_rank_promotion", "raise"),
    ):
        jax.config.update(f"jax_{name}", value)
    helpers = importlib.import_module("tests.helpers")
    chosen = solvers()
    helpers.solvers_tags_pseudoinverse[:] = chosen
    helpers.solvers_tags[:] = [(solver, tags) for solver, tags, _ in chosen]
    helpers.solvers[:] = [solver for solver, _, _ in chosen]
    helpers.pseudosolvers_tags[:] = [(solver, tags) for solver, tags, singular in chosen if singular]
    return int(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "addopts=", *(options or ["tests"])]))


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), *sys.argv[2:]))
