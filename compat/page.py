"""The comparison as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

From the top: who leads at each recall, in bars; then for every way of asking the curves of each kind of
search and a table at matched recall, every contender in it; then every setting that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from itertools import groupby

from compat.contenders import KINDS
from compat.curves import RANKED_AT, TICKS, Curve, Look, Picture, lead, looks, pictures, stretched
from compat.figures import Figure
from compat.matched import Point, at_recall
from compat.tables import amount, share, speed

WIDTH, HEIGHT = 400, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 40  # margins of a panel
RADIUS = 3.6
# Lines come from where less recall is found than anybody asks for, which no panel shows.
FRAME = (
    "<svg width='0' height='0' style='position:absolute'><clipPath id='frame'>"
    f"<rect x='{LEFT}' y='0' width='{WIDTH - LEFT}' height='{HEIGHT - BOTTOM}'/></clipPath></svg>"
)
SYMBOLS = {  # of radius 1, y downwards
    "circle": "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0z",
    "square": "M-.9,-.9h1.8v1.8h-1.8z",
    "triangle": "M0,-1.2L1.1,.9H-1.1z",
    "diamond": "M0,-1.25L1.25,0L0,1.25L-1.25,0z",
    "inverted": "M0,1.2L1.1,-.9H-1.1z",
    "plus": "M-.4,-1.2h.8v.8h.8v.8h-.8v.8h-.8v-.8h-.8v-.8h.8z",
    "cross": "M-1.2,-.7L-.7,-1.2L0,-.5L.7,-1.2L1.2,-.7L.5,0L1.2,.7L.7,1.2L0,.5L-.7,1.2L-1.2,.7L-.5,0z",
    "left": "M-1.2,0L.9,-1.1V1.1z",
    "right": "M1.2,0L-.9,-1.1V1.1z",
    "bar": "M-.4,-1.3h.8v2.6h-.8z",
    "dash": "M-1.3,-.4h2.6v.8h-2.6z",
}


def page(figures: Sequence[Figure], targets: Sequence[float]) -> str:
    """Return the page for figures of any data sets and ways of asking, speeds matched at the targets."""
    styles = looks(figures)
    drawn = pictures(figures)
    body = [
        FRAME,
        "<h1>Inlay beside faiss and hnswlib</h1>",
        "<p>Queries per second, compared at the same recall. <span class='ours'>Inlay</span> is blue and "
        "whole, <span class='theirs'>the baselines</span> are orange and dashed; every contender is in every "
        "table, whoever wins.</p>",
    ]
    for number, (_, group) in enumerate(groupby(drawn, key=lambda picture: picture.first.subject)):
        ways = list(group)
        ids = {picture.first.way: f"way-{number}-{place}" for place, picture in enumerate(ways)}
        links = (f"<a href='#{ids[one.first.way]}'>{escape(one.first.way_text)}</a>" for one in ways)
        body += [_heading(ways), f"<nav>{''.join(links)}</nav>", "<div class='cards'>"]
        body += [_card(picture, targets) for picture in ways]
        body += ["</div>"]
        body += [_way(picture, styles, targets, ids[picture.first.way]) for picture in ways]
    body.append(_notes(figures))
    style = resources.files("compat").joinpath("page.css").read_text()
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Inlay beside faiss and hnswlib</title><style>{style}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _heading(ways: Sequence[Picture]) -> str:
    first = ways[0].first
    return (
        f"<h2>{escape(first.subject_text)}</h2><p class='faint'>{first.queries:,} queries, {first.k} "
        f"neighbours each; {escape(first.machine)}; "
        f"indexes built on {_counted(first.build_threads, 'thread')}</p>"
    )


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


# At a glance: the fastest of Inlay against the fastest of the others


def _card(picture: Picture, targets: Sequence[float]) -> str:
    rows = []
    for target in targets:
        speeds = {curve: at_recall(curve.points, target) or 0.0 for curve in picture.curves}
        sides = [
            [curve for curve in speeds if curve.first.baseline == baseline] for baseline in (False, True)
        ]
        best = [max(side, key=lambda curve: speeds[curve], default=None) for side in sides]
        ours, theirs = (0.0 if curve is None else speeds[curve] for curve in best)
        ratio = f"{ours / theirs:.1f}&times;" if ours and theirs else ""
        rows.append(
            f"<div class='at'>{target:g}</div>{_bar(best[0], ours, max(ours, theirs), 'ours')}"
            f"<div class='ratio {'ours' if ours >= theirs else 'theirs'}'>{ratio}</div>"
            f"{_bar(best[1], theirs, max(ours, theirs), 'theirs')}"
        )
    title = f"<h3>{escape(picture.first.way_text)}</h3><small>fastest at recall</small>"
    return f"<div class='card'>{title}<div class='race'>{''.join(rows)}</div></div>"


def _bar(curve: Curve | None, qps: float, most: float, side: str) -> str:
    if curve is None or not qps:
        return f"<div class='bar {side}'><span>nobody gets there</span></div>"
    said = f"{escape(curve.first.contender)} <b>{speed(qps)}</b>"
    return f"<div class='bar {side}'><i style='width:{100 * qps / most:.1f}%'></i><span>{said}</span></div>"


# A way of asking: its curves and tables


def _way(picture: Picture, styles: dict[str, Look], targets: Sequence[float], anchor: str) -> str:
    panels = (
        f"<figure class='card'><h3>{KINDS[kind]}</h3>{_plot(picture, curves, styles)}</figure>"
        for kind, curves in picture.panels
    )
    return (
        f"<section id='{anchor}'><h2>{escape(picture.first.way_text)}</h2><p class='faint'>Queries per "
        f"second over recall@{picture.first.k}, which is stretched towards 1; up and right is better. The "
        "broad bands are the best of Inlay and the best of all others. Point at a line or a mark for its "
        f"name and setting.</p><div class='panels'>{''.join(panels)}</div>"
        f"{_matched(picture, styles, targets)}{_settings(picture)}</section>"
    )


def _plot(picture: Picture, curves: Sequence[Curve], styles: dict[str, Look]) -> str:
    least, (slowest, fastest) = picture.least_recall, picture.speeds
    left, right = float(stretched(least)) - 0.05, float(stretched(1)) + 0.05
    bottom, top = math.log10(slowest / 1.3), math.log10(fastest * 1.3)

    def place(point: Point) -> tuple[float, float]:
        across = (float(stretched(point[0])) - left) / (right - left)
        up = (math.log10(point[1]) - bottom) / (top - bottom)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def path(points: Iterable[Point]) -> str:
        return "M" + "L".join("{:.1f},{:.1f}".format(*place(point)) for point in points)

    drawn = [_grid(picture, place, (bottom, top)), "<g clip-path='url(#frame)'>"]
    for baseline, side in ((False, "ours"), (True, "theirs")):
        if leading := lead(curves, baseline=baseline):
            drawn.append(f"<path class='band {side}' d='{path(leading)}'/>")
    for curve in reversed(curves):
        look = styles[curve.first.contender]
        side = " theirs" if look.baseline else ""
        marks = "".join(
            _mark(look, *place((figure.recall, figure.qps)), _said(figure))
            for figure in curve.figures
            if figure.recall >= least
        )
        drawn.append(
            f"<g class='curve'><title>{escape(curve.first.contender)}</title>"
            f"<path class='line{side}' stroke='{look.colour}' d='{path(curve.corners)}'/>{marks}</g>"
        )
    return f"<svg class='plot' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>{''.join(drawn)}</g></svg>"


def _grid(picture: Picture, place: Callable[[Point], tuple[float, float]], logs: tuple[float, float]) -> str:
    least, y_end = picture.least_recall, HEIGHT - BOTTOM
    parts = []
    for tick in (tick for tick in TICKS if tick >= least and tick not in (0.5, 0.7, 0.998)):
        x = place((tick, 10 ** logs[0]))[0]
        parts.append(
            f"<path class='grid' d='M{x:.1f},{TOP}V{y_end}'/>"
            f"<text x='{x:.1f}' y='{y_end + 16}' text-anchor='middle'>{tick:g}</text>"
        )
    for power in range(math.floor(logs[0]), math.ceil(logs[1]) + 1):
        for qps in (10.0**power, 3 * 10.0**power):
            if logs[0] <= math.log10(qps) <= logs[1]:
                y = place((1, qps))[1]
                parts.append(
                    f"<path class='grid' d='M{LEFT},{y:.1f}H{WIDTH - RIGHT}'/>"
                    f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{qps:,g}</text>"
                )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{HEIGHT - 6}' text-anchor='middle'>recall@{picture.first.k}</text>")
    return "".join(parts)


def _mark(look: Look, x: float, y: float, said: str) -> str:
    fill = "var(--card)" if look.baseline else look.colour
    return (
        f"<path class='mark' transform='translate({x:.1f},{y:.1f}) scale({RADIUS})' d='{SYMBOLS[look.mark]}' "
        f"fill='{fill}' stroke='{look.colour}'><title>{escape(said)}</title></path>"
    )


def _said(figure: Figure) -> str:
    return f"{figure.contender} {figure.setting_text}: recall {share(figure.recall)}, {speed(figure.qps)} q/s"


def _matched(picture: Picture, styles: dict[str, Look], targets: Sequence[float]) -> str:
    columns = [[at_recall(curve.points, target) for curve in picture.curves] for target in targets]
    baselines = [curve.first.baseline for curve in picture.curves]
    best = [
        max((qps or 0 for qps, yes in zip(column, baselines, strict=True) if yes), default=0)
        for column in columns
    ]
    most = [max((qps or 0 for qps in column), default=0) for column in columns]
    rows = []
    for place, curve in enumerate(picture.curves):
        first = curve.first
        cells = [
            _speed_cell(column[place], top, whole)
            for column, top, whole in zip(columns, best, most, strict=True)
        ]
        sizes = [amount(value) for value in (first.bytes_said, first.bytes_cold, first.bytes_grown)]
        cells += [
            f"<td>{cell}</td>" for cell in (share(curve.points[-1][0]), f"{first.build_seconds:,.1f}", *sizes)
        ]
        rows.append(
            f"<tr{' class=theirs' if first.baseline else ''}><td>{_sample(styles[first.contender])}"
            f"{escape(first.contender)}</td>{''.join(cells)}</tr>"
        )
    head = "".join(f"<th>q/s at {target:g}<br>&times; best baseline</th>" for target in targets)
    runs = len({figure.run for curve in picture.curves for figure in curve.figures})
    note = f"<p class='faint'>These figures come from {runs} runs.</p>" if runs > 1 else ""
    return (
        f"<div class='wide'><table><thead><tr><th>fastest at {RANKED_AT} first</th>{head}"
        "<th>best<br>recall</th><th>build<br>seconds</th><th>bytes<br>a row</th><th>of them<br>cold</th>"
        f"<th>process<br>grew by</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _speed_cell(qps: float | None, best: float, most: float) -> str:
    if qps is None:
        return "<td class='faint'>&ndash;</td>"
    ratio = f" <small>{qps / best:.2f}&times;</small>" if best else ""
    return f"<td class='speed' style='--part:{100 * qps / most:.0f}%'><b>{speed(qps)}</b>{ratio}</td>"


def _sample(look: Look) -> str:
    dashes = " stroke-dasharray='4 2'" if look.baseline else ""
    line = f"<path d='M0,6H26' stroke='{look.colour}' stroke-width='1.6'{dashes}/>"
    return f"<svg viewBox='0 0 26 12'>{line}{_mark(look, 13, 6, '')}</svg>"


def _settings(picture: Picture) -> str:
    rows = "".join(
        f"<tr{' class=theirs' if figure.baseline else ''}><td>{escape(figure.contender)}</td>"
        f"<td class='text'>{escape(figure.setting_text)}</td><td>{share(figure.recall)}</td>"
        f"<td>{speed(figure.qps)}</td><td>{min(figure.qps_rounds) / figure.qps:.2f}</td>"
        f"<td>{figure.cores:.1f}</td></tr>"
        for curve in picture.curves
        for figure in curve.figures
    )
    head = f"<th>contender</th><th class='text'>setting</th><th>recall@{picture.first.k}</th><th>q/s</th>"
    return (
        "<details><summary>Every setting that was measured</summary><div class='wide'><table><thead><tr>"
        f"{head}<th>worst / best round</th><th>cores busy</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _notes(figures: Sequence[Figure]) -> str:
    versions = sorted({f"{figure.library} {figure.version}" for figure in figures})
    rounds = max(len(figure.qps_rounds) for figure in figures)
    days = sorted({figure.run[:10] for figure in figures})
    return (
        "<h2>How it was measured</h2><p>A speed alone says nothing when recalls differ, so it is read off "
        "the upper envelope of each contender's settings at the same recall; nothing is extrapolated. Each "
        f"contender has a process of its own and keeps the best of {_counted(rounds, 'round')}. Recall is "
        "held against exact answers, ties counted as right. Bytes are what the library says; cold ones serve "
        "the last candidates of a search only, and may stay on disk where an index is mapped. Beside them, "
        f"by how much the process grew.</p><p class='faint'>{escape(', '.join(versions))}; "
        f"{' to '.join(sorted({days[0], days[-1]}))}</p>"
    )
