"""Fixtures that every test shares: the CPU levels, seeded data, and hypothesis without a clock."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers lie side by side on all cores: more threads of a BLAS would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from inlay.kernels import table
from inlay.parallel.crew import get_num_threads, set_num_threads

# A deadline would assert a time, and other examples in every run would hide which change broke what.
settings.register_profile("inlay", deadline=None, derandomize=True, max_examples=10)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("INLAY_HYPOTHESIS", "inlay"))


def pytest_configure(config: pytest.Config) -> None:
    # Workers of pytest-xdist ignore Ctrl-C, and their children would inherit that.
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data", type=Path, help="folder of real data sets; tests that need it are skipped without"
    )
    parser.addoption(
        "--sharded",
        metavar="SHARDSxREPLICAS",
        help="run the tests of the collection on a sharded one, such as 2x1; needs Ray",
    )


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Connect to a Ray on the loopback address that all workers of this run share."""
    from tests import ray_cluster  # before Ray, which reads the environment when it is imported

    pytest.importorskip("ray", reason="needs Ray: pip install 'inlay[ray]'")
    place = tmp_path_factory.getbasetemp()
    users = ray_cluster.join(place.parent if "PYTEST_XDIST_WORKER" in os.environ else place)
    yield
    ray_cluster.leave(users)


@pytest.fixture(scope="session")
def data_folder(request: pytest.FixtureRequest) -> Path:
    folder: Path | None = request.config.getoption("--data")
    if folder is None:
        pytest.skip("needs real data: pytest --data FOLDER")
    return folder


@pytest.fixture(params=table.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test once at every level this CPU has, the package's own choice of kernels included."""
    before = table.level()
    table.set_level(request.param)
    yield request.param
    table.set_level(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_240_501)


@pytest.fixture
def threads() -> Iterator[object]:
    """Set the number of threads; it is what it was afterwards."""
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)
