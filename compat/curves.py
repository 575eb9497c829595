"""Recall against throughput, drawn: one picture for every data set and way of asking.

A mark is a setting. Whoever walks a graph has a line as well: the envelope on which speeds are matched.
Inlay's marks are filled, those of the baselines hollow and their lines dashed. The recall axis is stretched
towards 1, where the settings lie that people use: from 0.8 to 0.9 takes as much room as from 0.98 to 0.99.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compat.figures import Figure
from compat.matched import Point, at_recall, envelope

NEEDED = "curves are drawn by matplotlib: pip install 'inlay[compat]'"

# Okabe and Ito's colours, which colour-blind eyes tell apart too, without the yellow that white swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")  # with eight colours: 88 pairs

SHOWN_FROM = 0.8  # less recall than this is shown for those only that reach no more
TICKS = (0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1)
BEYOND = 0.001  # what the stretched axis still has to show beyond 1: few runs can tell less apart
RANKED_AT = 0.95  # the legend's order: who is fastest at this recall stands at the top

Floats64 = npt.NDArray[np.float64]


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Draw one PNG for every data set and way of asking, and return where they are.

    Parameters
    ----------
    figures : sequence of Figure
        At least one. A contender looks the same in all pictures.
    folder : Path
        Made when it is not there; files of the same names are replaced.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        Without figures.
    """
    if not can_draw():
        raise ImportError(NEEDED)
    if not figures:
        raise ValueError("there is nothing to draw; measure something first")
    folder.mkdir(parents=True, exist_ok=True)
    looks = _looks(figures)
    made: list[Path] = []
    for _, group in groupby(sorted(figures, key=_picture), key=_picture):
        cell = list(group)
        path = folder / _file_name(cell[0])
        if path in made:  # two data sets of one name
            path = path.with_stem(f"{path.stem}-{cell[0].fingerprint}")
        _draw_one(cell, looks, path)
        made.append(path)
    return made


def stretched(recall: npt.ArrayLike) -> Floats64:
    """Return the place of a recall on the axis, which grows by 1 where what is missed falls to a tenth."""
    missed: Floats64 = 1 + BEYOND - np.asarray(recall, np.float64)
    return -np.log10(np.maximum(missed, BEYOND / 10))


def unstretched(place: npt.ArrayLike) -> Floats64:
    """Return the recall at a place on the axis."""
    return 1 + BEYOND - 10.0 ** -np.asarray(place, np.float64)


def _picture(figure: Figure) -> tuple[object, ...]:
    return (*figure.subject, *figure.way)


def _file_name(figure: Figure) -> str:
    asked = "single" if figure.mode == "single" else f"batch{figure.batch}"
    name = f"{figure.data}-{figure.metric}-top{figure.k}-{asked}-{figure.threads}t.png"
    return re.sub(r"[^\w.]+", "-", name)


def _looks(figures: Sequence[Figure]) -> dict[str, dict[str, Any]]:
    """Return how each contender is drawn: no two lines, and no two kinds of points, look the same."""
    looks: dict[str, dict[str, Any]] = {}
    seen: dict[tuple[bool, bool], int] = {}
    for figure in figures:
        if figure.contender in looks:
            continue
        kind = figure.scans, figure.baseline
        number = seen.get(kind, 0)
        seen[kind] = number + 1
        colour = COLOURS[number % len(COLOURS)]
        looks[figure.contender] = {
            "color": colour,
            "marker": MARKERS[number % len(MARKERS)],
            "markerfacecolor": "white" if figure.baseline else colour,
            "linestyle": "" if figure.scans else "--" if figure.baseline else "-",
            "markersize": 7 if figure.scans else 5,
        }
    return looks


def _draw_one(cell: Sequence[Figure], looks: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    first = cell[0]
    curves = {
        name: sorted((figure.recall, figure.qps) for figure in cell if figure.contender == name)
        for name in dict.fromkeys(figure.contender for figure in cell)
    }
    left = min(SHOWN_FROM, *(points[-1][0] for points in curves.values()))
    canvas = Canvas(figsize=(10, 6), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_xscale("function", functions=(stretched, unstretched))
    axes.set_yscale("log")
    for name in sorted(curves, key=lambda name: _rank(curves[name])):
        axes.plot(*zip(*curves[name], strict=True), **looks[name] | {"linestyle": ""})
        axes.plot(*zip(*envelope(curves[name]), strict=True), label=name, linewidth=1.5, **looks[name])
    shown = [qps for points in curves.values() for recall, qps in points if recall >= left]
    axes.set_ylim(min(shown) / 1.4, max(shown) * 1.4)
    axes.set_xlim(float(unstretched(stretched(left) - 0.05)), 1 + BEYOND / 4)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick >= left]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda recall, _: f"{recall:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda qps, _: f"{qps:,g}")
    axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel(f"recall@{first.k}, stretched towards 1")
    axes.set_ylabel("queries per second")
    axes.set_title(f"{first.subject_text}\n{first.way_text}; {first.machine}", fontsize=11)
    canvas.legend(loc="outside right upper", fontsize=9, frameon=False, title=f"fastest at {RANKED_AT} first")
    canvas.savefig(path, dpi=130)


def _rank(points: Sequence[Point]) -> tuple[float, float]:
    """Order by speed at the recall of the legend, and then by how near the others come to it."""
    return -(at_recall(points, RANKED_AT) or 0), -points[-1][0]
