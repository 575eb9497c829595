"""What calls take and give: dtypes, shapes, layouts; and which error says what is wrong."""

import numpy as np
import pytest

import inlay.adapters.faiss as faiss

FLT_MAX = np.finfo(np.float32).max


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).standard_normal((200, 16)).astype(np.float32)


@pytest.fixture
def flat(x):
    index = faiss.IndexFlatL2(16)
    index.add(x)
    return index


def test_results_are_new_contiguous_arrays_of_the_promised_types(flat, x):
    distances, labels = flat.search(x[:3], k=4)
    assert (distances.dtype, labels.dtype) == (np.float32, np.int64)
    assert distances.shape == labels.shape == (3, 4)
    assert distances.flags.c_contiguous
    assert labels.flags.c_contiguous
    lims, distances, labels = flat.range_search(x[:3], 10)
    assert (lims.dtype, distances.dtype, labels.dtype) == (np.uint64, np.float32, np.int64)
    assert lims[-1] == len(distances) == len(labels)


def test_every_real_layout_is_taken(flat, x):
    wide = np.zeros((3, 32), np.float32)
    wide[:, ::2] = x[:3]
    readonly = x[:3].copy()
    readonly.flags.writeable = False
    expected = flat.search(x[:3], 5)[1]
    for queries in (
        *(x[:3].astype(np.float64), np.asfortranarray(x[:3]), wide[:, ::2], readonly, x[:3].tolist()),
        x[2::-1][::-1],
    ):
        np.testing.assert_array_equal(flat.search(queries, 5)[1], expected)
    assert flat.search(np.round(x[:3]).astype(np.int8), np.int64(5))[1].shape == (3, 5)
    assert flat.search([], 5)[0].shape == (0, 5)
    flat.add(np.empty((0, 16), np.float32))
    assert flat.ntotal == 200


def test_given_arrays_are_filled_or_refused(flat, x):
    distances, labels = np.empty((3, 4), np.float32), np.empty((3, 4), np.int64)
    found = flat.search(x[:3], 4, D=distances, I=labels)
    assert found[0] is distances
    assert found[1] is labels
    with pytest.raises(AssertionError):
        flat.search(x[:3], 4, D=np.empty((3, 5), np.float32))
    with pytest.raises(TypeError):
        flat.search(x[:3], 4, I=np.empty((3, 4), np.int32))
    with pytest.raises(ValueError, match="contiguous"):
        flat.search(x[:3], 4, D=np.empty((4, 3), np.float32).T)


@pytest.mark.parametrize("kind", [AssertionError, ValueError])
def test_shapes_are_wrong_in_both_styles_of_except(flat, x, kind):
    with pytest.raises(kind, match="dimension 8, the index has d = 16"):
        flat.search(x[:, :8], 3)
    for bad in (x[0], x[None]):
        with pytest.raises(kind, match="two dimensions"):
            flat.search(bad, 3)
    for k in (0, -1):
        with pytest.raises(kind, match="at least 1"):
            flat.search(x, k)
    with pytest.raises(kind, match="shape"):
        faiss.IndexIDMap(faiss.IndexFlatL2(16)).add_with_ids(x, np.arange(3))


@pytest.mark.parametrize("bad", [np.ones((2, 16), complex), np.full((2, 16), "a")])
def test_what_is_no_real_number_is_refused(flat, bad):
    with pytest.raises(TypeError):
        flat.add(bad)


def test_other_types_are_refused(flat, x):
    for k in (2.0, True, "3"):
        with pytest.raises(TypeError):
            flat.search(x, k)
    ids = faiss.IndexIDMap(faiss.IndexFlatL2(16))
    with pytest.raises(TypeError, match="fractions"):
        ids.add_with_ids(x[:1], [1.5])
    with pytest.raises(ValueError, match="StrIDMap"):
        ids.add_with_ids(x[:1], np.array([2**63], np.uint64))
    ids.add_with_ids(x[:2], [2.0, 7])
    assert ids.ids.tolist() == [2, 7]


def test_missing_results_come_last_with_the_largest_distance(x):
    for metric, worst in ((faiss.METRIC_L2, FLT_MAX), (faiss.METRIC_INNER_PRODUCT, -FLT_MAX)):
        index = faiss.IndexFlat(16, metric)
        distances, labels = index.search(x[:2], 3)
        assert (labels == -1).all()
        assert (distances == worst).all()
        index.add(x[:2])
        distances, labels = index.search(x[:2], 3)
        assert (labels[:, 2] == -1).all()
        assert (distances[:, 2] == worst).all()


def test_values_are_squared_distances_and_inner_products(x):
    for metric in (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT):
        index = faiss.IndexFlat(16, metric)
        index.add(x)
        wide = x.astype(np.float64)
        true = np.square(wide[:5, None] - wide).sum(2) if metric == 1 else -wide[:5] @ wide.T
        distances, labels = index.search(x[:5], 7)
        np.testing.assert_array_equal(labels, np.argsort(true, axis=1)[:, :7])
        sign = 1 if metric == 1 else -1
        np.testing.assert_allclose(sign * distances, np.sort(true, axis=1)[:, :7], atol=1e-4)


@pytest.mark.parametrize("string", ["Flat", "SQ8", "IVF2,Flat", "HNSW8"])
@pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning")
def test_numbers_that_are_none_harm_nobody_else(string, x):
    index = faiss.index_factory(16, string)
    index.train(x)
    bad = x[:4].copy()
    bad[1, 3], bad[2, 5] = np.nan, np.inf
    index.add(x)
    if string.startswith("IVF"):
        index.nprobe = 2
    clean = index.search(x[:4], 3)
    index.add(bad[1:3])
    assert index.ntotal == 202
    distances, labels = index.search(bad, 3)
    assert (labels[1] == -1).all()
    assert (labels < 200).all()
    for row in (0, 3):
        np.testing.assert_array_equal(labels[row], clean[1][row])
        np.testing.assert_array_equal(distances[row], clean[0][row])
    assert np.isnan(index.reconstruct(200)).all()
    lims, _, _ = index.range_search(bad, 1.0)
    assert lims[1] == lims[2]
    if string != "Flat":
        with pytest.raises(RuntimeError, match="NaN"):
            faiss.index_factory(16, string).train(bad)


def test_nothing_is_done_before_training(x):
    for string in ("SQ8", "IVF4,Flat", "PQ4x4", "LoRANN4"):
        index = faiss.index_factory(16, string)
        assert not index.is_trained
        for call in (lambda i=index: i.add(x), lambda i=index: i.search(x, 1)):
            with pytest.raises(RuntimeError, match="trained"):
                call()
    assert faiss.IndexFlatL2(4).is_trained
    assert faiss.IndexHNSWFlat(4, 8).is_trained
    assert faiss.IndexIDMap(faiss.IndexFlatL2(4)).is_trained


def test_misspelt_attributes_are_errors():
    index = faiss.index_factory(8, "IVF4,Flat")
    with pytest.raises(AttributeError, match="nprobe"):
        index.nprobs = 8
    with pytest.raises(AttributeError, match="efSearch"):
        faiss.IndexHNSWFlat(8).hnsw.efSerach = 3
    with pytest.raises(AttributeError, match="efSearch"):
        faiss.SearchParametersHNSW().efsearch = 3
    with pytest.raises(TypeError, match="nprobe"):
        faiss.SearchParametersIVF(nprob=3)
    index.nprobe = 8
    assert not hasattr(index, "index")
    assert not hasattr(faiss.IndexFlatL2(3), "quantizer")


def test_names_that_are_not_here_say_what_is():
    assert not hasattr(faiss, "IndexBinaryFlat")
    with pytest.raises(AttributeError, match="IndexQuIVer"):
        faiss.IndexLSH  # noqa: B018
    with pytest.raises(AttributeError, match="GPU"):
        faiss.StandardGpuResources  # noqa: B018
    assert faiss.get_num_gpus() == 0
    with pytest.raises(RuntimeError, match="METRIC_L2"):
        faiss.IndexFlat(8, 23)


def test_normalize_in_place_and_nothing_else():
    rows = np.array([[3, 4], [0, 0]], np.float32)
    assert faiss.normalize_L2(rows) is None
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]])
    rows.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        faiss.normalize_L2(rows)
    with pytest.raises(TypeError):
        faiss.normalize_L2(np.ones((2, 2)))


def test_functions_beside_indexes(x):
    distances, labels = faiss.knn(x[:4], x, 3)
    every = faiss.pairwise_distances(x[:4], x)
    np.testing.assert_allclose(np.sort(every, axis=1)[:, :3], distances, rtol=1e-6)
    values, places = faiss.kmin(every, 3)
    np.testing.assert_array_equal(places, labels)
    np.testing.assert_array_equal(faiss.kmax(-every, 3)[1], labels)
    halves = [faiss.knn(x[:4], part, 3) for part in (x[:100], x[100:])]
    heap = faiss.ResultHeap(4, 3)
    heap.add_result(*halves[0])
    heap.add_result(halves[1][0], halves[1][1] + 100)
    heap.finalize()
    np.testing.assert_array_equal(heap.I, labels)
    merged = faiss.merge_knn_results(
        np.stack([halves[0][0], halves[1][0]]), np.stack([halves[0][1], halves[1][1] + 100])
    )
    np.testing.assert_array_equal(merged[1], labels)
    np.testing.assert_array_equal(merged[0], values)
    assert faiss.eval_intersection(labels, places) == 12
    assert faiss.rand((3, 2)).shape == (3, 2)
    np.testing.assert_array_equal(faiss.randn(5, 7), faiss.randn(5, 7))
    assert faiss.randint(100, vmax=3).max() == 2
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    assert faiss.omp_get_max_threads() == 1
    faiss.omp_set_num_threads(threads)
