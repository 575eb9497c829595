import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_signmag as reference
from inlay.kernels import table
from tests.awkward import DIMS, KINDS, any_row, at_page_end, dims, row, seeds

MAX_DIM = 2**24
SPECIFIED = (1, 63, 64, 65, 100, 384, 768, 1000, 3072)
both_bits = pytest.mark.parametrize("bits", [2, 4])


def drawn(n, dim, bits, seed):
    """Digits of rows (n, dim) and of one query (dim,)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (n, dim), np.uint8), rng.integers(0, 2**bits, dim, np.uint8)


def laid(digits, constants, room=0):
    """Rows of planes, two constants each, and `room` bytes of anything; the number of the constants' word."""
    planes = reference.row_words(digits).view(np.uint8)
    parts = (
        planes,
        np.ascontiguousarray(constants).view(np.uint8),
        np.full((len(digits), room), 0xA5, np.uint8),
    )
    return np.concatenate(parts, axis=1), planes.shape[1] // 8


def dots(digits, query, bits, a, level):
    """<x, Y> of every row."""
    rows, pair = laid(digits, np.tile(np.array([-1, 0], np.float32), (len(digits), 1)))
    slots = np.arange(len(digits), dtype=np.uint32)
    planes = reference.query_planes(query, bits)
    return table.signmag(rows, slots, planes, digits.shape[1], pair, a, 0.0, 1.0, level)


def published(one, other):
    """What a distance of levels 1:2 is made of: the four counts of differing bits, as numbers."""
    p, t = (digits >> 1 & 1 for digits in (one, other)), (digits & 1 for digits in (one, other))
    (pa, pb), (ta, tb) = p, t
    return [int((u != v).sum()) for u, v in ((pa, pb), (pa, tb), (ta, pb), (ta, tb))]


# Every level gives the numbers of the definition


@given(
    bits=st.sampled_from([2, 4]),
    a=st.sampled_from([2, 3]),
    n=st.integers(1, 12),
    n_slots=st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 31, 33]),
    dim=dims | st.integers(1, 600),
    room=st.sampled_from([0, 8, 56]),
    seed=seeds,
)
def test_scores_are_the_bits_of_the_definition(level, bits, a, n, n_slots, dim, room, seed):
    digits, query = drawn(n, dim, bits, seed)
    rng = np.random.default_rng(seed)
    constants, (base, factor) = rng.standard_normal((n, 2), np.float32), rng.standard_normal(2, np.float32)
    slots = rng.integers(0, n, n_slots).astype(np.uint32)
    rows, pair = laid(digits, constants, room)
    planes = reference.query_planes(query, bits)
    found = table.signmag(rows, slots, planes, dim, pair, a, base, factor, level)
    dot = reference.whole_numbers(digits, 2, a) @ reference.whole_numbers(query, bits, a)
    wanted = reference.score(dot, *constants.T, factor, base)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted[slots])


@given(n_slots=st.integers(0, 9), dim=dims | st.integers(1, 600), seed=seeds)
def test_hamming_counts_differing_signs_and_differing_strengths(level, n_slots, dim, seed):
    digits, query = drawn(5, dim, 2, seed)
    slots = np.random.default_rng(seed).integers(0, 5, n_slots).astype(np.uint32)
    rows, _ = laid(digits, np.zeros((5, 2), np.float32))
    found = table.hamming(rows, slots, reference.query_planes(query, 2), dim, level)
    x, q = (reference.whole_numbers(d, 2, 3) // 2 for d in (digits, query))
    np.testing.assert_array_equal(found, [reference.hamming(x[slot], q) for slot in slots])


@pytest.mark.parametrize("dim", SPECIFIED)
def test_a_thousand_pairs_have_the_published_distance_and_what_follows_from_it(level, dim):
    one, other = (drawn(1000, dim, 2, seed)[0] for seed in (dim, dim + 1))
    x, z = (reference.whole_numbers(d, 2, 3) // 2 for d in (one, other))
    assert set(np.unique(x)) <= {-2, -1, 1, 2}
    for at in range(1000) if dim == 768 else range(0, 1000, 50):
        # With a = 3 a kernel's numbers are twice the levels.
        d = 4 * dim - dots(one, other[at], 2, 3, level) / 4
        np.testing.assert_array_equal(d, 4 * dim - x @ z[at])
        assert (d >= 0).all()
        assert (d <= 8 * dim).all()
        assert d[at] == 4 * dim - dots(other, one[at], 2, 3, level)[at] / 4
        assert (
            d[at] == sum(w * n for w, n in zip((9, 3, 3, 1), published(one[at], other[at]), strict=True)) / 2
        )
    # A code and itself; and the squared distance of codes, which is one.
    own = np.array([4 * dim - dots(one[i : i + 1], one[i], 2, 3, level)[0] / 4 for i in range(50)])
    np.testing.assert_array_equal(own, 3 * (dim - (np.abs(x[:50]) == 2).sum(axis=1)))
    square = np.square(x).sum(axis=1)
    between = np.stack([square[:50] + square[i] - dots(one[:50], one[i], 2, 3, level) / 2 for i in range(50)])
    assert not np.diagonal(between).any()
    length = np.sqrt(between)
    assert (length[:, None, :] <= length[:, :, None] + length[None, :, :] + 1e-9).all()


@pytest.mark.parametrize("dim", SPECIFIED)
def test_levels_1_3_are_four_weighted_counts(level, dim):
    digits, query = drawn(200, dim, 2, dim)
    found = dots(digits, query, 2, 2, level)
    x, q = (reference.whole_numbers(d, 2, 2) for d in (digits, query))
    assert set(np.unique(x)) <= {-3, -1, 1, 3}
    np.testing.assert_array_equal(found, x @ q)
    for one, dot in zip(digits[:20], found, strict=False):
        counts = published(one, query)
        assert dot == 9 * dim - 2 * sum(w * n for w, n in zip((4, 2, 2, 1), counts, strict=True))


@pytest.mark.parametrize(
    ("dim", "a", "bits"),
    [
        *((dim, a, bits) for dim in (*DIMS, 1984, 1985, 3968, 3969, 8001) for a in (2, 3) for bits in (2, 4)),
        (MAX_DIM, 3, 4),  # the largest sums there are
    ],
)
def test_counts_of_all_bits_and_of_none_do_not_saturate(level, dim, a, bits):
    most = (a + 1) * (15 if bits == 4 else a + 1) * dim
    for digit, sign in ((3, 1), (0, -1)):
        digits, query = np.full((2, dim), digit, np.uint8), np.full(dim, 2**bits - 1, np.uint8)
        np.testing.assert_array_equal(dots(digits, query, bits, a, level), np.float32(sign * most))


@both_bits
@pytest.mark.parametrize("dim", [1, 64, 65, 128, 129, 192, 256, 257, 320, 384, 512, 1000])
def test_nothing_is_read_past_the_end_of_any_input(level, bits, dim):
    digits, query = drawn(9, dim, bits, dim)
    rows, pair = laid(digits, np.tile(np.array([-1, 0], np.float32), (9, 1)))
    rows, planes = at_page_end(rows), at_page_end(reference.query_planes(query, bits))
    wanted = reference.whole_numbers(digits, 2, 2) @ reference.whole_numbers(query, bits, 2)
    for n in range(1, 10):
        slots = at_page_end(np.arange(8, 8 - n, -1, dtype=np.uint32))
        found = table.signmag(rows, slots, planes, dim, pair, 2, 0.0, 1.0, level)
        np.testing.assert_array_equal(found, wanted[slots])
        if bits == 2:
            table.hamming(rows, slots, planes, dim, level)
    y = at_page_end(row("gaussian", dim))
    assert table.measure(y, level) == reference.measure(y)
    np.testing.assert_array_equal(
        table.digits(y, 0.5, bits, level)[0], reference.digits(y, np.float32(0.5), bits)[0]
    )


def test_bits_past_the_end_of_a_damaged_row_break_nothing(level):
    digits, query = drawn(3, 5, 4, 0)
    rows, pair = laid(digits, np.full((3, 2), np.nan, np.float32))
    rows[:, : 8 * pair] = 0xFF
    slots = np.arange(3, dtype=np.uint32)
    found = table.signmag(rows, slots, reference.query_planes(query, 4), 5, pair, 2, 0.0, 1.0, level)
    assert np.isnan(found).all()
    found = table.hamming(rows, slots, reference.query_planes(query % 4, 2), 5, level)
    assert (found <= 128).all()


# Digits


@given(y=any_row, bits=st.sampled_from([2, 4]), step=st.floats(0, 2.0**60, width=32))
def test_digits_and_sums_are_the_bits_of_the_definition(level, y, bits, step):
    assert table.measure(y, level) == reference.measure(y)
    found, beyond = table.digits(y, step, bits, level)
    wanted, wanted_beyond = reference.digits(y, np.float32(step), bits)
    np.testing.assert_array_equal(found, wanted)
    assert beyond == wanted_beyond


@both_bits
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def test_digits_of_every_kind_of_row_are_their_definition(level, kind, dim, bits):
    y = row(kind, dim)
    square, absolute = table.measure(y, level)
    assert (square, absolute) == reference.measure(y)
    assert square == pytest.approx(np.square(y.astype(np.float64)).sum(), rel=1e-13)
    assert absolute == pytest.approx(np.abs(y.astype(np.float64)).sum(), rel=1e-13)
    step = np.float32(0.5 * np.sqrt(square / dim))
    found, beyond = table.digits(y, step, bits, level)
    wanted, wanted_beyond = reference.digits(y, step, bits)
    np.testing.assert_array_equal(found, wanted)
    assert beyond == wanted_beyond


@both_bits
def test_a_number_on_a_threshold_and_a_zero_of_either_sign_belong_to_the_smaller(level, bits):
    y = np.array([0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 0.5000001, -0.5000001, 9, -9], np.float32)
    half, top = 2 ** (bits - 1), 2**bits - 1
    wanted = [half - 1, half - 1, half, half - 1, half, half - 1, half + 1, half - 2, top, 0]
    np.testing.assert_array_equal(table.digits(y, 0.5, bits, level)[0], wanted)


@given(seed=seeds, n=st.integers(1, 64), bit=st.integers(0, 3))
def test_a_bit_of_many_numbers_is_a_word(seed, n, bit):
    numbers = np.random.default_rng(seed).integers(0, 16, n, np.uint8)
    assert table.bits_of(numbers, bit) == reference.words(numbers >> bit & 1 == 1)[0]


def test_as_many_digits_are_strong_as_theory_says(level, rng):
    rates = np.zeros(2)
    for y in rng.standard_normal((400, 768), np.float32):
        square, absolute = table.measure(y, level)
        for i, step in enumerate((absolute / 768, 0.98 * np.sqrt(square / 768))):
            digits = table.digits(y, step, 2, level)[0]
            rates[i] += ((digits == 0) | (digits == 3)).mean() / 400
    assert 0.42 < rates[0] < 0.43
    assert 0.32 < rates[1] < 0.335


def test_shapes_that_do_not_fit_never_reach_a_kernel():
    digits, query = drawn(3, 70, 2, 0)
    rows, pair = laid(digits, np.zeros((3, 2), np.float32))
    slots, planes = np.arange(3, dtype=np.uint32), reference.query_planes(query, 2)
    for bad in (
        (rows, slots + 1, planes, 70, pair),
        (rows, slots, planes, 1000, pair),
        (rows, slots, planes[:1], 70, pair),
        (rows, slots, np.ascontiguousarray(planes[:, :4]), 70, pair),
        (rows, slots, planes, 70, pair + 1),
    ):
        with pytest.raises(ValueError, match="do not fit each other"):
            table.signmag(*bad, 2, 0.0, 1.0)
        if bad[4] == pair and bad[2].shape[1] == 8:
            with pytest.raises(ValueError, match="do not fit each other"):
                table.hamming(*bad[:4])
