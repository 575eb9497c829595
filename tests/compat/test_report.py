"""Promises of compat.report: nothing is left out, and speeds are compared at the same recall."""

import math

import pytest

from compat.figures import Figure, append
from compat.report import main, report, write
from compat.tables import share, table


def figure(contender, recall, qps, **changes):
    fields = {
        "data": "made", "fingerprint": "00000000", "n": 1000, "dim": 8, "metric": "l2", "queries": 10,
        "k": 10,
        "contender": contender, "baseline": "inlay" not in contender, "kind": "scan",
        "library": "lib", "version": "1",
        "setting": {"effort": int(recall * 1000)}, "mode": "single", "batch": 1, "threads": 1,
        "recall": recall, "qps": qps, "qps_rounds": [qps / 2, qps], "cores": 1.0,
        "build_seconds": 2.5, "build_threads": 1,
        "bytes_said": 32.0, "bytes_cold": None, "bytes_grown": 40.0, "bytes_peak": None,
        "machine": "cpu", "run": "one",
    }  # fmt: skip
    return Figure(**(fields | changes))


def cells(text, name):
    """Return the cells after the first of every line of a table that starts with a name."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return [line[1:] for line in lines if line[:1] == [name]]


def test_every_row_is_printed_losing_ones_too():
    figures = [figure("inlay-A", 0.5, 10.0), figure("inlay-A", 0.9, 5.0), figure("base", 0.99, 1000.0)]
    text = report(figures)
    rows = [line for line in text.splitlines() if "effort=" in line]
    assert len(rows) == 3
    assert "1,000 x 8" in text
    assert cells(text, "base")[0][-1] == "-"  # no peak was told
    _, *settings, matched = cells(text, "inlay-A")
    assert len(settings) == 2
    assert matched[:4] == ["5 (0.005x)", "-", "-", "0.9000"]


def test_matched_rows_say_what_the_speed_costs():
    text = report([figure("inlay-A", 1.0, 9.0, bytes_cold=20.0), figure("base", 1.0, 5.0)], [0.9])
    assert cells(text, "inlay-A")[-1][2:] == ["2.50", "12", "20", "40"]
    assert cells(text, "base")[-1][2:] == ["2.50", "-", "-", "40"]


def test_ratios_are_against_the_best_baseline_at_that_recall():
    figures = [
        figure("inlay-A", 1.0, 300.0),
        figure("quick", 0.9, 600.0),
        figure("exact", 1.0, 100.0),
    ]
    assert cells(report(figures, [0.9, 0.99]), "inlay-A")[-1][:2] == ["300 (0.50x)", "300 (3.00x)"]


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
    assert cells(text, "inlay-A")[-1][0] == "300 (3.00x)"


@pytest.mark.parametrize(
    ("recall", "shown"), [(1.0, "1.0000"), (0.99996, "0.9999"), (0.9, "0.9000"), (0.0, "0.0000")]
)
def test_recall_is_never_rounded_up(recall, shown):
    assert share(recall) == shown


def test_tables_are_markdown_whose_columns_line_up():
    assert table(("name", "value"), [("a", "1"), ("longer", "1,000")]).splitlines() == [
        "| name   | value |",
        "| ------ | ----: |",
        "| a      |     1 |",
        "| longer | 1,000 |",
    ]


def test_the_command_reads_files_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib")
    file = tmp_path / "figures.jsonl"
    append(file, [figure("inlay-A", 0.9, 10.0), figure("exact", 1.0, 5.0, bytes_peak=math.pi)])
    assert main([str(file), "--at", "0.8", "--out", str(tmp_path / "drawn")]) == 0
    printed = capsys.readouterr().out
    assert "0.8" in printed
    picture, page = sorted((tmp_path / "drawn").iterdir())
    assert printed.splitlines()[-2:] == [str(page), str(picture)]
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_missing_file_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothing.jsonl")])
    assert "no such file" in capsys.readouterr().err


def test_without_matplotlib_there_is_the_page_and_a_word_of_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("compat.report.can_draw", lambda: False)
    assert write([figure("inlay-A", 0.9, 10.0)], [0.9], tmp_path) == [tmp_path / "report.html"]
    assert "pip install 'inlay[compat]'" in capsys.readouterr().err
