"""Tables of measured figures, the comparison at matched recall, and a picture of the curves.

    python -m compat.report figures.jsonl [more.jsonl ...] [--at 0.9 0.95] [--plot curves.png]

Every row is printed, whoever wins. A speed alone says nothing when recalls differ, so the last section reads
each contender's curve at given recalls: only points that no other point of the same contender beats in both
recall and speed count, and between two of them the logarithm of the speed runs straight.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from compat.figures import MODES, Figure, read

TARGETS = (0.90, 0.95, 0.99, 0.995)
Point = tuple[float, float]  # recall, queries per second


def frontier(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other one reaches in both recall and speed, by rising recall."""
    kept: list[Point] = []
    for recall, qps in sorted(points, reverse=True):
        if not kept or qps > kept[-1][1]:
            kept.append((recall, qps))
    return kept[::-1]


def at_recall(points: Iterable[Point], target: float) -> float | None:
    """Return the speed of a curve at a recall, None when the curve does not get there.

    Parameters
    ----------
    points : iterable of (float, float)
        Recall and queries per second of the settings that were measured.
    target : float
        A curve that is better everywhere gives its fastest point: nothing is extrapolated.
    """
    below: Point | None = None
    for recall, qps in frontier(points):
        if recall >= target:
            if below is None:
                return qps
            share = (target - below[0]) / (recall - below[0])
            return math.exp((1 - share) * math.log(below[1]) + share * math.log(qps))
        below = (recall, qps)
    return None


def table(head: Sequence[str], rows: Iterable[Sequence[str]], n_names: int = 1) -> str:
    """Lay out columns: the first ``n_names`` to the left, the numbers after them to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    sides = [str.ljust if column < n_names else str.rjust for column in range(len(head))]
    laid = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([laid[0].rstrip(), "-" * len(laid[0]), *(line.rstrip() for line in laid[1:])])


def speed(qps: float) -> str:
    """Three digits are as much as a timing on a shared machine can carry."""
    return f"{qps:,.0f}" if qps >= 100 else f"{qps:.3g}"


def share(recall: float) -> str:
    """Four digits, cut and not rounded: 1.0000 means that nothing was missed."""
    return f"{math.floor(recall * 10_000 + 1e-6) / 10_000:.4f}"


def report(figures: Sequence[Figure], targets: Sequence[float] = TARGETS) -> str:
    """Return all tables for the figures, one section per data set and way of asking."""
    sections = []
    for head, group in groupby(sorted(figures, key=_data), key=_data):
        same_data = list(group)
        first = same_data[0]
        sections.append(
            f"# {first.data}: {first.n:,} x {first.dim}, {head[2]}, {first.queries:,} queries, "
            f"k = {first.k}, {first.machine}\n\n{_builds(same_data)}"
        )
        for _, asked in groupby(sorted(same_data, key=_asking), key=_asking):
            cell = list(asked)
            title = f"## {_asked(cell[0])}"
            sections.append(f"{title}\n\n{_rows(cell)}\n\n{_matched(cell, targets)}")
    return "\n\n".join(sections)


def _data(figure: Figure) -> tuple[str, str, str, int]:
    return figure.data, figure.fingerprint, figure.metric, figure.k


def _asking(figure: Figure) -> tuple[int, int, int]:
    return figure.threads, MODES.index(figure.mode), figure.batch


def _asked(figure: Figure) -> str:
    how = "one query per call" if figure.mode == "single" else f"{figure.batch} queries per call"
    return f"{how}, {figure.threads} thread{'s' if figure.threads > 1 else ''}"


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
            *(_bytes(value) for value in (figure.bytes_said, figure.bytes_grown, figure.bytes_peak)),
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
    baselines = {figure.contender for figure in figures if figure.baseline}
    best = [
        max((speeds[name][column] or 0 for name in baselines), default=0) for column in range(len(targets))
    ]
    rows = [
        (name, *(_against(value, top) for value, top in zip(values, best, strict=True)))
        for name, values in speeds.items()
    ]
    head = ("q/s at matched recall (x best baseline)", *(f"{target:g}" for target in targets))
    text = table(head, rows)
    runs = {figure.run for figure in figures}
    if len(runs) > 1:
        text += f"\nnote: these figures come from {len(runs)} runs; ratios hold only within one run"
    return text


def _against(qps: float | None, best: float) -> str:
    if qps is None:
        return "-"
    return f"{speed(qps)} ({qps / best:.2f}x)" if best else speed(qps)


def plot(figures: Sequence[Figure], path: Path) -> None:
    """Draw queries per second against recall, a panel for every data set and way of asking, into a PNG.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        Without figures.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure as Canvas
    except ImportError as missing:
        raise ImportError("a picture needs matplotlib: pip install 'inlay[compat]'") from missing
    if not figures:
        raise ValueError("there is nothing to draw; measure something first")

    def panel(figure: Figure) -> tuple[object, ...]:
        return (*_data(figure), *_asking(figure))

    panels = [list(group) for _, group in groupby(sorted(figures, key=panel), key=panel)]
    canvas = Canvas(figsize=(8, 5 * len(panels)), layout="constrained")
    for number, cell in enumerate(panels, start=1):
        axes = canvas.add_subplot(len(panels), 1, number)
        # The usual ten colours are fewer than there are contenders.
        axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
        for name in dict.fromkeys(figure.contender for figure in cell):
            own = [figure for figure in cell if figure.contender == name]
            curve = sorted((figure.recall, figure.qps) for figure in own)
            axes.plot(*zip(*curve, strict=True), "o--" if own[0].baseline else "o-", markersize=4, label=name)
        first = cell[0]
        axes.set_title(f"{first.data}: {_asked(first)}")
        axes.set(xlabel=f"recall@{first.k}", ylabel="queries per second", yscale="log")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(fontsize=8)
    canvas.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of given files."""
    parser = argparse.ArgumentParser(prog="python -m compat.report", description="Tables of earlier runs.")
    parser.add_argument("files", nargs="+", type=Path, help="JSON lines written by compat.run --out")
    parser.add_argument(
        "--at", nargs="+", type=float, default=list(TARGETS), metavar="R", help="recalls to match"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the curves")
    given = parser.parse_args(arguments)
    missing = [str(path) for path in given.files if not path.exists()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    figures = [figure for path in given.files for figure in read(path)]
    print(report(figures, given.at))
    if given.plot:
        plot(figures, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
