"""Codes in stages: PQ and RVQ keep one contract, and what each of them promises besides."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inlay
import reference_additive as reference
from inlay.codecs import probe
from inlay.codecs.additive import bound
from inlay.codecs.additive_encode import Beams
from inlay.codecs.books import Books
from inlay.codecs.pq import PQCodec
from inlay.codecs.rvq import RVQCodec, conjugate, equations, solve
from inlay.kernels import table

DIM = 24


def drawn(n, dim=DIM, seed=0):
    """Rows whose directions differ in size, about a mean."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return (1 + (rng.standard_normal((n, dim)) * np.arange(1, dim + 1) ** -0.7) @ turn).astype(np.float32)


MAKERS = {
    "PQ8": lambda l2, residual: PQCodec(DIM, l2, 5, 8, None, residual),
    "PQ4": lambda l2, residual: PQCodec(DIM, l2, 7, 4, None, residual),
    "OPQ4": lambda l2, residual: PQCodec(DIM, l2, 6, 4, "opq", residual),
    "RVQ8": lambda l2, residual: RVQCodec(DIM, l2, 3, 8, residual=residual),
    "RVQ4": lambda l2, residual: RVQCodec(DIM, l2, 5, 4, residual=residual),
    "RVQ4 of 10 directions": lambda l2, residual: RVQCodec(DIM, l2, 5, 4, directions=10, residual=residual),
}
ROWS, QUERIES, ORIGINS = drawn(700), drawn(5, seed=1), drawn(700, seed=2) - 0.5


@pytest.fixture(scope="module", params=[(name, l2) for name in MAKERS for l2 in (True, False)], ids=str)
def codec(request):
    name, l2 = request.param
    made = MAKERS[name](l2, False)
    made.train(ROWS)
    return made


@pytest.fixture(scope="module", params=[(name, l2) for name in MAKERS for l2 in (True, False)], ids=str)
def residual_codec(request):
    name, l2 = request.param
    made = MAKERS[name](l2, True)
    made.train(ROWS, origins=ORIGINS)
    return made


def true_scores(codec, rows):
    if codec.squared_l2:
        return np.square(QUERIES[:, None].astype(np.float64) - rows).sum(axis=2)
    return -QUERIES.astype(np.float64) @ rows.T


def scanned(scorer, n, first=0):
    return np.stack([probe.block(scorer, query, first, n) for query in range(len(QUERIES))])


def looked_up(scorer, n):
    slots = np.arange(n, dtype=np.uint32)
    return np.stack([probe.rows_at(scorer, query, slots) for query in range(len(QUERIES))])


def half_steps(codec):
    """How far bytes in tables and norms may take a score of a scan from the true one."""
    y = codec.basis.apply(QUERIES) if codec.squared_l2 else codec.basis.apply(QUERIES + codec.basis.centre)
    tables = (-2 if codec.squared_l2 else -1) * codec.books.products(y).astype(np.float64)
    if codec.squared_l2 and not codec.with_norms:
        tables += [np.square(codec.books.get(stage)).sum(axis=1) for stage in range(codec.stages)]
    step = np.ptp(tables, axis=2).max(axis=1) / 255
    norm = codec.levels[1] if codec.with_norms else 0
    return (codec.stages * step[:, None] + norm) / 2 * 1.001 + 1e-4


# Scores


def test_scores_are_the_distances_to_the_decoded_rows(codec):
    codes = codec.encode(ROWS)
    scorer, decoded = codec.scorer(QUERIES, codes, 1), codec.decode(codes)
    true = true_scores(codec, decoded)
    np.testing.assert_allclose(looked_up(scorer, 700), true, rtol=1e-4, atol=1e-4)
    assert (np.abs(scanned(scorer, 700) - true) <= half_steps(codec)).all()


def test_scores_of_residual_rows_lack_only_the_origins_part(residual_codec):
    codec = residual_codec
    codes = codec.encode(ROWS, origins=ORIGINS)
    scorer, decoded = codec.scorer(QUERIES, codes, 1), codec.decode(codes)
    true = true_scores(codec, decoded + ORIGINS) + QUERIES @ ORIGINS.T * (2 if codec.squared_l2 else 1)
    norm = codec.levels[1] / 2 if codec.with_norms else 0
    assert (np.abs(looked_up(scorer, 700) - true) <= norm * 1.001 + 1e-4).all()
    assert (np.abs(scanned(scorer, 700) - true) <= half_steps(codec)).all()


def test_norms_are_those_of_origin_and_code_and_never_stale(residual_codec):
    codec = residual_codec
    if not codec.with_norms:
        pytest.skip("inner products need no norms")
    codes = codec.encode(ROWS, origins=ORIGINS)
    levels = codes.get(np.arange(700))[1] * codec.levels[1] + codec.levels[0]
    true = np.square((codec.decode(codes) + ORIGINS).astype(np.float64)).sum(axis=1)
    assert np.abs(levels - true).max() <= codec.levels[1] * 0.501 + 1e-4


@pytest.mark.parametrize("first", [0, 16, 48, 64, 80])
@pytest.mark.parametrize("n", [1, 15, 64, 65, 500])
def test_any_run_of_rows_has_the_same_scores(codec, first, n):
    scorer = codec.scorer(QUERIES, codec.encode(ROWS), 1)
    np.testing.assert_array_equal(scanned(scorer, n, first), scanned(scorer, 700)[:, first : first + n])


def test_a_query_alone_has_the_scores_that_it_has_in_a_batch(codec):
    codes = codec.encode(ROWS)
    together = scanned(codec.scorer(QUERIES, codes, 1), 700)
    for query in range(len(QUERIES)):
        alone = codec.scorer(QUERIES[query : query + 1], codes, 1)
        np.testing.assert_array_equal(probe.block(alone, 0, 0, 700), together[query])


def test_codes_and_scores_are_the_same_at_every_level(codec):
    def all_of_it():
        codes = codec.encode(ROWS)
        return codes.tables["codes"].rows.tobytes(), scanned(codec.scorer(QUERIES, codes, 1), 700).tobytes()

    before, answers = table.level(), []
    try:
        for name in table.levels():
            table.set_level(name)
            answers.append(all_of_it())
    finally:
        table.set_level(before)
    assert all(answer == answers[0] for answer in answers)


def test_training_is_the_same_at_every_level_and_with_any_number_of_threads():
    before, threads, found = table.level(), inlay.get_num_threads(), []
    try:
        for name, count in [(table.levels()[0], 1), (table.levels()[-1], 2)]:
            table.set_level(name)
            inlay.set_num_threads(count)
            for make in MAKERS.values():
                made = make(True, False)
                made.train(ROWS)
                found.append(made.books.flat.tobytes())
    finally:
        table.set_level(before)
        inlay.set_num_threads(threads)
    assert found[: len(MAKERS)] == found[len(MAKERS) :]


# Codes


@pytest.mark.parametrize("beam", [1, 5, 16])
@pytest.mark.parametrize(("bits", "stages"), [(8, 3), (4, 6)])
def test_tables_and_residuals_give_equal_codes(beam, bits, stages):
    codec = RVQCodec(DIM, True, stages, bits, beam)
    codec.train(ROWS)
    rows = drawn(200, seed=9)
    codes = codec.encode(rows)
    y = codec.basis.apply(rows)
    wanted, errors = reference.beam_search(y, [codec.books.get(stage) for stage in range(stages)], beam)
    found = codes.get(np.arange(200))[0]
    assert (found == wanted).all(axis=1).mean() >= 0.995
    np.testing.assert_allclose(codec.errors(rows), errors, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        np.square(rows - codec.decode(codes)).sum(axis=1), errors, rtol=1e-3, atol=1e-4
    )


def test_a_code_depends_on_its_row_alone(codec):
    whole = codec.encode(ROWS[:200])
    pieces = codec.encode(ROWS[:7])
    for first, last in ((7, 64), (64, 130), (130, 131), (131, 200)):
        codec.encode(ROWS[first:last], pieces)
    np.testing.assert_array_equal(pieces.tables["codes"].rows, whole.tables["codes"].rows)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), n=st.integers(1, 150))
def test_moved_and_dropped_rows_leave_the_others_as_they_were(seed, n):
    rng = np.random.default_rng(seed)
    codec = CODECS[seed % 2]
    codes = codec.encode(ROWS[:n])
    held = codec.decode(codes)
    gone = np.sort(rng.permutation(n)[: rng.integers(0, n)])
    left = n - len(gone)
    holes, tail = gone[gone < left], np.setdiff1d(np.arange(left, n), gone)
    codes.move(tail, holes)
    codes.resize(left)
    held[holes] = held[tail]
    np.testing.assert_array_equal(codec.decode(codes), held[:left])
    # Bytes are those of rows that were never more.
    fresh = codec.new_codes()
    order = np.arange(n)
    order[holes] = tail
    codec.encode(ROWS[order[:left]], fresh)
    np.testing.assert_array_equal(codes.tables["codes"].rows, fresh.tables["codes"].rows)


CODECS = [RVQCodec(DIM, True, 3, 4), PQCodec(DIM, True, 3, 4)]
for one in CODECS:
    one.train(ROWS)


# What training leaves


def test_errors_fall_with_stages_and_with_the_beam():
    rows, held = drawn(20_000), drawn(1_000, seed=5)
    codec = RVQCodec(DIM, True, 6, 4)
    codec.train(rows)
    assert (np.diff(codec.distortion) < 0).all()
    assert (codec.distortion >= codec.bounds * 0.98).all()
    errors = []
    for beam in (1, 2, 5, 8, 16):
        codec.beam = beam
        errors.append(float(codec.errors(held).mean()))
    assert all(b <= a * 1.002 for a, b in itertools.pairwise(errors))
    assert errors[2] < 0.98 * errors[0]
    codes = codec.encode(rows).get(np.arange(len(rows)))[0]
    for stage in range(2, 6):
        shares = np.bincount(codes[:, stage], minlength=16) / len(rows)
        assert shares.max() <= 3 / 16


def test_white_rows_keep_what_no_code_can_take():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6_000, 16)).astype(np.float32)
    codec = RVQCodec(16, True, 4, 4, beam=5)
    codec.train(rows[:5_000])
    held = float(codec.errors(rows[5_000:]).mean()) / float(np.square(rows[5_000:]).sum(axis=1).mean())
    assert bound(np.ones(16), 16) == pytest.approx(0.25)
    assert 0.25 <= held <= 0.25 * 1.6


def test_rvq_leaves_less_than_pq_where_coordinates_go_together():
    rows = drawn(6_000)
    left = [codec.errors(rows).mean() for codec in (trained(PQCodec(DIM, True, 4, 4), rows),
                                                    trained(RVQCodec(DIM, True, 4, 4), rows))]  # fmt: skip
    assert left[1] < 0.9 * left[0]


def trained(codec, rows):
    codec.train(rows)
    return codec


def test_opq_leaves_less_than_pq_where_directions_are_mixed():
    rows = drawn(6_000)
    plain, turned = (trained(PQCodec(DIM, True, 6, 4, rotation), rows) for rotation in (None, "opq"))
    assert turned.errors(rows).mean() < 0.9 * plain.errors(rows).mean()
    np.testing.assert_allclose(turned.basis.matrix @ turned.basis.matrix.T, np.eye(DIM), atol=1e-5)


def test_progressive_training_leaves_no_more():
    rows, held = drawn(20_000), drawn(1_000, seed=5)
    plain, grown = (trained(RVQCodec(DIM, True, 4, 4, mode=mode), rows) for mode in ("plain", "progressive"))
    assert grown.errors(held).mean() < 1.02 * plain.errors(held).mean()


# Least squares


@pytest.fixture
def coded():
    """Books as a search found them, rows, and their codes."""
    rows = drawn(400, 10)
    books, beams = Books(10, 3, 16, True), Beams(rows, 3, 2)
    rng = np.random.default_rng(4)
    for stage in range(3):
        books.put(stage, rng.standard_normal((16, 10)) / (stage + 1))
        beams.advance(books, stage, 1)
    return books, rows, np.ascontiguousarray(beams.codes[:, 0])


@pytest.mark.parametrize("ridge", [1e-2, 5.0])
def test_the_joint_solution_is_that_of_dense_least_squares(coded, ridge):
    books, rows, codes = coded
    before = [books.get(stage).copy() for stage in range(3)]
    wanted = reference.least_squares(rows, codes, before, ridge)
    solve(books, rows, codes, ridge)
    for stage in range(3):
        np.testing.assert_allclose(books.get(stage), wanted[stage], atol=1e-3)


def test_the_joint_solution_never_raises_the_error_it_is_about(coded):
    books, rows, codes = coded
    before = np.square(rows - books.add(codes)).sum()
    for ridge in (50.0, 1.0):
        solve(books, rows, codes, ridge)
        after = np.square(rows - books.add(codes)).sum()
        assert after <= before * 1.000001
        before = after


def test_conjugate_gradients_solve_what_elimination_solves(coded):
    together, sums = equations(*coded)
    together[np.diag_indices_from(together)] += 1
    sums[:, 3] = 0
    np.testing.assert_allclose(conjugate(together, sums, 1e-9), np.linalg.solve(together, sums), atol=1e-5)


# Awkward rows


@pytest.mark.parametrize(
    "make", [lambda dim: PQCodec(dim, True, 5, 4), lambda dim: RVQCodec(dim, True, 2, 4)]
)
@pytest.mark.parametrize("dim", [1, 3, 63, 1000])
def test_any_number_of_dimensions(make, dim):
    rows = np.random.default_rng(0).standard_normal((40, dim)).astype(np.float32)
    codec = trained(make(dim), rows)
    codes = codec.encode(rows)
    scorer = codec.scorer(rows[:3], codes, 1)
    true = np.square(rows[:3, None] - codec.decode(codes)).sum(axis=2)
    slots = np.arange(40, dtype=np.uint32)
    for query in range(3):
        np.testing.assert_allclose(probe.rows_at(scorer, query, slots), true[query], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_rows_are_coded_without_error(value):
    rows = np.full((100, DIM), value, np.float32)
    for codec in (trained(PQCodec(DIM, True, 4, 4), rows), trained(RVQCodec(DIM, True, 3, 4), rows)):
        codes = codec.encode(rows)
        np.testing.assert_allclose(codec.decode(codes), rows, atol=1e-6)
        assert np.isfinite(scanned(codec.scorer(QUERIES, codes, 1), 100)).all()
        assert (codec.distortion == 0).all()


def test_fewer_different_rows_than_codewords():
    rows = np.repeat(drawn(5), 20, axis=0)
    for codec in (trained(PQCodec(DIM, True, 4, 4), rows), trained(RVQCodec(DIM, True, 3, 4), rows)):
        np.testing.assert_allclose(codec.decode(codec.encode(rows)), rows, atol=0.02)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least 256 rows"):
        PQCodec(DIM, True, 4).train(ROWS[:255])
    with pytest.raises(ValueError, match="4 or 8 bits"):
        RVQCodec(DIM, True, 4, 6)
    with pytest.raises(ValueError, match="stages"):
        RVQCodec(DIM, True, 0)
    with pytest.raises(ValueError, match="beam"):
        RVQCodec(DIM, True, 4, 4, 65)
    with pytest.raises(ValueError, match="directions"):
        RVQCodec(DIM, True, 4, 4, directions=25)
    with pytest.raises(ValueError, match="mode"):
        RVQCodec(DIM, True, 4, 4, mode="fast")
    with pytest.raises(ValueError, match="rotation"):
        PQCodec(DIM, True, 4, 4, "random")
    with pytest.raises(ValueError, match="1e\\+15"):
        CODECS[0].encode(np.full((2, DIM), 1e16, np.float32))
    residual = MAKERS["RVQ4"](True, True)
    residual.train(ROWS, origins=ORIGINS)
    with pytest.raises(ValueError, match="origins"):
        residual.encode(ROWS)
