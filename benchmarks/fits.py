"""Fits and equations that index: power flow, NIST's regressions, pose graphs; compilation apart.

python -m benchmarks.fits [--problems flow regressions poses] [--towns 113] [--scenarios 100] [--poses 2000]
    [--nist FOLDER] [--repeats 3]
"""

import argparse
import pathlib
from collections.abc import Callable

import jax

from benchmarks.more_garbow import compare_more_garbow
from benchmarks.nist import compare_regressions
from benchmarks.pose_graphs import compare_poses
from benchmarks.pose_graphs_3d import compare_spheres
from benchmarks.power_flow import compare_power_flow


def problems(options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    return {
        "flow": lambda: compare_power_flow(options.towns, options.scenarios, options.repeats),
        "regressions": lambda: compare_regressions(options.nist),
        "poses": lambda: compare_poses(options.poses, options.repeats),
        "more-garbow": compare_more_garbow,
        "sphere": lambda: compare_spheres(options.sphere, options.repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="*", default=["flow", "poses"])
    parser.add_argument("--towns", type=int, default=113, help="of 14 buses each; 113 make 2846 unknowns")
    parser.add_argument("--scenarios", type=int, default=100)
    parser.add_argument("--poses", type=int, default=2000)
    parser.add_argument("--sphere", type=int, default=500, help="poses around a sphere")
    parser.add_argument("--nist", type=pathlib.Path, help="where NIST's .dat files are, for regressions")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if "regressions" in options.problems and options.nist is None:
        parser.error("regressions need --nist, the folder that holds Misra1a.dat and the others")
    jax.config.update("jax_enable_x64", True)
    runs = problems(options)
    for name in options.problems:
        runs[name]()


if __name__ == "__main__":
    main()
