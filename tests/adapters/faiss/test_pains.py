"""Where scripts hurt with FAISS, and what happens here.

Ids, removal and filters are in `test_ids`, arguments and messages in `test_arrays`, files in `test_io`,
threads in `test_threads`; here is the rest.
"""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

import inlay.adapters.faiss as faiss

pytestmark = pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning", "ignore:two bits")
N, D = 600, 24


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(9)
    return (rng.standard_normal((N, 6)) @ rng.standard_normal((6, D))).astype(np.float32)


def filled(string, x, metric=faiss.METRIC_L2):
    index = faiss.index_factory(x.shape[1], string, metric)
    index.train(x)
    index.add(x)
    return index


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize(
    "string", ["Flat", "SQ8", "IVF8,SQ8", "HNSW8", "SQ4,RFlat", "RVQ4x4", "PCA8,QuIVer8"]
)
def test_a_query_is_answered_alike_alone_and_in_any_batch(string, metric, x):
    index = filled(string, x, metric)
    together = index.search(x[:40], 8)
    faiss.omp_set_num_threads(1)
    alone = [index.search(x[i : i + 1], 8) for i in range(40)]
    faiss.omp_set_num_threads(2)
    for part in (0, 1):
        np.testing.assert_array_equal(np.concatenate([found[part] for found in alone]), together[part])


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("string", ["HNSW8", "HNSW8,SQ8", "SymQG32", "QuIVer8"])
def test_a_graph_gives_k_results_whatever_the_filter_and_what_was_removed(string, metric, x):
    index = filled(string, x, metric)
    index.remove_ids(np.arange(100))
    for share in (2, 20, 100):
        allowed = np.arange(0, N, share)
        _, labels = index.search(x[:5], 4, params=faiss.SearchParameters(sel=allowed))
        assert (labels >= 100).all()
        assert (labels % share == 0).all()
    index.remove_ids(np.arange(N - 3))
    assert sorted(index.search(x[:1], 5)[1][0].tolist()) == [-1, -1, N - 3, N - 2, N - 1]


@pytest.mark.parametrize("string", ["HNSW8", "IDMap2,HNSW8,SQ8", "IVF4,SQ8", "PCA8,SQ8,RFlat"])
def test_memory_of_removed_rows_comes_back(string, x):
    index = faiss.index_factory(D, string)
    index.train(x)
    index.add_with_ids(x, np.arange(N)) if "IDMap" in string else index.add(x)

    def nbytes(index):
        return sum(map(nbytes, index.parts())) + (index.core.nbytes if hasattr(index, "core") else 0)

    full = nbytes(index)
    index.remove_ids(np.arange(N - 60))
    before = index.search(x[-9:], 3)
    index.compact()
    assert nbytes(index) < 0.4 * full
    for mine, theirs in zip(index.search(x[-9:], 3), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_indexes_keep_what_they_are_made_of(x):
    index = faiss.IndexIDMap(
        faiss.IndexPreTransform(
            faiss.RandomRotationMatrix(D, D), faiss.IndexIVFFlat(faiss.IndexFlatL2(D), D, 4)
        )
    )
    index.train(x)
    index.add_with_ids(x, np.arange(N))
    params = faiss.SearchParametersIVF(
        sel=faiss.IDSelectorNot(faiss.IDSelectorBatch(np.arange(1, N))), nprobe=4
    )
    gc.collect()
    assert (index.search(x[:5], 2, params=params)[1][:, 0] == 0).all()


def test_lists_are_read_on_until_there_are_k(x):
    index = filled("IVF64,Flat", x)
    assert index.nprobe == 1
    assert (index.search(x[:20], 200)[1] >= 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("string", ["SQ8", "SQ4", "LVQ4x8", "QuIVer16", "SymQG32"])
def test_the_scale_of_rows_does_not_matter(string, scale, x):
    index = filled(string, x * np.float32(scale))
    found = index.search(x[:50] * np.float32(scale), 10)[1]
    assert faiss.eval_intersection(found, faiss.knn(x[:50], x, 10)[1]) > 0.8 * found.size


def test_equal_rows_come_in_the_order_of_their_labels(x):
    for metric in (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT):
        for string in ("Flat", "SQ8", "IVF4,Flat", "HNSW8"):
            index = filled(string, np.repeat(x[:5], 3, axis=0), metric)
            _, labels = index.search(x[:5], 3)
            assert (np.diff(labels, axis=1) > 0).all()


def test_a_failed_write_leaves_the_old_file(x, tmp_path, monkeypatch):
    path = tmp_path / "index"
    faiss.write_index(filled("Flat", x), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(faiss.IndexFileError, match="disk full"):
        faiss.write_index(filled("Flat", x[:9]), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_a_failed_call_leaves_the_index_as_it_was(x):
    index = faiss.index_factory(D, "IDMap2,SQ8,RFlat")
    index.train(x)
    index.add_with_ids(x[:50], np.arange(50))
    before = index.search(x[:9], 5)
    for call in (
        lambda: index.add_with_ids(x[:3], [1, 2]),
        lambda: index.add_with_ids(x[:3, 1:], [1, 2, 3]),
        lambda: index.upsert(x[:2], [7, 7]),
        lambda: index.train(x[:0]),
        lambda: index.reconstruct(-1),
    ):
        with pytest.raises((RuntimeError, ValueError)):
            call()
    np.testing.assert_array_equal(index.search(x[:9], 5)[1], before[1])
    assert index.ntotal == 50


def test_one_row_at_a_time_is_taken_as_quickly_as_it_may_be(x):
    index = faiss.IndexIDMap(faiss.IndexFlatL2(D))
    for number, row in enumerate(x[:200]):
        index.add_with_ids(row[None], [number])
        if number % 10 == 9:
            index.remove_ids([number - 5])
    assert index.ntotal == 180
    assert index.search(x[190:191], 1)[1][0, 0] == 190


SCRIPT = """
import sys
import inlay.adapters.faiss as ours
assert "faiss" not in sys.modules
ours.install_as_faiss()
import faiss
from faiss import IndexFlatL2
from faiss.contrib.evaluation import knn_intersection_measure
import faiss.contrib.datasets
assert faiss is ours
index = IndexFlatL2(3)
index.add([[1, 2, 3]])
assert index.search([[1, 2, 3]], 1)[1].tolist() == [[0]]
"""


def test_libraries_that_import_faiss_find_this():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
