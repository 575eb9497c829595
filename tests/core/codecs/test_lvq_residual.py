"""LVQ codes of what origins leave of rows: scores that lack the origin's part, and nothing else."""

import numpy as np
import pytest
from core.codecs.test_lvq import last_scores, scan_scores

from inlay.codecs.lvq import FORMS, LVQCodec

forms = pytest.mark.parametrize("form", FORMS)
metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
rotations = pytest.mark.parametrize("seed", [None, 5], ids=["as is", "rotated"])


def made(form, squared_l2, seed, rng, n=90, dim=33):
    """Rows about five origins, their origins, the codec and their codes."""
    origins = 3 * rng.standard_normal((5, dim), np.float32)[rng.integers(0, 5, n)]
    rows = origins + rng.standard_normal((n, dim), np.float32) + 0.3
    codec = LVQCodec(dim, squared_l2, *FORMS[form], 1, seed, residual=True)
    codec.train(rows - origins, origins=origins)
    return rows, origins, codec, codec.encode(rows - origins, None, origins)


def whole(scores, queries, origins, squared_l2):
    products = queries.astype(np.float64) @ origins.T
    return scores - (2 if squared_l2 else 1) * products


@forms
@metrics
@rotations
def test_last_scores_are_those_of_origin_and_decoded_rest(form, squared_l2, seed, rng):
    _, origins, codec, codes = made(form, squared_l2, seed, rng)
    queries = rng.standard_normal((4, 33), np.float32)
    found = whole(last_scores(codec, codes, queries), queries, origins, squared_l2)
    held = origins + codec.decode(codes).astype(np.float64)
    expected = np.square(queries[:, None] - held).sum(axis=2) if squared_l2 else -(queries @ held.T)
    # With one level they are unbiased estimates instead.
    near = 1e-4 if codec.residual_bits else {4: 0.15, 8: 0.01}[codec.bits]
    np.testing.assert_allclose(found, expected, atol=near * np.abs(expected).max())


@forms
@metrics
def test_scan_scores_estimate_the_true_ones(form, squared_l2, rng):
    rows, origins, codec, codes = made(form, squared_l2, 5, rng, n=600)
    queries = rng.standard_normal((4, 33), np.float32)
    found = whole(scan_scores(codec, codes, queries), queries, origins, squared_l2)
    apart = queries[:, None] - rows.astype(np.float64)
    true = np.square(apart).sum(axis=2) if squared_l2 else -(queries @ rows.T).astype(np.float64)
    deviation = {4: 0.35, 8: 0.08}[codec.bits] * np.linalg.norm(queries, axis=1)[:, None]
    deviation = deviation * (2 if squared_l2 else 1)
    assert (np.abs(found - true) < 6 * deviation).all()
    assert abs((found - true).mean()) < deviation.mean() / 4


def test_codes_about_one_mean_have_no_selectors_and_never_get_another(rng):
    far = 50 + rng.standard_normal((2000, 8), np.float32)
    codec = LVQCodec(8, True, 8, 0, 1, None, grows=False)
    codec.train(rng.standard_normal((300, 8), np.float32))
    codes = codec.encode(far)
    assert len(codec.means) == 1
    assert "selectors" not in codes.tables
    with pytest.raises(ValueError, match="n_means"):
        LVQCodec(8, True, 8, 0, 3, None, residual=True)


@forms
def test_rows_are_placed_and_blanked_wherever(form, rng):
    rows, _, codec, codes = made(form, True, None, rng)
    n = len(rows)
    places = rng.permutation(200)[:n]
    other = codec.new_codes()
    other.resize(200)
    other.blank(np.arange(200))
    other.place(places, codes, np.arange(n))
    np.testing.assert_array_equal(codec.decode(other, places), codec.decode(codes))
    other.blank(places)
    for table in other.tables.values():
        assert not table.rows.any()
