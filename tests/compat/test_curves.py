"""Promises of compat.curves: a picture for every way of asking, in which everybody is seen and told apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.contenders import CONTENDERS, KINDS
from compat.curves import lead, looks, pictures, stretched, unstretched
from tests.compat.made import ONE, OTHER, SCAN, TWO


def test_every_data_set_and_way_of_asking_has_its_picture():
    ways = [
        ONE,
        replace(ONE, threads=2),
        replace(ONE, mode="batch", batch=100),
        replace(ONE, fingerprint="1"),
    ]
    made = pictures([*ways, *(replace(one, setting={"ef": 32}) for one in ways)])
    assert [(one.first.subject, one.first.way) for one in made] == sorted(
        (one.subject, one.way) for one in ways
    )
    assert all(len(curve.figures) == 2 for one in made for curve in one.curves)


def test_every_kind_of_search_has_its_panel_with_the_fastest_first():
    (picture,) = pictures([SCAN, OTHER, TWO, ONE])
    assert [kind for kind, _ in picture.panels] == ["graph", "scan"]
    assert [curve.first.contender for curve in picture.panels[0][1]] == ["inlay-A", "base"]
    assert [curve.first.contender for curve in picture.curves] == ["inlay-A", "base", "exact"]
    assert picture.speeds == (10.0, 1000.0)


def test_who_finds_little_is_seen_too():
    (picture,) = pictures([TWO, replace(OTHER, recall=0.3)])
    assert picture.least_recall == 0.3
    (picture,) = pictures([TWO, replace(ONE, recall=0.3), OTHER])
    assert picture.least_recall == 0.8


def test_the_bands_are_the_best_of_each_side():
    (picture,) = pictures([ONE, TWO, OTHER, SCAN, replace(OTHER, recall=0.94, qps=550.0)])
    assert lead(picture.curves, baseline=False) == [(0.9, 1000.0), (0.99, 500.0)]
    assert lead(picture.curves, baseline=True) == [(0.95, 600.0), (1.0, 10.0)]


def test_all_contenders_of_one_panel_are_told_apart():
    figures = [replace(ONE, contender=c.name, baseline=c.is_baseline, kind=c.kind) for c in CONTENDERS]
    styles = looks(figures)
    for kind in KINDS:
        own = [styles[c.name] for c in CONTENDERS if c.kind == kind]
        assert len({(look.colour, look.mark, look.baseline) for look in own}) == len(own)
        assert len({(look.colour, look.baseline) for look in own}) == len(own)


@given(recall=st.floats(0, 1))
def test_the_axis_can_be_read_back(recall):
    assert unstretched(stretched(recall)) == pytest.approx(recall, abs=1e-12)


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_the_axis_rises(low, high):
    assert (stretched(low) <= stretched(high)) == (low <= high) or high == pytest.approx(low, abs=1e-12)
