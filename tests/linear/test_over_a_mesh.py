"""Matrices whose rows lie on the devices of a mesh, in one process and in two."""

import os
import socket
import subprocess
import sys

import pytest

from tests.gallery.several_devices import own_paths, run, with_devices
from tests.linear import over_a_mesh, two_processes


def test_a_solve_and_refusals():
    run(over_a_mesh.__file__, "a_solve", "refusals")


@pytest.mark.further
def test_layouts_messages_and_failures():
    run(over_a_mesh.__file__, "products", "solves", "messages", "failures", "explicit_axes")


@pytest.mark.further
@pytest.mark.parametrize(
    "name",
    [
        "gradients",
        "multigrid",
        "singular",
        "batches",
        "other_preconditioners",
        "blocks_of_devices",
        "nonlinear_problems",
    ],
)
def test_what_else_a_mesh_bears(name):
    run(over_a_mesh.__file__, name)


@pytest.mark.slow
def test_every_method():
    run(over_a_mesh.__file__, "every_method")


@pytest.mark.further
def test_two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "XLA_FLAGS": with_devices(2),
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": own_paths(),
    }
    both = [
        subprocess.Popen(
            [sys.executable, two_processes.__file__, str(rank), port],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300) for process in both]
    for out, errors in told:
        assert out.split("\n")[-2:] == ["all right", ""], out + errors[-5000:]
