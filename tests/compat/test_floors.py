"""Recall cannot rot: on small fixed data every form keeps the recall that ``compat/floors.toml`` states."""

from functools import cache

import numpy as np
import pytest

from compat import floors
from compat.data import METRICS

STATED = floors.stated()
NAMES = list(STATED["data"])
FLOORS = [
    pytest.param(*question, floor, id="-".join(question)) for question, floor in floors.floors().items()
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return cache(lambda name, metric: floors.prepared(name, metric, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def built(prepared):
    return cache(lambda name, metric, spec: floors.built(prepared(name, metric), spec))


@pytest.mark.parametrize(("name", "metric", "spec", "effort", "floor"), FLOORS)
def test_recall_is_not_below_its_floor(prepared, built, name, metric, spec, effort, floor):
    assert floors.measured(prepared(name, metric), built(name, metric, spec), effort) >= floor


def test_every_form_has_a_floor_for_every_data_metric_and_effort():
    expected = {
        (name, metric, spec, effort)
        for name in NAMES
        for metric in METRICS
        for spec in floors.SPECS
        for effort in floors.efforts(spec)
    }
    assert set(floors.floors()) == expected


def test_exact_search_has_no_slack():
    assert {floor for question, floor in floors.floors().items() if question[2] == "Flat"} == {1.0}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", NAMES)
def test_exact_search_finds_the_neighbours_that_faiss_finds(prepared, built, name, metric):
    faiss = pytest.importorskip("faiss", reason="the other exact search is faiss's")
    data, k = prepared(name, metric), STATED["k"]
    theirs = (
        faiss.IndexFlatL2(data.base.shape[1]) if metric == "l2" else faiss.IndexFlatIP(data.base.shape[1])
    )
    theirs.add(data.base)
    expected = theirs.search(data.queries, k)[1]
    distances, found = built(name, metric, "Flat").search(data.queries, k)
    for row in np.flatnonzero((found != expected).any(axis=1)):
        # Two libraries round differently, so neighbours may trade places only where they are equally far.
        assert set(found[row]) == set(expected[row])
        swapped = distances[row][found[row] != expected[row]]
        assert np.ptp(swapped) <= 1e-5 * np.abs(swapped).max()


def test_the_command_prints_every_question_and_marks_what_is_below(monkeypatch, capsys):
    question = (NAMES[0], "l2", "LVQ8", "default")
    monkeypatch.setattr(floors, "everything", lambda: {question: 0.5})
    assert floors.main([]) == 1
    assert "BELOW" in capsys.readouterr().out
    monkeypatch.setattr(floors, "everything", lambda: {question: 1.0})
    assert floors.main([]) == 0
    assert "BELOW" not in capsys.readouterr().out


def test_stated_lines_are_the_measured_values_less_their_margin():
    found = {
        ("a", "l2", "Flat", "default"): 1.0,
        ("a", "l2", "LVQ8", "default"): 0.981,
        ("a", "l2", "LVQ8", "scan"): 0.7,
        ("a", "ip", "Flat", "default"): 1.0,
        ("a", "ip", "HNSW32,LVQ8", "default"): 0.9,
    }
    assert list(floors.lines(found)) == [
        "\n[floors.a.l2]",
        "Flat = { default = 1.000 }",
        "LVQ8 = { default = 0.976, scan = 0.690 }",
        "\n[floors.a.ip]",
        "Flat = { default = 1.000 }",
        '"HNSW32,LVQ8" = { default = 0.890 }',
    ]
