"""What was measured, in words: Markdown tables, the page, and the pictures.

    python -m compat.report comparison/figures.jsonl [more.jsonl ...] [--at 0.9 0.95] [--out DIR]

Every row is printed, whoever wins. Speeds are compared at the same recall, as ``compat.matched`` reads them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from compat.drawing import can_draw, draw
from compat.figures import Figure, read, together
from compat.matched import TARGETS, Point, at_recall
from compat.page import page
from compat.tables import amount, share, speed, table

PAGE = "report.html"


def write(figures: Sequence[Figure], targets: Sequence[float], folder: Path) -> list[Path]:
    """Write the page and the pictures into a folder and return where they are; no matplotlib, no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(page(figures, targets))
    if can_draw():
        return [folder / PAGE, *draw(figures, folder)]
    print(
        "matplotlib is not installed, which leaves out the pictures: pip install 'inlay[compat]'",
        file=sys.stderr,
    )
    return [folder / PAGE]


def report(figures: Sequence[Figure], targets: Sequence[float] = TARGETS) -> str:
    """Return all tables for the figures, one section per data set and way of asking."""
    sections = []
    subject, way = attrgetter("subject"), attrgetter("way")
    for _, group in groupby(sorted(figures, key=subject), key=subject):
        same_data = list(group)
        first = same_data[0]
        sections.append(
            f"# {first.subject_text}, {first.queries:,} queries, k = {first.k}, {first.machine}\n\n"
            f"{_builds(same_data)}"
        )
        for _, asked in groupby(sorted(same_data, key=way), key=way):
            cell = list(asked)
            sections.append(f"## {cell[0].way_text}\n\n{_rows(cell)}\n\n{_matched(cell, targets)}")
    return "\n\n".join(sections)


def _builds(figures: Sequence[Figure]) -> str:
    latest = {figure.contender: figure for figure in figures}
    rows = [
        (
            figure.contender,
            f"{figure.library} {figure.version}",
            f"{figure.build_seconds:.2f}",
            str(figure.build_threads),
            *map(amount, (figure.bytes_said, figure.bytes_grown, figure.bytes_peak)),
        )
        for figure in latest.values()
    ]
    return table(("contender", "library", "build s", "threads", "bytes/row said", "grown", "peak"), rows, 2)


def _rows(figures: Sequence[Figure]) -> str:
    rows = [
        (
            figure.contender,
            figure.setting_text,
            share(figure.recall),
            speed(figure.qps),
            f"{min(figure.qps_rounds) / figure.qps:.2f}",
            f"{figure.cores:.1f}",
        )
        for figure in figures
    ]
    k = figures[0].k
    return table(("contender", "setting", f"recall@{k}", "q/s", "worst/best round", "cores"), rows, 2)


def _matched(figures: Sequence[Figure], targets: Sequence[float]) -> str:
    curves: dict[str, list[Point]] = {}
    for figure in figures:
        curves.setdefault(figure.contender, []).append((figure.recall, figure.qps))
    speeds = {name: [at_recall(points, target) for target in targets] for name, points in curves.items()}
    latest = {figure.contender: figure for figure in figures}
    baselines = [name for name, figure in latest.items() if figure.baseline]
    best = [
        max((speeds[name][column] or 0 for name in baselines), default=0) for column in range(len(targets))
    ]
    rows = [
        (
            name,
            *(_against(value, top) for value, top in zip(values, best, strict=True)),
            share(max(recall for recall, _ in curves[name])),
            f"{latest[name].build_seconds:.2f}",
            *map(amount, (latest[name].bytes_hot, latest[name].bytes_cold, latest[name].bytes_grown)),
        )
        for name, values in speeds.items()
    ]
    head = ("q/s at matched recall (x best baseline)", *(f"{target:g}" for target in targets))
    text = table((*head, "best recall", "build s", "bytes/row hot", "cold", "grown"), rows)
    runs = {figure.run for figure in figures}
    if len(runs) > 1:
        text += f"\n\nnote: these figures come from {len(runs)} runs; ratios hold only within one run"
    return text


def _against(qps: float | None, best: float) -> str:
    if qps is None:
        return "-"
    if not best:
        return speed(qps)
    ratio = qps / best
    return f"{speed(qps)} ({ratio:.2f}x)" if ratio >= 0.095 else f"{speed(qps)} ({ratio:.1g}x)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of given files."""
    parser = argparse.ArgumentParser(prog="python -m compat.report", description="Tables of earlier runs.")
    parser.add_argument("files", nargs="+", type=Path, help="JSON lines written by compat.run --out")
    parser.add_argument(
        "--at", nargs="+", type=float, default=list(TARGETS), metavar="R", help="recalls to match"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write the page and the pictures there")
    given = parser.parse_args(arguments)
    missing = [str(path) for path in given.files if not path.exists()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    figures = list(together(figure for path in given.files for figure in read(path)).values())
    print(report(figures, given.at))
    if given.out is not None and figures:
        print("\n".join(["", *(str(path) for path in write(figures, given.at, given.out))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
