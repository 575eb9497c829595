"""Promises of compat.figures: what was measured is kept, line by line, even when a run is killed."""

from dataclasses import replace

import pytest

from compat.figures import Figure, append, read

ONE = Figure(
    data="made", fingerprint="00000000", n=1000, dim=8, metric="l2", queries=10, k=10, contender="exact",
    baseline=True, kind="graph", library="lib", version="1", setting={"ef": 16}, mode="single", batch=1,
    threads=1, recall=0.9, qps=10.0, qps_rounds=[9.0, 10.0], cores=1.0, build_seconds=2.5, build_threads=1,
    bytes_said=32.0, bytes_cold=None, bytes_grown=None, bytes_peak=None, machine="cpu", run="one",
)  # fmt: skip


def test_figures_come_back_as_they_were_kept(tmp_path):
    file = tmp_path / "deeper" / "figures.jsonl"
    append(file, [ONE])
    append(file, [replace(ONE, setting={}), replace(ONE, threads=2, bytes_grown=33.5)])
    assert read(file) == [ONE, replace(ONE, setting={}), replace(ONE, threads=2, bytes_grown=33.5)]


def test_no_file_is_no_figures(tmp_path):
    assert read(tmp_path / "none.jsonl") == []


def test_what_a_killed_run_left_behind_is_cut_off(tmp_path):
    file = tmp_path / "figures.jsonl"
    append(file, [ONE, ONE])
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert read(file) == [ONE]
    append(file, [ONE])
    assert file.read_bytes() == whole


@pytest.mark.parametrize("line", ["not json\n", "[1]\n", '{"data": "made"}\n'])
def test_a_foreign_file_is_refused_with_its_line(tmp_path, line):
    file = tmp_path / "figures.jsonl"
    append(file, [ONE])
    with file.open("a") as end:
        end.write(line)
    with pytest.raises(ValueError, match="line 2"):
        read(file)


def test_hot_bytes_are_what_is_not_cold():
    assert ONE.bytes_hot is None
    assert replace(ONE, bytes_cold=20.0).bytes_hot == 12.0


@pytest.mark.parametrize(
    "change", [{"k": 5}, {"threads": 2}, {"setting": {"ef": 32}}, {"mode": "batch"}, {"fingerprint": "1"}]
)
def test_only_the_same_question_has_the_same_key(change):
    assert replace(ONE, **change).key != ONE.key
    assert replace(ONE, qps=5.0, recall=0.1, run="two").key == ONE.key


def test_rounds_of_one_question_are_one_figure_with_the_best_of_them(tmp_path):
    file = tmp_path / "figures.jsonl"
    slow, fast = replace(ONE, qps=5.0, qps_rounds=[5.0]), replace(ONE, qps=9.0, qps_rounds=[9.0], run="two")
    append(file, [slow, replace(ONE, threads=2), fast])
    assert read(file) == [replace(fast, qps_rounds=[5.0, 9.0]), replace(ONE, threads=2)]
