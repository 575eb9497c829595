"""Promises of compat.matched: speeds at a recall lie on the upper envelope, and nothing is extrapolated."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.matched import at_recall, envelope

# Recalls as they are: so many right answers of so many.
POINT = st.tuples(st.integers(0, 1000).map(lambda right: right / 1000), st.floats(1, 1e6))
POINTS = st.lists(POINT, min_size=1, max_size=12)
RECALL = st.floats(0, 1)


def plainly(points, target):
    """Return the best speed at a recall of all settings and all lines between two settings."""
    found = [qps for recall, qps in points if recall >= target]
    if not found:
        return None
    for low, slow in points:
        for high, fast in points:
            if low < target <= high:
                share = (target - low) / (high - low)
                found.append(math.exp((1 - share) * math.log(slow) + share * math.log(fast)))
    return max(found)


@given(points=POINTS, target=RECALL)
def test_matched_speed_is_the_best_of_all_settings_and_all_lines_between_them(points, target):
    found, expected = at_recall(points, target), plainly(points, target)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-9))


@given(points=POINTS, target=RECALL)
def test_matched_speed_lies_between_what_was_measured(points, target):
    found = at_recall(points, target)
    enough = [qps for recall, qps in points if recall >= target]
    if not enough:
        assert found is None
    else:
        assert max(enough) <= found * (1 + 1e-9)
        assert found <= max(qps for _, qps in points) * (1 + 1e-9)


@given(points=POINTS)
def test_matched_speed_falls_as_recall_rises(points):
    speeds = [at_recall(points, step / 20) for step in range(21)]
    reached = [speed for speed in speeds if speed is not None]
    assert speeds[: len(reached)] == reached
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(reached))


@given(points=POINTS, other=POINT, target=RECALL)
def test_one_more_setting_never_slows_a_contender(points, other, target):
    before, after = at_recall(points, target), at_recall([*points, other], target)
    assert before is None or before <= after * (1 + 1e-9)


@given(points=POINTS)
def test_corners_were_measured_and_turn_one_way(points):
    corners = envelope(points)
    assert set(corners) <= set(points)
    slopes = [
        (math.log(after[1]) - math.log(before[1])) / (after[0] - before[0])
        for before, after in pairwise(corners)
    ]
    assert all(slope < 0 for slope in slopes)
    assert all(later <= earlier * (1 - 1e-6) for earlier, later in pairwise(slopes))


def test_speed_between_two_settings_is_interpolated_on_a_log_scale():
    points = [(0.90, 1000.0), (1.00, 10.0)]
    assert at_recall(points, 0.95) == pytest.approx(100.0)
    assert at_recall(points, 0.90) == 1000.0
    assert at_recall(points, 1.00) == pytest.approx(10.0)


def test_nothing_is_extrapolated():
    points = [(0.92, 500.0), (0.97, 100.0)]
    assert at_recall(points, 0.90) == 500.0
    assert at_recall(points, 0.98) is None
    assert at_recall([], 0.5) is None


def test_a_setting_that_loses_does_not_slow_its_contender():
    assert at_recall([(0.93, 50.0), (0.96, 80.0)], 0.95) == 80.0
    slow_by_chance = [(0.8, 1000.0), (0.9, 150.0), (1.0, 100.0)]
    assert envelope(slow_by_chance) == [(0.8, 1000.0), (1.0, 100.0)]
