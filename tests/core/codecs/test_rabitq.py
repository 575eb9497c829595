"""Codes of steps between rows: the definition's, and as good as theory has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_fastscan as fastscan
import reference_rabitq as reference
from inlay.codecs import probe
from inlay.codecs.rabitq import PQ4, LinkCoder, RaBitQ
from inlay.rotation import HadamardRotation
from tests.awkward import KINDS, row, rows, seeds

DIMS = (1, 2, 3, 31, 63, 64, 65, 1000, 1025, 4096)
metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
widths = pytest.mark.parametrize("width", [4, 6])
# Root mean square of the error times sqrt(dim) / (2 |r| |q - c|), by bits a dimension.
SPREADS = {1: 0.755, 2: 0.373, 3: 0.195, 4: 0.105, 5: 0.055, 6: 0.0283, 7: 0.0147, 8: 0.0077}


def coded(coder, o, c, squared_l2=True):
    """A step as the package codes it."""
    codes, add, rescale = probe.link_code(coder, o, c, squared_l2, reference.gap(o, c))
    if isinstance(coder, PQ4):
        g = coder.centroids[np.arange(coder.groups), :, codes[0]].ravel()[: coder.dim]
    else:
        g = reference.direction(codes, coder.width, coder.dim)
    return reference.Link(codes, reference.wide(g), float(add), float(rescale))


def defined(coder, o, c, squared_l2=True):
    """The same by its definition."""
    more = np.float32(reference.gap(o, c))
    if isinstance(coder, PQ4):
        return reference.pq4(o, c, coder.centroids, squared_l2, float(more))
    return reference.rabitq(o, c, coder.bits, coder.width, squared_l2, float(more))


def score(q, x, squared_l2=True):
    q, x = reference.wide(q), reference.wide(x)
    return float((q - x) @ (q - x) if squared_l2 else -(q @ x))


def looked_up(coder, codes, y):
    """<g, y> from a query's tables, and by how much rounding of their entries may have moved it."""
    tables, step, shift = probe.link_tables(coder, y)
    found = float(step) * float(fastscan.sums(codes[:, None], tables)[0]) + float(shift)
    levels = 2**coder.planes - 1
    size = float(np.abs(reference.wide(y)).sum())
    return found, levels * (coder.groups * float(step) / 2 + 2e-6 * size)


def book_of(dim, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((-(-dim // width), width, 16)).astype(np.float32) / np.float32(dim**0.5)


def every_coder(dim):
    yield from (RaBitQ(dim, bits, width) for bits, width in ((1, 4), (1, 6), (2, 4), (5, 6), (8, 4), (8, 6)))
    yield from (PQ4(dim), PQ4(dim, 4, book_of(dim)), PQ4(dim, 7, book_of(dim, 7)))


def errors(coder, triples, squared_l2=True):
    """Error of each estimate over 2 |r| |q - c| / sqrt(dim), and over its deviation by the rescale."""
    by_length, by_rescale = [], []
    for o, c, q in triples:
        link = coded(coder, o, c, squared_l2)
        off = link.estimate(score(q, c, squared_l2), q) - score(q, o, squared_l2)
        far = score(q, c) ** 0.5
        times = 2 if squared_l2 else 1
        by_length.append(off * coder.dim**0.5 / (times * score(o, c) ** 0.5 * far))
        by_rescale.append(off / (reference.SPREAD * abs(link.rescale) * far))
    return np.array(by_length), np.array(by_rescale)


def gaussian(seed, n, dim):
    """Triples of a row, the row that it is linked from, and a query; both others lie anywhere about that."""
    triples = np.random.default_rng(seed).standard_normal((n, 3, dim), np.float32)
    triples[:, ::2] += triples[:, 1:2]
    return triples


# Codes, factors and tables are those of the definition, at every level


@metrics
@pytest.mark.parametrize("dim", DIMS)
def test_steps_are_coded_as_defined(level, dim, squared_l2):
    kinds = sorted(KINDS) if dim < 1000 else ["gaussian", "zeros", "one outlier"]
    for coder in every_coder(dim):
        for kind in kinds:
            o, c = rows(kind, 2, dim)
            found, wanted = coded(coder, o, c, squared_l2), defined(coder, o, c, squared_l2)
            np.testing.assert_array_equal(found.codes, wanted.codes)
            np.testing.assert_array_equal(found.g, wanted.g)
            assert found.add == np.float32(wanted.add)
            assert found.rescale == np.float32(wanted.rescale)
            assert np.isfinite([found.add, found.rescale]).all()


@given(dim=st.integers(1, 140), bits=st.integers(1, 8), width=st.sampled_from([4, 6]), seed=seeds)
def test_any_dimensions_bits_and_groups_fit_each_other(dim, bits, width, seed):
    coder = RaBitQ(dim, bits, width)
    o, c = (row(kind, dim, seed) for kind in ("heavy tails", "laplace"))
    found, wanted = coded(coder, o, c), defined(coder, o, c)
    np.testing.assert_array_equal(found.codes, wanted.codes)
    assert (found.add, found.rescale) == (np.float32(wanted.add), np.float32(wanted.rescale))


@pytest.mark.parametrize("dim", DIMS)
def test_tables_are_those_of_the_definition(level, dim):
    for kind in KINDS if dim < 1000 else ["gaussian"]:
        y = row(kind, dim)
        for coder in every_coder(dim):
            if isinstance(coder, PQ4):
                entries = np.zeros((coder.groups, 16), np.float32)
                for i, values in enumerate(reference.in_groups(y, coder.width).reshape(-1, coder.width).T):
                    entries += values[:, None] * coder.centroids[:, i]
            else:
                entries = fastscan.subset_tables(y, coder.width)
            tables, step, low = fastscan.quantise_tables(entries, 255)
            found, found_step, shift = probe.link_tables(coder, y)
            np.testing.assert_array_equal(found, tables)
            assert found_step == step
            if isinstance(coder, PQ4):
                assert shift == low
            else:
                size = np.abs(reference.wide(y)).sum()
                wanted = (2**coder.bits - 1) * (float(low) - reference.wide(y).sum() / 2)
                assert shift == pytest.approx(wanted, rel=1e-6, abs=2**coder.bits * (1e-6 * size + 1e-43))


@pytest.mark.parametrize("dim", DIMS)
def test_tables_give_the_inner_product_of_a_code_and_a_query(level, dim):
    o, c, *queries = gaussian(dim, 4, dim).reshape(-1, dim)[:4]
    queries += [np.zeros(dim), np.full(dim, -2), np.eye(1, dim)[0]]
    for coder in every_coder(dim):
        link = coded(coder, o, c)
        for y in queries:
            found, slack = looked_up(coder, link.codes, y.astype(np.float32))
            assert np.isfinite(found)
            assert abs(found - link.g @ y) <= slack + 1e-30


# Ends of the scale


@metrics
@pytest.mark.parametrize("dim", DIMS)
def test_a_row_equal_to_its_centre_has_the_score_of_it(dim, squared_l2):
    x = row("gaussian", dim)
    for coder in every_coder(dim):
        link = coded(coder, x, x, squared_l2)
        assert (link.add, link.rescale) == (0, 0)


@metrics
def test_rows_of_one_place_differ_by_the_lengths_they_are_said_to_have(squared_l2):
    x = row("gaussian", 9)
    for coder in every_coder(9):
        _, add, rescale = probe.link_code(coder, x, x, squared_l2, 0.25)
        assert (add, rescale) == (0.25 if squared_l2 else 0, 0)


@pytest.mark.parametrize("dim", DIMS)
def test_a_query_at_the_centre_finds_links_as_far_as_they_are(dim):
    o, c, _ = gaussian(dim, 1, dim)[0]
    for coder in every_coder(dim):
        link = coded(coder, o, c)
        size = score(o, c) + abs(link.add) + abs(link.rescale) * np.abs(link.g * c).sum()
        assert abs(link.estimate(0, c) - score(o, c)) <= 1e-6 * size
        found, slack = looked_up(coder, link.codes, c)
        assert abs(link.add + link.rescale * found - score(o, c)) <= abs(link.rescale) * slack + 1e-6 * size


@metrics
def test_one_dimension_is_exact(squared_l2):
    for coder in (RaBitQ(1), RaBitQ(1, 8, 6), PQ4(1)):
        for o, c, q in gaussian(0, 20, 1):
            found = coded(coder, o, c, squared_l2).estimate(score(q, c, squared_l2), q)
            assert found == pytest.approx(score(q, o, squared_l2), abs=1e-5)


@pytest.mark.parametrize("kind", ["zeros", "constant", "denormal", "tiny", "large", "one outlier"])
def test_queries_and_steps_of_every_kind_have_finite_estimates(kind):
    for dim in (1, 64, 65):
        o, c = rows("gaussian", 2, dim)
        x = row(kind, dim)
        for coder in every_coder(dim):
            for to, centre, y in ((o, c, x), (x, c, o), (o, x, c), (x, 0 * x, x)):
                link = coded(coder, to, centre)
                assert np.isfinite(link.estimate(0, y))
                assert np.isfinite(looked_up(coder, link.codes, y)[0])


# What theory says of estimates. Every test draws its own data by a seed, and no limit is close.


TRIPLES = {
    "gaussian": gaussian(1, 1, 64)[0],
    "one-hot": np.float32([3, 1, 2])[:, None] * np.eye(64, dtype=np.float32)[[0, 5, 9]],
    "two non-zero": np.eye(64, dtype=np.float32)[[0, 2, 0]]
    + np.float32([1, -1, -2])[:, None] * np.eye(64, dtype=np.float32)[[1, 3, 4]],
    "one-hot, the same place": np.float32([3, 0, 2])[:, None] * np.eye(64, dtype=np.float32)[[7, 7, 7]],
}


@metrics
@pytest.mark.parametrize("bits", [1, 3, "pq4"])
@pytest.mark.parametrize("kind", TRIPLES)
def test_estimates_are_right_on_average_over_rotations(kind, bits, squared_l2):
    """200 rotations by the seeds 0 .. 199: the mean error is within four of its standard errors."""
    for dim in (64, 100):
        triple = np.zeros((3, dim), np.float32)
        triple[:, :64] = TRIPLES[kind]
        coder = PQ4(dim, 4, book_of(dim)) if bits == "pq4" else RaBitQ(dim, bits)
        turned = [HadamardRotation(dim, seed).apply(triple) for seed in range(200)]
        off, _ = errors(coder, turned, squared_l2)
        assert abs(off.mean()) <= 4 * off.std() / 200**0.5 + 1e-5
        assert off.std() < 1.2 * SPREADS[1] * (2 if bits == "pq4" else 1)


@metrics
@pytest.mark.parametrize("dim", [128, 300, 768])
@pytest.mark.parametrize("bits", SPREADS)
def test_every_bit_halves_the_error(dim, bits, squared_l2):
    """Seed 2, 1,500 triples: their spread is known to 2 %."""
    off, by_rescale = errors(RaBitQ(dim, bits), gaussian(2, 1500 if bits == 1 else 500, dim), squared_l2)
    low, high = {1: (0.72, 0.80), 8: (0.0063, 0.0085)}.get(bits, np.multiply(SPREADS[bits], (0.85, 1.15)))
    assert low <= np.sqrt(np.mean(off**2)) <= high
    assert 0.9 <= np.sqrt(np.mean(by_rescale**2)) <= 1.2


@metrics
@pytest.mark.parametrize("dim", [64, 128, 768])
def test_rescale_says_how_far_an_estimate_of_one_bit_is_off(dim, squared_l2):
    """Seed 3, 4,000 triples: 94.3 % and 99.9 % of a Gaussian lie within 1.9 and 3.29 deviations."""
    _, off = errors(RaBitQ(dim, 1, 6), gaussian(3, 4000, dim), squared_l2)
    assert 0.93 <= np.mean(np.abs(off) <= 1.9) <= 0.96
    assert np.mean(np.abs(off) <= 3.29) >= 0.997


# PQ


@pytest.mark.parametrize("dim", DIMS)
def test_pq_that_was_taught_nothing_has_the_signs(level, dim):
    for o, c, q in gaussian(4, 3, dim):
        link, signs = coded(PQ4(dim), o, c), coded(RaBitQ(dim), o, c)
        np.testing.assert_array_equal(link.codes, signs.codes)
        size = abs(signs.rescale) * float(np.abs(q).sum())
        assert link.add == pytest.approx(signs.add, rel=1e-5, abs=1e-6 * size)
        assert link.estimate(0, q) == pytest.approx(signs.estimate(0, q), rel=1e-5, abs=1e-6 * size)


@pytest.mark.parametrize("dim", [64, 130])
def test_pq_that_learned_gaussian_steps_errs_less_than_signs_of_as_many_bytes(dim):
    """Seeds 5 and 6, 6,000 steps learned and 2,000 others tried: 5 % less, 2 % being chance."""
    steps = gaussian(5, 2000, dim).reshape(-1, dim)
    learned, signs = PQ4.learned(steps, 4), RaBitQ(dim)
    assert learned.groups == signs.groups
    triples = gaussian(6, 2000, dim)
    assert np.square(errors(learned, triples)[0]).mean() <= np.square(errors(signs, triples)[0]).mean()


@pytest.mark.parametrize("width", [1, 2, 3, 8, 16])
def test_wider_groups_of_pq_are_learned_and_looked_up(width):
    """Seed 7: half the codes, and a larger error."""
    dim = 37
    steps = gaussian(7, 400, dim)
    coder = PQ4.learned(steps[:, 0], width, seed=3)
    assert coder.is_learned
    assert coder.centroids.shape == (-(-dim // width), width, 16)
    assert not coder.centroids.reshape(-1, 16)[dim:].any()
    link = coded(coder, *steps[0, :2])
    found, slack = looked_up(coder, link.codes, steps[0, 2])
    assert abs(found - link.g @ steps[0, 2]) <= slack
    spread = np.sqrt(np.mean(errors(coder, steps)[0] ** 2))
    assert spread < {1: 0.15, 2: 0.45, 3: 0.7, 8: 1.5, 16: 3}[width]


def test_learning_depends_on_steps_and_seed_alone_and_not_on_lengths(threads):
    steps = gaussian(8, 50, 20).reshape(-1, 20)
    first = PQ4.learned(steps, 4, seed=1).centroids
    threads(2)
    np.testing.assert_array_equal(PQ4.learned(steps, 4, seed=1).centroids, first)
    longer = steps * np.exp2(np.arange(150) % 7)[:, None].astype(np.float32)
    np.testing.assert_allclose(PQ4.learned(longer, 4, seed=1).centroids, first, atol=1e-6)


def test_steps_without_length_teach_finite_centroids():
    steps = np.zeros((20, 6), np.float32)
    steps[0, 0] = 1e-30
    assert np.isfinite(PQ4.learned(steps, 4).centroids).all()


# The door


@widths
@pytest.mark.parametrize("dim", DIMS)
def test_a_coder_says_how_large_its_codes_are(dim, width):
    coder = RaBitQ(dim, 3, width)
    assert (coder.dim, coder.bits, coder.planes, coder.width) == (dim, 3, 3, width)
    assert coder.entries == 2**width
    assert coder.groups * width >= dim > (coder.groups - (1 if width == 4 else 4)) * width
    assert width == 4 or coder.groups % 4 == 0


def test_coders_that_cannot_be_are_refused():
    for bits in (0, 9, -1):
        with pytest.raises(ValueError, match="1 to 8 bits"):
            RaBitQ(8, bits)
    for width in (0, 5, 8):
        with pytest.raises(ValueError, match="4 or 6 dimensions"):
            RaBitQ(8, 1, width)
    for width in (0, 17):
        with pytest.raises(ValueError, match="1 to 16 dimensions"):
            PQ4(8, width)
    good = book_of(10)
    bad = good.copy()
    bad[1, 2, 3] = np.nan
    for book in (good[:2], good[:, :3], good[..., :15], bad):
        with pytest.raises(ValueError, match="centroids must be finite, shape"):
            PQ4(10, 4, book)


def test_rows_of_other_dimensions_never_reach_a_coder():
    x, short = np.zeros(8, np.float32), np.zeros(7, np.float32)
    for o, c in ((x, short), (short, x)):
        with pytest.raises(ValueError, match="rows must have 8 dimensions"):
            probe.link_code(RaBitQ(8), o, c, True)
    with pytest.raises(ValueError, match="queries must have 8 dimensions"):
        probe.link_tables(RaBitQ(8), short)
    assert issubclass(PQ4, LinkCoder)
