"""A ``Figure`` is what was measured of one setting, a line of JSON; a file of such lines can be continued.

A line says everything that is needed to compare it: the data, the contender and its version, the setting, how
it was asked, the machine and the run. Every round is written as soon as it is over; lines with the same
``key`` are rounds of one question, and are read as one figure.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from compat.contenders import Kind

Mode = Literal["single", "batch"]
MODES: tuple[Mode, ...] = ("single", "batch")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Figure:
    """Everything measured of one contender at one setting, asked in one way.

    Attributes
    ----------
    data, fingerprint, n, dim, metric, queries
        The data set: name, checksum, rows, dimensions, metric, number of queries.
    k : int
        Neighbours asked for.
    contender, baseline, kind, library, version
        Who; ``baseline`` is False for Inlay, ``kind`` one of `compat.contenders.KINDS`.
    setting : dict
        Search parameters of the contender, by name.
    mode, batch, threads
        "single" (one query per call) or "batch" (``batch`` queries per call), at so many threads.
    recall : float
        Mean share of the k nearest found, ties counted as right.
    qps : float
        Queries per second, the best round; ``qps_rounds`` has all of them.
    cores : float
        Processor seconds per second in the best round: how many cores were really busy.
    build_seconds, build_threads, bytes_said, bytes_cold, bytes_grown, bytes_peak
        What building cost (see ``compat.worker.Build``); bytes are per row, None where nobody can tell.
    machine, run
        The processor's name, and when the run started: ratios are taken within one run.
    """

    data: str
    fingerprint: str
    n: int
    dim: int
    metric: str
    queries: int
    k: int
    contender: str
    baseline: bool
    kind: Kind
    library: str
    version: str
    setting: dict[str, int]
    mode: Mode
    batch: int
    threads: int
    recall: float
    qps: float
    qps_rounds: list[float]
    cores: float
    build_seconds: float
    build_threads: int
    bytes_said: float
    bytes_cold: float | None
    bytes_grown: float | None
    bytes_peak: float | None
    machine: str
    run: str

    @property
    def key(self) -> Key:
        """What was asked; equal keys are answers to the same question."""
        return question(
            self.fingerprint, self.k, self.contender, self.setting, self.mode, self.batch, self.threads
        )

    @property
    def bytes_hot(self) -> float | None:
        """Bytes per row that every search may touch; None where the library does not tell them apart."""
        return None if self.bytes_cold is None else self.bytes_said - self.bytes_cold

    @property
    def subject(self) -> tuple[str, str, str, int]:
        """The data, its fingerprint, the metric and k: figures that stand under one heading."""
        return self.data, self.fingerprint, self.metric, self.k

    @property
    def way(self) -> tuple[int, int, int]:
        """The way of asking: threads, mode and batch, in the order in which they are shown."""
        return self.threads, MODES.index(self.mode), self.batch

    @property
    def subject_text(self) -> str:
        """The data as headings have it."""
        return f"{self.data}: {self.n:,} x {self.dim}, {self.metric}"

    @property
    def way_text(self) -> str:
        """The way of asking as headings have it."""
        how = "one query per call" if self.mode == "single" else f"{self.batch} queries per call"
        return f"{how}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def setting_text(self) -> str:
        """The setting as it is shown: ``ef=64``, or ``-`` when there is nothing to set."""
        return " ".join(f"{name}={value}" for name, value in self.setting.items()) or "-"


def question(
    fingerprint: str, k: int, contender: str, setting: dict[str, int], mode: Mode, batch: int, threads: int
) -> Key:
    """Return the key of a figure before it is measured."""
    return fingerprint, k, contender, tuple(sorted(setting.items())), mode, batch, threads


def together(rounds: Iterable[Figure]) -> dict[Key, Figure]:
    """Return figures by their keys, rounds of one question as one: that of the best, with all rounds."""
    made: dict[Key, Figure] = {}
    for one in rounds:
        other = made.get(one.key)
        if other is None:
            made[one.key] = one
        else:
            best = max(other, one, key=lambda figure: figure.qps)
            made[one.key] = replace(best, qps_rounds=other.qps_rounds + one.qps_rounds)
    return made


def read(path: Path) -> list[Figure]:
    """Return the figures in a file, none when there is no such file.

    A last line without its end is what a killed run leaves behind: it is cut off, so that the file can be
    continued.

    Raises
    ------
    ValueError
        A line that is not a figure, with its number.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    names = {field.name for field in fields(Figure)}
    figures = []
    for number, line in enumerate(whole.decode().splitlines(), start=1):
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error}); give another --out") from error
        if not isinstance(found, dict) or set(found) != names:
            raise ValueError(f"{path}, line {number} is not a figure of compat.run; give another --out")
        figures.append(Figure(**found))
    return list(together(figures).values())


def append(path: Path, figures: Iterable[Figure]) -> None:
    """Add figures to the end of a file, made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(json.dumps(asdict(figure)) + "\n" for figure in figures))


def machine() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
