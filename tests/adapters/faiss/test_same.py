"""The same script under faiss and under this module: shapes, types, order and, where exact, neighbours."""

import numpy as np
import pytest

import inlay.adapters.faiss as ours

theirs = pytest.importorskip("faiss", reason="compares with faiss-cpu")

pytestmark = [
    pytest.mark.skipif(theirs is ours, reason="faiss is this module here"),
    pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning", "ignore::DeprecationWarning"),
]
N, D, K = 400, 24, 10
RNG = np.random.default_rng(11)
X = RNG.standard_normal((N, D)).astype(np.float32)
Q = RNG.standard_normal((30, D)).astype(np.float32)


def flat(faiss):
    index = faiss.IndexFlatIP(D)
    x = X.copy()
    faiss.normalize_L2(x)
    index.add(x)
    return index.search(Q, k=K), index.ntotal, index.is_trained, index.d, index.metric_type


def one_query(faiss):
    index = faiss.IndexFlatL2(D)
    index.add(np.array(X.tolist()).astype("float32"))
    found = []
    distances, labels = index.search(Q[0].reshape(1, -1), N + 3)
    for distance, label in zip(distances[0], labels[0], strict=True):
        if label == -1:
            continue
        found.append((round(float(distance), 2), int(label)))
    return found, distances[0, -1], labels[0, -3:]


def ids(faiss):
    index = faiss.IndexIDMap2(faiss.IndexFlat(D))
    index.add_with_ids(X, np.arange(N) * 10)
    removed = index.remove_ids(np.array([0, 10, 7]))
    return (
        removed,
        index.ntotal,
        index.search(Q, K),
        index.reconstruct(20),
        faiss.vector_to_array(index.id_map),
    )


def shifting(faiss):
    index = faiss.IndexFlatL2(D)
    index.add(X)
    index.remove_ids(faiss.IDSelectorBatch(np.array([3, 8, 100])))
    return index.search(Q, K), index.reconstruct_n(0, 5), index.reconstruct_n(50, -1 + 1)


def ranges(faiss):
    index = faiss.index_factory(D, "Flat")
    index.add(X)
    lims, _, labels = index.range_search(Q, 30)
    return lims, [
        np.sort(labels[a:b]) for a, b in zip(lims[:-1].astype(int), lims[1:].astype(int), strict=True)
    ]


def lists(faiss):
    quantizer = faiss.IndexFlatL2(D)
    index = faiss.IndexIVFFlat(quantizer, D, 8, faiss.METRIC_L2)
    index.cp.min_points_per_centroid = 1
    index.train(X)
    index.add(X)
    index.nprobe = 8
    index.make_direct_map()
    return index.search(Q, K), index.reconstruct(7), index.nlist, quantizer.ntotal, index.is_trained


def filters(faiss):
    index = faiss.IndexFlatL2(D)
    index.add(X)
    mask = np.arange(N) % 3 == 0
    sets = (
        faiss.IDSelectorRange(10, 50),
        faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")),
        faiss.IDSelectorNot(faiss.IDSelectorBatch([1, 2, 3])),
        faiss.IDSelectorAnd(faiss.IDSelectorRange(0, 9), faiss.IDSelectorArray([3, 8, 50])),
    )
    return [index.search(Q, K, params=faiss.SearchParameters(sel=sel)) for sel in sets]


def files(faiss, path):
    index = faiss.index_factory(D, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT)
    index.add_with_ids(X, np.arange(N))
    faiss.write_index(index, str(path))
    data = faiss.serialize_index(index)
    twin = faiss.deserialize_index(np.frombuffer(data.tobytes(), dtype=np.uint8))
    return faiss.read_index(str(path)).search(Q, K), twin.search(Q, K), faiss.clone_index(index).search(Q, K)


def refined(faiss):
    index = faiss.index_factory(D, "SQ8,RFlat")
    index.train(X)
    index.add(X)
    index.k_factor = 20
    return index.search(Q, K)[1]


def turned(faiss):
    index = faiss.index_factory(D, "L2norm,Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(X)
    return (
        index.search(Q, K)[1],
        faiss.knn(Q, X, K)[1],
        faiss.eval_intersection(np.eye(3, 4), np.ones((3, 4))),
    )


def clustered(faiss):
    kmeans = faiss.Kmeans(D, 5, niter=4, seed=1, min_points_per_centroid=1)
    kmeans.train(X)
    distances, labels = kmeans.assign(X)
    return kmeans.centroids.shape, kmeans.obj.shape, distances.shape, labels.shape, str(labels.dtype)


def nothing(faiss):
    index = faiss.IndexFlatIP(D)
    return index.search(Q, 3), index.search(np.empty((0, D), np.float32), 3), index.range_search(Q, 0.5)


def assert_alike(one, two):
    if isinstance(one, (tuple, list)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_alike(a, b)
    elif isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray)
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5)
        else:
            np.testing.assert_array_equal(one, two)
    else:
        assert type(one) is type(two)
        assert one == pytest.approx(two, abs=0.011)


SCRIPTS = (flat, ids, shifting, ranges, lists, filters, refined, turned, clustered, nothing)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_gives_the_same(script):
    assert_alike(script(ours), script(theirs))


def test_a_script_with_one_query_gives_the_same():
    one, two = one_query(ours), one_query(theirs)
    assert [label for _, label in one[0]] == [label for _, label in two[0]]
    assert_alike(one[1:], two[1:])


def test_a_script_with_files_gives_the_same(tmp_path):
    assert_alike(files(ours, tmp_path / "ours"), files(theirs, tmp_path / "theirs"))
    with pytest.raises(ours.IndexFileError, match=r"(?i)faiss"):
        ours.read_index(tmp_path / "theirs")


WRONG = {
    "wrong d": lambda f: f.IndexFlatL2(8).search(Q, 3),
    "one dimension": lambda f: f.IndexFlatL2(D).search(Q[0], 3),
    "k = 0": lambda f: f.IndexFlatL2(D).search(Q, 0),
    "k = 2.5": lambda f: f.IndexFlatL2(D).search(Q, 2.5),
    "untrained": lambda f: f.index_factory(D, "SQ8").add(X),
    "unknown string": lambda f: f.index_factory(D, "Nothing"),
    "no ids": lambda f: f.IndexIDMap(f.IndexFlatL2(D)).add(X),
    "ids where none are": lambda f: f.IndexFlatL2(D).add_with_ids(X, np.arange(N)),
    "unknown id": lambda f: f.IndexIDMap2(f.IndexFlatL2(D)).reconstruct(3),
    "unknown attribute": lambda f: setattr(f.IndexFlatL2(D), "nprobs", 3),
    "no file": lambda f: f.read_index("/nowhere/at/all"),
    "no number": lambda f: f.normalize_L2("x"),
    "too few": lambda f: f.Kmeans(D, N + 1).train(X),
    "wrong out": lambda f: f.IndexFlatL2(D).search(Q, 3, D=np.empty((2, 2), np.float32)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_fails_there_fails_here_in_the_same_way(name):
    with pytest.raises(Exception) as their_fault:  # noqa: PT011 (any kind)
        WRONG[name](theirs)
    with pytest.raises(Exception) as our_fault:  # noqa: PT011
        WRONG[name](ours)
    if name != "no number":
        assert isinstance(our_fault.value, type(their_fault.value))
    assert len(str(our_fault.value)) > 10


def test_a_graph_finds_no_less():
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((1500, 8)) @ rng.standard_normal((8, 32))).astype(np.float32)
    true = ours.knn(x[:200], x, 10)[1]
    recall = []
    for faiss in (ours, theirs):
        index = faiss.IndexHNSWFlat(32, 16)
        index.add(x)
        recall.append(ours.eval_intersection(index.search(x[:200], 10)[1], true) / true.size)
    assert recall[0] >= recall[1] - 0.01
