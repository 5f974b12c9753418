"""The program: arguments to a command, outcomes to an exit code."""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

import jax

from jaxsolve.cli import compare, demo, info, solve
from jaxsolve.cli.inputs import UsageError
from jaxsolve.core.results import ConvergenceException
from jaxsolve.core.version import __version__

#: Exit codes.
DONE, FAILED, USAGE = 0, 1, 2

_EPILOG = """\
Matrices are Matrix Market files (.mtx, .mtx.gz), MATLAB's (.mat), Harwell-Boeing files (.rb, .rua, .rsa), SciPy sparse
matrices (.npz) or dense NumPy arrays (.npy).
Completion in the shell, with the package argcomplete: eval "$(register-python-argcomplete jaxsolve)".
Exit codes: 0 all is well, 1 not converged (or `compare` caught a false claim), 2 bad usage or unreadable file.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Works in double precision unless told otherwise: the command is the program here, so it may set JAX's switch,
    which it puts back.

    Args:
        arguments: What was typed after the program's name; None for `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        prog="jaxsolve",
        description="Linear systems solved in JAX, by whatever suits the matrix.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxsolve {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (demo, solve, compare, info):
        command.register(commands)
    _complete(parser)
    try:
        given = parser.parse_args(arguments)
    except SystemExit as stop:
        return USAGE if stop.code else DONE
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        return DONE if given.run(given) else FAILED
    except UsageError as error:
        print(f"jaxsolve: error: {error}", file=sys.stderr)
        return USAGE
    except ConvergenceException as error:
        print(f"jaxsolve: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("jaxsolve: interrupted", file=sys.stderr)
        return FAILED
    finally:
        jax.config.update("jax_enable_x64", before)


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell that asks what may follow, and ends the program; does nothing in other runs."""
    if "_ARGCOMPLETE" in os.environ and importlib.util.find_spec("argcomplete"):
        importlib.import_module("argcomplete").autocomplete(parser)
