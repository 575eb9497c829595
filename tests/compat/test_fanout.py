import numpy as np
import pytest

from compat.fanout import FAMILIES, cost, latencies, table


def test_one_after_the_other_the_slowest_shard_counts():
    service = np.random.default_rng(1).exponential(1.0, 50_000)
    for shards in (1, 2, 8):
        expected = sum(1 / i for i in range(1, shards + 1))  # of so many exponential times the largest
        assert latencies(service, shards=shards).mean() == pytest.approx(expected, rel=0.03)
    assert latencies(service, shards=2, overhead=5.0).mean() == pytest.approx(6.5, rel=0.02)


def test_a_queue_is_that_of_theory():
    service = np.random.default_rng(2).exponential(1.0, 50_000)
    took = latencies(service, shards=1, rate=0.5, queries=100_000)
    assert took.mean() == pytest.approx(1 / (1 - 0.5), rel=0.05)  # M/M/1
    relieved = latencies(service, shards=1, replicas=2, rate=0.5, queries=100_000)
    assert 1.0 < relieved.mean() < took.mean()


def test_shards_wait_for_cores():
    took = latencies(np.ones(10), shards=4, cores=2, queries=10)
    np.testing.assert_array_equal(took, np.full(10, 2.0))


def test_costs_grow_with_what_is_stored():
    for family in FAMILIES:
        small, large = (cost(family, n, 384) for n in (10**6, 10**9))
        assert large.shards > small.shards == 1
        assert large.memory == pytest.approx(1000 * small.memory)
        assert large.disk == pytest.approx(1000 * small.disk)
        assert large.build > small.build
    assert len(table((10**6,), (384,))) == 2 + len(FAMILIES)
