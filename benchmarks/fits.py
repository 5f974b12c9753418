"""Fits and equations that index: regressions.

python -m benchmarks.fits [--problems regressions] [--nist FOLDER]
"""

import argparse
import pathlib

import jax

from benchmarks.nist import compare_regressions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="*", default=["regressions"])
    parser.add_argument(
        "--nist", type=pathlib.Path, help="where NIST's .dat files are; without it none is fitted"
    )
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if "regressions" in options.problems and options.nist is not None:
        compare_regressions(options.nist)


if __name__ == "__main__":
    main()
