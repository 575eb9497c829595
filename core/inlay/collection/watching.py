"""Recall, watched: what a search finds for a sample of the rows, against exact answers.

A row of the sample is asked for its ten nearest but itself. The recall is the share of them that a search of
the usual effort finds; where it is below the target, the effort is doubled until it is not:

    level 0           the defaults, see `choice`
    level 1 to 5      2 to 32 times as many candidates and rows in view; a quarter, half, all of the lists

It is measured again when half of the rows have come since, or with another index. Nearly all of the time goes
into the exact answers. Rows are easier to ask than strangers where an index is far from exact, see the table
in `choice`.
"""

import logging

import numpy as np

from ..indexes import from_spec
from . import choice, ranking
from .ranking import Ranking
from .records import MAX_LEVEL, Watch
from .vectors import F32, I64
from .view import View, pieces

logger = logging.getLogger("inlay")

TARGET = 0.98

_NEAREST = 10
_ASKED = 100
_NEW = 2  # recall is measured again when one in so many rows is new,
_NEW_ROWS = 1000  # and so many are


def is_due(view: View) -> bool:
    """Tell whether recall should be measured."""
    if view.index is None or view.index.spec == choice.EXACT or view.state.n_live < 2:
        return False
    if view.watch is None or view.watch.spec != view.index.spec:
        return True
    new = view.state.next_row - view.watch.row
    return new >= max(_NEW_ROWS, view.state.n_live // _NEW)


def watched(view: View, target: float) -> Watch:
    """Measure the recall, at the least level of effort that reaches the target, or at the highest."""
    assert view.index is not None
    spec = view.index.spec
    # What was enough for less may be too much for another index only.
    level = view.level if view.watch is not None and view.watch.spec == spec else 0
    rows = np.sort(view.index.ids)
    asked = choice.spread(rows, _ASKED)
    queries = view.vectors_of(asked)
    near = _nearest(view, rows, asked, queries)
    while True:
        recall = _recall(view, asked, queries, near, level)
        logger.info("%s finds %.1f %% of the nearest at level %d of effort", spec, 100 * recall, level)
        if recall >= target or level == MAX_LEVEL:
            break
        level += 1
    if recall < target:
        logger.warning(
            "%s finds %.1f %% of the nearest with all effort, less than recall=%s asks for",
            spec,
            100 * recall,
            target,
        )
    return Watch(spec, view.state.next_row, level, recall)


def _recall(view: View, asked: I64, queries: F32, near: list[Ranking], level: int) -> float:
    """Return which part of the nearest rows a search of some level finds."""
    hits = wanted = 0
    found = ranking.nearest(view, queries, 1 + _NEAREST, level=level)
    for row, (values, rows), (exact, _) in zip(asked.tolist(), found, near, strict=True):
        others = values[rows != row][: len(exact)]
        # By value and not by row: of rows that are equally near, one is as good as the other.
        hits += int((others <= exact[-1] if view.metric == "l2" else others >= exact[-1]).sum())
        wanted += len(exact)
    return hits / wanted


def _nearest(view: View, rows: I64, asked: I64, queries: F32) -> list[Ranking]:
    """Return what is nearest to each row asked but itself, from all rows."""
    exact = from_spec(choice.EXACT, queries.shape[1], view.metric)
    parts = []
    for _, piece in pieces(rows):
        exact.reset()
        exact.add(view.vectors_of(piece), piece, progress=False)
        parts.append(exact.search(queries, 1 + _NEAREST + ranking.SPARE)[1])
    return [
        ranking.scan(view, query, _NEAREST, near[(near != row) & (near >= 0)])
        for query, row, near in zip(queries, asked, np.concatenate(parts, axis=1), strict=True)
    ]
