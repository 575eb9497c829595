"""Recall that must not be lost: small fixed data, every form, and the floors that ``floors.toml`` states.

    python -m compat.floors            what is measured now, beside the floor
    python -m compat.floors --state    the lines for floors.toml, each measured value less its margin

The data is made in code from the seed and shape in the file: the same question on every machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import inlay
from compat import data as sets
from compat.data import METRICS, DataSet, Metric, recall
from compat.tables import share, table

FILE = Path(__file__).with_name("floors.toml")
SCANS = ("LVQ4", "LVQ8", "LVQ4x4", "LVQ4x8", "LVQ8x8")
GRAPHS = ("HNSW32", "HNSW32,LVQ8", "QuIVer32", "SymQG32")
SPECS = ("Flat", *SCANS, *GRAPHS)
EFFORTS: dict[str, dict[str, int]] = {"default": {}, "scan": {"rerank": 0}}

Question = tuple[str, Metric, str, str]  # data, metric, spec, effort


def stated() -> dict[str, Any]:
    """Return what the file states: ``k``, ``data`` by name, ``floors`` by data, metric, spec and effort."""
    return tomllib.loads(FILE.read_text())


def floors() -> dict[Question, float]:
    """Return every floor in the file by its question."""
    return {
        (name, metric, spec, effort): floor
        for name, metrics in stated()["floors"].items()
        for metric, specs in metrics.items()
        for spec, efforts in specs.items()
        for effort, floor in efforts.items()
    }


def prepared(name: str, metric: Metric, folder: Path) -> DataSet:
    """Make the data set of that name, with exact answers; its arrays lie in ``folder``."""
    shape = dict(stated()["data"][name])
    make = {"clustered": sets.clustered, "outliers": sets.outliers}[shape.pop("make")]
    return sets.prepare(make(**shape), metric, stated()["k"], folder)


def built(data: DataSet, spec: str) -> inlay.Index:
    """Return an index of the data's rows, with the default options of its form."""
    index = inlay.from_spec(spec, data.base.shape[1], data.metric)
    index.train(data.base, progress=False)
    index.add(data.base, progress=False)
    return index


def efforts(spec: str) -> tuple[str, ...]:
    """Return the efforts that a form is asked with: all where a first level scans, else the default."""
    return tuple(EFFORTS) if spec in SCANS else ("default",)


def measured(data: DataSet, index: inlay.Index, effort: str) -> float:
    """Return the recall of an index at an effort."""
    k = stated()["k"]
    return recall(data, index.search(data.queries, k, **EFFORTS[effort])[1], k)


def margin(value: float) -> float:
    """Return how far below a recall its floor lies: rounding moves a weak recall more than a strong one."""
    return 0.01 if value < 0.95 else 0.005 if value < 0.99 else 0.002


def everything() -> dict[Question, float]:
    """Measure all data, metrics, forms and efforts."""
    found: dict[Question, float] = {}
    for name in stated()["data"]:
        for metric in METRICS:
            with TemporaryDirectory() as folder:
                data = prepared(name, metric, Path(folder))
                for spec in SPECS:
                    index = built(data, spec)
                    for effort in efforts(spec):
                        found[name, metric, spec, effort] = measured(data, index, effort)
    return found


def lines(found: dict[Question, float]) -> Iterator[str]:
    """Yield the tables of floors as the file holds them. Exact search has no margin."""
    for (name, metric), section in groupby(found, key=lambda question: question[:2]):
        yield f"\n[floors.{name}.{metric}]"
        for spec, questions in groupby(section, key=lambda question: question[2]):
            values = {question[3]: found[question] for question in questions}
            slack = {effort: 0.0 if spec == "Flat" else margin(value) for effort, value in values.items()}
            inner = ", ".join(f"{effort} = {value - slack[effort]:.3f}" for effort, value in values.items())
            yield f"{json.dumps(spec) if ',' in spec else spec} = {{ {inner} }}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is measured beside what is stated; 1 when something is below its floor."""
    parser = argparse.ArgumentParser(
        prog="python -m compat.floors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", action="store_true", help="print the lines for floors.toml instead")
    given = parser.parse_args(arguments)
    found = everything()
    if given.state:
        print("\n".join(lines(found)))
        return 0
    kept = floors()
    low = {question for question, value in found.items() if value < kept.get(question, 0)}
    rows = [
        (*question, share(value), str(kept.get(question, "none")), "BELOW" if question in low else "")
        for question, value in found.items()
    ]
    print(table(("data", "metric", "form", "effort", "recall", "floor", ""), rows, 4))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
