"""Recall against throughput, as it is drawn: which panels there are, what stands in each, and how it looks.

A picture is one way of asking one data set, and has a panel for each kind of search. A mark is a setting;
whoever has several has a line as well, the envelope on which speeds are matched. Inlay's colours are cool,
its marks filled and its lines whole; those of the baselines are warm, hollow and dashed. Two broad bands, the
best of Inlay and the best of all others at every recall, say at a glance who leads. The recall axis is
stretched towards 1, where the settings lie that people use: from 0.8 to 0.9 takes as much room as from 0.98
to 0.99.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from compat.contenders import KINDS, Kind
from compat.figures import Figure
from compat.matched import Point, at_recall, envelope

# Cool and warm of about one lightness, on white and on black; the marks tell apart what colours do not.
COOL = (
    "#0b72d8",
    "#0f9d8a",
    "#7a52d6",
    "#2a9d3f",
    "#28a3d9",
    "#a044c4",
    "#5c7cfa",
    "#0b8043",
    "#6d86a8",
    "#3949ab",
)
WARM = ("#e8590c", "#d6336c", "#c08a00", "#b3471d", "#f06595", "#e03131", "#9c6b30")
MARKS = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "inverted",
    "plus",
    "cross",
    "left",
    "right",
    "bar",
    "dash",
)

SHOWN_FROM = 0.8  # less recall than this is shown for those only that reach no more
TICKS = (0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1)
BEYOND = 0.001  # what the stretched axis still has to show beyond 1: few runs can tell less apart
RANKED_AT = 0.95  # the order of names: who is fastest at this recall stands first

Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """The colour of a contender, the name of its mark, and whether it is a baseline."""

    colour: str
    mark: str
    baseline: bool


@dataclass(frozen=True, eq=False)
class Curve:
    """A contender at one way of asking: its figures by rising recall, and the corners of its envelope."""

    figures: tuple[Figure, ...]

    @property
    def first(self) -> Figure:
        """Any figure, for what all have in common."""
        return self.figures[0]

    @property
    def points(self) -> list[Point]:
        """Recall and queries per second of every setting."""
        return [(figure.recall, figure.qps) for figure in self.figures]

    @property
    def corners(self) -> list[Point]:
        """The line that is drawn."""
        return envelope(self.points)

    @property
    def rank(self) -> tuple[float, float]:
        """Order by speed at the recall of names, and then by how near the others come to it."""
        return -(at_recall(self.points, RANKED_AT) or 0), -self.points[-1][0]


@dataclass(frozen=True, eq=False)
class Picture:
    """One data set and way of asking: its curves, the fastest first."""

    curves: tuple[Curve, ...]

    @property
    def first(self) -> Figure:
        """Any figure, for what all have in common."""
        return self.curves[0].first

    @property
    def panels(self) -> list[tuple[Kind, list[Curve]]]:
        """The curves of every kind of search that there is."""
        kinds = {kind: [curve for curve in self.curves if curve.first.kind == kind] for kind in KINDS}
        return [(kind, curves) for kind, curves in kinds.items() if curves]

    @property
    def least_recall(self) -> float:
        """Where the recall axis begins: whoever reaches little recall is seen too."""
        return min(SHOWN_FROM, *(curve.points[-1][0] for curve in self.curves))

    @property
    def speeds(self) -> tuple[float, float]:
        """The slowest and the fastest of what is shown."""
        least = self.least_recall
        shown = [qps for curve in self.curves for recall, qps in curve.points if recall >= least]
        return min(shown), max(shown)


def pictures(figures: Iterable[Figure]) -> list[Picture]:
    """Return the pictures of all data sets and ways of asking, in that order."""

    def asked(figure: Figure) -> tuple[object, ...]:
        return (*figure.subject, *figure.way)

    made = []
    for _, group in groupby(sorted(figures, key=asked), key=asked):
        by_name: dict[str, list[Figure]] = {}
        for figure in group:
            by_name.setdefault(figure.contender, []).append(figure)
        curves = (
            Curve(tuple(sorted(own, key=lambda figure: (figure.recall, figure.qps))))
            for own in by_name.values()
        )
        made.append(Picture(tuple(sorted(curves, key=lambda curve: curve.rank))))
    return made


def looks(figures: Iterable[Figure]) -> dict[str, Look]:
    """Return how each contender is drawn, everywhere: no two of one kind look the same."""
    made: dict[str, Look] = {}
    seen: dict[tuple[Kind, bool], int] = {}
    for figure in figures:
        if figure.contender not in made:
            number = seen.get((figure.kind, figure.baseline), 0)
            seen[figure.kind, figure.baseline] = number + 1
            colours = WARM if figure.baseline else COOL
            colour, mark = colours[number % len(colours)], MARKS[number % len(MARKS)]
            made[figure.contender] = Look(colour, mark, figure.baseline)
    return made


def lead(curves: Sequence[Curve], *, baseline: bool) -> list[Point]:
    """Return the envelope of all of Inlay's curves, or of all baselines'."""
    return envelope(point for curve in curves if curve.first.baseline == baseline for point in curve.points)


def stretched(recall: npt.ArrayLike) -> Floats64:
    """Return the place of a recall on the axis, which grows by 1 where what is missed falls to a tenth."""
    missed: Floats64 = 1 + BEYOND - np.asarray(recall, np.float64)
    return -np.log10(np.maximum(missed, BEYOND / 10))


def unstretched(place: npt.ArrayLike) -> Floats64:
    """Return the recall at a place on the axis."""
    return 1 + BEYOND - 10.0 ** -np.asarray(place, np.float64)
