"""Promises of compat.curves: a picture for every way of asking, in which everybody is seen and told apart."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat import curves
from compat.contenders import CONTENDERS
from compat.curves import draw, stretched, unstretched
from compat.figures import Figure

ONE = Figure(
    data="made", fingerprint="00000000", n=1000, dim=8, metric="l2", queries=10, k=10, contender="inlay-A",
    baseline=False, scans=False, library="lib", version="1", setting={"ef": 16}, mode="single", batch=1,
    threads=1, recall=0.9, qps=1000.0, qps_rounds=[900.0, 1000.0], cores=1.0, build_seconds=2.5,
    build_threads=1, bytes_said=32.0, bytes_cold=None, bytes_grown=None, bytes_peak=None, machine="cpu",
    run="one",
)  # fmt: skip
TWO = replace(ONE, recall=0.99, qps=500.0, setting={"ef": 32})


@pytest.fixture
def drawing():
    pytest.importorskip("matplotlib", reason="it draws the curves")


def size(path):
    """Return the width and height of a PNG in pixels."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", head[16:])


def colours(path):
    """Return how many colours a picture has."""
    from matplotlib.image import imread

    return len(np.unique((imread(path) * 255).astype(np.uint8).view(np.uint32)))


def test_every_data_set_and_way_of_asking_has_its_picture(drawing, tmp_path):
    figures = [
        ONE,
        TWO,
        replace(ONE, threads=2),
        replace(ONE, mode="batch", batch=100),
        replace(ONE, data="set[:100]", contender="base", baseline=True, scans=True),
        replace(ONE, fingerprint="1"),
    ]
    made = draw(figures, tmp_path / "deep" / "er")
    assert {path.name for path in made} == {
        "made-l2-top10-single-1t.png",
        "made-l2-top10-single-2t.png",
        "made-l2-top10-batch100-1t.png",
        "set-100-l2-top10-single-1t.png",
        "made-l2-top10-single-1t-1.png",
    }
    for path in made:
        width, height = size(path)
        assert min(width, height) > 400
        assert colours(path) > 10


@pytest.mark.parametrize("recalls", [(1.0,), (0.0,), (0.1, 0.3), (0.95, 1.0), (0.2, 0.9), (0.95, 0.95)])
@pytest.mark.parametrize("scans", [True, False])
def test_any_recall_can_be_drawn(drawing, tmp_path, recalls, scans):
    figures = [replace(ONE, recall=recall, scans=scans) for recall in recalls]
    (path,) = draw([*figures, replace(ONE, contender="exact", recall=1.0, qps=2.5)], tmp_path)
    assert colours(path) > 10


def test_another_contender_changes_the_picture(drawing, tmp_path):
    few, many = [ONE, TWO], [ONE, TWO, replace(ONE, contender="base", baseline=True, scans=True)]
    assert draw(few, tmp_path / "few")[0].read_bytes() != draw(many, tmp_path / "many")[0].read_bytes()


def test_all_contenders_are_told_apart():
    figures = [replace(ONE, contender=c.name, baseline=c.is_baseline, scans=c.scans) for c in CONTENDERS]
    looks = curves._looks(figures)
    assert len({tuple(look.values()) for look in looks.values()}) == len(CONTENDERS)
    # Baselines are dashed, so a colour may serve one line of each kind.
    lines = [(looks[c.name]["color"], looks[c.name]["linestyle"]) for c in CONTENDERS if not c.scans]
    assert len(set(lines)) == len(lines)
    for contender in CONTENDERS:
        assert (looks[contender.name]["linestyle"] == "") == contender.scans


@given(recall=st.floats(0, 1))
def test_the_axis_can_be_read_back(recall):
    assert unstretched(stretched(recall)) == pytest.approx(recall, abs=1e-12)


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_the_axis_rises(low, high):
    assert (stretched(low) <= stretched(high)) == (low <= high) or high == pytest.approx(low, abs=1e-12)


def test_nothing_to_draw_and_nothing_to_draw_with_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "can_draw", lambda: True)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw([], tmp_path)
    monkeypatch.setattr(curves, "can_draw", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'inlay\[compat\]'"):
        draw([ONE], tmp_path)
