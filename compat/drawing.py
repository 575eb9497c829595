"""The curves as PNG files, by matplotlib: one for every data set and way of asking."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compat.contenders import KINDS
from compat.curves import (
    BEYOND,
    COOL,
    RANKED_AT,
    TICKS,
    WARM,
    Look,
    Picture,
    lead,
    looks,
    pictures,
    stretched,
    unstretched,
)
from compat.figures import Figure

MARKERS = {
    **{
        "circle": "o",
        "square": "s",
        "triangle": "^",
        "diamond": "D",
        "inverted": "v",
        "plus": "P",
        "cross": "X",
    },
    **{"left": "<", "right": ">", "bar": "|", "dash": "_"},
}


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Draw one PNG for every data set and way of asking, and return where they are.

    Parameters
    ----------
    figures : sequence of Figure
        A contender looks the same in all pictures.
    folder : Path
        Made when it is not there; files of the same names are replaced.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    styles = looks(figures)
    made: list[Path] = []
    for picture in pictures(figures):
        path = folder / _file_name(picture.first)
        if path in made:  # two data sets of one name
            path = path.with_stem(f"{path.stem}-{picture.first.fingerprint}")
        _draw_one(picture, styles, path)
        made.append(path)
    return made


def _file_name(figure: Figure) -> str:
    asked = "single" if figure.mode == "single" else f"batch{figure.batch}"
    name = f"{figure.data}-{figure.metric}-top{figure.k}-{asked}-{figure.threads}t.png"
    return re.sub(r"[^\w.]+", "-", name)


def _draw_one(picture: Picture, styles: dict[str, Look], path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    panels = picture.panels
    tallest = max(len(curves) for _, curves in panels)
    canvas = Canvas(figsize=(1 + 4.2 * len(panels), 4.4 + 0.19 * tallest), layout="constrained")
    row = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (kind, curves) in zip(row, panels, strict=True):
        _lay_out(axes, picture)
        axes.set_title(KINDS[kind], fontsize=11)
        for baseline, colour in ((False, COOL[0]), (True, WARM[0])):
            leading = lead(curves, baseline=baseline)
            if leading:
                axes.plot(
                    *zip(*leading, strict=True),
                    color=colour,
                    alpha=0.15,
                    linewidth=11,
                    solid_capstyle="round",
                )
        for curve in curves:
            style = _style(styles[curve.first.contender])
            axes.plot(*zip(*curve.points, strict=True), **style | {"linestyle": ""})
            axes.plot(*zip(*curve.corners, strict=True), label=curve.first.contender, linewidth=1.4, **style)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=8.5, frameon=False)
    row[0].set_ylabel("queries per second")
    first = picture.first
    canvas.suptitle(
        f"{first.subject_text}; {first.way_text}; {first.machine}\n"
        f"names by speed at recall {RANKED_AT}; broad bands: the best of Inlay, the best of all others",
        fontsize=10,
    )
    canvas.savefig(path, dpi=80, pil_kwargs={"optimize": True})


def _lay_out(axes: Any, picture: Picture) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    least, (slowest, fastest) = picture.least_recall, picture.speeds
    axes.set_xscale("function", functions=(stretched, unstretched))
    axes.set_yscale("log")
    axes.set_ylim(slowest / 1.4, fastest * 1.4)
    axes.set_xlim(float(unstretched(stretched(least) - 0.05)), 1 + BEYOND / 4)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick >= least]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda recall, _: f"{recall:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda qps, _: f"{qps:,g}")
    axes.grid(visible=True, alpha=0.3)
    axes.tick_params(labelsize=8.5)
    axes.set_xlabel(f"recall@{picture.first.k}", fontsize=9.5)


def _style(look: Look) -> dict[str, Any]:
    return {
        "color": look.colour,
        "marker": MARKERS[look.mark],
        "markerfacecolor": "white" if look.baseline else look.colour,
        "linestyle": "--" if look.baseline else "-",
        "markersize": 5,
    }
