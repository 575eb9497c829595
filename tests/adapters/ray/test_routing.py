import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ray", reason="the Ray adapter needs Ray: pip install 'inlay[ray]'")

from inlay import FormatError
from inlay.adapters.ray import routing
from inlay.adapters.ray.order import ORDER, Order
from inlay.adapters.ray.routing import BUCKETS, Map, even, load, save


def a_map(**changes):
    given = {"name": "c", "metric": "l2", "spec": "auto", "dim": 4, "full_text": False, "replicas": 1}
    return Map(**{**given, "shards": (0, 1), "owners": even((0, 1)), "next_shard": 2, **changes})


def test_the_bucket_of_an_id_never_changes():
    assert routing.buckets_of(["a", "id7", "ünï", ""]).tolist() == [15939, 8721, 2282, 0]


def test_ids_fall_evenly():
    counts = np.bincount(routing.buckets_of([f"id{i}" for i in range(200_000)]) * 8 // BUCKETS)
    assert counts.min() > 0.97 * 25_000


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_owners_are_even_and_move_as_little_as_can_be(sizes):
    owners = even(range(sizes[0]))
    for n in sizes[1:]:
        moved = even(range(n), owners)
        counts = np.bincount(moved, minlength=n)
        assert counts.max() - counts.min() <= 1
        before = np.bincount(owners, minlength=max(n, max(owners) + 1))
        leave = sum(max(0, int(before[i]) - (int(counts[i]) if i < n else 0)) for i in range(len(before)))
        assert (np.array(owners) != np.array(moved)).sum() == leave
        owners = moved


def test_a_map_comes_back_as_it_was(tmp_path):
    map = a_map(target=even((1, 2)), shards=(0, 1, 2), unsettled=(0, 2), version=7)
    save(map, tmp_path)
    assert load(tmp_path) == map


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"owners": [[0, 5]]},
        {"owners": [[7, BUCKETS]]},
        {"owners": [[0, 10**12]]},
        {"shards": []},
        {"shards": "x"},
        {"replicas": 0},
        {"version": -1},
        {"dim": "4"},
        {"more": 1},
    ],
)
def test_a_map_that_cannot_be_true_is_a_format_error(tmp_path, change):
    save(a_map(), tmp_path)
    held = json.loads((tmp_path / routing.MAP).read_text())
    (tmp_path / routing.MAP).write_text(json.dumps({**held, **change}))
    with pytest.raises(FormatError):
        load(tmp_path)
    (tmp_path / routing.MAP).write_text("{" * 100_000)
    with pytest.raises(FormatError):
        load(tmp_path)


def test_keys_are_kept_by_row_and_those_of_a_failed_write_are_replaced(tmp_path):
    order = Order(tmp_path)
    order.write(0, np.array([10, 20, 30]))
    order.write(1, np.array([21, 31, 41]))
    assert order.up_to(3).tolist() == [10, 21, 31]
    assert order.is_ascending(4)
    order.write(4, np.array([5]))
    assert not order.is_ascending(5)
    again = Order(tmp_path)
    assert again.up_to(5).tolist() == [10, 21, 31, 41, 5]
    assert not again.is_ascending(5)
    with pytest.raises(FormatError, match="no place in the order"):
        again.up_to(6)
    (tmp_path / ORDER).unlink()
    with pytest.raises(FormatError):
        Order(tmp_path).up_to(1)
