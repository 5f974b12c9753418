"""Tolerances and limits on the command line."""

import argparse


def add_tolerances(parser: argparse.ArgumentParser) -> None:
    """Declares the options that all commands that solve share."""
    parser.add_argument("--rhs", metavar="FILE", help="right-hand side: a file, `ones` or `random` "
                        "(default: A times a random vector)")  # fmt: skip
    parser.add_argument("--rtol", type=_tolerance, default=1e-5, help="relative tolerance (default 1e-5)")
    parser.add_argument("--max-iterations", type=_count, default=1000, metavar="N", help="default 1000")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64", help="precision")


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number that is not negative; got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number that is not negative; got {text}")
    return value
