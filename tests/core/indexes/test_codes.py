"""Codes by themselves: what `encode` gives stands for the row that adding it would have kept."""

import numpy as np
import pytest
from core.indexes.forms import gaussian

import inlay

SPECS = (
    *("Flat", "LVQ4", "LVQ8", "LVQ4x8", "LVQ8x8", "PQ3", "PQ5x4fs", "RVQ3x4", "HNSW4", "HNSW4,LVQ4x4"),
    *("QuIVer4", "SymQG32", "IVF3,Flat", "IVF3,LVQ4x8", "IVF3,PQ3x4fs", "IVF3,RVQ3x4", "LoRANN3"),
)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_code_stands_for_the_row_that_would_be_kept(spec, metric):
    dim, rows = 21, gaussian(300, 21)
    index = inlay.from_spec(spec, dim, metric)
    size = index.code_size
    if not index.is_trained:
        with pytest.raises(ValueError, match="before training"):
            index.encode(rows)
    index.train(rows)
    codes = index.encode(rows[:37])
    assert codes.dtype == np.uint8
    assert codes.shape == (37, index.code_size) == (37, size)
    assert index.encode(rows[:0]).shape == (0, size)
    index.add(rows[:37])
    np.testing.assert_allclose(index.decode(codes), index.reconstruct(np.arange(37)), atol=1e-6)
    assert index.decode(codes[:0]).shape == (0, dim)
    for wrong in (codes[:, 1:], codes[0], codes.astype(np.int16)):
        with pytest.raises(ValueError, match="uint8"):
            index.decode(wrong)


def test_any_bytes_stand_for_some_row():
    rng = np.random.default_rng(0)
    for spec, options in (("LVQ4", {"n_means": 5}), ("PQ4x4fs", {}), ("RVQ3x4", {}), ("IVF3,PQ3", {})):
        index = inlay.from_spec(spec, 12, **options)
        index.train(gaussian(300, 12))
        codes = rng.integers(0, 256, (50, index.code_size), dtype=np.uint8)
        codes[:, :4] = index.encode(gaussian(50, 12))[:, :4]  # the list of the row, where there are lists
        assert index.decode(codes).shape == (50, 12)
    with pytest.raises(ValueError, match="list"):
        index.decode(np.full((1, index.code_size), 255, np.uint8))
