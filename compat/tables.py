"""Tables in Markdown, and numbers as all reports show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


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


def amount(value: float | None) -> str:
    """Whole bytes, or a dash where nobody can tell."""
    return "-" if value is None else f"{value:,.0f}"
