"""Labels, ids, words, filters and removal: what a label means stays what it meant."""

import copy
import pickle

import numpy as np
import pytest

import inlay.adapters.faiss as faiss

pytestmark = pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning")
N, D = 200, 16


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(2).standard_normal((N, D)).astype(np.float32)


def filled(string, x, ids=None):
    index = faiss.index_factory(D, string)
    faiss.ParameterSpace().set_index_parameters(index, {})
    index.train(x)
    index.add(x) if ids is None else index.add_with_ids(x, ids)
    return index


def test_places_shift_and_other_labels_stay(x):
    flat, ivf = filled("Flat", x), filled("IVF2,Flat", x)
    ivf.nprobe = 2
    for index in (flat, ivf):
        assert index.remove_ids(np.array([0, 5, 900], np.int32)) == 2
        assert index.remove_ids([0, 5]) == (2 if index is flat else 0)
    np.testing.assert_array_equal(flat.reconstruct(0), x[2])
    np.testing.assert_array_equal(ivf.reconstruct(199), x[199])
    ivf.remove_ids([199])
    ivf.add(x[:1])
    assert ivf.ids[-1] == 200  # no label twice, whatever was removed
    assert flat.search(x[6:7], 1)[1][0, 0] == 3


def test_a_batch_of_changes_against_a_dictionary(x):
    rng = np.random.default_rng(3)
    index, truth = faiss.IndexIDMap2(faiss.IndexHNSWFlat(D, 8)), {}
    for step in range(30):
        ids = rng.choice(60, 5, replace=False)
        rows = rng.standard_normal((5, D)).astype(np.float32)
        if step % 3 == 2:
            assert index.remove_ids(ids) == sum(i in truth for i in ids.tolist())
            for i in ids.tolist():
                truth.pop(i, None)
        else:
            index.upsert(rows, ids)
            truth |= dict(zip(ids.tolist(), rows, strict=True))
        assert sorted(index.ids.tolist()) == sorted(truth)
    known = sorted(truth)
    np.testing.assert_array_equal(index.reconstruct_batch(known), [truth[i] for i in known])
    np.testing.assert_array_equal(index.search([truth[i] for i in known], 1)[1][:, 0], known)
    assert index.contains([known[0], 999]).tolist() == [True, False]


def test_repeated_ids_are_all_kept(x):
    index = filled("IDMap,Flat", x[:6], [7, 7, 8, 2**62, -5, 7])
    np.testing.assert_array_equal(index.reconstruct(7), x[5])
    assert sorted(index.search(x[:1], 6)[1][0].tolist()) == [-5, 7, 7, 7, 8, 2**62]
    assert index.remove_ids([7]) == 3
    assert index.ntotal == 3
    np.testing.assert_array_equal(faiss.vector_to_array(index.id_map), [8, 2**62, -5])


def test_what_an_id_map_refuses(x):
    index = faiss.IndexIDMap(faiss.IndexFlatL2(D))
    with pytest.raises(RuntimeError, match="add_with_ids"):
        index.add(x)
    with pytest.raises(ValueError, match="-1"):
        index.add_with_ids(x[:1], [-1])
    with pytest.raises(RuntimeError, match="empty"):
        faiss.IndexIDMap(filled("Flat", x))
    with pytest.raises(RuntimeError, match="IndexIDMap"):
        faiss.IndexFlatL2(D).add_with_ids(x, np.arange(N))
    for wrong in (3, -1):
        with pytest.raises(KeyError):
            index.reconstruct(wrong)
        with pytest.raises(RuntimeError, match=f"id {wrong} is not"):
            index.reconstruct(wrong)


SELECTORS = {
    "range": (faiss.IDSelectorRange(20, 40), lambda i: (i >= 20) & (i < 40)),
    "batch": (faiss.IDSelectorBatch([3, 5, 500]), lambda i: np.isin(i, [3, 5])),
    "pointer": (faiss.IDSelectorBatch(2, faiss.swig_ptr(np.array([3, 5]))), lambda i: np.isin(i, [3, 5])),
    "array": (faiss.IDSelectorArray(np.array([1], np.uint8)), lambda i: i == 1),
    "bitmap": (
        faiss.IDSelectorBitmap(np.packbits(np.arange(64) % 3 == 0, bitorder="little")),
        lambda i: (i < 64) & (i % 3 == 0),
    ),
    "not": (faiss.IDSelectorNot(faiss.IDSelectorRange(0, 150)), lambda i: i >= 150),
    "and": (
        faiss.IDSelectorAnd(faiss.IDSelectorRange(0, 10), faiss.IDSelectorBatch([8, 12])),
        lambda i: i == 8,
    ),
    "or": (
        faiss.IDSelectorOr(faiss.IDSelectorRange(0, 10), faiss.IDSelectorBatch([8, 12])),
        lambda i: (i < 10) | (i == 12),
    ),
    "xor": (
        faiss.IDSelectorXOr(faiss.IDSelectorRange(0, 10), faiss.IDSelectorBatch([8, 12])),
        lambda i: ((i < 10) & (i != 8)) | (i == 12),
    ),
    "all": (faiss.IDSelectorAll(), lambda i: i >= 0),
    "function": (faiss.PyCallbackIDSelector(lambda i: i % 50 == 0), lambda i: i % 50 == 0),
    "translated": (
        faiss.IDSelectorTranslated(np.arange(N)[::-1].copy(), faiss.IDSelectorRange(0, 3)),
        lambda i: i >= N - 3,
    ),
    "mask": (np.arange(N) % 7 == 0, lambda i: i % 7 == 0),
    "list": ([4, 9], lambda i: np.isin(i, [4, 9])),
}


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("string", ["Flat", "IVF4,SQ8", "HNSW8", "SQ4,RFlat", "RVQ4x4", "IDMap,QuIVer8"])
def test_filters_hold_in_every_index_and_fill_what_can_be_filled(string, name, x):
    sel, member = SELECTORS[name]
    index = filled(string, x, np.arange(N) if "IDMap" in string else None)
    allowed = np.flatnonzero(member(np.arange(N)))
    _, labels = index.search(x[:3], 10, params=faiss.SearchParameters(sel=sel))
    count = min(10, len(allowed))
    assert np.isin(labels[:, :count], allowed).all()
    assert (labels[:, count:] == -1).all()
    _, _, found = index.range_search(x[:3], 1e9, params=faiss.SearchParameters(sel=sel))
    assert np.isin(found, allowed).all()
    if isinstance(sel, faiss.IDSelector):
        assert [sel.is_member(i) for i in range(70)] == member(np.arange(70)).tolist()
        assert index.remove_ids(sel) == len(allowed)


def test_a_filter_for_each_query(x):
    index = filled("IVF2,Flat", x)
    sel = [faiss.IDSelectorRange(0, 5), None, np.arange(N) > 190]
    _, labels = index.search(x[100:103], 3, params=faiss.SearchParametersIVF(sel=sel, nprobe=2))
    assert (labels[0] < 5).all()
    assert labels[1, 0] == 101
    assert (labels[2] > 190).all()
    with pytest.raises(ValueError, match="3 selectors"):
        index.search(x[:2], 3, params=faiss.SearchParameters(sel=sel))


def test_any_parameters_on_any_index(x):
    index = filled("IDMap,PCA8,IVF4,SQ8,RFlat", x, np.arange(N) + 1000)
    inner = faiss.SearchParametersIVF(nprobe=4, sel=faiss.IDSelectorRange(1000, 1010))
    for params in (
        inner,
        faiss.SearchParametersPreTransform(index_params=inner),
        faiss.IndexRefineSearchParameters(
            k_factor=4, base_index_params=faiss.SearchParametersPreTransform(index_params=inner)
        ),
    ):
        labels = index.search(x[:2], 10, params=params)[1]
        np.testing.assert_array_equal(np.sort(labels), np.tile(np.arange(1000, 1010), (2, 1)))
    faiss.IndexFlatL2(D).search(x, 1, params=faiss.SearchParametersHNSW(efSearch=3))


def test_parameters_by_name_reach_what_is_inside(x):
    index = faiss.index_factory(D, "IDMap2,PCA8,IVF4_HNSW4,SQ8,RFlat")
    faiss.ParameterSpace().set_index_parameters(index, "nprobe=3,k_factor_rf=5,quantizer_efSearch=40")
    ivf = faiss.extract_index_ivf(index)
    assert (ivf.nprobe, ivf.quantizer.hnsw.efSearch, index.index.k_factor) == (3, 40, 5)
    with pytest.raises(RuntimeError, match="'nprobs'"):
        faiss.ParameterSpace().set_index_parameter(index, "nprobs", 3)
    assert faiss.try_extract_index_ivf(faiss.IndexFlatL2(3)) is None
    with pytest.raises(RuntimeError, match="no inverted lists"):
        faiss.extract_index_ivf(faiss.IndexFlatL2(3))
    ivf.train(x[:, :8])
    ivf.add(x[:, :8])
    ivf.nprobe = 0
    with pytest.raises(RuntimeError, match="nprobe"):
        ivf.search(x[:, :8], 1)
    ivf.nprobe = 10_000
    assert ivf.search(x[:, :8], 1)[1].shape == (N, 1)


def test_rows_come_back(x):
    for string in ("Flat", "IVF4,Flat", "HNSW8", "IDMap,Flat", "PCA16,Flat"):
        index = filled(string, x, np.arange(N) if "IDMap" in string else None)
        np.testing.assert_allclose(index.reconstruct_n(3, 5), x[3:8], atol=1e-5)
        np.testing.assert_allclose(index.reconstruct_n(), x, atol=1e-5)
        distances, labels, rows = index.search_and_reconstruct(x[:2], N + 1)
        there = labels >= 0
        np.testing.assert_allclose(rows[there], x[labels[there]], atol=1e-5)
        assert np.isnan(rows[~there]).all()
        assert distances.shape == labels.shape


def test_codes_by_themselves(x):
    for string in (
        "Flat",
        "SQ8",
        "LVQ4x8",
        "PQ4x4",
        "RVQ4x4",
        "IVF4,Flat",
        "IVF4,LVQ4",
        "IVF4,PQ4x4",
        "HNSW8,SQ8",
    ):
        index = filled(string, x)
        codes = index.sa_encode(x[:9])
        assert codes.shape == (9, index.sa_code_size())
        assert codes.dtype == np.uint8
        np.testing.assert_allclose(index.sa_decode(codes), index.reconstruct_n(0, 9), atol=1e-5)
        with pytest.raises(ValueError, match="expected"):
            index.sa_decode(codes[:, 1:])
        noise = np.random.default_rng(0).integers(0, 256, codes.shape, dtype=np.uint8)
        noise[:, :4] = codes[:, :4]
        assert index.sa_decode(noise).shape == (9, D)
    with pytest.raises(RuntimeError, match="of 4"):
        filled("IVF4,Flat", x).sa_decode(np.full((1, 4 + 4 * D), 255, np.uint8))


def test_merging_moves_all_rows(x):
    for string in ("Flat", "IVF4,Flat", "PCA8,IVF4,SQ8"):
        one = filled(string, x)
        two = faiss.clone_index(one)
        two.remove_ids(np.arange(150))
        expected = two.ntotal
        one.merge_from(two, 1000 if "IVF" in string else 0)
        assert (one.ntotal, two.ntotal) == (N + expected, 0)
        if "IVF" in string:
            assert one.ids.max() == 1199
    with pytest.raises(RuntimeError, match="unlike"):
        one.merge_from(filled("Flat", x))
    with pytest.raises(RuntimeError, match="itself"):
        one.merge_from(one)


def test_copies_share_nothing(x):
    index = filled("IDMap,IVF4,Flat", x, np.arange(N))
    index.index.nprobe = 3
    for twin in (
        faiss.clone_index(index),
        copy.copy(index),
        copy.deepcopy(index),
        pickle.loads(pickle.dumps(index)),
    ):
        assert twin.index.nprobe == 3
        twin.remove_ids([0])
        assert index.ntotal == N
        np.testing.assert_array_equal(twin.search(x[5:6], 2)[1], index.search(x[5:6], 2)[1])


def test_words_as_ids(x, tmp_path):
    names = [f"text-{i}" if i % 2 else f"bytes-{i}".encode() for i in range(N)]
    index = faiss.StrIDMap(faiss.index_factory(D, "IVF2,SQ8"))
    index.train(x)
    index.add_with_ids(x, names)
    found = index.search(x[:4], 2)[1]
    assert found.dtype == object
    assert found[:, 0].tolist() == names[:4]
    with pytest.raises(ValueError, match="upsert"):
        index.add_with_ids(x[:1], names[:1])
    index.upsert(x[7:8], [names[0]])
    np.testing.assert_allclose(index.reconstruct(names[0]), x[7], atol=0.05)
    assert index.remove_ids([names[1], "unknown"]) == 1
    assert index.contains([names[0], names[1]]).tolist() == [True, False]
    params = faiss.SearchParameters(sel=[names[3], names[4]])
    assert set(index.search(x[:1], 5, params=params)[1][0]) == {names[3], names[4], None}
    faiss.write_index(index, tmp_path / "words")
    for twin in (faiss.read_index(tmp_path / "words"), pickle.loads(pickle.dumps(index))):
        assert twin.ids == index.ids
        np.testing.assert_array_equal(twin.search(x[:9], 3)[1], index.search(x[:9], 3)[1])
        twin.add_with_ids(x[:1], ["new"])
        assert twin.search(x[:1], 200)[1][0].tolist().count("new") == 1
    with pytest.raises(KeyError, match="nobody"):
        index.reconstruct("nobody")
    with pytest.raises(TypeError):
        index.add_with_ids(x[:1], [3])


def test_a_translated_selector_asks_an_idmap_of_places(x):
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(D))
    ids = np.arange(N) * 3 + 100
    index.add_with_ids(x, ids)
    index.remove_ids(ids[:10])
    some = faiss.IDSelectorBatch(ids[20:30])
    _, translated = index.search(
        x[:9], 5, params=faiss.SearchParameters(sel=faiss.IDSelectorTranslated(index, some))
    )
    _, plain = index.search(x[:9], 5, params=faiss.SearchParameters(sel=some))
    np.testing.assert_array_equal(translated, plain)
    assert np.isin(plain, ids[20:30]).all()
    index.check_consistency()
    index.index.reset()
    with pytest.raises(RuntimeError, match="other rows"):
        index.check_consistency()
