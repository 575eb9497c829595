"""Promises of compat.race: turns are taken, the best round counts, nothing is measured twice."""

import io
from dataclasses import replace

import numpy as np
import pytest
from tqdm import tqdm

from compat import race
from compat.contenders import select
from compat.data import DataSet
from compat.figures import read
from compat.race import Plan, Race
from compat.worker import Build, Pass, WorkerError

TEAM = select(["faiss-SQ8", "hnswlib-M16"])[::-1]
BASE = np.arange(40, dtype=np.float32).reshape(20, 2)
DATA = DataSet("line", "l2", BASE, BASE[:3], np.array([[0, 1], [1, 0], [2, 1]]))
PLAN = Plan(
    k=2,
    threads={"single": (1, 2), "batch": (1, 2)},
    batch=3,
    rounds=3,
    seconds=1.0,
    build_threads=2,
    quick=True,
)


class FakeWorker:
    """Stands for a process: logs what it is asked, answers exactly, and gets quicker with every pass."""

    def __init__(self, contender, folder, metric, k, threads):
        self.contender, self.passes = contender, 0

    def build(self, threads):
        self.tell("build")
        return Build(1.5, threads, 8.0, 3.0, 9.0, None)

    def answer(self, setting, threads):
        self.tell("answer")
        return DATA.truth

    def rate(self, setting, threads, batch, most_seconds):
        self.tell("rate", threads, batch, setting)
        self.passes += 1
        return Pass(100.0 * self.passes, 1.0)

    def tell(self, *what):
        self.log.append((self.contender.name, *what))
        if self.breaks == (self.contender.name, what[0], self.log.count((self.contender.name, *what))):
            raise WorkerError("broken")

    def close(self):
        self.log.append((self.contender.name, "close"))


@pytest.fixture
def log(monkeypatch):
    seen = []
    monkeypatch.setattr(FakeWorker, "log", seen, raising=False)
    monkeypatch.setattr(FakeWorker, "breaks", None, raising=False)
    monkeypatch.setattr(race, "Worker", FakeWorker)
    return seen


def run(folder, plan=PLAN, out=None, team=TEAM):
    made = Race(DATA, folder, plan, out)
    with tqdm(disable=True) as bar:
        made.measure(team, bar)
    return made


def test_contenders_take_turns_within_every_way_of_asking(log, tmp_path):
    run(tmp_path)
    turns = [(entry[0], entry[2], entry[3]) for entry in log if entry[1] == "rate"]
    for threads, batch in [(1, 1), (1, 3), (2, 1), (2, 3)]:
        names = [name for name, *cell in turns if cell == [threads, batch]]
        forth, back = ["faiss-SQ8"] + ["hnswlib-M16"] * 3, ["hnswlib-M16"] * 3 + ["faiss-SQ8"]
        assert names == forth + back + forth


def test_every_mode_has_its_own_threads(log, tmp_path):
    made = run(tmp_path, plan=replace(PLAN, threads={"single": (1,), "batch": (1, 2)}))
    ways = {(figure.threads, figure.mode) for figure in made.figures}
    assert ways == {(1, "single"), (1, "batch"), (2, "batch")}


def test_a_sweep_is_built_once(log, tmp_path):
    run(tmp_path, plan=replace(PLAN, quick=False))
    assert log.count(("hnswlib-M16", "build")) == 1
    efforts = [entry[4]["ef"] for entry in log if entry[:4] == ("hnswlib-M16", "rate", 2, 3)]
    sweep = [setting["ef"] for setting in TEAM[1].settings(2)]
    assert efforts == sweep * PLAN.rounds
    assert sweep == sorted(set(sweep))


def test_the_best_round_counts_and_all_are_kept(log, tmp_path):
    for figure in run(tmp_path).figures:
        assert len(figure.qps_rounds) == PLAN.rounds
        assert figure.qps == max(figure.qps_rounds)
        assert figure.recall == 1.0
        assert (figure.bytes_said, figure.bytes_cold, figure.bytes_grown, figure.bytes_peak) == (
            8,
            3,
            9,
            None,
        )
        assert (figure.kind == "scan") == (figure.contender == "faiss-SQ8")


def test_every_setting_is_answered_once_and_every_process_ended(log, tmp_path):
    made = run(tmp_path)
    assert len(made.figures) == 4 * (1 + 3)
    assert log.count(("faiss-SQ8", "answer")) == 1
    assert log.count(("hnswlib-M16", "answer")) == 3
    assert {entry for entry in log if entry[1] == "close"} == {(c.name, "close") for c in TEAM}


def test_finished_settings_are_not_measured_again(log, tmp_path):
    out = tmp_path / "figures.jsonl"
    first = run(tmp_path, out=out, team=TEAM[:1])
    log.clear()
    second = run(tmp_path, out=out)
    assert {entry[0] for entry in log} == {"hnswlib-M16"}
    assert read(out) == second.figures
    assert second.figures[: len(first.figures)] == first.figures
    log.clear()
    assert run(tmp_path, out=out).figures == second.figures
    assert log == []


def test_a_finished_way_of_asking_survives_a_later_failure(log, tmp_path, monkeypatch):
    out = tmp_path / "figures.jsonl"
    monkeypatch.setattr(FakeWorker, "tell", interrupted_at(threads=1, batch=3))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, out=out)
    assert {(figure.threads, figure.batch) for figure in read(out)} == {(1, 1), (2, 1)}
    assert {entry for entry in log if entry[1] == "close"} == {(c.name, "close") for c in TEAM}


def interrupted_at(threads, batch):
    def tell(self, *what):
        if what[:3] == ("rate", threads, batch):
            raise KeyboardInterrupt
        self.log.append((self.contender.name, *what))

    return tell


@pytest.mark.parametrize("step", ["build", "answer", "rate"])
def test_one_that_fails_is_dropped_and_named_and_the_others_go_on(log, tmp_path, monkeypatch, step):
    monkeypatch.setattr(FakeWorker, "breaks", ("hnswlib-M16", step, 1))
    made = run(tmp_path)
    assert made.failures == ["hnswlib-M16: broken"]
    assert {figure.contender for figure in made.figures} == {"faiss-SQ8"}
    assert len(made.figures) == 4


def test_impossible_ids_drop_a_contender(log, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeWorker, "answer", lambda self, setting, threads: DATA.truth + 1000)
    made = run(tmp_path, team=TEAM[:1])
    assert made.figures == []
    assert "ids must lie in" in made.failures[0]


def test_steps_foretell_the_work(log, tmp_path):
    made = Race(DATA, tmp_path, PLAN, None)
    foretold = [made.steps(contender) for contender in TEAM]
    with tqdm(total=sum(foretold), file=io.StringIO()) as bar:
        made.measure(TEAM, bar)
        assert bar.n == sum(foretold)
    assert [made.steps(contender) for contender in TEAM] == [0, 0]


def test_a_quick_plan_takes_the_ends_and_the_middle_of_a_sweep():
    (hnsw,) = select(["hnswlib-M16"])
    sweep = hnsw.settings(2)
    assert PLAN.settings(hnsw) == [sweep[0], sweep[len(sweep) // 2], sweep[-1]]
