"""What every test runs under: 8 virtual CPU devices, no silent broadcast or cast."""

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Read when JAX makes its first backend, so before any test body.  Tests mostly compile:
# with fewer of LLVM's passes they take three quarters of the time.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1"
)
os.environ["MPLBACKEND"] = "Agg"
# A shell that starts tests in the background has them ignore Ctrl-C, and nohup a closed
# terminal; and so the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if os.name == "posix" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

_TESTS = itertools.count(1)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for the length of one test; users, and all other tests, have it off."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def system_program() -> Callable[[str], str]:
    """`system_program(name)`: the path of a program (or of data) outside of Python.

    Where it is absent the test skips by name, and fails if ZOO_REQUIRE_SYSTEM is set.
    """

    def find(name: str) -> str:
        path = name if Path(name).is_absolute() else shutil.which(name)
        if path is not None and Path(path).exists():
            return path
        if os.environ.get("ZOO_REQUIRE_SYSTEM"):
            pytest.fail(f"{name} is absent, and ZOO_REQUIRE_SYSTEM is set")
        pytest.skip(f"{name} is absent")

    return find


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Every 16 tests JAX forgets what it compiled.

    A compiled program holds dozens of the process's memory maps, of which Linux allows
    65530; the whole suite would end in XLA's segmentation fault.
    """
    yield
    if next(_TESTS) % 16 == 0:
        jax.clear_caches()
