"""Scans of codes in stages, products with codewords, ways on of a beam search: each equals its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_additive as reference
import reference_fastscan
from inlay.kernels import links, stages
from tests.awkward import at_page_end, seeds

both_bits = pytest.mark.parametrize("bits", [4, 8])
numbers_of_rows = st.sampled_from([0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200])
numbers_of_stages = st.integers(1, 20) | st.sampled_from([255, 256, 257, 300])


def drawn(n, n_stages, bits, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (n, n_stages)).astype(np.uint8)
    tables = rng.integers(0, 256, (n_stages, 2**bits)).astype(np.uint8)
    return codes, tables, rng.integers(0, 256, n).astype(np.uint8), rng


# Scans


@given(
    n=numbers_of_rows, n_stages=numbers_of_stages, bits=st.sampled_from([4, 8]), with_norms=st.booleans(),
    part=st.floats(0, 1), seed=seeds,
)  # fmt: skip
def test_scores_are_the_bits_of_the_definition(level, n, n_stages, bits, with_norms, part, seed):
    codes, tables, norms, rng = drawn(n, n_stages, bits, seed)
    step, low, *levels = (rng.standard_normal(4) * 2.0 ** rng.integers(-20, 20, 4)).astype(np.float32)
    tables = tables[: max(1, round(part * n_stages))]
    blocks = stages.pack_stages(codes, norms if with_norms else None, bits)
    found = stages.scan_stages(blocks, n_stages, tables, step, low, levels if with_norms else None, level)
    wanted = reference.scores(codes, tables, step, low, norms if with_norms else None, levels)
    np.testing.assert_array_equal(found[:n].view(np.uint32), wanted.view(np.uint32))


@both_bits
@pytest.mark.parametrize("n_stages", [1, 255, 256, 257, 258, 512, 513, 1000])
def test_the_largest_sums_do_not_wrap(level, bits, n_stages):
    codes, tables, _, _ = drawn(65, n_stages, bits, n_stages)
    tables[:] = 255
    found = stages.scan_stages(stages.pack_stages(codes, None, bits), n_stages, tables, level=level)
    assert (found[:65] == 255 * n_stages).all()


@both_bits
def test_each_row_and_stage_has_its_own_code(level, bits):
    for row in range(64):
        for stage in range(3):
            codes = np.zeros((64, 3), np.uint8)
            codes[row, stage] = 2**bits - 1
            tables = np.zeros((3, 2**bits), np.uint8)
            tables[stage, -1] = 200
            found = stages.scan_stages(stages.pack_stages(codes, None, bits), 3, tables, level=level)
            np.testing.assert_array_equal(found, np.where(np.arange(64) == row, 200, 0))


@both_bits
def test_each_code_has_its_own_entry(level, bits):
    size = 2**bits
    tables = np.stack([np.arange(size), np.arange(size)[::-1]]).astype(np.uint8)
    for code in range(size):
        codes = np.full((64, 2), code, np.uint8)
        found = stages.scan_stages(stages.pack_stages(codes, None, bits), 2, tables, level=level)
        assert (found == size - 1).all()
        assert (
            stages.scan_stages(stages.pack_stages(codes, None, bits), 2, tables[:1], level=level) == code
        ).all()


@both_bits
@pytest.mark.parametrize("n_stages", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize("n", [64, 128, 192])
def test_nothing_is_read_past_the_end_of_blocks_and_tables(level, bits, n_stages, n):
    codes, tables, norms, _ = drawn(n, n_stages, bits, n)
    for some in (None, norms):
        blocks = at_page_end(stages.pack_stages(codes, some, bits))
        levels = None if some is None else (1, 0)
        found = stages.scan_stages(blocks, n_stages, at_page_end(tables), norms=levels, level=level)
        np.testing.assert_array_equal(found, reference.scores(codes, tables, 1, 0, some, (1, 0)))


# Blocks


@given(n=numbers_of_rows, n_stages=numbers_of_stages, bits=st.sampled_from([4, 8]), seed=seeds)
def test_what_is_packed_is_there(n, n_stages, bits, seed):
    codes, _, norms, _ = drawn(n, n_stages, bits, seed)
    blocks = stages.pack_stages(codes, norms, bits)
    assert blocks.shape == (-(-n // 64), 8 * bits * n_stages + 64)
    np.testing.assert_array_equal(stages.unpack_stages(blocks, n, n_stages, bits), codes)
    if bits == 4 and n >= 32:
        # Half a block is one of fastscan.hpp.
        np.testing.assert_array_equal(blocks[0, : 16 * n_stages], links.pack_fastscan(codes[:32]))


# Tables of 256


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 9])
def test_tables_of_256_become_the_bytes_of_the_definition(level, groups, rng):
    tables = rng.standard_normal((groups, 256), np.float32) + np.float32(3)
    found = links.quantise_tables(at_page_end(tables), 255, level)
    np.testing.assert_equal(found, reference_fastscan.quantise_tables(tables, 255))


# Products and ways on


@given(
    n=st.integers(1, 14), dim=st.sampled_from([1, 2, 3, 7, 16, 63, 65, 100]), n_strips=st.integers(1, 18),
    seed=seeds,
)  # fmt: skip
def test_products_are_the_bits_of_the_definition(level, n, dim, n_strips, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    strips = rng.standard_normal((n_strips, dim, 16)).astype(np.float32)
    found = stages.products(at_page_end(rows), at_page_end(strips), level)
    wanted = reference.products(rows, strips)
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@given(
    n=st.integers(1, 14), dim=st.sampled_from([1, 2, 3, 7, 16, 63, 65, 100]), n_strips=st.integers(1, 18),
    seed=seeds,
)  # fmt: skip
def test_products_of_short_integers_are_the_bits_of_the_definition(level, n, dim, n_strips, seed):
    rng = np.random.default_rng(seed)
    # As long as any may be: no sum leaves 32 bits.
    rows, words = (rng.standard_normal((count, dim)) for count in (n, 16 * n_strips))
    rows, words = (np.rint(32_700 * a / np.linalg.norm(a, axis=1, keepdims=True)) for a in (rows, words))
    words[0], rows[0] = np.rint(32_700 * np.sign(words[0]) / np.sqrt(dim)), np.rint(32_700 / np.sqrt(dim))
    rows, words = (np.pad(a.astype(np.int16), ((0, 0), (0, dim % 2))) for a in (rows, words))
    factors = [rng.standard_normal(count).astype(np.float32) for count in (n, n_strips)]
    strips = words.reshape(n_strips, 16, -1, 2).transpose(0, 2, 1, 3).reshape(n_strips, -1, 32)
    found = stages.short_products(
        at_page_end(rows), factors[0], at_page_end(np.ascontiguousarray(strips)), factors[1], dim, level
    )
    wanted = reference.short_products(rows, words, *factors)
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@given(
    n=st.integers(1, 4), dim=st.sampled_from([1, 7, 8, 16, 63, 65, 130, 257]), n_stages=st.integers(1, 9),
    used=st.integers(1, 9), seed=seeds,
)  # fmt: skip
def test_sums_of_words_are_the_bits_of_the_definition(level, n, dim, n_stages, used, seed):
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((n_stages, 16, dim)).astype(np.float32)
    codes = rng.integers(0, 16, (n, min(used, n_stages)), np.uint8)
    found = stages.add_words(at_page_end(words), at_page_end(codes), level)
    wanted = np.zeros((n, dim), np.float32)
    for stage in range(codes.shape[1]):
        wanted += words[stage, codes[:, stage]]
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@given(
    strips=st.sampled_from([1, 2, 4, 5, 16]), parents=st.integers(1, 9), n_cross=st.integers(0, 5),
    room=st.sampled_from([1, 2, 5, 8, 64]), coarse=st.booleans(), seed=seeds,
)  # fmt: skip
def test_the_best_ways_on_are_those_of_the_definition(level, strips, parents, n_cross, room, coarse, seed):
    rng = np.random.default_rng(seed)
    entries = 16 * strips
    arrays = [
        rng.standard_normal(shape) for shape in (entries, entries, parents, (parents, n_cross, entries))
    ]
    if coarse:  # ties, and numbers that are none
        arrays = [np.round(array) for array in arrays]
        arrays[1][rng.integers(entries, size=3)] = np.nan, np.inf, -np.inf
    given_ = [at_page_end(array.astype(np.float32)) for array in arrays]
    found = stages.extend(*given_, room, level)
    with np.errstate(invalid="ignore"):
        wanted = reference.extend(*given_, room)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


# The door


def test_shapes_that_do_not_fit_never_reach_a_kernel():
    codes, tables, norms, _ = drawn(64, 4, 8, 0)
    blocks = stages.pack_stages(codes)
    for bad in (
        (blocks[:, :-1].copy(), tables),
        (blocks, tables[:, :64].copy()),
        (blocks, np.vstack([tables] * 2)),
    ):
        with pytest.raises(ValueError, match="do not fit each other"):
            stages.scan_stages(bad[0], 4, bad[1])
    with pytest.raises(ValueError, match="do not fit each other"):
        stages.scan_stages(blocks, 4, tables, norms=(1, 0))
    with pytest.raises(ValueError, match="4 or 8 bits"):
        stages.pack_stages(codes, norms[:-1])
    with pytest.raises(ValueError, match="fewer rows"):
        stages.unpack_stages(blocks, 65, 4)
    with pytest.raises(ValueError, match="do not fit each other"):
        stages.products(np.zeros((2, 3), np.float32), np.zeros((1, 4, 16), np.float32))
    shorts = np.zeros((2, 4), np.int16)
    with pytest.raises(ValueError, match="do not fit each other"):
        stages.short_products(
            shorts, np.zeros(2, np.float32), np.zeros((1, 3, 32), np.int16), np.zeros(1, np.float32), 5
        )
    with pytest.raises(ValueError, match="do not fit each other"):
        stages.add_words(np.zeros((2, 16, 3), np.float32), np.full((1, 2), 16, np.uint8))
    zeros = np.zeros(16, np.float32)
    with pytest.raises(ValueError, match="do not fit each other"):
        stages.extend(zeros, zeros[:8], zeros[:1], np.zeros((1, 0, 16), np.float32), 1)
