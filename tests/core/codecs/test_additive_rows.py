"""Codes in stages row after row, as walks over a graph read them: the same codes and scores as in blocks."""

import numpy as np
import pytest

from inlay.codecs import probe
from inlay.codecs.pq import PQCodec
from inlay.codecs.rvq import RVQCodec
from tests.core.codecs.test_additive import DIM, drawn, true_scores

ROWS, QUERIES = drawn(700), drawn(5, seed=1)
SLOTS = np.random.default_rng(0).permutation(700).astype(np.uint32)

MAKERS = {
    "PQ8": lambda l2, layout: PQCodec(DIM, l2, 5, 8, layout=layout),
    "PQ4": lambda l2, layout: PQCodec(DIM, l2, 7, 4, layout=layout),
    "RVQ8": lambda l2, layout: RVQCodec(DIM, l2, 3, 8, mode="plain", layout=layout),
    "RVQ4": lambda l2, layout: RVQCodec(DIM, l2, 5, 4, directions=10, layout=layout),
}


@pytest.fixture(scope="module", params=[(name, l2) for name in MAKERS for l2 in (True, False)], ids=str)
def both(request):
    """(codec, codes) in rows and in blocks."""
    name, l2 = request.param
    made = [MAKERS[name](l2, layout) for layout in ("rows", "blocks")]
    for codec in made:
        codec.train(ROWS)
    return [(codec, codec.encode(ROWS)) for codec in made]


def test_codes_are_those_of_blocks(both):
    (_, rows), (_, blocks) = both
    slots = np.arange(700)
    for own, other in zip(rows.get(slots), blocks.get(slots), strict=True):
        np.testing.assert_array_equal(own, other)
    np.testing.assert_array_equal(rows.pack(slots), blocks.pack(slots))
    assert rows.code_size == blocks.code_size == rows.tables["codes"].rows.shape[1]


def test_a_walks_scores_are_those_of_a_scan(both, level):
    (codec, codes), (scans, blocks) = both
    near = codec.scorer(QUERIES, codes, 1)
    scan = scans.scorer(QUERIES, blocks, 1)
    for query in range(len(QUERIES)):
        wanted = probe.block(scan, query, 0, 700)[SLOTS]
        np.testing.assert_allclose(
            probe.near(near, query, SLOTS), np.maximum(wanted, near_least(codec)), atol=1e-4
        )
        np.testing.assert_array_equal(probe.rows_at(near, query, SLOTS), probe.rows_at(scan, query, SLOTS))


def near_least(codec):
    return 0 if codec.squared_l2 else -np.inf


def test_last_scores_are_the_distances_to_the_decoded_rows(both):
    (codec, codes), _ = both
    true = true_scores(codec, codec.decode(codes))
    scorer = codec.scorer(QUERIES, codes, 1)
    found = np.stack([probe.rows_at(scorer, query, np.arange(700, dtype=np.uint32)) for query in range(5)])
    np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("most", [False, True])
def test_pairs_are_the_distances_of_decoded_rows(both, most, level):
    for codec, codes in both:
        held = codec.decode(codes).astype(np.float64)
        pairs = codec.pairs(codes, 2, most)
        for worker, slot in ((0, 3), (1, 699)):
            true = np.square(held[SLOTS] - held[slot]).sum(axis=1)
            found = probe.apart(pairs, slot, SLOTS, worker)
            np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-4)
            assert found[slot == SLOTS] == 0


def test_rows_move_and_go_like_those_of_any_codes(both):
    (codec, codes), _ = both
    before = codes.pack(np.arange(700))
    again = codec.new_codes()
    again.unpack(before)
    again.move(np.array([5, 6]), np.array([6, 5]))
    again.blank(np.array([0]))
    again.resize(69)
    after = again.pack(np.arange(69))
    np.testing.assert_array_equal(after[[5, 6]], before[[6, 5]])
    np.testing.assert_array_equal(after[7:], before[7:69])
    assert not after[0].any()


def test_a_layout_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="layout must be"):
        PQCodec(DIM, True, 4, layout="columns")
