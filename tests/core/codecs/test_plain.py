import numpy as np
import pytest

import reference
from inlay.codecs.codec import Codec
from inlay.codecs.plain import PlainCodec
from inlay.indexes import scan
from tests.awkward import DIMS, KINDS, row, rows


def last_scores(codec, codes, queries):
    """The scores of all rows, (n_queries, n)."""
    n = len(codes)
    scorer = codec.scorer(queries, codes, 1)
    radii = np.full(len(queries), np.inf, np.float32)
    _, scores, slots = scan.range_search(scorer, n, radii, None, None, 0, 1)
    found = np.empty((len(queries), n), np.float32)
    np.put_along_axis(found, slots.reshape(found.shape), scores.reshape(found.shape), axis=1)
    return found


def scan_scores(codec, codes, queries):
    """The scores a scan gives all rows, (n_queries, n)."""
    n = len(codes)
    scores, slots = scan.search(codec.scorer(queries, codes, 1), None, n, n, n, None, None, 0, 1)
    found = np.empty_like(scores)
    np.put_along_axis(found, slots, scores, axis=1)
    return found


@pytest.mark.parametrize("dim", DIMS)
def test_rows_come_back_as_they_were(dim):
    x = np.stack([row(kind, dim) for kind in KINDS])
    codec = PlainCodec(dim, True)
    codes = codec.encode(x[:5])
    assert codec.encode(x[5:], codes) is codes
    assert len(codes) == len(x)
    np.testing.assert_array_equal(codec.decode(codes), x)
    np.testing.assert_array_equal(codec.decode(codes, np.array([3, 0, 3])), x[[3, 0, 3]])


def test_decoded_rows_are_copies():
    codec = PlainCodec(2, True)
    codes = codec.encode(np.ones((3, 2), np.float32))
    codec.decode(codes)[:] = 7
    np.testing.assert_array_equal(codec.decode(codes), 1)


@pytest.mark.parametrize("squared_l2", [True, False])
@pytest.mark.parametrize("n_queries", [1, 2, 3, 9, 70])
def test_scores_are_exact_and_independent_of_the_batch(level, squared_l2, n_queries):
    x, queries = rows("gaussian", 67, 31), rows("gaussian", n_queries, 31, seed=1)
    codec = PlainCodec(31, squared_l2)
    codes = codec.encode(x)
    metric = "l2" if squared_l2 else "ip"
    size = 1e-5 * reference.score_sizes(queries, x, metric)
    for whole in (scan_scores, last_scores):
        found = whole(codec, codes, queries)
        assert (np.abs(found - reference.scores(queries, x, metric)) <= size).all()
        np.testing.assert_array_equal(whole(codec, codes, queries[-1:])[0], found[-1])


def test_bytes_are_four_a_dimension():
    codec = PlainCodec(5, False)
    codes = codec.encode(np.ones((7, 5), np.float32))
    assert codec.code_size == 20
    assert codes.nbytes(cold=False) == 7 * codec.code_size
    assert codes.nbytes(cold=True) == 0


def test_nothing_has_to_be_learned():
    codec = PlainCodec(4, True)
    assert codec.is_trained
    codec.train(np.ones((2, 4), np.float32))
    assert codec.state() == ({}, {})


def test_an_abstract_codec_has_no_codes():
    codec = Codec(4, True)
    assert (codec.dim, codec.squared_l2) == (4, True)
    x = np.ones((1, 4), np.float32)
    codes = PlainCodec(4, True).encode(x)
    for call in (
        codec.new_codes,
        lambda: codec.encode(x),
        lambda: codec.decode(codes),
        lambda: codec.scorer(x, codes, 1),
    ):
        with pytest.raises(TypeError, match="an abstract codec has no codes"):
            call()
