"""Promises of compat.drawing: a PNG for every way of asking, whatever the recalls are."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from compat.drawing import draw
from tests.compat.made import ONE, TWO

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


def test_every_data_set_and_way_of_asking_has_its_picture(tmp_path):
    figures = [
        ONE,
        TWO,
        replace(ONE, threads=2),
        replace(ONE, mode="batch", batch=100),
        replace(ONE, data="set[:100]", contender="base", baseline=True, kind="scan"),
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
        assert min(width, height) > 300
        assert colours(path) > 10


@pytest.mark.parametrize("recalls", [(1.0,), (0.0,), (0.1, 0.3), (0.95, 0.95)])
def test_any_recall_can_be_drawn(tmp_path, recalls):
    figures = [replace(ONE, recall=recall) for recall in recalls]
    (path,) = draw([*figures, replace(ONE, contender="exact", recall=1.0, qps=2.5)], tmp_path)
    assert colours(path) > 10


def test_another_contender_changes_the_picture(tmp_path):
    few, many = [ONE, TWO], [ONE, TWO, replace(ONE, contender="base", baseline=True, kind="scan")]
    assert draw(few, tmp_path / "few")[0].read_bytes() != draw(many, tmp_path / "many")[0].read_bytes()
