"""A process of its own for every contender, so that memory is its own and no other library disturbs it.

The parent starts a ``Worker``; the child builds one index and then answers, one request at a time, what it is
told to measure. Only one worker works at any moment, so all contenders can be interleaved round by round and
a slow second of the machine hits them alike.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from compat import memory
from compat.contenders import Contender, Engine, Setting
from compat.data import Floats, Ids, Metric

WARM_ROWS = 1000  # enough to train any code; wakes thread crews and scratch buffers before memory is counted
WARM_SECONDS = 0.05  # caches and clock speed recover from whoever ran before: 32 MB are read in some 2 ms
LEAST_SECONDS = 0.1  # shorter passes are repeated: a timer and a scheduler have their grain
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerError(RuntimeError):
    """A contender failed in its process; the message is what it said there."""


@dataclass(frozen=True)
class Build:
    """What building cost.

    Attributes
    ----------
    seconds : float
        Train and add.
    threads : int
    bytes_said : float
        Bytes per row by the library's own account.
    bytes_cold : float or None
        How many of those only the last candidates of a search touch.
    bytes_grown : float or None
        Growth of the process's own memory per row, from before the build to after it.
    bytes_peak : float or None
        The same for the highest moment of the build.
    """

    seconds: float
    threads: int
    bytes_said: float
    bytes_cold: float | None
    bytes_grown: float | None
    bytes_peak: float | None


@dataclass(frozen=True)
class Pass:
    """One timed pass: queries per second, and processor seconds per second (how many cores it kept busy)."""

    qps: float
    cores: float


class Bench:
    """The child's side: one engine, its rows, and the three things it can be asked."""

    def __init__(self, contender: Contender, folder: Path, metric: Metric, k: int) -> None:
        # Copy-on-write maps stay file pages until somebody writes, and look like ordinary writable arrays.
        self.base: Floats = np.asarray(np.load(folder / "base.npy", mmap_mode="c"))
        self.queries: Floats = np.asarray(np.load(folder / "queries.npy"))
        self.contender, self.metric, self.k = contender, metric, k
        self.engine: Engine

    def build(self, threads: int) -> dict[str, Any]:
        """Build the index and return a ``Build`` as a dict."""
        few = self.base[:WARM_ROWS]
        warm = self._empty()
        warm.build(few, threads)
        self._search_first(warm, threads)
        del warm
        float(self.base.max())  # fault every page in, so that reading rows does not look like growth
        memory.settle()
        before, resident, has_peak = memory.anonymous(), memory.resident(), memory.reset_peak()
        start = time.perf_counter()
        self.engine = self._empty()
        self.engine.build(self.base, threads)
        seconds = time.perf_counter() - start
        peak = memory.peak() if has_peak else None
        memory.settle()
        after = memory.anonymous()
        rows, cold = len(self.base), self.engine.nbytes_cold()
        made = Build(
            seconds,
            threads,
            self.engine.nbytes() / rows,
            None if cold is None else cold / rows,
            None if before is None or after is None else (after - before) / rows,
            None if peak is None or resident is None else (peak - resident) / rows,
        )
        return asdict(made)

    def answer(self, setting: Setting, threads: int) -> Ids:
        """Return the ids for all queries, untimed."""
        self.engine.apply(setting, threads)
        return self.engine.search(self.queries, self.k)

    def rate(self, setting: Setting, threads: int, batch: int, most_seconds: float) -> dict[str, Any]:
        """Time a pass over the queries, ``batch`` per call, and return a ``Pass`` as a dict."""
        self.engine.apply(setting, threads)
        batches = [self.queries[at : at + batch] for at in range(0, len(self.queries), batch)]
        start = time.perf_counter()
        for queries in cycle(batches):
            self.engine.search(queries[:50], self.k)
            if time.perf_counter() - start >= WARM_SECONDS:
                break
        done = 0
        busy, start = time.process_time(), time.perf_counter()
        for queries in cycle(batches):
            self.engine.search(queries, self.k)
            done += len(queries)
            elapsed = time.perf_counter() - start
            if elapsed >= most_seconds or (done >= len(self.queries) and elapsed >= LEAST_SECONDS):
                break
        return asdict(Pass(done / elapsed, (time.process_time() - busy) / elapsed))

    def _empty(self) -> Engine:
        return self.contender.make(self.base.shape[1], self.metric)

    def _search_first(self, engine: Engine, threads: int) -> None:
        k = min(self.k, len(self.base), WARM_ROWS)
        engine.apply(self.contender.settings(k)[-1], threads)
        engine.search(self.queries, k)


def serve(pipe: Connection, contender: Contender, folder: Path, metric: Metric, k: int) -> None:
    """Answer requests until the parent hangs up. A request is (method, arguments), a reply (ok, value)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends its workers
    bench: Bench | None = None
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            bench = bench or Bench(contender, folder, metric, k)
            reply = (True, getattr(bench, method)(*arguments))
        except Exception:
            reply = (False, traceback.format_exc())
        pipe.send(reply)


class Worker:
    """The parent's side of one contender's process.

    Parameters
    ----------
    contender : Contender
    folder : Path
        Holds ``base.npy`` and ``queries.npy``, float32.
    metric : {"l2", "ip", "cosine"}
    k : int
    threads : int
        What NumPy's BLAS may use while the contender trains; the same as for the build.
    """

    def __init__(self, contender: Contender, folder: Path, metric: Metric, k: int, threads: int) -> None:
        self.contender = contender
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        given = (theirs, contender, folder, metric, k)
        self._process = context.Process(target=serve, args=given, daemon=True)
        with _environment(dict.fromkeys(BLAS_THREADS, str(threads))):
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The number of its process."""
        return self._process.pid

    def build(self, threads: int) -> Build:
        """Build the index there."""
        return Build(**self._ask("build", threads))

    def answer(self, setting: Setting, threads: int) -> Ids:
        """Return the ids it gives to all queries."""
        found: Ids = self._ask("answer", setting, threads)
        return found

    def rate(self, setting: Setting, threads: int, batch: int, most_seconds: float) -> Pass:
        """Time one pass there."""
        return Pass(**self._ask("rate", setting, threads, batch, most_seconds))

    def close(self) -> None:
        """Let the process end, at once if it is in the middle of something."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((method, arguments))
            went_well, value = self._pipe.recv()
        except (EOFError, OSError) as lost:
            self._process.join(timeout=5)
            code = self._process.exitcode
            raise WorkerError(f"the process ended when asked to {method} (exit code {code})") from lost
        if not went_well:
            raise WorkerError(f"could not {method}:\n{value}")
        return value


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a child that is started inside."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
