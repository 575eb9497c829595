"""An index that was saved, mapped, pickled or copied is the same; golden files of each form stay readable."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from core.indexes.forms import FORMS, METRICS, gaussian, held

import inlay
from inlay import FormatError, file
from inlay.kernels import table

DIM = 11
GOLDEN = Path(__file__).parents[2] / "formats" / "v1"
ANSWERS = json.loads((GOLDEN / "answers.json").read_text())


@pytest.fixture
def index(form, metric):
    """An index with a history: replaced and removed rows, stored ids, spare memory."""
    index = form.filled(gaussian(100, DIM), metric, ids=np.arange(100)[::-1] * 3)
    index.remove([0, 3, 297, 150])
    index.upsert(gaussian(5, DIM, seed=1), [9, 12, 1000, 15, -7])
    return index


def answers(index):
    queries = gaussian(5, DIM, seed=7)
    allowed = index.ids[::3]
    return [
        *index.search(queries, 9),
        *index.search(queries, 120, allowed=allowed),
        *index.range_search(queries, 8.0 if index.metric == "l2" else 0.1),
        held(index),
        index.ids,
        index.contains(range(-10, 310)),
    ]


def assert_alike(index, other):
    assert type(index) is type(other)
    # But for its bytes, of which some are the scratch of searches.
    assert repr(index).rsplit(",", 1)[0] == repr(other).rsplit(",", 1)[0]
    for name in ("dim", "metric", "seed", "spec", "options", "is_trained"):
        assert getattr(index, name) == getattr(other, name)
    for name in type(index).EFFORT:
        assert getattr(index, name) == getattr(other, name)
    for one, two in zip(answers(index), answers(other), strict=True):
        np.testing.assert_array_equal(one, two)
    assert index.to_bytes() == other.to_bytes()


def ways_back(index, folder):
    """Every way in which an index leaves a process and comes back."""
    path = folder / "index.inlay"
    index.save(path)
    assert path.read_bytes() == index.to_bytes()
    file.verify(path)
    yield inlay.load(path)
    yield inlay.load(str(path), mmap=False)
    yield type(index).load(path)
    yield type(index).load(path, mmap=False)
    for kind in (bytes, bytearray, memoryview):
        yield type(index).from_bytes(kind(index.to_bytes()))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(index, protocol))
    yield copy.copy(index)
    yield copy.deepcopy(index)


def test_every_way_out_and_back_gives_the_same_index(index, tmp_path):
    for back in ways_back(index, tmp_path):
        assert_alike(index, back)


def test_an_untrained_or_empty_index_comes_back(form, metric, tmp_path):
    rows = gaussian(90, DIM)
    emptied = form.filled(rows, metric)
    emptied.remove(emptied.ids)
    for number, index in enumerate((form.untrained(DIM, metric), form.empty(DIM, metric), emptied)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for back in ways_back(index, folder):
            assert_alike(index, back)
            expected = copy.copy(index)
            assert back.add(rows).tolist() == expected.add(rows).tolist()
            assert_alike(expected, back)


def test_a_mapped_index_is_copied_when_it_changes_and_its_file_is_not(index, tmp_path):
    path = tmp_path / "index.inlay"
    index.save(path)
    before = path.read_bytes()
    changes = (
        lambda one: one.remove([6]),
        lambda one: one.remove(index.ids[-1:]),
        lambda one: one.remove(index.ids[5:90]),
        lambda one: one.upsert(gaussian(2, DIM, seed=2), [6, 2000]),
        lambda one: one.add(gaussian(40, DIM, seed=3)),
        lambda one: one.compact(),
        lambda one: one.reset(),
    )
    for mmap in (True, False):
        for change in changes:
            loaded, other, expected = inlay.load(path, mmap), inlay.load(path, mmap), copy.copy(index)
            change(loaded)
            change(expected)
            assert_alike(expected, loaded)
            assert_alike(index, other)
            loaded.add(gaussian(20, DIM, seed=4))
            expected.add(gaussian(20, DIM, seed=4))
            assert_alike(expected, loaded)
    assert path.read_bytes() == before


def test_a_mapped_index_outlives_its_path(index, tmp_path):
    path = tmp_path / "index.inlay"
    index.save(path)
    removed = inlay.load(path)
    path.unlink()
    assert_alike(index, removed)
    index.save(path)
    replaced = inlay.load(path)
    inlay.FlatIndex(3).save(path)
    assert_alike(index, replaced)
    # Saving over the file it is mapped from.
    index.save(path)
    mapped = inlay.load(path)
    mapped.save(path)
    mapped.remove([6])
    mapped.save(path)
    assert_alike(mapped, inlay.load(path))


def test_saved_effort_comes_back(form, tmp_path):
    index = form.filled(gaussian(60, DIM))
    for name in type(index).EFFORT:
        setattr(index, name, 17)
    for back in ways_back(index, tmp_path):
        assert all(getattr(back, name) == 17 for name in type(index).EFFORT)


def test_a_seed_makes_the_file_whatever_the_threads_and_the_cpu(form, metric, threads):
    def bytes_made(seed=0):
        index = inlay.from_spec(form.spec, 40, metric, seed=seed, **form.options)
        index.add(rows[:2500])
        index.remove(np.arange(0, 2500, 7))
        index.add(rows[2500:])
        return index.to_bytes()

    rows = gaussian(3000, 40, seed=5)
    threads(1)
    alone = bytes_made()
    threads(2)
    before = table.level()
    try:
        for level in table.levels():
            table.set_level(level)
            assert bytes_made() == alone
    finally:
        table.set_level(before)
    if form.spec != "Flat":
        assert bytes_made(seed=1) != alone


@pytest.mark.parametrize("spec", ["LVQ4", "LVQ4x8"])
def test_a_row_between_two_means_is_coded_alike_at_every_cpu_level(spec, metric):
    # Two means of the same numbers in another order, and rows of one number each: as far from one mean as
    # from the other, so that the last bit of a sum would decide.
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(40)
    ends = np.repeat([mean, rng.permutation(mean)], 50, axis=0)
    between = np.outer(rng.standard_normal(2000), np.ones(40))
    made, before = set(), table.level()
    try:
        for level in table.levels():
            table.set_level(level)
            index = inlay.from_spec(spec, 40, metric, n_means=2, rotation=False)
            index.train(ends)
            index.add(between)
            made.add(index.to_bytes())
    finally:
        table.set_level(before)
    assert len(made) == 1


def test_another_kind_of_index_is_refused_by_name(tmp_path):
    flat, lvq = inlay.FlatIndex(4), inlay.LVQIndex(4)
    for index, wrong in ((flat, inlay.LVQIndex), (lvq, inlay.FlatIndex)):
        path = tmp_path / "index.inlay"
        index.save(path)
        kinds = f"holds a {type(index).__name__}, not a {wrong.__name__}"
        message = rf"index\.inlay: {kinds}; inlay\.load opens any"
        for mmap in (True, False):
            with pytest.raises(FormatError, match=message):
                wrong.load(path, mmap=mmap)
        with pytest.raises(FormatError, match=rf"not a {wrong.__name__}"):
            wrong.from_bytes(index.to_bytes())


def test_a_path_that_is_no_file_is_an_error_of_the_system(tmp_path):
    for load in (inlay.load, inlay.FlatIndex.load):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "missing.inlay")
        with pytest.raises(IsADirectoryError):
            load(tmp_path)
    with pytest.raises(FileNotFoundError):
        inlay.FlatIndex(3).save(tmp_path / "missing" / "index.inlay")


def test_a_file_that_holds_no_index_is_refused(tmp_path):
    path = tmp_path / "other.inlay"
    file.write(path, {"kind": "other"}, {})
    for load in (inlay.load, inlay.FlatIndex.load):
        with pytest.raises(FormatError, match=r"other\.inlay: the header has no field 'index'"):
            load(path)
    file.write(path, {"index": "FutureIndex"}, {})
    with pytest.raises(
        FormatError, match=r"other\.inlay: holds a 'FutureIndex', which this version does not"
    ):
        inlay.load(path)
    path.write_bytes(b"IxF2" + bytes(100))
    with pytest.raises(FormatError, match="FAISS"):
        inlay.load(path)


# Golden files


def test_there_is_a_golden_file_of_every_form():
    made = {answer["made"] for answer in ANSWERS.values()}
    assert {str(form) for form in FORMS} <= made
    assert {answer["metric"] for answer in ANSWERS.values()} == set(METRICS)
    assert all((GOLDEN / name).stat().st_size < 50_000 for name in ANSWERS)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_golden_file_gives_its_known_answers_and_is_saved_again_as_it_was(name, mmap, tmp_path):
    known = ANSWERS[name]
    file.verify(GOLDEN / name)
    index = inlay.load(GOLDEN / name, mmap=mmap)
    assert (index.spec, index.metric, len(index)) == (known["spec"], known["metric"], known["rows"])
    assert index.options == known["options"]
    assert {effort: getattr(index, effort) for effort in type(index).EFFORT} == known["effort"]
    distances, ids = index.search(known["queries"], len(known["ids"][0]))
    assert ids.tolist() == known["ids"]
    np.testing.assert_allclose(distances, known["distances"], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(held(index)[:3].tolist(), known["held"], rtol=2e-6, atol=2e-6)
    assert index.to_bytes() == (GOLDEN / name).read_bytes()
    index.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (GOLDEN / name).read_bytes()
    assert index.add(gaussian(16, index.dim))[0] == known["next_id"]


def test_the_golden_graphs_are_whole_and_one_with_dead_rows_is_walked():
    graphs = [index for index in map(inlay.load, map(GOLDEN.joinpath, ANSWERS)) if hasattr(index, "check")]
    assert [index.check() for index in graphs] == [[]] * len(graphs)
    name = "hnsw8-l2-dead.inlay"
    header, _ = file.read(GOLDEN / name)
    assert (header["rows"], header["dead"]) == (120, 20)
    index = inlay.load(GOLDEN / name)
    index.search(ANSWERS[name]["queries"], 5)
    assert index.search_statistics["expanded"] > 0
    assert index.search_statistics["evaluated"] < len(index) * len(ANSWERS[name]["queries"])
