"""Promises of compat.run: one command measures everybody, can be continued, and says what it left out."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from compat import contenders, race, run
from compat.data import clustered
from compat.figures import read

WITH = {"faiss": "faiss-HNSW32,SQ8", "hnswlib": "hnswlib-M16"}
INSTALLED = [name for name in WITH if importlib.util.find_spec(name) is not None]
BRIEF = ["--rounds", "1", "--seconds", "0.05", "--batch", "20"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Where no folder was given, what a run keeps goes into the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files(tmp_path):
    made = clustered(900, 16, 30, seed=6)
    np.save(tmp_path / "base.npy", made.base.astype(np.float16))
    np.save(tmp_path / "queries.npy", made.queries)
    return ["--base", str(tmp_path / "base.npy"), "--queries", str(tmp_path / "queries.npy")]


def test_everybody_is_measured_and_printed(files, tmp_path, capsys):
    out = tmp_path / "out"
    only = ["inlay-Flat", "inlay-LVQ8", *(WITH[library] for library in WITH if library in INSTALLED)]
    code = run.main([*files, *BRIEF, "--quick", "--only", *only, "--threads", "1", "2", "--out", str(out)])
    assert code == 0
    figures, printed = read(out / "figures.jsonl"), capsys.readouterr().out
    assert {figure.contender for figure in figures} == {c.name for c in contenders.select(only)}
    assert {(figure.threads, figure.mode, figure.batch) for figure in figures} == {
        (1, "single", 1), (1, "batch", 20), (2, "single", 1), (2, "batch", 20),
    }  # fmt: skip
    assert len([line for line in printed.splitlines() if "worst/best" in line]) == 4
    for figure in figures:
        assert printed.count(f"{figure.contender} ") >= 4
        assert 0 < figure.recall <= 1
        assert figure.qps > 0
        assert figure.bytes_said > 0
        if figure.contender.endswith("-Flat"):
            assert figure.recall == 1.0


def test_the_same_command_again_measures_nothing(files, tmp_path, capsys):
    out = tmp_path / "out"
    command = [*files, *BRIEF, "--only", "inlay-Flat", "--out", str(out)]
    assert run.main(command) == 0
    first, printed = (out / "figures.jsonl").read_bytes(), capsys.readouterr().out
    assert run.main(command) == 0
    assert (out / "figures.jsonl").read_bytes() == first
    assert capsys.readouterr().out == printed
    assert run.main([*command, "--metric", "ip"]) == 0
    assert len(read(out / "figures.jsonl")) == 2 * len(first.splitlines())


def test_curves_are_drawn_for_every_way_of_asking(files, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="it draws the curves")
    only = ["inlay-Flat", *(WITH[library] for library in INSTALLED)]
    ways = ["--threads", "1", "2", "--single-threads", "1"]
    folder = tmp_path / "drawn"
    assert run.main([*files, *BRIEF, "--quick", "--only", *only, *ways, "--out", str(folder)]) == 0
    drawn = sorted(folder.glob("*.png"))
    assert [path.name for path in drawn] == [
        f"base-l2-top10-{way}.png" for way in ("batch20-1t", "batch20-2t", "single-1t")
    ]
    printed = capsys.readouterr().out
    for path in drawn:
        assert str(path) in printed
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_stopped_goes_on_and_writes_its_page(files, tmp_path, monkeypatch, capsys):
    command = [
        *files,
        "--seconds",
        "0.05",
        "--rounds",
        "2",
        "--modes",
        "batch",
        "--only",
        "inlay-Flat",
        "inlay-LVQ4",
    ]
    keep, kept = race.append, []

    def stopped(path, figures):
        if len(kept) == 3:
            raise KeyboardInterrupt
        kept.extend(figures)
        keep(path, figures)

    monkeypatch.setattr(race, "append", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.main(command)
    monkeypatch.setattr(race, "append", keep)
    assert run.main(command) == 0
    lines = (tmp_path / "comparison" / "figures.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert all(len(figure.qps_rounds) == 2 for figure in read(tmp_path / "comparison" / "figures.jsonl"))
    assert str(Path("comparison") / "report.html") in capsys.readouterr().out


def test_one_by_one_gives_the_same_questions_answered(files, tmp_path):
    lines = []
    for extra in ([], ["--one-by-one"]):
        out = tmp_path / f"out{len(extra)}"
        assert (
            run.main([*files, *BRIEF, "--only", "*Flat", "--modes", "batch", *extra, "--out", str(out)]) == 0
        )
        lines.append({figure.key for figure in read(out / "figures.jsonl")})
    assert lines[0] == lines[1]


def test_without_a_baseline_the_others_are_measured_and_the_notice_names_the_install_line(
    files, tmp_path, capsys, monkeypatch
):
    find = importlib.util.find_spec
    missing = {"faiss", "hnswlib"}
    monkeypatch.setattr(
        contenders.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert run.main([*files, *BRIEF, "--quick", "--only", "*Flat", "hnswlib", "--modes", "batch"]) == 0
    printed = capsys.readouterr()
    for library in missing:
        assert f"{library} is not installed, which leaves out" in printed.err
    assert "pip install 'inlay[compat]'" in printed.err
    assert "inlay-Flat" in printed.out
    assert "faiss" not in printed.out


def test_a_contender_that_fails_makes_the_command_fail_and_is_named(files, capsys, monkeypatch):
    broken = contenders.Contender("broken", "scan", contenders.Inlay, ("NoSuchSpec",), contenders.as_it_is)
    (flat,) = contenders.select(["inlay-Flat"])
    monkeypatch.setattr(contenders, "CONTENDERS", (flat, broken))
    assert run.main([*files, *BRIEF, "--modes", "batch"]) == 1
    printed = capsys.readouterr()
    assert "inlay-Flat" in printed.out
    assert "FAILED broken" in printed.err
    assert "NoSuchSpec" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "annoy"], "no contender matches 'annoy'"),
        (["--data", "somewhere"], "--data and --name belong together"),
        (["--queries", "q.npy"], "need --base"),
        (["--base", "x.npy", "--data", "d", "--name", "n"], "not both"),
        (["--base", "not-there.npy", "--queries", "q.npy"], "not-there.npy"),
        (["--k", "0"], "--k must be at least 1"),
        (["--threads", "0"], "thread counts"),
        (["--single-threads", "0"], "thread counts"),
        (["--seconds", "0"], "--seconds must be positive"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_option_and_every_contender(capsys):
    with pytest.raises(SystemExit):
        run.main(["--help"])
    text = capsys.readouterr().out
    for contender in contenders.CONTENDERS:
        assert contender.name in text
    for action in run.parser()._actions:
        assert action.help
        assert action.option_strings[-1] in text
