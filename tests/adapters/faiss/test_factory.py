"""`index_factory`: every string of its grammar does all that indexes do, under ids too; others say why."""

import contextlib

import numpy as np
import pytest

import inlay.adapters.faiss as faiss
from tests.adapters.faiss import strings

DIMENSIONS = (1, 33, 128)
N = 120


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(5)
    return {d: rng.standard_normal((N, d)).astype(np.float32) for d in DIMENSIONS}


def fits(string: str, d: int) -> bool:
    return d > 3 or "RR3" not in string


def widest(index: faiss.Index) -> faiss.Index:
    """Let searches see every row."""
    space = faiss.ParameterSpace()
    for name, value in (("nprobe", 1000), ("efSearch", 1000), ("k_factor", 8)):
        with contextlib.suppress(RuntimeError):
            space.set_index_parameter(index, name, value)
    return index


def filled(string: str, x: np.ndarray, metric: int = faiss.METRIC_L2) -> faiss.Index:
    index = widest(faiss.index_factory(x.shape[1], string, metric))
    index.train(x)
    assert index.is_trained
    if isinstance(index, faiss.IndexIDMap):
        index.add_with_ids(x, np.arange(len(x)))
    else:
        index.add(x)
    return index


def same(one: tuple[np.ndarray, ...], two: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning", "ignore:two bits")
@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("string", strings.ALL)
def test_every_string_makes_an_index_that_does_it_all(string, d, rows):
    if not fits(string, d):
        pytest.skip("more dimensions than there are")
    x, k = rows[d], 5
    metric = faiss.METRIC_INNER_PRODUCT if len(string) % 2 else faiss.METRIC_L2
    index = filled(string, x, metric)
    assert index.ntotal == N
    distances, labels = index.search(x[:7], k)
    assert distances.dtype == np.float32
    assert labels.dtype == np.int64
    assert ((labels >= 0) & (labels < N)).all()

    # Filters: as many results as there can be, and none that is not allowed.
    allowed = np.array([3, 5, 60])
    _, some = index.search(x[:7], k, params=faiss.SearchParameters(sel=allowed))
    assert np.isin(some[:, :3], allowed).all()
    assert (some[:, 3:] == -1).all()
    assert all(len(set(line)) == 3 for line in some[:, :3].tolist())

    # Out and in again, the same in all.
    twin = faiss.clone_index(index)
    assert type(twin) is type(index)
    assert twin.factory_string == index.factory_string
    same(twin.search(x[:7], k), (distances, labels))
    again = faiss.index_factory(d, index.factory_string, metric)
    assert again.factory_string == index.factory_string

    # Rows that are gone stay gone.
    assert index.remove_ids(np.arange(0, N, 2)) == N // 2
    assert index.ntotal == N // 2
    _, labels = index.search(x[:7], N)
    assert all(len(set(line)) == N // 2 for line in labels[:, : N // 2].tolist())
    assert (labels[:, N // 2 :] == -1).all()
    assert index.reconstruct_batch(index.ids).shape == (N // 2, d)
    same(faiss.clone_index(index).search(x[:7], 9), index.search(x[:7], 9))
    index.reset()
    assert (index.search(x[:2], 3)[1] == -1).all()
    assert index.ntotal == 0
    assert index.is_trained
    if not isinstance(index, faiss.IndexIDMap):
        ids_mean_their_rows(faiss.IndexIDMap2(index), x, atol=2e-4 + 0.02 * ("fp16" in string))


def ids_mean_their_rows(index, x, atol):
    ids = np.arange(N) * 7 - 200
    index.add_with_ids(x, ids)
    before = index.reconstruct_batch(ids)
    # Buried, moved, shifted: an id means its row.
    gone = ids[::3]
    assert index.remove_ids(gone) == len(gone)
    index.add_with_ids(x[:5], np.arange(5) + 10_000)
    left = np.setdiff1d(ids, gone)
    kept = index.reconstruct_batch(left)
    np.testing.assert_allclose(kept, before[np.isin(ids, left)], atol=atol)
    held = np.concatenate([left, np.arange(5) + 10_000])
    for params in (None, faiss.SearchParameters(sel=faiss.IDSelectorBatch(left))):
        _, labels = index.search(kept[:10], 5, params=params)
        assert np.isin(labels, held if params is None else left).all()
    twin = faiss.clone_index(index)
    np.testing.assert_array_equal(twin.ids, index.ids)
    np.testing.assert_array_equal(twin.reconstruct_batch(left), kept)


@pytest.mark.parametrize("string", strings.WRONG)
def test_other_strings_are_refused_with_a_word_on_why(string):
    with pytest.raises(RuntimeError) as caught:
        faiss.index_factory(7, string)
    assert len(str(caught.value)) > 20


@pytest.mark.parametrize(
    ("string", "part"),
    [
        ("IVF16,", "nothing after the comma"),
        ("SQ88", "'SQ8'"),
        ("RaBitQfs", "QuIVer32"),
        ("HNSW32,PQ8", "Flat, SQ.. or LVQ.."),
        ("PQ8x3", "4 or 8 bits"),
    ],
)
def test_what_is_wrong_and_what_was_meant_is_said(string, part):
    with pytest.raises(RuntimeError, match="could not parse index string") as caught:
        faiss.index_factory(8, string)
    assert part in str(caught.value)


@pytest.mark.parametrize("d", [0, -3])
def test_there_are_no_vectors_without_dimensions(d):
    with pytest.raises((AssertionError, ValueError)):
        faiss.index_factory(d, "Flat")


def test_strings_make_the_classes_that_scripts_ask_for():
    made = {
        "Flat": faiss.IndexFlat,
        "SQ8": faiss.IndexScalarQuantizer,
        "IVF4,Flat": faiss.IndexIVFFlat,
        "IVF4,PQ2": faiss.IndexIVFPQ,
        "IVF4,PQ2x4fs": faiss.IndexIVFPQFastScan,
        "IVF4,RQ2x8": faiss.IndexIVFResidualQuantizer,
        "LoRANN4": faiss.IndexLoRANN,
        "HNSW32": faiss.IndexHNSWFlat,
        "HNSW32,SQ8": faiss.IndexHNSWSQ,
        "IDMap,Flat": faiss.IndexIDMap,
        "PCA2,Flat": faiss.IndexPreTransform,
        "SQ8,RFlat": faiss.IndexRefineFlat,
    }
    assert {string: type(faiss.index_factory(8, string)) for string in made} == made
    refined = faiss.index_factory(8, "PCA4,SQ8,RFlat")
    assert refined.refine_index.d == 8
    assert refined.base_index.index.d == 4
    assert faiss.index_factory(8, "IVF4_HNSW8,Flat").quantizer.hnsw.nb_neighbors(0) == 16
    assert faiss.index_factory(8, "IVF2k,Flat").nlist == 2048
    for string, block in (("PQ2x4fs", 32), ("PQ2x4fs_64", 64), ("IVF4,PQ2x4fsr_64", 64)):
        index = faiss.index_factory(8, string)
        assert (index.bbs, faiss.clone_index(index).bbs) == (block, block)
    assert [faiss.index_factory(8, "IVF4,Flat", metric).cp.spherical for metric in (0, 1)] == [True, False]
    assert [faiss.index_factory(8, "HNSW8").hnsw.nb_neighbors(layer) for layer in (0, 1)] == [16, 8]
