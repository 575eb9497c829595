"""The race: contenders take turns, round after round, until every setting has had its rounds.

A way of asking is a number of threads and a number of queries per call. For each of them all contenders run
in turn, and then again, so that a slow second of the machine hits them alike; a setting's best round counts.
Every round is kept at once: a race that was stopped goes on where it was, with whoever has rounds to go.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from compat import data as sets
from compat.contenders import Contender, Setting, version
from compat.data import DataSet
from compat.figures import Figure, Mode, append, machine, question, read, together
from compat.worker import Build, Pass, Worker, WorkerError

Cell = tuple[int, Mode, int]  # a way of asking: threads, mode, queries per call


@dataclass(frozen=True)
class Plan:
    """How everybody is measured."""

    k: int
    threads: dict[Mode, tuple[int, ...]]  # for every mode that is measured
    batch: int
    rounds: int
    seconds: float
    build_threads: int
    quick: bool

    def settings(self, contender: Contender) -> list[Setting]:
        """Return the sweep of a contender; a quick look takes its ends and its middle."""
        sweep = contender.settings(self.k)
        if self.quick and len(sweep) > 3:
            return [sweep[0], sweep[len(sweep) // 2], sweep[-1]]
        return sweep

    def cells(self) -> list[Cell]:
        """Return the ways of asking, in the order they are measured."""
        sizes = {"single": 1, "batch": self.batch}
        return [(threads, mode, sizes[mode]) for mode, counts in self.threads.items() for threads in counts]


@dataclass
class Entry:
    """A contender in the race: its process, what building it cost, and the recall of each setting so far."""

    contender: Contender
    worker: Worker
    build: Build
    recalls: dict[str, float] = field(default_factory=dict)


class Race:
    """Measures contenders on one data set and keeps what was found.

    Parameters
    ----------
    data : DataSet
    folder : Path
        Where the rows lie for the workers.
    plan : Plan
    out : Path or None
        A file of figures to continue; None keeps them in memory only.

    Attributes
    ----------
    failures : list of str
        What went wrong, one message per contender that had to be dropped.
    """

    def __init__(self, data: DataSet, folder: Path, plan: Plan, out: Path | None) -> None:
        self.data, self.folder, self.plan, self.out = data, folder, plan, out
        self.fingerprint = data.fingerprint()
        self.run, self.machine = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), machine()
        earlier = [] if out is None else read(out)
        self._found = together(f for f in earlier if (f.fingerprint, f.k) == (self.fingerprint, plan.k))
        self.failures: list[str] = []

    @property
    def figures(self) -> list[Figure]:
        """What was found, earlier runs included."""
        return list(self._found.values())

    def open_settings(self, contender: Contender, cell: Cell, turn: int) -> list[Setting]:
        """Return the settings of a contender that have not had this turn at this way of asking."""
        threads, mode, batch = cell

        def rounds(setting: Setting) -> int:
            key = question(self.fingerprint, self.plan.k, contender.name, setting, mode, batch, threads)
            return len(self._found[key].qps_rounds) if key in self._found else 0

        return [setting for setting in self.plan.settings(contender) if rounds(setting) <= turn]

    def steps(self, contender: Contender) -> int:
        """Return how many requests a contender will be sent: a build, and rounds of passes."""
        turns = range(self.plan.rounds)
        passes = sum(
            len(self.open_settings(contender, cell, turn)) for cell in self.plan.cells() for turn in turns
        )
        return 1 + passes if passes else 0

    def measure(self, team: Sequence[Contender], bar: tqdm[None]) -> None:
        """Build the contenders of a team and let them take turns until nothing is open."""
        with ExitStack() as processes:
            entries = []
            for contender in team:
                if not self.steps(contender):
                    continue
                bar.set_description(f"build {contender.name}")
                threads = self.plan.build_threads
                worker = Worker(contender, self.folder, self.data.metric, self.plan.k, threads)
                processes.enter_context(closing(worker))
                try:
                    entries.append(Entry(contender, worker, worker.build(threads)))
                except WorkerError as error:
                    self.failures.append(f"{contender.name}: {error}")
                bar.update()
            for cell in self.plan.cells():
                entries = self._measure_cell(entries, cell, bar)

    def _measure_cell(self, entries: list[Entry], cell: Cell, bar: tqdm[None]) -> list[Entry]:
        """Run all rounds of one way of asking and return who is still standing."""
        threads, mode, batch = cell
        for turn in range(self.plan.rounds):
            # Every other round runs backwards, so that nobody always follows the same neighbour.
            for entry in entries[:: 1 if turn % 2 == 0 else -1]:
                bar.set_description(
                    f"{mode}, {threads} thread(s), round {turn + 1}, {entry.contender.name}", refresh=False
                )
                try:
                    for setting in self.open_settings(entry.contender, cell, turn):
                        self._learn_recall(entry, setting, threads)
                        taken = entry.worker.rate(setting, threads, batch, self.plan.seconds)
                        self._keep(self._figure(entry, setting, cell, taken))
                        bar.update()
                except (WorkerError, ValueError) as error:  # a ValueError: ids that no row has
                    self.failures.append(f"{entry.contender.name}: {error}")
                    entries = [other for other in entries if other is not entry]
        return entries

    def _learn_recall(self, entry: Entry, setting: Setting, threads: int) -> None:
        if str(setting) not in entry.recalls:
            found = entry.worker.answer(setting, threads)
            entry.recalls[str(setting)] = sets.recall(self.data, found, self.plan.k)

    def _figure(self, entry: Entry, setting: Setting, cell: Cell, taken: Pass) -> Figure:
        threads, mode, batch = cell
        library = entry.contender.engine.library
        return Figure(
            data=self.data.name,
            fingerprint=self.fingerprint,
            n=len(self.data.base),
            dim=self.data.base.shape[1],
            metric=self.data.metric,
            queries=len(self.data.queries),
            k=self.plan.k,
            contender=entry.contender.name,
            baseline=entry.contender.is_baseline,
            kind=entry.contender.kind,
            library=library,
            version=version(library),
            setting=setting,
            mode=mode,
            batch=batch,
            threads=threads,
            recall=entry.recalls[str(setting)],
            qps=taken.qps,
            qps_rounds=[taken.qps],
            cores=taken.cores,
            build_seconds=entry.build.seconds,
            build_threads=entry.build.threads,
            bytes_said=entry.build.bytes_said,
            bytes_cold=entry.build.bytes_cold,
            bytes_grown=entry.build.bytes_grown,
            bytes_peak=entry.build.bytes_peak,
            machine=self.machine,
            run=self.run,
        )

    def _keep(self, one: Figure) -> None:
        earlier = self._found.get(one.key)
        self._found |= together([one] if earlier is None else [earlier, one])
        if self.out is not None:
            append(self.out, [one])
