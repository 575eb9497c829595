import numpy as np
import pytest

import reference
from inlay.codecs.lvq import CLUSTERED, DRIFT_ROWS, FORMS, TRAINING_ROWS, Drift, LVQCodec
from inlay.contents import FormatError, Header, Sections
from inlay.indexes import scan
from inlay.kernels import table
from inlay.tables import Table
from tests.awkward import KINDS, rows

EPSILON = 2.0**-24
forms = pytest.mark.parametrize("form", FORMS)
metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
rotations = pytest.mark.parametrize("seed", [None, 5], ids=["as is", "rotated"])


def made(form, x, *, squared_l2=True, n_means=1, seed=None):
    """A codec trained on x, the codes of x, and the codec again by its definition."""
    codec = LVQCodec(x.shape[1], squared_l2, *FORMS[form], n_means, seed)
    codec.train(x)
    return codec, codec.encode(x), defined(codec, seed)


def defined(codec, seed):
    return reference.LVQ(codec.bits, codec.residual_bits, codec.squared_l2, codec.centre, codec.means, seed)


def column(codes, name):
    return codes.tables[name].rows


def steps(codes):
    """The step of each row's first level."""
    return column(codes, "steps") / column(codes, "rhos")


def paired(x, codes):
    """Each row, and the mean it was coded about."""
    return zip(x, column(codes, "selectors"), strict=True)


def relative_error(codec, codes, x):
    """Of the decoded rows, as a part of the energy of x."""
    error = codec.decode(codes).astype(np.float64) - x
    return np.square(error).sum() / np.square(x, dtype=np.float64).sum()


def scan_scores(codec, codes, queries):
    """The scores a scan gives all rows, (n_queries, n)."""
    n = len(codes)
    scores, slots = scan.search(codec.scorer(queries, codes, 1), None, n, n, n, None, None, 0, 1)
    found = np.empty_like(scores)
    np.put_along_axis(found, slots, scores, axis=1)
    return found


def last_scores(codec, codes, queries):
    """The scores all rows would have as candidates, (n_queries, n)."""
    n = len(codes)
    radii = np.full(len(queries), np.inf, np.float32)
    _, scores, slots = scan.range_search(codec.scorer(queries, codes, 1), n, radii, None, None, 0, 1)
    found = np.empty((len(queries), n), np.float32)
    np.put_along_axis(found, slots.reshape(found.shape), scores.reshape(found.shape), axis=1)
    return found


def norms(x):
    return np.linalg.norm(x.astype(np.float64), axis=-1)


# Codes are those of the definition, at every level


@pytest.mark.parametrize("kind", KINDS)
@forms
@rotations
def test_tables_hold_the_bits_of_the_definition(level, form, kind, seed):
    for dim, n_means in ((7, 1), (33, 3), (128, 2)):
        x = rows(kind, 5, dim)
        codec, codes, definition = made(form, x, n_means=n_means, seed=seed)
        found = table.unpack(column(codes, "codes"), codec.bits, 5, dim)
        for i in range(5):
            selector = column(codes, "selectors")[i]
            distances = definition.distances(x[i])
            assert distances[selector] <= distances.min() * (1 + 1e-5) + 1e-36
            wanted = definition.encode(x[i], selector)
            np.testing.assert_array_equal(found[i], wanted.codes)
            assert column(codes, "rhos")[i] == wanted.rho
            assert column(codes, "steps")[i] == wanted.rho * wanted.step
            assert column(codes, "lows")[i] == wanted.rho * wanted.low
            size = (norms(definition.means[selector]) + norms(definition.remainder(x[i], selector))) ** 2
            assert abs(column(codes, "norms")[i] - wanted.norm) <= 1e-6 * size + dim * 2.0**-149
            if codec.residual_bits == 8:
                np.testing.assert_array_equal(column(codes, "residuals")[i].view(np.int8), wanted.codes2)
            if codec.residual_bits == 4:
                packed = reference.pack_nibbles(wanted.codes2)
                np.testing.assert_array_equal(column(codes, "residuals")[i], packed)
            np.testing.assert_array_equal(codec.decode(codes, [i])[0], definition.decode(wanted))


@forms
@metrics
@rotations
@pytest.mark.parametrize("n_means", [1, 4])
def test_scores_are_those_of_the_definition(level, form, squared_l2, n_means, seed):
    for dim in (1, 31, 128):
        x, queries = 1 + rows("gaussian", 17, dim), rows("laplace", 1, dim, seed=1)
        codec, codes, definition = made(form, x, squared_l2=squared_l2, n_means=n_means, seed=seed)
        coded = [definition.encode(*pair) for pair in paired(x, codes)]
        scanned, last = scan_scores(codec, codes, queries), last_scores(codec, codes, queries)
        for q, query in enumerate(queries):
            for i, code in enumerate(coded):
                parts = (definition.centred(query), definition.means[code.selector], codec.centre)
                size = sum(norms(part) for part in (*parts, definition.first_level(code))) ** 2
                slack = 1e-6 * (1 + dim**0.5) * size
                assert abs(scanned[q, i] - definition.scan_score(query, code)) <= slack
                assert abs(last[q, i] - definition.last_score(query, code)) <= slack


@forms
@metrics
def test_the_scores_of_a_scan_are_the_same_bits_at_every_level(level, form, squared_l2, rng):
    x, queries = rng.standard_normal((300, 100), np.float32), rng.standard_normal((9, 100), np.float32)
    codec, codes, _ = made(form, x, squared_l2=squared_l2, n_means=3, seed=1)
    found = [scan_scores(codec, codes, queries[:n]) for n in (1, 9)]
    table.set_level("scalar")
    for scores in found:
        np.testing.assert_array_equal(scan_scores(codec, codes, queries[: len(scores)]), scores)


def test_a_row_between_two_means_is_coded_about_the_same_one_at_every_level(level, rng):
    # Means at m + u and m - u; the rows' differences from m are at right angles to u.
    m, u = rng.standard_normal((2, 300), np.float32)
    codec, _, _ = made("8", np.tile(np.stack([m + u, m - u]), (5, 1)), n_means=2)
    w = rng.standard_normal((400, 300))
    w -= np.outer(w @ u, u) / (u @ u)
    x = (m + w).astype(np.float32)
    found = column(codec.encode(x), "selectors").copy()
    table.set_level("scalar")
    np.testing.assert_array_equal(column(codec.encode(x), "selectors"), found)
    assert 0 < found.sum() < 400


@forms
@metrics
@rotations
def test_scores_do_not_depend_on_the_batch(level, form, squared_l2, seed, rng):
    x, queries = rng.standard_normal((530, 40), np.float32), rng.standard_normal((70, 40), np.float32)
    codec, codes, _ = made(form, x, squared_l2=squared_l2, n_means=2, seed=seed)
    for whole in (scan_scores, last_scores):
        together = whole(codec, codes, queries)
        for n in (1, 2, 3, 9, 65):
            np.testing.assert_array_equal(whole(codec, codes, queries[-n:]), together[-n:])


@forms
def test_codes_do_not_depend_on_the_batch_or_the_number_of_threads(form, threads, rng):
    x = rng.standard_normal((500, 37), np.float32)
    codec, codes, _ = made(form, x, n_means=3, seed=1)
    for n in (1, 2, 5):
        threads(n)
        again = codec.new_codes()
        for first in (0, 1, 16, 17, 300):
            last = {0: 1, 1: 16, 16: 17, 17: 300, 300: 500}[first]
            codec.encode(x[first:last], again)
        for name in codes.tables:
            np.testing.assert_array_equal(column(again, name), column(codes, name))


# What codes promise


@pytest.mark.parametrize("kind", KINDS)
@forms
@pytest.mark.parametrize("n_means", [1, 3])
def test_no_coordinate_is_off_by_more_than_its_step_allows(form, kind, n_means):
    for dim in (1, 16, 129, 768):
        x = rows(kind, 9, dim)
        codec, codes, definition = made(form, x, n_means=n_means)
        error = np.abs(codec.decode(codes).astype(np.float64) - x)
        step = steps(codes)[:, None]
        sizes = np.abs(x).max() + np.abs(codec.centre).max() + np.abs(codec.means).max()
        slack = 8 * EPSILON * sizes
        if codec.residual_bits:
            # A residual of just half a step has no code of its own, which costs half a second step.
            assert (error <= step / 2**codec.residual_bits * (1 + 1e-5) + slack).all()
        elif codec.bits == 8:
            assert (error <= step / 2 * (1 + 1e-5) + slack).all()
        else:
            # A fitted grid may end before the row's largest values: these go to its ends.
            r = np.stack([definition.remainder(*pair) for pair in paired(x, codes)])
            low = (column(codes, "lows") / column(codes, "rhos"))[:, None]
            beyond = np.maximum(np.maximum(low - r, r - (low + 15 * step)), 0)
            assert (error <= np.maximum(step / 2, beyond) * (1 + 1e-5) + slack).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["8", "4x4", "4x8", "8x4", "8x8"])
def test_rotated_coordinates_are_off_by_no_more_than_their_step_allows(form, kind):
    x = rows(kind, 9, 96)
    codec, codes, definition = made(form, x, seed=3)
    turned = np.stack([definition.turned(r) for r in x]).astype(np.float64)
    error = np.abs(np.stack([definition.turned(r) for r in codec.decode(codes)]) - turned)
    share = 2**codec.residual_bits if codec.residual_bits else 2
    slack = 60 * EPSILON * (norms(x).max() + norms(codec.centre)) + 96 * 2.0**-149
    assert (error <= (steps(codes) / share)[:, None] * (1 + 1e-5) + slack).all()


@rotations
def test_two_levels_of_8_bits_keep_nine_digits_of_the_energy(seed, rng):
    x = rng.standard_normal((200, 768), np.float32)
    codec, codes, _ = made("8x8", x, seed=seed)
    assert relative_error(codec, codes, x) < 1.2e-9


@pytest.mark.parametrize(
    ("form", "most"),
    [("4", 1.3e-2), ("8", 6e-5), ("4x4", 7.5e-5), ("4x8", 2.7e-7), ("8x4", 3.4e-7), ("8x8", 1.2e-9)],
)
def test_the_relative_error_of_gaussian_rows_is_what_theory_says(form, most, rng):
    x = rng.standard_normal((200, 768), np.float32)
    codec, codes, _ = made(form, x)
    assert most / 2 < relative_error(codec, codes, x) < most


@metrics
@rotations
@pytest.mark.parametrize("form", ["4x4", "4x8", "8x4", "8x8"])
def test_candidates_of_two_levels_have_the_score_of_the_decoded_row(level, form, squared_l2, seed, rng):
    for dim in (7, 96, 768):
        x, queries = rng.standard_normal((40, dim), np.float32), rng.standard_normal((5, dim), np.float32)
        codec, codes, _ = made(form, x, squared_l2=squared_l2, n_means=2, seed=seed)
        exact = reference.scores(queries, codec.decode(codes), "l2" if squared_l2 else "ip")
        size = exact if squared_l2 else norms(queries)[:, None] * norms(x)
        assert (np.abs(last_scores(codec, codes, queries) - exact) <= 1e-4 * size).all()


@metrics
@rotations
@pytest.mark.parametrize("form", ["4", "8"])
def test_a_scan_is_off_from_a_float_query_by_at_most_half_its_steps(level, form, squared_l2, seed, rng):
    for dim in (7, 96, 768):
        x, queries = rng.standard_normal((12, dim), np.float32), rng.standard_normal((5, dim), np.float32)
        codec, codes, definition = made(form, x, squared_l2=squared_l2, n_means=2, seed=seed)
        rows_ = np.stack([definition.first_level(definition.encode(*pair)) for pair in paired(x, codes)])
        query_steps = np.array([reference.quantise_query(definition.centred(query))[0] for query in queries])
        bound = query_steps[:, None] / 2 * np.abs(rows_).sum(axis=1) * (2 if squared_l2 else 1)
        apart = np.abs(scan_scores(codec, codes, queries) - last_scores(codec, codes, queries))
        assert (apart <= bound * (1 + 1e-4) + 1e-5 * dim).all()
        assert apart.max() > 0


@pytest.mark.parametrize("form", ["4", "8"])
@rotations
def test_a_row_is_at_distance_zero_from_itself_and_never_below(form, seed, rng):
    x = rng.standard_normal((100, 96), np.float32)
    codec, codes, _ = made(form, x, n_means=2, seed=seed)
    found = last_scores(codec, codes, x)
    size = norms(x - codec.centre) ** 2
    assert (np.abs(np.diagonal(found)) <= 1e-5 * size).all()
    assert (found >= -1e-5 * size[:, None]).all()
    np.testing.assert_array_equal(found.argmin(axis=1), np.arange(100))


@forms
def test_candidates_that_are_given_up_early_would_not_have_won(form, rng):
    x, queries = rng.standard_normal((3000, 96), np.float32), rng.standard_normal((100, 96), np.float32)
    codec, codes, _ = made(form, x, seed=1)
    scorer = codec.scorer(queries, codes, 1)
    _, found = scan.search(scorer, scorer, 3000, 10, 3000, None, None, 0, 1)
    wanted = np.argsort(last_scores(codec, codes, queries), axis=1, kind="stable")[:, :10]
    same = [len(set(a) & set(b)) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(same) >= 9.99


@pytest.mark.parametrize("scale", [1e19, 1e25, 1e30, 1e37])
@forms
def test_rows_whose_squares_leave_float32_are_still_decoded(form, scale, rng):
    x = (scale * rng.uniform(-1, 1, (20, 33))).astype(np.float32)
    codec, codes, _ = made(form, x, squared_l2=False)
    # A file holds finite numbers only.
    assert np.isfinite(list(codec.state()[0]["drift"].values())).all()
    error = np.abs(codec.decode(codes).astype(np.float64) - x).max()
    # A range of 2 has steps of 2 / 15 or 2 / 255; a fitted one loses its ends, too.
    assert (
        error
        <= scale * {"4": 0.15, "8": 0.0045, "4x4": 0.0084, "4x8": 0.0006, "8x4": 0.0006, "8x8": 0.0001}[form]
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-21, 1e-17, 1e-10, 1e10, 1e17, 1e19, 1e30])
@pytest.mark.parametrize("form", ["4", "8"])
def test_inner_products_are_right_whatever_the_size_of_rows(form, scale, rng):
    x, query = rng.standard_normal((50, 33), np.float32), rng.standard_normal((1, 33), np.float32)
    errors = []
    for factor in (1.0, scale):
        scaled, against = (x * factor).astype(np.float32), (query / factor).astype(np.float32)
        codec, codes, _ = made(form, scaled, squared_l2=False)
        errors.append(scan_scores(codec, codes, against) - reference.scores(query, x, "ip"))
    # Rows whose squares leave float32 go without rho and fitted bounds: their codes are a little worse.
    if 1e-18 < scale < 1e18:
        np.testing.assert_allclose(errors[1], errors[0], atol=1e-4)
    assert np.square(errors[1]).mean() <= 2 * np.square(errors[0]).mean()


def test_rotation_pays_where_dimensions_stand_out(rng):
    x = rng.standard_normal((300, 512), np.float32)
    x[:, :4] *= 12
    errors = []
    for seed in (None, 0):
        codec, codes, _ = made("4", x, seed=seed)
        errors.append(relative_error(codec, codes, x))
    assert errors[1] < 0.3 * errors[0]


def test_several_means_pay_where_rows_lie_in_clusters(rng):
    middles = rng.uniform(-1, 1, (16, 64))
    x = (middles[np.arange(800) % 16] + rng.uniform(-0.05, 0.05, (800, 64))).astype(np.float32)
    errors = []
    for n_means in (1, 16):
        codec, codes, _ = made("4", x, n_means=n_means)
        errors.append(relative_error(codec, codes, x))
    assert errors[1] < 0.05 * errors[0]
    assert len(np.unique(column(codes, "selectors"))) == 16


# Codes as tables


def surviving(codes, slots):
    """Remove slots as an index does."""
    n = len(codes) - len(slots)
    targets = [slot for slot in slots if slot < n]
    sources = [slot for slot in range(n, len(codes)) if slot not in slots]
    codes.move(np.array(sources, np.int64), np.array(targets, np.int64))
    codes.resize(n)
    order = np.arange(n + len(slots))
    order[targets] = order[sources]
    return order[:n]


@forms
@metrics
def test_rows_that_stay_keep_their_codes_when_others_go(form, squared_l2, rng):
    x = rng.standard_normal((100, 21), np.float32)
    codec, codes, _ = made(form, x, squared_l2=squared_l2, n_means=2)
    model = x
    for slots in ([], [0], [98], [3, 50, 96, 97], list(range(20, 41)), list(range(50, 70))):
        model = model[surviving(codes, slots)]
        fresh = codec.encode(model)
        for name in codes.tables:
            np.testing.assert_array_equal(column(codes, name), column(fresh, name))
    codes.compact()
    codec.encode(x[:5], codes)
    whole = codec.encode(np.concatenate([model, x[:5]]))
    np.testing.assert_array_equal(codec.decode(codes), codec.decode(whole))
    codes.resize(0)
    assert len(codes) == 0
    assert codec.decode(codes).shape == (0, 21)
    codec.encode(x[:17], codes)
    np.testing.assert_array_equal(column(codes, "codes"), column(codec.encode(x[:17]), "codes"))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 33])
def test_lanes_without_a_row_hold_zeros(n, rng):
    x = rng.standard_normal((33, 13), np.float32)
    codes = made("4", x)[1]
    codes.resize(n)
    blocks = column(codes, "codes")
    assert len(blocks) == (n + 15) // 16
    lanes = blocks.reshape(len(blocks), -1, 16, 4).transpose(0, 2, 1, 3).reshape(len(blocks) * 16, -1)
    assert lanes[:n].any(axis=1).all()
    assert not lanes[n:].any()


@forms
@metrics
def test_bytes_are_what_a_row_is_said_to_take(form, squared_l2, rng):
    x = rng.standard_normal((160, 50), np.float32)
    codec, codes, _ = made(form, x, squared_l2=squared_l2)
    hot, cold = codes.nbytes(cold=False), codes.nbytes(cold=True)
    assert hot + cold == 160 * codec.code_size
    assert cold == 160 * (4 + (50 * codec.residual_bits + 7) // 8)


@forms
def test_codes_over_arrays_of_a_file_are_copied_before_a_change(form, rng):
    x = rng.standard_normal((50, 21), np.float32)
    codec, codes, _ = made(form, x, n_means=2)
    arrays = {name: rows_.copy() for name, rows_ in codes.sections(len(codes)).items()}
    for array in arrays.values():
        array.flags.writeable = False
    before = {name: array.copy() for name, array in arrays.items()}
    for change in (
        lambda mapped: codec.encode(x[:9], mapped),
        lambda mapped: mapped.resize(41),
        lambda mapped: mapped.resize(32),
        lambda mapped: surviving(mapped, [0, 17]),
    ):
        mapped = codec.new_codes()
        mapped.restore(Sections(arrays, "a file", {}), 50)
        np.testing.assert_array_equal(codec.decode(mapped), codec.decode(codes))
        np.testing.assert_array_equal(scan_scores(codec, mapped, x[:3]), scan_scores(codec, codes, x[:3]))
        change(mapped)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, before[name])


def test_codes_of_another_shape_are_refused(rng):
    x = rng.standard_normal((50, 21), np.float32)
    codec, codes, _ = made("4x8", x)
    arrays = codes.sections(len(codes))
    for name, array in arrays.items():
        for wrong in (array[:-1], array.astype(np.float64)):
            with pytest.raises(FormatError, match=name):
                codec.new_codes().restore(Sections({**arrays, name: wrong}, "a file", {}), 50)


# Training and drift


def test_the_centre_is_the_mean_and_means_lie_about_it(rng):
    x = (5 + rng.standard_normal((400, 6))).astype(np.float32)
    codec, _, _ = made("8", x)
    np.testing.assert_array_equal(codec.centre, x.mean(axis=0, dtype=np.float64).astype(np.float32))
    np.testing.assert_array_equal(codec.means, np.zeros((1, 6)))
    codec, _, _ = made("8", x, n_means=5)
    assert codec.means.shape == (5, 6)
    assert np.abs(codec.means).max() < 4


def test_training_looks_at_a_sample_of_many_rows():
    x = np.repeat(np.arange(2 * TRAINING_ROWS, dtype=np.float32)[:, None], 2, axis=1)
    codec = LVQCodec(2, True, 8, 0, 1, None)
    codec.train(x)
    np.testing.assert_array_equal(codec.centre, x[::2].mean(axis=0, dtype=np.float64).astype(np.float32))


def test_training_finds_means_by_itself_where_rows_lie_in_clusters(rng):
    middles = rng.uniform(-1, 1, (20, 64))
    clustered = (middles[np.arange(1000) % 20] + rng.uniform(-0.1, 0.1, (1000, 64))).astype(np.float32)
    even = rng.standard_normal((1000, 64), np.float32)
    for x, n_means in ((clustered, CLUSTERED), (even, 1), (clustered[:300], 1)):
        codec, codes, _ = made("4x8", x, n_means=0)
        assert len(codec.means) == codec.n_means == n_means
        assert len(np.unique(column(codes, "selectors"))) <= n_means


def test_training_drops_a_rotation_that_gains_nothing_where_it_may(rng):
    gaussian = rng.standard_normal((1000, 64), np.float32)
    uneven = gaussian.copy()
    uneven[:, 0] *= 20
    for x, may_drop, kept in ((gaussian, True, False), (gaussian, False, True), (uneven, True, True)):
        codec = LVQCodec(64, True, 4, 0, 1, 7, may_drop)
        codec.train(x)
        assert (codec.rotation is not None) == kept
        turned = x if not kept else codec.rotation.apply(x)
        np.testing.assert_array_equal(codec.centre, turned.mean(axis=0, dtype=np.float64).astype(np.float32))
        assert relative_error(codec, codec.encode(x), x) < 0.02


@rotations
def test_the_same_rows_and_seed_train_the_same(seed, rng):
    x = rng.standard_normal((300, 16), np.float32)
    one, other = (made("4", x, n_means=7, seed=seed)[0] for _ in range(2))
    np.testing.assert_array_equal(one.means, other.means)
    np.testing.assert_array_equal(one.centre, other.centre)


def test_256_means_work(rng):
    x = rng.standard_normal((1000, 8), np.float32)
    codec, codes, definition = made("8", x, n_means=256)
    assert column(codes, "selectors").max() > 200
    distances = np.stack([definition.distances(r) for r in x])
    chosen = distances[np.arange(1000), column(codes, "selectors")]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-5)
    exact = reference.scores(x[:5], codec.decode(codes), "l2")
    np.testing.assert_allclose(scan_scores(codec, codes, x[:5]), exact, atol=0.1)


@rotations
@pytest.mark.parametrize("n_means", [1, 3])
def test_rows_that_drift_away_get_a_mean_of_their_own_and_old_codes_stay(seed, n_means, rng):
    x = rng.standard_normal((2000, 24), np.float32)
    codec, codes, _ = made("4x8", x, n_means=n_means, seed=seed)
    means = codec.means.copy()
    # Far off in some dimensions, so that a row about the old means spans a wide range.
    far = np.where(np.arange(24) % 3 == 0, 8, -2)
    moved = (far + rng.standard_normal((DRIFT_ROWS + 1000, 24))).astype(np.float32)
    for first in range(0, len(moved), 500):
        before = {name: rows_.copy() for name, rows_ in codes.sections(len(codes)).items() if name != "codes"}
        whole = len(codes) // 16
        blocks = column(codes, "codes")[:whole].copy()
        decoded = codec.decode(codes)
        codec.encode(moved[first : first + 500], codes)
        for name, old in before.items():
            np.testing.assert_array_equal(column(codes, name)[: len(old)], old)
        np.testing.assert_array_equal(column(codes, "codes")[:whole], blocks)
        np.testing.assert_array_equal(codec.decode(codes)[: len(decoded)], decoded)
    assert len(codec.means) == n_means + 1
    np.testing.assert_array_equal(codec.means[:n_means], means)
    # The new mean is the middle of the rows that came, and the last of them were coded about it.
    turned = moved if codec.rotation is None else codec.rotation.apply(moved)
    np.testing.assert_allclose(codec.means[-1] + codec.centre, turned.mean(axis=0), atol=0.3)
    selectors = column(codes, "selectors")
    assert (selectors[:2000] < n_means).all()
    assert (selectors[-500:] == n_means).all()
    assert steps(codes)[-500:].mean() < 0.7 * steps(codes)[2000:2500].mean()
    every = np.concatenate([x, moved])
    bound = steps(codes) / 256 * 24**0.5 + 1e-5
    assert (norms(codec.decode(codes) - every) <= bound).all()
    exact = reference.scores(every[:3], codec.decode(codes), "l2")
    np.testing.assert_allclose(last_scores(codec, codes, every[:3]), exact, rtol=1e-4, atol=1e-4)
    assert np.abs(scan_scores(codec, codes, every[:3]) - exact).max() < 0.04 * exact.max()


def test_rows_like_the_old_ones_add_no_mean(rng):
    x = rng.standard_normal((2000, 24), np.float32)
    codec, codes, _ = made("8", x)
    for _ in range(5):
        codec.encode(rng.standard_normal((DRIFT_ROWS, 24), np.float32), codes)
    assert len(codec.means) == 1


def test_rows_that_only_spread_wider_add_no_mean(rng):
    x = rng.standard_normal((2000, 24), np.float32)
    codec, codes, _ = made("8", x)
    for _ in range(5):
        codec.encode(5 * rng.standard_normal((DRIFT_ROWS, 24), np.float32), codes)
    assert len(codec.means) == 1


@pytest.mark.parametrize("n_means", [255, 256])
def test_there_are_never_more_than_256_means(n_means, rng):
    x = rng.standard_normal((600, 4), np.float32)
    codec, codes, _ = made("8", x, n_means=n_means)
    for far in (100, 1000, 10_000):
        codec.encode((far + rng.standard_normal((DRIFT_ROWS, 4))).astype(np.float32), codes)
        assert len(codec.means) == 256
    assert column(codes, "selectors").max() == 255
    step = steps(codes)[:, None]
    slack = 16 * EPSILON * np.abs(codec.decode(codes)).max()
    assert (np.abs(codec.decode(codes)[:600] - x) <= step[:600] / 2 + slack).all()


def test_a_watch_for_drift_goes_on_where_a_file_left_it(rng):
    x, moved = rng.standard_normal((2, 300, 5), np.float32)
    moved += 3
    energy = np.square(moved).sum(axis=1)
    watch = Drift(5, float(np.square(x).sum(axis=1).mean()))
    assert not watch.notices(moved, energy)
    fields, sums = watch.state()
    again = Drift.restored(Header(fields.items(), "a file"), sums.copy())
    assert again.state()[0] == fields
    for _ in range(2):
        assert not watch.notices(moved, energy)
        assert not again.notices(moved, energy)
    assert watch.notices(moved, energy)
    assert again.notices(moved, energy)
    mean = watch.take_mean()
    np.testing.assert_allclose(mean, moved.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(again.take_mean(), mean)
    assert watch.count == 0


@rotations
def test_a_restored_codec_is_the_same_codec(seed, rng):
    x = rng.standard_normal((200, 17), np.float32)
    codec, codes, _ = made("4x4", x, n_means=3, seed=seed)
    fields, arrays = codec.state()
    other = LVQCodec(17, True, 4, 4, 3, seed)
    assert not other.is_trained
    assert other.state() == ({"trained": False}, {})
    other.restore(Header({"trained": False}.items(), "a file"), Sections({}, "a file", {}))
    assert not other.is_trained
    other.restore(Header(fields.items(), "a file"), Sections(arrays, "a file", {}))
    assert other.is_trained
    again = other.encode(x)
    for name in codes.tables:
        np.testing.assert_array_equal(column(again, name), column(codes, name))
    np.testing.assert_array_equal(scan_scores(other, codes, x[:3]), scan_scores(codec, codes, x[:3]))
    for count in (0, 257):
        wrong = {**arrays, "means": np.zeros((count, 17), np.float32)}
        with pytest.raises(FormatError, match=f"holds {count} means, expected 1 to 256"):
            other.restore(Header(fields.items(), "a file"), Sections(wrong, "a file", {}))


# What is refused


def test_forms_means_and_dimensions_that_there_are_not_are_refused():
    for bits, residual_bits in ((2, 0), (8, 2), (4, 2), (16, 0)):
        with pytest.raises(ValueError, match=f"4, 8, 4x4, 4x8, 8x4, 8x8 bits, not {bits}x{residual_bits}"):
            LVQCodec(8, True, bits, residual_bits, 1, None)
    for n_means in (-1, 257):
        with pytest.raises(ValueError, match=f"n_means must be at most 256, not {n_means}"):
            LVQCodec(8, True, 8, 0, n_means, None)
    with pytest.raises(ValueError, match="at most 65536 dimensions, not 65537"):
        LVQCodec(65_537, True, 8, 0, 1, None)


def test_too_few_rows_to_train_on_are_refused(rng):
    for n_means, n in ((1, 0), (5, 4)):
        codec = LVQCodec(3, True, 8, 0, n_means, None)
        with pytest.raises(ValueError, match=f"at least {n_means} rows to train, not {n}"):
            codec.train(rng.standard_normal((n, 3), np.float32))
        assert not codec.is_trained


def test_the_widest_rows_do_not_overflow(level):
    x = np.ones((2, 65_536), np.float32)
    x[:, 0] = -1
    codec, codes, _ = made("8", np.concatenate([x, -x]), squared_l2=False)
    exact = reference.scores(x, codec.decode(codes), "ip")
    np.testing.assert_allclose(scan_scores(codec, codes, x), exact, rtol=1e-4)


# An example that was worked by hand; its figures for a float query are in the tests of the kernels

MEAN = np.array([[0.4, -0.1, 0.9, 0.1, -0.2, 0.05, 1, 0.35]], np.float32)
X = np.array([[0.9, -0.3, 1.4, 0.1, -0.7, 0.55, 2, -0.25]], np.float32)
QUERY = np.array([[1, 0.2, 0.8, -0.1, -0.4, 0.6, 1.5, 0]], np.float32)
CODES = {4: [10, 4, 10, 6, 1, 10, 15, 0], 8: [175, 64, 175, 96, 16, 175, 255, 0]}
STEP = {4: 0.1066666667, 8: 0.0062745098}
RHO = {4: 1.02505695, 8: 1.00143998}
ALONG = {4: 1.237543, 8: 1.271574}


def worked(form, squared_l2):
    codec = LVQCodec(8, squared_l2, *FORMS[form], 1, None)
    codec.train(MEAN)
    np.testing.assert_array_equal(codec.centre, MEAN[0])
    return codec, codec.encode(X)


@pytest.mark.parametrize("form", ["8", "4x8", "8x8"])
def test_worked_example_codes(level, form):
    codec, codes = worked(form, True)
    found = table.unpack(column(codes, "codes"), codec.bits, 1, 8)
    np.testing.assert_array_equal(found[0], CODES[codec.bits])
    assert steps(codes)[0] == pytest.approx(STEP[codec.bits], rel=1e-6)
    assert column(codes, "rhos")[0] == pytest.approx(RHO[codec.bits], rel=1e-6)
    assert column(codes, "lows")[0] == pytest.approx(-0.6 * RHO[codec.bits], rel=1e-6)
    assert column(codes, "norms")[0] == pytest.approx(2.4, rel=1e-6)
    if codec.residual_bits:
        codes2 = column(codes, "residuals")[0].view(np.int8)
        np.testing.assert_array_equal(codes2, [80, -64, 80, -96, -16, 80, 0, 0])
        np.testing.assert_allclose(codec.decode(codes), X, atol=3e-7)


@pytest.mark.parametrize("form", ["8", "4x8", "8x8"])
def test_worked_example_distances(level, form):
    codec, codes = worked(form, True)
    scanned = 1.215 + 2.4 - 2 * RHO[codec.bits] * ALONG[codec.bits]
    last = 1.065 if codec.residual_bits else 1.0656087
    assert scan_scores(codec, codes, QUERY) == pytest.approx(scanned, rel=1e-5)
    assert last_scores(codec, codes, QUERY) == pytest.approx(last, rel=1e-5)
    if form == "8":
        assert np.square(QUERY - codec.decode(codes)).sum() == pytest.approx(1.0623922, rel=1e-5)


@pytest.mark.parametrize("form", ["8", "4x8", "8x8"])
def test_worked_example_inner_products(level, form):
    codec, codes = worked(form, False)
    scanned = 2.7 + RHO[codec.bits] * inner_along(codec.bits)
    last = 5.56 if codec.residual_bits else 2.7 + RHO[8] * (5.5552157 - 2.7)
    assert -scan_scores(codec, codes, QUERY) == pytest.approx(scanned, rel=1e-5)
    assert -last_scores(codec, codes, QUERY) == pytest.approx(last, rel=1e-5)
    if form == "8":
        product = codec.decode(codes)[0] @ QUERY[0]
        assert product == pytest.approx(5.5552157, rel=1e-6)


def inner_along(bits):
    """<q', rhat> for an inner product: q' is the query as it is, scale 1.5 / 127."""
    values = np.array([85, 17, 68, -8, -34, 51, 127, 0])
    return 1.5 / 127 * (values @ (-0.6 + STEP[bits] * np.array(CODES[bits])))


def test_tables_of_codes_are_aligned_for_the_kernels(rng):
    codes = made("4x8", rng.standard_normal((50, 21), np.float32))[1]
    for held in codes.tables.values():
        assert isinstance(held, Table)
        assert held.rows.ctypes.data % 64 == 0
