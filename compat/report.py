"""Tables of measured figures in Markdown: what building cost, every setting, and speed at matched recall.

    python -m compat.report figures.jsonl [more.jsonl ...] [--at 0.9 0.95] [--curves DIR]

Every row is printed, whoever wins. Speeds are compared at the same recall, as ``compat.matched`` reads them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from compat.curves import NEEDED, can_draw, draw
from compat.figures import Figure, read
from compat.matched import TARGETS, Point, at_recall


def table(head: Sequence[str], rows: Iterable[Sequence[str]], n_names: int = 1) -> str:
    """Lay out a Markdown table: ``n_names`` columns to the left, the numbers after them to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(2, *(len(line[column]) for line in lines)) for column in range(len(head))]
    sides = [str.ljust if column < n_names else str.rjust for column in range(len(head))]
    rule = [
        "-" * width if column < n_names else "-" * (width - 1) + ":" for column, width in enumerate(widths)
    ]
    return "\n".join(
        "| "
        + " | ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def speed(qps: float) -> str:
    """Three digits are as much as a timing on a shared machine can carry."""
    return f"{qps:,.0f}" if qps >= 100 else f"{qps:.3g}"


def share(recall: float) -> str:
    """Four digits, cut and not rounded: 1.0000 means that nothing was missed."""
    return f"{math.floor(recall * 10_000 + 1e-6) / 10_000:.4f}"


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


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _builds(figures: Sequence[Figure]) -> str:
    latest = {figure.contender: figure for figure in figures}
    rows = [
        (
            figure.contender,
            f"{figure.library} {figure.version}",
            f"{figure.build_seconds:.2f}",
            str(figure.build_threads),
            *map(_bytes, (figure.bytes_said, figure.bytes_grown, figure.bytes_peak)),
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
            *map(_bytes, (latest[name].bytes_hot, latest[name].bytes_cold, latest[name].bytes_grown)),
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
    parser.add_argument("--curves", type=Path, metavar="DIR", help="also draw the curves, PNG files")
    given = parser.parse_args(arguments)
    missing = [str(path) for path in given.files if not path.exists()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    if given.curves is not None and not can_draw():
        parser.error(NEEDED)
    figures = [figure for path in given.files for figure in read(path)]
    print(report(figures, given.at))
    if given.curves is not None and figures:
        print("\n".join(["", *(str(path) for path in draw(figures, given.curves))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
