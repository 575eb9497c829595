"""Promises of compat.contenders: every line of the table works, and who is missing is told how to come."""

import importlib.util
import re
from functools import partial

import numpy as np
import pytest

import inlay
from compat import contenders
from compat.contenders import CONTENDERS, at_least_k, both, fixed, n_lists, present, select, times_k
from compat.data import METRICS, DataSet, clustered, exact, recall

# What few bits cannot do on 16 dimensions of dense groups; chance would be 0.007.
COARSE = {"inlay-LVQ4": 0.4, "faiss-SQ4": 0.4, "inlay-QuIVer32": 0.8}
SOURCE = clustered(1500, 16, 20, seed=9)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Stages of 256 words are learned for seconds: once must do.
PAIRS = [(c, metric) for c in CONTENDERS for metric in (("ip",) if "8x8+" in c.name else METRICS)]


@pytest.mark.parametrize(("contender", "metric"), PAIRS, ids=lambda value: getattr(value, "name", value))
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
    assert engine.nbytes() >= len(base) * 16 // 2  # nobody has fewer than four bits a dimension in the end


def test_names_are_unique():
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)


def test_settings_rise_from_the_least_effort_to_the_most():
    for contender in CONTENDERS:
        settings = contender.settings(10)
        assert all(settings.count(setting) == 1 for setting in settings)
        for name in settings[0]:
            values = [setting[name] for setting in settings]
            assert (values[0], values[-1]) == (min(values), max(values))


def form(spec):
    """A spec without the numbers that say how much of it there is; those of LVQ say what it is."""
    return re.sub(r"(LVQ[\dx]+)|\d+", lambda found: found[1] or "", spec)


def test_there_is_a_contender_of_every_family_and_kind():
    specs = [contender.recipe[0] for contender in CONTENDERS if not contender.is_baseline]
    made = [inlay.from_spec(spec, 384) for spec in specs]
    assert {type(index) for index in made} == set(inlay.indexes.FAMILIES)
    covered = {form(spec) for spec in specs}
    told = re.findall(r'"([A-Z][\w,]*)"', inlay.from_spec.__doc__.split("Returns")[0])
    assert len(told) > 15
    assert {form(spec) for spec in told} <= covered
    for words in ("inlay LVQ", "inlay PQ", "inlay RVQ", "faiss PQfs", "faiss RaBitQfs", "faiss SQ8"):
        for kind in ("scan", "lists"):
            assert any(c.kind == kind and all(word in c.name for word in words.split()) for c in CONTENDERS)


def test_faiss_gets_as_many_lists_as_inlay_takes_and_no_warning():
    assert [n_lists(n) for n in (1, 100, 1_000, 20_000, 100_000, 1_000_000)] == [1, 2, 16, 512, 1024, 2048]
    assert all(n / n_lists(n) >= 39 for n in range(40, 50_000, 97))


def test_faiss_graphs_are_built_as_wide_as_the_recipe_says():
    pytest.importorskip("faiss", reason="it is faiss's graph")
    for contender in select(["faiss-HNSW"]):
        engine = contender.make(16, "l2")
        engine.build(SOURCE.base, 1)
        assert engine.index.hnsw.efConstruction == contenders.EF_CONSTRUCTION


def test_only_inlay_is_no_baseline():
    assert {c.name for c in CONTENDERS if not c.is_baseline} == {
        c.name for c in CONTENDERS if "inlay" in c.name
    }


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["inlay-LVQ8"], ["inlay-LVQ8"]),
        (["*y-LVQ8*"], ["inlay-LVQ8", "inlay-LVQ8x4", "inlay-LVQ8x8"]),
        (["hnsw", "faiss-Flat"], ["hnswlib-M16", "faiss-Flat"]),
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
    assert both(partial(fixed, "a", (1, 2)), partial(times_k, "b", (1, 5)), 3) == [
        {"a": 1, "b": 3}, {"a": 1, "b": 15}, {"a": 2, "b": 3}, {"a": 2, "b": 15},
    ]  # fmt: skip
