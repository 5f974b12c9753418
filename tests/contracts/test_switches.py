"""Every public call under each of JAX's switches: right, or refused in words."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.contracts.switches import CALLS, answers

SWITCHES = {
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_check_tracer_leaks": "True",
    "jax_debug_nans": "True",
    "jax_enable_checks": "True",
    "jax_disable_jit": "True",
    "jax_transfer_guard": "disallow",
}
#: For every run of the tests: calls that between them go through most rooms of the package.
FEW = ("complex numbers CG", "gradient LU", "traced values with jacobi", "root newton", "complex numbers SVD")


def works(switch, *words):
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts.switches", switch, SWITCHES[switch], *words],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(len(SWITCHES)), ids=list(SWITCHES))
def test_a_call_of_each_kind_works_under_each_switch(turn):
    works(list(SWITCHES)[turn], str(turn))


# Up to five minutes a switch.
@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_call_works_under_each_switch(switch):
    works(switch)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", FEW)
def test_a_few_calls_work_under_all_switches_at_once(name):
    f, expected = CALLS[name]()
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.checking_leaks(),
        jax.debug_nans(True),
    ):
        assert answers(f, expected, 1e-5) == ""
