"""Promises of compat.contenders: every line of the table works, and who is missing is told how to come."""

import importlib.util
import re

import numpy as np
import pytest

from compat import contenders
from compat.contenders import CONTENDERS, at_least_k, present, select, times_k
from compat.data import METRICS, DataSet, clustered, exact, recall

# One level of four bits alone cannot do more on 16 dimensions of dense groups, nor can 50 candidates that two
# bits have chosen; chance would be 0.007.
COARSE = {"inlay-LVQ4": 0.4, "faiss-SQ4": 0.4, "inlay-QuIVer32": 0.8}
SOURCE = clustered(1500, 16, 20, seed=9)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_every_contender_finds_its_neighbours_at_its_widest_setting(contender, metric):
    library = contender.engine.library
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    base, queries = SOURCE.base, SOURCE.queries
    if metric == "cosine":
        base, queries = unit(base), unit(queries)
    data = DataSet("made", metric, base, queries, exact(base, queries, 10, metric))
    engine = contender.make(16, metric)
    engine.build(base, 1)
    narrow, wide = contender.settings(10)[0], contender.settings(10)[-1]
    engine.apply(narrow, 1)
    assert engine.search(queries, 10).shape == (20, 10)
    engine.apply(wide, 2)
    found = engine.search(queries, 10)
    assert found.dtype == np.int64
    assert recall(data, found, 10) >= COARSE.get(contender.name, 0.9)
    assert engine.nbytes() >= len(base) * 16 // 2  # nobody has fewer than four bits a dimension


def test_names_are_unique():
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)


def test_curves_are_swept_from_the_least_effort_to_the_most():
    graphs = [contender for contender in CONTENDERS if not contender.scans]
    assert {"inlay-QuIVer32", "inlay-SymQG32", "faiss-HNSW32", "hnswlib-M16"} <= {
        contender.name for contender in graphs
    }
    for contender in graphs:
        efforts = [value for setting in contender.settings(10) for value in setting.values()]
        assert efforts == sorted(set(efforts))
        assert (efforts[0], efforts[-1]) == (
            (1, 128) if re.search("IVF|LoRANN", contender.name) else (10, 600)
        )


def test_faiss_graphs_are_built_as_wide_as_the_recipe_says():
    pytest.importorskip("faiss", reason="it is faiss's graph")
    for contender in select(["faiss-HNSW"]):
        assert contender.make(8, "l2").index.hnsw.efConstruction == contenders.EF_CONSTRUCTION


def test_only_inlay_is_no_baseline():
    assert {c.name for c in CONTENDERS if not c.is_baseline} == {
        c.name for c in CONTENDERS if "inlay" in c.name
    }


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["inlay-LVQ8"], ["inlay-LVQ8"]),
        (["*y-LVQ8*"], ["inlay-LVQ8", "inlay-LVQ8x8"]),
        (["hnsw", "faiss-Flat"], ["faiss-Flat", "hnswlib-M16"]),
        ([], [contender.name for contender in CONTENDERS]),
    ],
)
def test_contenders_are_chosen_by_name_word_or_pattern(patterns, names):
    assert [contender.name for contender in select(patterns)] == names


def test_a_name_that_nobody_has_is_an_error_with_the_list():
    with pytest.raises(ValueError, match=r"'annoy'.*inlay-Flat"):
        select(["annoy"])


def test_a_missing_library_is_left_out_with_the_install_line(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        contenders.importlib.util, "find_spec", lambda name: None if name == "faiss" else find(name)
    )
    left = present(CONTENDERS)
    assert left
    assert all(contender.engine.library != "faiss" for contender in left)
    message = capsys.readouterr().err
    assert "faiss-SQ8" in message
    assert "pip install 'inlay[compat]'" in message


def test_sweeps_fit_k():
    assert times_k("rerank", (1, 5), 7) == [{"rerank": 7}, {"rerank": 35}]
    assert at_least_k("ef", (10, 16, 64), 20) == [{"ef": 20}, {"ef": 64}]
