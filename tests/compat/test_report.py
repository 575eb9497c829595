"""Promises of compat.report: nothing is left out, and speeds are compared at the same recall."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.figures import Figure, append
from compat.report import at_recall, frontier, main, plot, report, share, table

POINTS = st.lists(
    st.tuples(st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=12, unique_by=lambda point: point[0]
)


def figure(contender, recall, qps, **changes):
    fields = {
        "data": "made", "fingerprint": "00000000", "n": 1000, "dim": 8, "metric": "l2", "queries": 10,
        "k": 10,
        "contender": contender, "baseline": "inlay" not in contender, "library": "lib", "version": "1",
        "setting": {"effort": int(recall * 1000)}, "mode": "single", "batch": 1, "threads": 1,
        "recall": recall, "qps": qps, "qps_rounds": [qps / 2, qps], "cores": 1.0,
        "build_seconds": 2.5, "build_threads": 1, "bytes_said": 32.0, "bytes_grown": 40.0, "bytes_peak": None,
        "machine": "cpu", "run": "one",
    }  # fmt: skip
    return Figure(**(fields | changes))


def cells(text, name, last_columns):
    """Return the last cells of every line of a table that starts with a name."""
    return [line.split()[-last_columns:] for line in text.splitlines() if line.split()[:1] == [name]]


def test_speed_between_two_settings_is_interpolated_on_a_log_scale():
    points = [(0.90, 1000.0), (1.00, 10.0)]
    assert at_recall(points, 0.95) == pytest.approx(100.0)
    assert at_recall(points, 0.90) == 1000.0
    assert at_recall(points, 1.00) == pytest.approx(10.0)


def test_nothing_is_extrapolated():
    points = [(0.92, 500.0), (0.97, 100.0)]
    assert at_recall(points, 0.90) == 500.0
    assert at_recall(points, 0.98) is None


def test_a_setting_that_loses_on_both_counts_does_not_slow_its_contender():
    assert at_recall([(0.93, 50.0), (0.96, 80.0)], 0.95) == 80.0
    assert frontier([(0.5, 9.0), (0.7, 3.0), (0.6, 2.0), (0.9, 1.0)]) == [(0.5, 9.0), (0.7, 3.0), (0.9, 1.0)]


@given(points=POINTS, target=st.floats(0, 1))
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


def test_every_row_is_printed_losing_ones_too():
    figures = [figure("inlay-A", 0.5, 10.0), figure("inlay-A", 0.9, 5.0), figure("base", 0.99, 1000.0)]
    text = report(figures)
    rows = [line for line in text.splitlines() if "effort=" in line]
    assert len(rows) == 3
    assert "1,000 x 8" in text
    assert "-" in cells(text, "base", 1)[0]  # no peak was told


def test_ratios_are_against_the_best_baseline_at_that_recall():
    figures = [
        figure("inlay-A", 1.0, 300.0),
        figure("quick", 0.9, 600.0),
        figure("exact", 1.0, 100.0),
    ]
    lines = cells(report(figures, [0.9, 0.99]), "inlay-A", 4)
    assert ["300", "(0.50x)", "300", "(3.00x)"] in lines


def test_without_baselines_there_are_no_ratios():
    assert "x)" not in report([figure("inlay-A", 1.0, 300.0)]).split("baseline)")[1]


def test_ratios_across_runs_are_marked():
    figures = [figure("inlay-A", 1.0, 300.0), figure("exact", 1.0, 100.0)]
    assert "runs" not in report(figures)
    assert "come from 2 runs" in report([*figures, figure("other", 1.0, 50.0, run="two")])


def test_ways_of_asking_are_never_mixed():
    figures = [
        figure("inlay-A", 1.0, 300.0),
        figure("exact", 1.0, 100.0),
        figure("exact", 1.0, 1000.0, mode="batch", batch=50),
        figure("exact", 1.0, 2000.0, threads=2),
    ]
    text = report(figures, [0.9])
    titles = [line for line in text.splitlines() if line.startswith("##")]
    assert titles == [
        "## one query per call, 1 thread",
        "## 50 queries per call, 1 thread",
        "## one query per call, 2 threads",
    ]
    assert ["300", "(3.00x)"] in cells(text, "inlay-A", 2)


@pytest.mark.parametrize(
    ("recall", "shown"), [(1.0, "1.0000"), (0.99996, "0.9999"), (0.9, "0.9000"), (0.0, "0.0000")]
)
def test_recall_is_never_rounded_up(recall, shown):
    assert share(recall) == shown


def test_columns_line_up():
    lines = table(("name", "value"), [("a", "1"), ("longer", "1,000")]).splitlines()
    assert lines[2] == "a           1"
    assert lines[3] == "longer  1,000"


def test_the_command_reads_files_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib")
    file = tmp_path / "figures.jsonl"
    append(file, [figure("inlay-A", 0.9, 10.0), figure("exact", 1.0, 5.0, bytes_peak=math.pi)])
    assert main([str(file), "--at", "0.8", "--plot", str(tmp_path / "curves.png")]) == 0
    assert "0.8" in capsys.readouterr().out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_file_and_an_empty_picture_are_errors(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothing.jsonl")])
    assert "no such file" in capsys.readouterr().err
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib")
    with pytest.raises(ValueError, match="nothing to draw"):
        plot([], tmp_path / "curves.png")
