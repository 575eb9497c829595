"""Data sets, evaluation, vector files, tensors."""

import itertools
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import inlay.adapters.faiss as faiss
from inlay.adapters.faiss.contrib import datasets, evaluation, vecs_io


def test_a_synthetic_data_set():
    data = datasets.SyntheticDataset(16, 50, 200, 10)
    data.check_sizes()
    assert data.get_train(5).shape == (5, 16)
    assert data.get_database().dtype == np.float32
    truth = data.get_groundtruth(7)
    np.testing.assert_array_equal(truth, faiss.knn(data.get_queries(), data.get_database(), 7)[1])
    np.testing.assert_array_equal(np.concatenate(list(data.database_iterator(64))), data.get_database())
    halves = [np.concatenate(list(data.database_iterator(30, split=(2, part)))) for part in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), data.get_database())
    again = datasets.SyntheticDataset(16, 50, 200, 10, metric="IP")
    np.testing.assert_array_equal(again.get_queries(), data.get_queries())
    assert again.get_groundtruth().shape == (10, 100)


def test_evaluation():
    one = np.array([[1, 2, 3], [4, 5, 6]])
    assert evaluation.knn_intersection_measure(one, one[:, ::-1]) == 1
    assert evaluation.knn_intersection_measure(one, [[1, 9, 8], [4, 5, 7]]) == 0.5
    data = datasets.SyntheticDataset(8, 0, 100, 5)
    lims, distances, labels = evaluation.range_ground_truth(data.get_queries(), data.get_database(), 2.0)
    assert evaluation.range_PR(lims, labels, lims, labels) == (1, 1)
    none = np.zeros(6, np.int64)
    assert evaluation.range_PR(lims, labels, none, labels[:0]) == (1, 0)
    assert evaluation.range_PR(lims, labels, none, labels[:0], "average")[0] == 1
    by_label = evaluation.sort_range_res_1(lims, labels)
    assert all((np.diff(by_label[a:b]) > 0).all() for a, b in itertools.pairwise(lims))
    names, values = evaluation.sort_range_res_2(lims, distances, labels)
    assert names.dtype == labels.dtype
    assert all((np.diff(values[a:b]) >= 0).all() for a, b in itertools.pairwise(lims))
    fewer = evaluation.filter_range_results(lims, distances, labels, 1.0)
    near = evaluation.range_ground_truth(data.get_queries(), data.get_database(), 1.0)
    assert evaluation.range_PR(near[0], near[2], fewer[0], fewer[2]) == (1, 1)
    precision, recall = evaluation.range_PR_multiple_thresholds(
        near[0], near[2], lims, distances, labels, [0.5, 1.0, 2.0]
    )
    assert precision[:2].tolist() == [1, 1]
    assert recall[1:].tolist() == [1, 1]
    assert precision[2] < 1 > recall[0]
    order = np.arange(len(labels))[::-1]
    query = np.repeat(np.arange(5), np.diff(lims))
    order = order[np.argsort(query[order], kind="stable")]
    evaluation.check_ref_range_results(lims, distances, labels, lims, distances[order], labels[order])
    found = faiss.knn(data.get_queries(), data.get_database(), 4)
    evaluation.check_ref_knn_with_draws(*found, *found)
    with pytest.raises(AssertionError):
        evaluation.check_ref_knn_with_draws(*found, found[0], found[1] + 1)


def test_files_of_vectors(tmp_path):
    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    vecs_io.fvecs_write(tmp_path / "a.fvecs", rows)
    vecs_io.ivecs_write(tmp_path / "a.ivecs", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(vecs_io.fvecs_read(tmp_path / "a.fvecs"), rows)
    np.testing.assert_array_equal(vecs_io.fvecs_mmap(tmp_path / "a.fvecs"), rows)
    np.testing.assert_array_equal(vecs_io.ivecs_read(tmp_path / "a.ivecs"), np.arange(6).reshape(2, 3))
    (tmp_path / "a.bvecs").write_bytes(b"\2\0\0\0\7\10" * 3)
    np.testing.assert_array_equal(vecs_io.bvecs_mmap(tmp_path / "a.bvecs"), [[7, 8]] * 3)
    for damage in (b"", b"\0" * 8, b"\377" * 8, b"\2\0\0\0" * 4):
        (tmp_path / "bad").write_bytes(damage)
        for read in (vecs_io.fvecs_read, vecs_io.bvecs_mmap):
            with pytest.raises(OSError, match="vectors"):
                read(tmp_path / "bad")


TENSORS = """
import numpy as np, torch
import inlay.adapters.faiss as faiss
x = torch.randn(50, 8)
index = faiss.IndexFlatL2(8)
index.add(x)
assert isinstance(index.search(x[:2], 3)[1], np.ndarray)
import inlay.adapters.faiss.contrib.torch_utils
D, I = index.search(x[:2], 3)
assert isinstance(D, torch.Tensor) and I.dtype == torch.int64 and I[:, 0].tolist() == [0, 1]
assert isinstance(index.search(x.numpy()[:2], 3)[0], np.ndarray)
ids = faiss.IndexIDMap2(faiss.IndexFlatL2(8))
ids.add_with_ids(x, torch.arange(50) + 7)
assert isinstance(ids.reconstruct_batch(torch.tensor([8, 9])), torch.Tensor)
lims, _, _ = index.range_search(x[:2], 1.0)
assert lims.dtype == torch.int64
assert isinstance(faiss.knn(x, x, 2)[0], torch.Tensor)
try:
    ids.add_with_ids(x, np.arange(50))
except TypeError:
    pass
else:
    raise SystemExit("mixed")
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="this test is about PyTorch")
def test_tensors():
    done = subprocess.run([sys.executable, "-c", TENSORS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
