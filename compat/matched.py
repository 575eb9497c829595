"""Speed at a given recall, read off the upper envelope of what was measured.

A speed alone says nothing when recalls differ. So each contender's settings become a curve: those settings
that no other one, and no straight line between two others, reaches in both recall and the logarithm of the
speed. One that came out slow by chance thus does not slow its contender. Nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

TARGETS = (0.90, 0.95, 0.99)
Point = tuple[float, float]  # recall, queries per second


def envelope(points: Iterable[Point]) -> list[Point]:
    """Return the corners of the upper envelope, by rising recall and falling speed.

    Parameters
    ----------
    points : iterable of (float, float)
        Recall, and queries per second above 0.
    """
    kept: list[Point] = []
    for point in sorted(points, reverse=True):
        if kept and point[1] <= kept[-1][1]:
            continue  # one with more recall is as fast
        while len(kept) > 1 and between(kept[-2], point, kept[-1][0]) >= kept[-1][1]:
            kept.pop()
        kept.append(point)
    return kept[::-1]


def between(one: Point, other: Point, recall: float) -> float:
    """Return the speed at a recall on the line through two points, on a log scale of speeds."""
    share = (recall - one[0]) / (other[0] - one[0])
    return math.exp((1 - share) * math.log(one[1]) + share * math.log(other[1]))


def at_recall(points: Iterable[Point], target: float) -> float | None:
    """Return the speed of a curve at a recall, None when the curve does not get there.

    Parameters
    ----------
    points : iterable of (float, float)
        Recall and queries per second of the settings that were measured.
    target : float
        A curve that is better everywhere gives its fastest point.
    """
    corners = envelope(points)
    if not corners or target > corners[-1][0]:
        return None
    for below, above in pairwise(corners):
        if below[0] < target <= above[0]:
            return between(below, above, target)
    return corners[0][1]
