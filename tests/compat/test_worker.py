"""Promises of compat.worker: a contender is measured in its own process, and its death is its own too."""

import os
import signal
from contextlib import closing

import pytest

from compat.contenders import select
from compat.data import clustered, prepare, recall
from compat.worker import BLAS_THREADS, Worker, WorkerError

ROWS, DIM = 20_000, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def data(folder):
    return prepare(clustered(ROWS, DIM, 40, seed=2), "l2", 10, folder)


@pytest.fixture
def worker(data, folder):
    (contender,) = select(["inlay-Flat"])
    with closing(Worker(contender, folder, "l2", 10, 1)) as made:
        yield made


def test_memory_is_charged_to_the_index_and_not_to_the_rows_it_was_given(worker):
    build = worker.build(1)
    assert build.seconds > 0
    assert build.bytes_said >= 4 * DIM
    assert build.bytes_cold == 0  # an exact scan touches every byte it has
    if build.bytes_grown is not None:
        assert build.bytes_grown == pytest.approx(build.bytes_said, rel=0.35)
    if build.bytes_grown is not None and build.bytes_peak is not None:
        assert build.bytes_peak > 0.9 * build.bytes_grown


def test_answers_and_speeds_come_from_the_built_index(worker, data):
    worker.build(1)
    assert recall(data, worker.answer({}, 1), 10) == 1.0
    taken = worker.rate({}, 1, batch=16, most_seconds=0.05)
    assert taken.qps > 0
    assert taken.cores > 0


def test_what_goes_wrong_inside_is_told_outside_and_the_process_lives_on(worker):
    with pytest.raises(WorkerError, match="could not answer"):
        worker.answer({}, 1)
    assert worker.build(1).threads == 1


def test_a_killed_process_is_an_error_not_a_hang(worker):
    worker.build(1)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="the process ended when asked to answer"):
        worker.answer({}, 1)


def test_starting_one_leaves_the_environment_as_it_was(data, folder, monkeypatch):
    monkeypatch.setenv(BLAS_THREADS[0], "7")
    monkeypatch.delenv(BLAS_THREADS[1], raising=False)
    before = dict(os.environ)
    with closing(Worker(select(["inlay-Flat"])[0], folder, "l2", 10, 1)):
        assert dict(os.environ) == before
