import warnings

import numpy as np
import pytest

import reference
import reference_signmag as signmag
from inlay.codecs import probe, signmag_trial
from inlay.codecs.signmag import DISTANCES, LEVELS, TRANSFORMS, SignMagCodec
from inlay.contents import FormatError, Header, Sections
from inlay.indexes import scan
from inlay.kernels import table
from inlay.rotation import HadamardRotation
from tests.awkward import KINDS, rows

metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
transforms = pytest.mark.parametrize("transform", TRANSFORMS)
both_levels = pytest.mark.parametrize("levels", LEVELS)
distances = pytest.mark.parametrize("distance", DISTANCES)

A = [3, -1, 0.5, -4, 0, 2, -0.1, 1]
B = [-2, -0.5, 1, -1, 3, 0.2, -0.3, 0.4]


def made(x, *, squared_l2=True, transform="rotated", levels="1:3", distance="corrected", seed=5):
    """A codec trained on x, the codes of x, and the codec again by its definition."""
    codec = SignMagCodec(x.shape[1], squared_l2, transform, levels, distance, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codec.train(x)
    mean = codec.coder.mean
    rotation_seed = seed if transform == "rotated" else None
    return codec, codec.encode(x), signmag.SignMag(squared_l2, levels, distance, mean, rotation_seed)


def table_of(codes):
    return codes.tables["codes"].rows


def every(n):
    return np.arange(n, dtype=np.uint32)


def all_near(scorer, n):
    """The scores of all rows, (n_queries, n)."""
    return np.stack([probe.near(scorer, query, every(n)) for query in range(scorer.n_queries)])


def all_apart(codec, codes):
    """The distances of all rows from all, (n, n)."""
    pairs = codec.pairs(codes, 1)
    return np.stack([probe.apart(pairs, slot, every(len(codes))) for slot in range(len(codes))])


def true_l2(a, b):
    return reference.scores(a, b, "l2")


def recall(estimates, exact, best, nearest=10):
    found = np.argsort(estimates, axis=1, kind="stable")[:, :best]
    wanted = np.argsort(exact, axis=1, kind="stable")[:, :nearest]
    return np.mean([np.isin(w, f).mean() for w, f in zip(wanted, found, strict=True)])


def low_rank(rng, n, dim, rank):
    """Rows near a subspace, none far from the mean."""
    basis = rng.standard_normal((rank, dim))
    return (rng.standard_normal((n, rank)) @ basis + 0.5 * rng.standard_normal((n, dim))).astype(np.float32)


# Codes and scores are those of the definition, at every level


@pytest.mark.parametrize("kind", KINDS)
@transforms
@both_levels
@metrics
def test_rows_hold_the_bits_of_the_definition(level, kind, transform, levels, squared_l2):
    for dim in (1, 7, 64, 65, 130):
        x = rows(kind, 4, dim)
        codec, codes, definition = made(x, squared_l2=squared_l2, transform=transform, levels=levels)
        words = -(-dim // 64) * 2
        found = table_of(codes)
        for i in range(4):
            digits, factor, norm = definition.code(x[i])
            np.testing.assert_array_equal(found[i, : 8 * words].view(np.uint64), signmag.row_words(digits))
            wanted = [factor, norm]
            if not squared_l2:
                wanted = [factor, np.float32(-definition.along_mean(x[i])), factor, norm]
            np.testing.assert_array_equal(found[i, 8 * words :][: 4 * len(wanted)].view(np.float32), wanted)
            assert not found[i, 8 * words + 4 * len(wanted) :].any()
        size = np.abs(x).max() + np.abs(codec.coder.mean).max()
        error = codec.decode(codes) - np.stack([definition.decode(r) for r in x])
        assert np.abs(error).max() <= 1e-5 * dim * size


@transforms
@both_levels
@distances
@metrics
def test_scores_are_the_bits_of_the_definition(level, transform, levels, distance, squared_l2):
    for dim in (1, 31, 130):
        x, queries = 1 + rows("gaussian", 9, dim), 1 + rows("laplace", 3, dim, seed=1)
        codec, codes, definition = made(
            x, squared_l2=squared_l2, transform=transform, levels=levels, distance=distance
        )
        looks = [(2, codec.scorer(queries, codes, 1))]
        if distance == "corrected":
            looks.append((4, codec.fine(queries, codes, 1)))
        for bits, scorer in looks:
            found = all_near(scorer, 9)
            wanted = [[definition.near(query, r, bits) for r in x] for query in queries]
            # The square of the mean is summed once more in the one and not in the other.
            if squared_l2 or transform == "raw" or distance != "corrected":
                np.testing.assert_array_equal(found, wanted)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * dim)
            np.testing.assert_array_equal([probe.rows_at(scorer, q, every(9)) for q in range(3)], found)
        wanted = [[definition.apart(one, other) for other in x] for one in x]
        np.testing.assert_array_equal(all_apart(codec, codes), wanted)


@metrics
@transforms
def test_codes_and_scores_are_the_same_bits_at_every_level(level, squared_l2, transform, rng):
    x, queries = rng.standard_normal((300, 200), np.float32), rng.standard_normal((9, 200), np.float32)
    codec, codes, _ = made(x, squared_l2=squared_l2, transform=transform)
    found = [all_near(ready(queries, codes, 1), 300) for ready in (codec.scorer, codec.fine)]
    between = probe.apart(codec.pairs(codes, 1), 7, every(300))
    table.set_level("scalar")
    np.testing.assert_array_equal(table_of(codec.encode(x)), table_of(codes))
    for ready, scores in zip((codec.scorer, codec.fine), found, strict=True):
        np.testing.assert_array_equal(all_near(ready(queries, codes, 1), 300), scores)
    np.testing.assert_array_equal(probe.apart(codec.pairs(codes, 1), 7, every(300)), between)


@transforms
def test_codes_do_not_depend_on_the_batch_or_the_number_of_threads(threads, transform, rng):
    x = rng.standard_normal((500, 37), np.float32)
    codec, codes, _ = made(x, transform=transform)
    for n in (1, 2, 5):
        threads(n)
        again = codec.new_codes()
        for first, last in ((0, 1), (1, 16), (16, 17), (17, 300), (300, 500)):
            codec.encode(x[first:last], again)
        np.testing.assert_array_equal(table_of(again), table_of(codes))


@metrics
def test_scores_do_not_depend_on_the_batch_or_the_way_to_ask(level, squared_l2, rng):
    x, queries = rng.standard_normal((330, 40), np.float32), rng.standard_normal((70, 40), np.float32)
    codec, codes, _ = made(x, squared_l2=squared_l2)
    for ready in (codec.scorer, codec.fine):
        together = all_near(ready(queries, codes, 2), 330)
        np.testing.assert_array_equal(all_near(ready(queries[-3:], codes, 1), 330), together[-3:])
        few = rng.integers(0, 330, 13).astype(np.uint32)
        np.testing.assert_array_equal(probe.near(ready(queries, codes, 1), 69, few), together[69, few])
        scores, slots = scan.search(ready(queries, codes, 1), None, 330, 330, 330, None, None, 0, 1)
        in_order = np.take_along_axis(together, slots, axis=1)
        np.testing.assert_array_equal(scores, in_order)


def test_every_worker_aims_for_itself(rng):
    x = rng.standard_normal((50, 100), np.float32)
    codec, codes, _ = made(x)
    whole, pairs = all_apart(codec, codes), codec.pairs(codes, 3)
    for worker, slot in ((0, 4), (2, 9), (1, 4), (0, 3)):
        np.testing.assert_array_equal(probe.apart(pairs, slot, every(50), worker), whole[slot])
    np.testing.assert_array_equal(whole, whole.T)


# The published code, by the examples worked by hand


def published(x, distance):
    x = np.array(x, np.float32)
    return made(x, squared_l2=False, transform="raw", levels="1:2", distance=distance)[:2]


def level_numbers(codec, codes):
    """+-1, +-2 of every row."""
    x = codec.decode(codes)
    return np.round(x / np.abs(x).min(axis=1, keepdims=True)).astype(int)


def test_worked_example_of_the_published_code(level):
    for distance, wanted in (("weighted", [[15, 30], [30, 18]]), ("code", [[0, 27], [27, 0]])):
        codec, codes = published([A, B], distance)
        np.testing.assert_array_equal(
            level_numbers(codec, codes), [[2, -1, 1, -2, -1, 2, -1, 1], [-2, -1, 1, -1, 2, 1, -1, 1]]
        )
        np.testing.assert_array_equal(all_apart(codec, codes), wanted)
        queries = np.array([A, B], np.float32)
        np.testing.assert_array_equal(all_near(codec.scorer(queries, codes, 1), 2), wanted)
    codec, codes = published([A, B], "hamming")
    np.testing.assert_array_equal(all_near(codec.scorer(queries, codes, 1), 2), [[0, 5], [5, 0]])
    np.testing.assert_array_equal(all_apart(codec, codes), [[15, 30], [30, 18]])


def test_worked_example_of_the_counts_and_of_three_popcounts():
    a, b = (signmag.published_levels(np.array(row, np.float32)) for row in (A, B))
    assert a @ b == 2
    assert signmag.weighted(a, b) == 30
    assert signmag.hamming(a, b) == 5
    (pa, sa), (pb, sb) = ((x > 0, np.abs(x) == 2) for x in (a, b))
    ta, tb = ~(pa ^ sa), ~(pb ^ sb)
    counts = [(u ^ v).sum() for u, v in ((pa, pb), (pa, tb), (ta, pb), (ta, tb))]
    assert counts == [2, 8, 5, 3]
    assert (9 * 2 + 3 * 8 + 3 * 5 + 3) / 2 == 30
    differ = sa ^ sb ^ pa ^ pb
    same = ~(pa ^ pb)
    assert (
        8
        - 3 * sa.sum()
        - 3 * sb.sum()
        - 2 * differ.sum()
        + 3 * (sa & sb).sum()
        + 6 * (same & (sa | sb)).sum()
        == 2
    )


def test_rows_without_a_strong_bit(level):
    codec, codes = published([[1, 1, -1, -1], [1, -1, 1, -1], [0, 0, 0, 0], [0, -0.0, 0, 0]], "weighted")
    assert not (np.abs(level_numbers(codec, codes)) == 2).any()
    np.testing.assert_array_equal(level_numbers(codec, codes)[2:], -1)
    found = all_apart(codec, codes)
    assert found[0, 0] == 12
    assert found[0, 1] == 16


def test_a_scaled_row_has_the_same_code_and_a_negated_one_the_other_signs(level, rng):
    x = rng.standard_normal((1, 100), np.float32)
    x[0, [3, 50]] = 0
    codec, codes = published(np.concatenate([x, 7 * x, -x]), "code")
    words = table_of(codes)[:, :32].view(np.uint64)
    np.testing.assert_array_equal(words[1], words[0])
    numbers = level_numbers(codec, codes)
    zero = x[0] == 0
    np.testing.assert_array_equal(numbers[2, ~zero], -numbers[0, ~zero])
    np.testing.assert_array_equal(numbers[[0, 2]][:, zero], -1)


# What codes promise


def test_ranks_follow_the_true_angle_better_than_hamming_does(rng):
    x = low_rank(rng, 3000, 256, 24)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    angle = np.arccos(np.clip(x[0] @ x.T, -1, 1))[1:]

    def spearman(scores):
        order = [np.argsort(np.argsort(values, kind="stable")) for values in (scores, angle)]
        return np.corrcoef(*order)[0, 1]

    found = {}
    for distance in ("hamming", "weighted"):
        codec, codes = published(x, distance)
        found[distance] = spearman(probe.near(codec.scorer(x[:1], codes, 1), 0, every(3000))[1:])
    assert found["weighted"] > found["hamming"]


@pytest.mark.parametrize("anisotropic", [False, True])
def test_the_best_64_of_10_000_hold_more_of_the_nearest_than_the_published_codes_do(anisotropic, rng):
    x = low_rank(rng, 10_000, 256, 24)
    if anisotropic:
        x += 8 * rng.standard_normal(256).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    queries = x[::200] + 0.01 * rng.standard_normal((50, 256)).astype(np.float32)
    exact = -queries @ x.T
    found = []
    for levels, distance, transform in (
        ("1:3", "corrected", "rotated"),
        ("1:2", "weighted", "raw"),
        ("1:2", "hamming", "raw"),
    ):
        codec, codes, _ = made(x, squared_l2=False, transform=transform, levels=levels, distance=distance)
        found.append(recall(all_near(codec.scorer(queries, codes, 1), 10_000), exact, 64))
        if distance == "corrected":
            fine = recall(all_near(codec.fine(queries, codes, 1), 10_000), exact, 64)
    assert fine >= found[0] > max(found[1:])
    # About a far mean codes with many strong bits look near to everything by the published distance.
    assert (found[1] > found[2]) != anisotropic


@metrics
@both_levels
def test_a_query_of_four_bits_is_not_off_on_average(squared_l2, levels, rng):
    x, queries = rng.standard_normal((1000, 768), np.float32), rng.standard_normal((10, 768), np.float32)
    x[:, :5] += 3  # neither a mean nor a coordinate that stands out makes it so
    codec, codes, definition = made(x, squared_l2=squared_l2, levels=levels)
    exact = reference.scores(queries, x, "l2" if squared_l2 else "ip")
    norm = np.square(x - codec.coder.mean).sum(axis=1)
    off = (all_near(codec.fine(queries, codes, 1), 1000) - exact) / norm
    assert abs(off.mean()) < 0.01
    assert off.std() < 0.05
    # The same of a query as it is, whose products with the levels are exact.
    y = np.stack([definition.turned(query) for query in queries])
    coded = [definition.code(r) for r in x[:200]]
    along = y @ np.stack([f * signmag.whole_numbers(d, 2, definition.a) for d, f, _ in coded]).T
    true = y @ np.stack([definition.turned(r) for r in x[:200]]).T
    assert abs(((along - true) / norm[:200]).mean()) < 0.01


def test_equal_rows_lie_a_quarter_of_their_energy_below_zero(rng):
    x = rng.standard_normal((200, 768), np.float32)
    codec, codes, _ = made(x)
    own = np.array([probe.apart(codec.pairs(codes, 1), i, every(200)[i : i + 1])[0] for i in range(200)])
    assert (own / np.square(x - codec.coder.mean).sum(axis=1)).mean() == pytest.approx(-0.27, abs=0.01)


def test_a_rotation_keeps_products_and_follows_from_its_seed(rng):
    a, b = rng.standard_normal((2, 100, 300), np.float32)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    one, same = HadamardRotation(300, 1), HadamardRotation(300, 1)
    assert np.abs((one.apply(a) * one.apply(b)).sum(axis=1) - (a * b).sum(axis=1)).max() < 1e-4
    np.testing.assert_array_equal(one.apply(a), same.apply(a))
    codes = [table_of(made(a, seed=seed)[1]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert not (codes[0] == codes[2]).all()


def test_centring_and_rotation_leave_the_similarity_what_it_was(rng):
    x = 5 + rng.standard_normal((400, 384), np.float32)
    queries = 5 + rng.standard_normal((20, 384), np.float32)
    for squared_l2, metric in ((True, "l2"), (False, "ip")):
        exact = reference.scores(queries, x, metric)
        spread = exact.std()
        for transform in ("centred", "rotated"):
            codec, codes, _ = made(x, squared_l2=squared_l2, transform=transform)
            found = all_near(codec.fine(queries, codes, 1), 400)
            assert np.abs(found - exact).mean() < 0.4 * spread
            assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_row_of_nothing_is_its_own_length_away_from_everything(transform, rng):
    x = np.concatenate([np.zeros((1, 50), np.float32), rng.standard_normal((9, 50), np.float32)])
    x[1:] -= x[1:].mean(axis=0)
    codec, codes, _ = made(x, transform=transform)
    codec, codes, _ = made(x[:1], transform=transform)  # about itself
    factor, norm = table_of(codes)[0, 16:24].view(np.float32)
    assert (factor, norm) == (0, 0)
    np.testing.assert_array_equal(codec.decode(codes), x[:1])
    found = probe.near(codec.scorer(x, codes, 1), 3, every(1))
    assert found[0] == pytest.approx(np.square(x[3]).sum(), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@metrics
def test_rows_of_any_size_are_coded_alike(scale, squared_l2, rng):
    x = rng.standard_normal((20, 64), np.float32)
    words = [table_of(made((x * s).astype(np.float32), squared_l2=squared_l2)[1])[:, :16] for s in (1, scale)]
    assert (words[0] != words[1]).mean() < 0.02
    codes = made((x * scale).astype(np.float32), squared_l2=squared_l2)[1]
    assert np.isfinite(table_of(codes)[:, 16:24].view(np.float32)).all()


@both_levels
@distances
def test_a_decoded_row_points_where_the_row_does(levels, distance, rng):
    x = 3 + rng.standard_normal((50, 384), np.float32)
    codec, codes, _ = made(x, levels=levels, distance=distance)
    decoded = codec.decode(codes) - codec.coder.mean
    centred = x - codec.coder.mean
    lengths = np.linalg.norm(decoded, axis=1)
    cosine = (decoded * centred).sum(axis=1) / lengths / np.linalg.norm(centred, axis=1)
    assert (cosine > 0.88).all()
    if distance == "corrected":
        off = np.square(decoded - centred).sum() / np.square(centred).sum()
        assert off == pytest.approx(0.12 if levels == "1:3" else 0.165, abs=0.01)
        np.testing.assert_array_equal(codec.decode(codes, [3, 3, 1]), codec.decode(codes)[[3, 3, 1]])
    else:
        np.testing.assert_allclose(lengths, 1, rtol=1e-4)


# Codes as tables


@pytest.mark.parametrize(
    ("dim", "l2", "ip"),
    [(1, 24, 32), (64, 24, 32), (128, 40, 64), (384, 128, 128), (768, 200, 208), (1024, 264, 272)],
)
def test_bytes_are_two_bits_a_dimension_and_what_saves_reading(dim, l2, ip):
    assert SignMagCodec(dim, True).code_size == l2
    assert SignMagCodec(dim, False).code_size == ip


@metrics
def test_rows_that_stay_keep_their_codes_when_others_go(squared_l2, rng):
    x = rng.standard_normal((100, 70), np.float32)
    codec, codes, _ = made(x, squared_l2=squared_l2)
    assert codes.nbytes(cold=False) == 100 * codec.code_size
    codes.move(np.array([99, 98]), np.array([3, 50]))
    codes.resize(98)
    codes.compact()
    order = np.arange(98)
    order[[3, 50]] = 99, 98
    np.testing.assert_array_equal(table_of(codes), table_of(codec.encode(x[order])))
    codec.encode(x[:5], codes)
    np.testing.assert_array_equal(table_of(codes)[98:], table_of(codec.encode(x[:5])))
    codes.resize(0)
    assert codec.decode(codes).shape == (0, 70)
    assert all_near(codec.scorer(x[:2], codes, 1), 0).shape == (2, 0)


def test_codes_over_arrays_of_a_file_are_copied_before_a_change(rng):
    x = rng.standard_normal((50, 21), np.float32)
    codec, codes, _ = made(x)
    arrays = {name: array.copy() for name, array in codes.sections(len(codes)).items()}
    before = arrays["codes"].copy()
    arrays["codes"].flags.writeable = False
    mapped = codec.new_codes()
    mapped.restore(Sections(arrays, "a file", {}), 50)
    np.testing.assert_array_equal(codec.decode(mapped), codec.decode(codes))
    for ready in (codec.scorer, codec.fine):
        found = all_near(ready(x[:3], mapped, 1), 50)
        np.testing.assert_array_equal(found, all_near(ready(x[:3], codes, 1), 50))
    np.testing.assert_array_equal(all_apart(codec, mapped), all_apart(codec, codes))
    codec.encode(x[:9], mapped)
    np.testing.assert_array_equal(arrays["codes"], before)
    with pytest.raises(FormatError, match="codes"):
        codec.new_codes().restore(Sections({"codes": before[:, :-8]}, "a file", {}), 50)


@metrics
@distances
def test_any_bytes_for_codes_break_nothing(level, squared_l2, distance, rng):
    x = rng.standard_normal((60, 100), np.float32)
    codec, codes, _ = made(x, squared_l2=squared_l2, distance=distance)
    for fill in (rng.integers(0, 256, table_of(codes).shape, np.uint8), 0, 0xFF):
        table_of(codes)[:] = fill
        assert all_near(codec.scorer(x[:3], codes, 1), 60).shape == (3, 60)
        assert all_apart(codec, codes).shape == (60, 60)
        assert codec.decode(codes).shape == (60, 100)
        if distance == "corrected":
            assert all_near(codec.fine(x[:3], codes, 1), 60).shape == (3, 60)


# Training


def test_the_mean_is_that_of_a_sample_and_raw_rows_have_none(rng):
    x = (5 + rng.standard_normal((400, 6))).astype(np.float32)
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(made(x, transform="centred")[0].coder.mean, mean)
    np.testing.assert_array_equal(made(x, transform="raw")[0].coder.mean, np.zeros(6))
    codec = SignMagCodec(6, True)
    assert not codec.is_trained
    codec.train(x)
    assert codec.is_trained
    assert codec.transform == "rotated"
    assert codec.report["recall"] == {}
    assert SignMagCodec(6, True).report == {}


def test_training_tries_every_transform_and_keeps_the_best(rng):
    # Signs tell nothing here, and a few dimensions are far larger than others.
    histograms = np.abs(rng.standard_normal((2000, 64))).astype(np.float32) ** 3
    codec = SignMagCodec(64, True)
    codec.train(histograms)
    recalls = codec.report["recall"]
    assert set(recalls) == set(TRANSFORMS)
    assert codec.report["sign_information"] == 0
    assert codec.transform == "rotated"
    assert recalls["rotated"] > recalls["centred"] > recalls["raw"]
    # Coordinates that are two levels already: any rotation would spoil them.
    levels = rng.choice(np.array([-3, -1, 1, 3], np.float32), (2000, 64), p=[0.16, 0.34, 0.34, 0.16])
    codec = SignMagCodec(64, True)
    codec.train(levels)
    assert codec.report["recall"]["raw"] > codec.report["recall"]["rotated"]
    assert codec.transform in ("raw", "centred")
    assert codec.report["sign_information"] > 0.99
    codec = SignMagCodec(64, True, "rotated")
    codec.train(levels)
    assert codec.transform == "rotated"
    assert set(codec.report["recall"]) == {"rotated"}


def test_a_trial_counts_what_it_says(rng):
    x = rng.standard_normal((700, 32), np.float32)
    x[100:200] = x[0]  # ties
    codec = SignMagCodec(32, True, "centred")
    codec.train(x, seed=3)
    own = signmag_trial.drawn(700, 3)
    exact = true_l2(x[own], x)
    found = all_near(codec.scorer(x[own], codec.encode(x), 1), 700)
    for scores in (exact, found):
        scores[np.arange(len(own)), own] = np.inf
    assert codec.report["recall"]["centred"] == pytest.approx(recall(found, exact, 64))


def test_training_says_when_the_codes_are_no_good(rng):
    one_sided = np.abs(rng.standard_normal((3000, 100))).astype(np.float32) ** 6
    for given in (one_sided, np.float64(one_sided)):
        codec = SignMagCodec(100, True, "raw", "1:2", "hamming")
        with pytest.warns(
            UserWarning, match=r"nearest neighbours are among the best 64 .* GraphIndex or LVQIndex"
        ):
            codec.train(given)
        assert codec.report["recall"]["raw"] < 0.5
    codec = SignMagCodec(100, True)
    codec.train(
        rng.standard_normal((3000, 100), np.float32)[:, :20] @ rng.standard_normal((20, 100), np.float32)
    )
    assert codec.report["recall"]["rotated"] > 0.9


def test_the_same_rows_and_seed_train_the_same_at_every_level_and_number_of_threads(level, threads, rng):
    x = rng.standard_normal((1000, 48), np.float32) ** 3
    found = []
    for n in (1, 3):
        threads(n)
        codec = SignMagCodec(48, False)
        codec.train(x)
        found.append((codec.transform, codec.report))
    table.set_level("scalar")
    codec = SignMagCodec(48, False)
    codec.train(x)
    assert found[0] == found[1]
    assert found[0][0] == codec.transform
    for name, value in codec.report["recall"].items():
        assert found[0][1]["recall"][name] == pytest.approx(value, abs=0.002)


def test_a_sample_of_many_rows_is_enough(rng):
    x = np.repeat(np.arange(50_000, dtype=np.float32)[:, None], 2, axis=1)
    codec = SignMagCodec(2, True, "centred")
    codec.train(x)
    np.testing.assert_array_equal(codec.coder.mean, x[::5].mean(axis=0, dtype=np.float64).astype(np.float32))


def test_sign_information_is_the_mean_entropy_of_signs():
    x = np.ones((8, 3), np.float32)
    x[:4, 0] = -1
    x[:2, 1] = -1
    entropy = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert signmag_trial.sign_information(x) == pytest.approx((1 + entropy + 0) / 3)


def test_what_was_learned_can_be_taken_back(rng):
    x = rng.standard_normal((50, 20), np.float32)
    codec = SignMagCodec(20, True)
    nothing = codec.learned()
    codec.train(x)
    codes, learned = codec.encode(x), codec.learned()
    codec.train(x + 9)
    codec.unlearn(learned)
    np.testing.assert_array_equal(table_of(codec.encode(x)), table_of(codes))
    codec.unlearn(nothing)
    assert not codec.is_trained
    assert codec.transform is None


# Files and arguments


def header(fields):
    return Header(fields.items(), "a file")


@metrics
@transforms
def test_a_codec_comes_back_from_its_state(squared_l2, transform, rng):
    x = 2 + rng.standard_normal((600, 33), np.float32)
    codec, codes, _ = made(x, squared_l2=squared_l2, transform=transform)
    fields, arrays = codec.state()
    again = SignMagCodec(33, squared_l2, None, seed=5)
    again.restore(header(fields), Sections(arrays, "a file", {}))
    assert again.is_trained
    assert (again.transform, again.report) == (codec.transform, codec.report)
    np.testing.assert_array_equal(table_of(again.encode(x)), table_of(codes))
    assert again.state()[0] == fields


def test_a_codec_without_training_comes_back_without():
    fields, arrays = SignMagCodec(33, True).state()
    again = SignMagCodec(33, True)
    again.restore(header(fields), Sections(arrays, "a file", {}))
    assert not again.is_trained


def test_a_damaged_state_is_refused(rng):
    codec, _, _ = made(rng.standard_normal((600, 33), np.float32))
    fields, arrays = codec.state()
    bad_mean = arrays["mean"].copy()
    bad_mean[3] = np.nan
    for mean in (bad_mean, arrays["mean"][:-1], arrays["mean"].astype(np.float64)):
        with pytest.raises(FormatError, match="mean"):
            SignMagCodec(33, True).restore(header(fields), Sections({"mean": mean}, "a file", {}))
    recalls = fields["report"]["recall"]
    for name, value in (
        ("transform", "sideways"),
        ("transform", None),
        ("trained", 1),
        ("report", []),
        ("report", {"sign_information": 2.0, "recall": recalls}),
        ("report", {"sign_information": 0.5, "recall": {"rotated": "good"}}),
        ("report", {"sign_information": 0.5}),
    ):
        with pytest.raises(FormatError):
            SignMagCodec(33, True).restore(header({**fields, name: value}), Sections(arrays, "a file", {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "turned"}, "transform must be one of None, 'raw', 'centred', 'rotated', not 'turned'"),
        ({"levels": "1:4"}, "levels must be one of '1:3', '1:2'"),
        ({"distance": "l2"}, "distance must be one of 'corrected', 'code', 'weighted', 'hamming'"),
        ({"dim": 2**24 + 1}, "1 to 16777216 dimensions"),
        ({"dim": 0}, "dimensions, not 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SignMagCodec(**{"dim": 8, "squared_l2": True, **options})


def test_bad_calls_are_refused(rng):
    x = rng.standard_normal((10, 8), np.float32)
    with pytest.raises(ValueError, match="at least one row"):
        SignMagCodec(8, True).train(x[:0])
    codec, codes, _ = made(x, distance="weighted")
    with pytest.raises(ValueError, match='need distance="corrected"'):
        codec.fine(x, codes, 1)
