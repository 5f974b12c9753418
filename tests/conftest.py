"""The test session: double precision, cheap compilation, and what many tests share."""

import collections
import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator

import hypothesis
import jax
import numpy as np
import pytest

from tests.gallery.practice import matrix_folder

jax.config.update("jax_enable_x64", True)

# Nearly all the time of the tests is XLA's. Split into fewer parts and, in JAX 0.10, without the emitters of fusions
# (which later versions replaced, and the flag with them), a CG solve compiles in 0.26 s instead of 0.89 s. LLVM still
# optimises, so that rounding stays what users see. `XLA_FLAGS= pytest` compiles with XLA's own settings.
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))

# What one process compiled serves the others, the programs that tests start too: the first process makes the folder.
# With JAX_COMPILATION_CACHE_DIR set, it is kept for the next run.
_FOLDER = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _FOLDER = tempfile.mkdtemp(prefix="jaxsolve-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _FOLDER
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_unconfigure() -> None:
    if _FOLDER is not None:
        shutil.rmtree(_FOLDER, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "of the slow tests, so few that each value of each parameter of every test function still occurs"
    parser.addoption("--thin", action="store_true", help=text)


def _values(item: pytest.Item) -> tuple[str, ...]:
    call = getattr(item, "callspec", None)
    return tuple(f"{name}={value!r}" for name, value in call.params.items()) if call else ()


def _cover(quick: list[pytest.Item], slow: list[pytest.Item]) -> list[pytest.Item]:
    """Slow cases of one test function that with its quick ones hold each value: most new ones first, then in turn."""
    times = collections.Counter(value for item in quick for value in _values(item))
    chosen = []
    while slow:
        best = min(slow, key=lambda item: sorted(times[value] for value in _values(item)))
        if (quick or chosen) and all(times[value] for value in _values(best)):
            break
        slow.remove(best)
        chosen.append(best)
        times.update(_values(best))
    return chosen


def _leave_to_others(items: list[pytest.Item]) -> None:
    """`few(k)`: k quick cases of a test function, spread evenly, stay in the default run; the others are `further`."""
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        if "few" in item.keywords and not {"slow", "further"} & set(item.keywords):
            functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in functions.values():
        (count,) = cases[0].get_closest_marker("few").args
        kept = {k * len(cases) // count for k in range(count)}
        for k, item in enumerate(cases):
            if k not in kept:
                item.add_marker("further")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_to_others(items)
    if not config.getoption("--thin"):
        return
    functions: dict[str, tuple[list[pytest.Item], list[pytest.Item]]] = {}
    for item in items:
        cases = functions.setdefault(item.nodeid.partition("[")[0], ([], []))
        cases["slow" in item.keywords].append(item)
    kept = {item for quick, slow in functions.values() for item in (*quick, *_cover(quick, slow))}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "cpu" in item.keywords and jax.default_backend() != "cpu":
        raise pytest.skip.Exception("of what is chosen or compiled on a CPU.")


# Compilation makes the first example of a property slow and says nothing about it.
hypothesis.settings.register_profile("jaxsolve", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("jaxsolve")

_COMPILED: list[str] = []


def _note(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(str(kwargs.get("fun_name", "")))


jax.monitoring.register_event_duration_secs_listener(_note)


@contextlib.contextmanager
def _compilations() -> Iterator[list[str]]:
    start = len(_COMPILED)
    seen: list[str] = []
    yield seen
    seen.extend(_COMPILED[start:])


@pytest.fixture
def compilations() -> Callable[[], contextlib.AbstractContextManager[list[str]]]:
    """Context manager whose list holds, after the block, the names of the programs compiled inside it."""
    return _compilations


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20931)


@pytest.fixture(scope="session")
def matrices() -> pathlib.Path:
    """The folder of real matrices; skips where there is none."""
    folder = matrix_folder()
    if folder is None:
        raise pytest.skip.Exception("no real matrices: set JAXSOLVE_MATRICES to a folder of .npz files.")
    return folder


@pytest.fixture(autouse=True)
def _precision_stays() -> Iterator[None]:
    before = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    yield
    assert jax.config.jax_enable_x64 == before  # pyright: ignore[reportAttributeAccessIssue]
