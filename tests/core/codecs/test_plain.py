import numpy as np
import pytest

import reference
from inlay.codecs import probe
from inlay.codecs.codec import Codec
from inlay.codecs.plain import PlainCodec
from inlay.contents import Sections
from inlay.indexes import scan
from tests.awkward import DIMS, KINDS, at_page_end, row, rows


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


# What a walk over a graph asks for, of either type of rows

dtypes = pytest.mark.parametrize("dtype", ["float32", "float16"])


@dtypes
@pytest.mark.parametrize("squared_l2", [True, False])
def test_rows_named_by_slots_have_the_scores_of_a_scan(level, dtype, squared_l2, rng):
    for dim in (1, 7, 31, 65, 100):
        x, queries = rng.standard_normal((40, dim), np.float32), rng.standard_normal((3, dim), np.float32)
        codec = PlainCodec(dim, squared_l2, dtype)
        codes = codec.encode(x)
        scorer, wanted = codec.scorer(queries, codes, 1), scan_scores(codec, codes, queries)
        slots = rng.integers(0, 40, 33).astype(np.uint32)
        for q in range(3):
            np.testing.assert_array_equal(probe.near(scorer, q, slots), wanted[q, slots])
            np.testing.assert_array_equal(probe.rows_at(scorer, q, slots), wanted[q, slots])


@dtypes
@pytest.mark.parametrize("squared_l2", [True, False])
def test_rows_are_compared_by_squared_distance_whatever_the_metric(level, dtype, squared_l2, rng):
    for dim in (1, 33, 100):
        x = rng.standard_normal((20, dim), np.float32)
        codec = PlainCodec(dim, squared_l2, dtype)
        codes = codec.encode(x)
        held, pairs = codec.decode(codes), codec.pairs(codes, 2)
        exact = reference.scores(held, held, "l2")
        slots = np.arange(20, dtype=np.uint32)
        for slot in range(20):
            found = probe.apart(pairs, slot, slots, slot % 2)
            assert (np.abs(found - exact[slot]) <= 1e-5 * exact[slot]).all()
            assert found[slot] == 0
            np.testing.assert_array_equal(probe.near(pairs, slot % 2, slots, slot % 2), found)


@dtypes
def test_nothing_is_read_past_the_rows_of_a_file(level, dtype, rng):
    for dim in (1, 5, 21, 64, 100):
        x = rng.standard_normal((9, dim), np.float32)
        codec = PlainCodec(dim, True, dtype)
        arrays = {name: at_page_end(held) for name, held in codec.encode(x).sections(9).items()}
        assert arrays["rows"].dtype == dtype
        codes = codec.new_codes()
        codes.restore(Sections(arrays, "a file", {}), 9)
        slots = np.full(9, 8, np.uint32)
        exact = reference.scores(x[:1], codec.decode(codes)[8:], "l2")[0]
        assert probe.near(codec.scorer(x[:1], codes, 1), 0, slots) == pytest.approx(exact.repeat(9), rel=1e-5)
        assert (probe.apart(codec.pairs(codes, 1), 8, slots) == 0).all()


def test_float16_rows_are_rounded_to_the_nearest_and_to_even(rng):
    x = np.array([[2049, 2051, 1e-8, -(2.0**-25), 65504, -65504, 0.1, 0]], np.float32)
    codec = PlainCodec(8, True, "float16")
    codes = codec.encode(x)
    assert codec.code_size == 16
    assert codes.nbytes(cold=False) == 16
    found = codec.decode(codes)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], [2048, 2052, 0, 0, 65504, -65504, 0.0999755859375, 0])
    y = rng.standard_normal((50, 8), np.float32)
    codec.encode(y, codes)
    np.testing.assert_array_equal(codec.decode(codes)[1:], y.astype(np.float16).astype(np.float32))
    assert (np.abs(codec.decode(codes)[1:] - y) <= np.abs(y) / 2048).all()


@pytest.mark.parametrize("value", [65504.01, -65520.0, 3e38])
def test_values_that_float16_cannot_hold_are_refused_before_anything_changes(value):
    codec = PlainCodec(3, True, "float16")
    codes = codec.encode(np.ones((2, 3), np.float32))
    x = np.ones((4, 3), np.float32)
    x[2, 1] = value
    with pytest.raises(ValueError, match=r"row 2 holds .* in size; float16 goes up to 65504"):
        codec.encode(x, codes)
    assert len(codes) == 2
    codec.encode(x[:0], codes)
    np.testing.assert_array_equal(codec.decode(codes), 1)


def test_other_types_of_rows_are_refused():
    with pytest.raises(ValueError, match='"float32" or "float16", not \'float64\''):
        PlainCodec(3, True, "float64")


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
        lambda: codec.pairs(codes, 1),
    ):
        with pytest.raises(TypeError, match="an abstract codec has no codes"):
            call()
