"""LVQ row by row: the same rows, codes and estimates as in blocks, and rows compared with each other."""

import numpy as np
import pytest

import reference
from inlay.codecs import probe
from inlay.codecs.lvq import FORMS, LVQCodec
from inlay.contents import FormatError, Header, Sections
from inlay.kernels import table
from tests.awkward import KINDS, at_page_end, rows

forms = pytest.mark.parametrize("form", FORMS)
metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
rotations = pytest.mark.parametrize("seed", [None, 5], ids=["as is", "rotated"])
# How much of |a - b|^2 a form's estimate may be off by, of Gaussian rows: its steps and those of the query.
APART = {"4": 0.1, "8": 0.02, "4x4": 0.1, "4x8": 0.1, "8x4": 0.02, "8x8": 0.02}


def trained(form, x, *, squared_l2=True, seed=None, layout="rows"):
    codec = LVQCodec(x.shape[1], squared_l2, *FORMS[form], 1, seed, layout=layout)
    codec.train(x)
    return codec


def made(form, x, **options):
    codec = trained(form, x, **options)
    return codec, codec.encode(x)


def every(codes):
    return np.arange(len(codes), dtype=np.uint32)


def near(codec, codes, queries):
    """The scores a walk goes by, (n_queries, n)."""
    scorer = codec.scorer(queries, codes, 1)
    return np.stack([probe.near(scorer, q, every(codes)) for q in range(len(queries))])


def last(codec, codes, queries):
    """The best scores, (n_queries, n)."""
    scorer = codec.scorer(queries, codes, 1)
    return np.stack([probe.rows_at(scorer, q, every(codes)) for q in range(len(queries))])


def apart(codec, codes):
    """All rows against each other, (n, n)."""
    pairs = codec.pairs(codes, 1)
    return np.stack([probe.apart(pairs, slot, every(codes)) for slot in range(len(codes))])


def norms(x):
    return np.linalg.norm(x.astype(np.float64), axis=-1)


def constants(codes, dim, bits):
    """Step, low and norm of each row, (n, 3)."""
    size = -(-dim * bits // 32) * 4
    return codes.tables["codes"].rows[:, size : size + 12].copy().view(np.float32)


# The same rows, codes and scores as in blocks


@pytest.mark.parametrize("kind", KINDS)
@forms
@rotations
def test_rows_hold_what_blocks_hold(level, form, kind, seed):
    for dim in (1, 7, 33, 65, 128):
        x = rows(kind, 19, dim)
        codec, codes = made(form, x, seed=seed)
        blocks, packed = made(form, x, seed=seed, layout="blocks")
        held = {name: column.rows for name, column in packed.tables.items()}
        wanted = np.stack([held["steps"], held["lows"], held["norms"]], axis=1)
        np.testing.assert_array_equal(constants(codes, dim, codec.bits), wanted)
        unpacked = table.unpack(held["codes"], codec.bits, 19, dim)
        laid = reference.lay(unpacked, wanted, codec.bits, codes.stride)
        np.testing.assert_array_equal(codes.tables["codes"].rows, laid)
        np.testing.assert_array_equal(codec.decode(codes), blocks.decode(packed))
        np.testing.assert_array_equal(codec.decode(codes, [3, 0, 3]), codec.decode(codes)[[3, 0, 3]])


@forms
@metrics
@rotations
def test_scores_are_those_of_the_definition(level, form, squared_l2, seed):
    for dim in (1, 31, 128):
        x, queries = 1 + rows("gaussian", 17, dim), rows("laplace", 2, dim, seed=1)
        codec, codes = made(form, x, squared_l2=squared_l2, seed=seed)
        definition = reference.LVQ(
            codec.bits, codec.residual_bits, squared_l2, codec.centre, codec.means, seed
        )
        found, best = near(codec, codes, queries), last(codec, codes, queries)
        for i, row in enumerate(x):
            code = definition.encode(row, 0)
            for q, query in enumerate(queries):
                parts = (definition.centred(query), codec.centre, definition.first_level(code))
                slack = 1e-6 * (1 + dim**0.5) * sum(norms(part) for part in parts) ** 2
                wanted = definition.scan_score(query, code)
                assert abs(found[q, i] - (max(wanted, 0) if squared_l2 else wanted)) <= slack
                assert abs(best[q, i] - definition.last_score(query, code)) <= slack


@forms
@metrics
def test_blocks_give_the_same_last_scores(form, squared_l2, rng):
    x, queries = rng.standard_normal((90, 100), np.float32), rng.standard_normal((5, 100), np.float32)
    found = last(*made(form, x, squared_l2=squared_l2), queries)
    blocks = last(*made(form, x, squared_l2=squared_l2, layout="blocks"), queries)
    np.testing.assert_allclose(found, blocks, atol=1e-5 * np.abs(blocks).max())


@forms
@metrics
def test_scores_of_a_walk_are_the_same_bits_at_every_level(level, form, squared_l2, rng):
    x, queries = rng.standard_normal((70, 100), np.float32), rng.standard_normal((3, 100), np.float32)
    codec, codes = made(form, x, squared_l2=squared_l2, seed=1)
    found, between = near(codec, codes, queries), apart(codec, codes)
    table.set_level("scalar")
    np.testing.assert_array_equal(near(codec, codes, queries), found)
    np.testing.assert_array_equal(apart(codec, codes), between)


@forms
@metrics
@rotations
def test_scores_of_a_walk_are_off_by_at_most_half_the_steps(level, form, squared_l2, seed, rng):
    for dim in (7, 96, 384):
        x, queries = rng.standard_normal((12, dim), np.float32), rng.standard_normal((5, dim), np.float32)
        codec, codes = made(form, x, squared_l2=squared_l2, seed=seed)
        definition = reference.LVQ(
            codec.bits, codec.residual_bits, squared_l2, codec.centre, codec.means, seed
        )
        coded = [definition.encode(row, 0) for row in x]
        first = np.stack([definition.first_level(code) for code in coded])
        steps = np.array([reference.quantise_query(definition.centred(query))[0] for query in queries])
        bound = steps[:, None] / 2 * np.abs(first).sum(axis=1)
        if codec.residual_bits:
            q = np.stack([definition.centred(query) for query in queries]).astype(np.float64)
            bound += np.abs(q).sum(axis=1)[:, None] * [code.step * code.rho for code in coded]
            bound += [0.1 * code.norm for code in coded]
        distance = np.abs(near(codec, codes, queries) - last(codec, codes, queries))
        assert (distance <= bound * (2 if squared_l2 else 1) * (1 + 1e-4) + 1e-5 * dim).all()


@forms
def test_scores_do_not_depend_on_the_batch(level, form, rng):
    x, queries = rng.standard_normal((50, 40), np.float32), rng.standard_normal((70, 40), np.float32)
    codec, codes = made(form, x, seed=2)
    for scores in (near, last):
        together = scores(codec, codes, queries)
        np.testing.assert_array_equal(scores(codec, codes, queries[-3:]), together[-3:])


@forms
def test_codes_do_not_depend_on_the_batch_or_the_number_of_threads(form, threads, rng):
    x = rng.standard_normal((500, 37), np.float32)
    codec, codes = made(form, x, seed=1)
    for n in (1, 2, 5):
        threads(n)
        again = codec.new_codes()
        for some in np.array_split(x, [1, 17, 300]):
            codec.encode(some, again)
        for name, held in codes.tables.items():
            np.testing.assert_array_equal(again.tables[name].rows, held.rows)


# Rows against each other


@forms
@metrics
@rotations
def test_rows_are_as_far_apart_as_they_are_whatever_the_metric(level, form, squared_l2, seed, rng):
    for dim in (64, 200):
        x = (3 + rng.standard_normal((40, dim))).astype(np.float32)
        found = apart(*made(form, x, squared_l2=squared_l2, seed=seed))
        exact = reference.scores(x, x, "l2")
        assert (found >= 0).all()
        # Of equal rows the errors do not cancel, but the estimate is about 0 all the same.
        assert (np.diagonal(found) <= APART[form] * norms(x - x.mean(axis=0)) ** 2).all()
        others = ~np.eye(40, dtype=bool)
        assert (np.abs(found - exact)[others] <= APART[form] * exact[others]).all()
        assert np.abs((found - exact)[others].mean()) <= APART[form] / 10 * exact[others].mean()


@forms
@rotations
def test_rows_are_compared_by_their_first_levels(level, form, seed):
    for dim in (1, 7, 33, 65, 128, 200):
        x = 1 + rows("gaussian", 9, dim)
        codec, codes = made(form, x, seed=seed)
        definition = reference.LVQ(codec.bits, codec.residual_bits, True, codec.centre, codec.means, seed)
        coded = [definition.encode(row, 0) for row in x]
        size = norms(np.stack([definition.first_level(code) for code in coded]))
        wanted = [[definition.between(a, b) for b in coded] for a in coded]
        slack = 1e-6 * (1 + dim**0.5) * (size[:, None] + size) ** 2
        assert (np.abs(apart(codec, codes) - wanted) <= slack).all()


@pytest.mark.parametrize("kind", KINDS)
@forms
def test_rows_of_any_kind_can_be_compared(level, form, kind):
    for dim in (1, 7, 65):
        x = rows(kind, 9, dim)
        found = apart(*made(form, x))
        assert np.isfinite(found).all()
        spread = 2 * np.abs(x - x.mean(axis=0)).max().astype(np.float64)
        slack = 0.3 * dim * spread**2 + 1e-6 * np.square(x).max() + dim * 2.0**-149
        assert (np.abs(found - reference.scores(x, x, "l2")) <= slack).all()


def test_workers_aim_apart_from_each_other(rng):
    x = rng.standard_normal((9, 33), np.float32)
    codec, codes = made("8", x)
    pairs, wanted = codec.pairs(codes, 3), apart(codec, codes)
    for worker, slot in enumerate((4, 0, 7)):
        np.testing.assert_array_equal(probe.apart(pairs, slot, every(codes), worker), wanted[slot])
    for worker, slot in enumerate((4, 0, 7)):
        np.testing.assert_array_equal(probe.near(pairs, worker, every(codes), worker), wanted[slot])


def test_aiming_anew_leaves_nothing_of_the_row_before(rng):
    x = rng.standard_normal((5, 37), np.float32)
    x[2] = 0
    for form in FORMS:
        codec, codes = made(form, x)
        pairs, wanted = codec.pairs(codes, 1), apart(codec, codes)
        for slot in (0, 2, 1, 2, 4):
            np.testing.assert_array_equal(probe.apart(pairs, slot, every(codes)), wanted[slot])


def test_a_scorer_knows_its_queries_only(rng):
    codec, codes = made("8", rng.standard_normal((9, 8), np.float32))
    scorer = codec.scorer(np.ones((2, 8), np.float32), codes, 1)
    assert scorer.n_queries == 2
    assert len(probe.near(scorer, 1, np.empty(0, np.uint32))) == 0
    for query in (-1, 2):
        with pytest.raises(ValueError, match=f"there is no query {query}"):
            probe.near(scorer, query, every(codes))


# Codes as tables


@pytest.mark.parametrize(
    ("form", "dim", "stride"),
    [("8", 384, 448), ("4", 384, 208), ("8", 768, 832), ("4x8", 96, 64), ("8", 128, 144), ("8", 1, 32)],
)
def test_rows_take_whole_lines_where_that_costs_little(form, dim, stride):
    codes = LVQCodec(dim, True, *FORMS[form], 1, None, layout="rows").new_codes()
    assert codes.stride == stride


@forms
def test_bytes_are_what_a_row_is_said_to_take(form, rng):
    codec, codes = made(form, rng.standard_normal((160, 50), np.float32))
    hot, cold = codes.nbytes(cold=False), codes.nbytes(cold=True)
    assert hot == 160 * codes.stride
    assert hot + cold == 160 * codec.code_size
    assert cold == 160 * (4 + (50 * codec.residual_bits + 7) // 8)


@forms
def test_rows_that_stay_keep_their_codes_when_others_go(form, rng):
    x = rng.standard_normal((30, 21), np.float32)
    codec, codes = made(form, x)
    codes.move(np.array([28, 29]), np.array([3, 0]))
    codes.resize(28)
    model = x[:28].copy()
    model[[3, 0]] = x[[28, 29]]
    codes.compact()
    codec.encode(x[:5], codes)
    fresh = codec.encode(np.concatenate([model, x[:5]]))
    for name, held in codes.tables.items():
        np.testing.assert_array_equal(held.rows, fresh.tables[name].rows)
    codes.resize(0)
    assert codec.decode(codes).shape == (0, 21)


@forms
def test_nothing_is_read_past_the_tables_of_a_file(level, form, rng):
    for dim in (1, 5, 21, 64, 100):
        x = rng.standard_normal((9, dim), np.float32)
        codec, codes = made(form, x)
        arrays = {name: at_page_end(held) for name, held in codes.sections(9).items()}
        before = {name: array.copy() for name, array in arrays.items()}
        mapped = codec.new_codes()
        mapped.restore(Sections(arrays, "a file", {}), 9)
        np.testing.assert_array_equal(codec.decode(mapped), codec.decode(codes))
        for scores in (near, last):
            np.testing.assert_array_equal(scores(codec, mapped, x[:2]), scores(codec, codes, x[:2]))
        np.testing.assert_array_equal(apart(codec, mapped), apart(codec, codes))
        codec.encode(x, mapped)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, before[name])


@forms
@metrics
def test_codes_of_a_damaged_file_are_scored_without_harm(level, form, squared_l2):
    codec = trained(form, rows("gaussian", 30, 33), squared_l2=squared_l2)
    arrays = {
        name: np.full(array.shape, 255, np.uint8) if array.dtype == np.uint8 else np.zeros_like(array)
        for name, array in codec.encode(rows("gaussian", 5, 33)).sections(5).items()
    }
    damaged = codec.new_codes()
    damaged.restore(Sections(arrays, "a file", {}), 5)
    with np.errstate(all="ignore"):
        codec.decode(damaged)
        last(codec, damaged, rows("gaussian", 1, 33))
    # Constants of 255s are no numbers; what comes of them is none either, which walks pass over.
    assert np.isnan(near(codec, damaged, rows("gaussian", 1, 33))).all()
    assert np.isnan(apart(codec, damaged)).all()


# One mean


def test_there_is_one_mean_and_no_other_comes(rng):
    x = rng.standard_normal((500, 8), np.float32)
    codec, codes = made("8", x)
    for _ in range(3):
        codec.encode(x + 100, codes)
    assert len(codec.means) == 1
    assert LVQCodec(8, True, 8, 0, 1, None).most_means == 256
    fields, arrays = codec.state()
    other = LVQCodec(8, True, 8, 0, 1, None, layout="rows")
    wrong = {**arrays, "means": np.zeros((2, 8), np.float32)}
    with pytest.raises(FormatError, match="holds 2 means, expected 1 to 1"):
        other.restore(Header(fields.items(), "a file"), Sections(wrong, "a file", {}))
    other.restore(Header(fields.items(), "a file"), Sections(arrays, "a file", {}))
    np.testing.assert_array_equal(near(other, codes, x[:3]), near(codec, codes, x[:3]))


def test_several_means_and_unknown_layouts_are_refused():
    for n_means in (0, 2):
        with pytest.raises(ValueError, match=f"n_means must be 1, not {n_means}"):
            LVQCodec(8, True, 8, 0, n_means, None, layout="rows")
    with pytest.raises(ValueError, match='layout must be "blocks" or "rows", not \'columns\''):
        LVQCodec(8, True, 8, 0, 1, None, layout="columns")


def test_rows_in_blocks_are_not_compared(rng):
    codec, codes = made("8", rng.standard_normal((9, 8), np.float32), layout="blocks")
    with pytest.raises(TypeError, match='in layout "rows" only'):
        codec.pairs(codes, 1)
