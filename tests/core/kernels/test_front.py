"""The front of a walk against lists and sets: which vertices come in, and in which order they are taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_rabitq as reference
from inlay.kernels import links
from tests.awkward import at_page_end, seeds

LEAST, GREATEST = 0, 2**32 - 1
places = st.integers(1, 20) | st.sampled_from([31, 32, 33, 64, 100])


def both(most, n, level):
    """A front and its model."""
    return links.WalkFront(most, n, level), reference.Front(most, n // 4 * 3)


def scores_of(rng, kind, n):
    """Estimates with many ties, with none, of either sign, or with some that are no number."""
    if kind == "ties":
        return rng.integers(-3, 4, n).astype(np.float32)
    scores = rng.standard_normal(n).astype(np.float32) * np.float32(10.0 ** rng.integers(-30, 30))
    if kind == "odd":
        scores[rng.random(n) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45])
    return scores


def popped(front, most=np.inf):
    """Everything that is left, in the order in which it is taken."""
    found = []
    while (vertex := front.pop(most)) is not None:
        found.append(vertex)
    return found


# The least and the greatest of some numbers


@given(n=st.integers(1, 100), spread=st.sampled_from([1, 2, 50, 2**32 - 1]), seed=seeds)
def test_the_first_of_the_least_and_of_the_greatest_is_found(level, n, spread, seed):
    numbers = np.random.default_rng(seed).integers(0, spread, n, np.uint32, endpoint=True)
    padded = np.empty(-(-n // 16) * 16, np.uint32)
    padded[:n] = numbers
    # What follows may be as good as the best, and is never it.
    for after in (numbers.min(), GREATEST):
        padded[n:] = after
        assert links.least(padded, n, level) == numbers.argmin()
    for after in (numbers.max(), LEAST):
        padded[n:] = after
        assert links.greatest(padded, n, level) == numbers.argmax()


@pytest.mark.parametrize("n", [1, 15, 16, 17, 48, 64])
def test_every_place_can_be_the_best(level, n):
    room = -(-n // 16) * 16
    for at in range(n):
        numbers = at_page_end(np.full(room, 2**31, np.uint32))
        numbers[at] -= 1
        assert links.least(numbers, n, level) == at
        numbers[at] += 2
        assert links.greatest(numbers, n, level) == at


# The front does what its model does


@given(
    most=places,
    n=st.sampled_from([1, 2, 4, 16, 64, 256, 1024]),
    kind=st.sampled_from(["ties", "gaussian", "odd"]),
    slots=st.sampled_from([1, 5, 30, 1000, 2**32 - 2]),
    seed=seeds,
)
def test_any_walk_is_that_of_the_model(level, most, n, kind, slots, seed):
    rng = np.random.default_rng(seed)
    front, model = both(most, n, level)
    assert front.worst == np.inf
    for _ in range(60):
        if rng.random() < 0.6:
            count = int(rng.integers(1, 9))
            scores = scores_of(rng, kind, count)
            for score, slot in zip(scores, rng.integers(0, slots, count, endpoint=True), strict=True):
                front.push(score, slot)
                model.push(float(score), int(slot))
                assert front.worst == model.worst
        else:
            limit = np.inf if rng.random() < 0.5 else float(scores_of(rng, "ties", 1)[0])
            assert front.pop(limit) == model.pop(limit)
    assert popped(front) == popped(model)
    assert front.pop() is None


@given(most=places, count=st.sampled_from([1, 31, 32, 63, 64]), n_slots=st.integers(0, 50), seed=seeds)
def test_links_are_taken_where_their_bit_is_set_and_they_are_vertices(level, most, count, n_slots, seed):
    rng = np.random.default_rng(seed)
    front, model = both(most, 1024, level)
    for _ in range(5):
        scores = rng.standard_normal(count).astype(np.float32)
        slots = rng.integers(0, 50, count).astype(np.uint32)
        slots[rng.random(count) < 0.2] = 2**32 - 1
        chosen = rng.random(count) < 0.7
        below = sum(1 << int(i) for i in np.flatnonzero(chosen))
        front.take(at_page_end(scores), below, at_page_end(slots), n_slots)
        for score, slot in zip(scores[chosen], slots[chosen], strict=True):
            if slot < n_slots:
                model.push(float(score), int(slot))
        assert front.pop() == model.pop(np.inf)
    assert popped(front) == popped(model)


# What that comes to


@given(n=st.integers(1, 200), slots=st.integers(1, 300), seed=seeds)
def test_where_there_is_room_every_vertex_comes_once_by_its_least_estimate(level, n, slots, seed):
    rng = np.random.default_rng(seed)
    front, least = links.WalkFront(slots, 1024, level), {}
    for score, slot in zip(rng.standard_normal(n).astype(np.float32), rng.integers(0, slots, n), strict=True):
        front.push(score, slot)
        least[int(slot)] = min(least.get(int(slot), np.inf), float(score))
    assert popped(front) == sorted(least.items(), key=lambda item: item[1])


@given(most=places, n=st.integers(1, 300), seed=seeds)
def test_where_there_is_none_the_best_are_kept(level, most, n, seed):
    scores = np.random.default_rng(seed).permutation(n).astype(np.float32)
    front = links.WalkFront(most, 1024, level)
    for slot, score in enumerate(scores):
        front.push(score, slot)
    best = np.argsort(scores)[:most]
    assert popped(front) == [(slot, scores[slot]) for slot in best]


def test_an_expanded_vertex_comes_in_no_more_even_where_its_place_was_taken(level):
    front = links.WalkFront(2, 16, level)
    front.push(5, 1)
    assert front.pop() == (1, 5)
    front.push(1, 1)
    assert front.pop() is None
    front.push(3, 2)
    assert front.worst == 5
    front.push(4, 3)  # in place of 1
    front.push(0, 1)
    assert front.worst == 4
    assert popped(front) == [(2, 3), (3, 4)]


def test_one_that_lost_its_place_comes_in_again(level):
    front = links.WalkFront(1, 16, level)
    front.push(5, 1)
    front.push(4, 2)
    front.push(3, 1)
    assert front.worst == 3
    assert popped(front) == [(1, 3)]


def test_as_good_as_the_worst_is_not_good_enough(level):
    front = links.WalkFront(1, 16, level)
    front.push(5, 1)
    front.push(5, 2)
    assert popped(front) == [(1, 5)]


def test_where_all_that_can_be_known_are_known_no_other_comes_in(level):
    front = links.WalkFront(64, 16, level)
    for slot in range(40):
        front.push(float(slot), slot)
    front.push(-1, 39)
    front.push(-2, 11)  # known, and comes in again
    assert [slot for slot, _ in popped(front)] == [11, *range(11)]


def test_vertices_beyond_a_limit_are_left(level):
    front = links.WalkFront(8, 16, level)
    for slot in range(5):
        front.push(float(slot), slot)
    assert popped(front, 2.0) == [(0, 0), (1, 1), (2, 2)]
    assert popped(front) == [(3, 3), (4, 4)]


# The limit


def test_nothing_learned_is_no_limit(level):
    front = links.WalkFront(8, 16, level)
    assert front.limit(1.0) == np.inf
    front.learn(2.0, 2.0)  # an entry
    assert front.limit(1.0) == np.inf


@given(n=st.integers(1, 200), mean=st.sampled_from([0, 0.5, -2]), seed=seeds)
def test_the_limit_lies_four_deviations_beyond_what_is_enough(level, n, mean, seed):
    rng = np.random.default_rng(seed)
    front, model = both(8, 16, level)
    for error in mean + rng.standard_normal(n).astype(np.float32):
        front.learn(10 + error, 10)
        model.learn(float(np.float32(10 + error)), 10)
    # A single error has no deviation but that of rounding its square.
    assert front.limit(3) == pytest.approx(model.limit(3), abs=1e-3 if n > 1 else 1e-2)


@given(n=st.integers(1, 300), error=st.floats(-1e3, 1e3, width=32, allow_subnormal=False))
def test_errors_that_are_all_the_same_have_a_limit(level, n, error):
    front = links.WalkFront(8, 16, level)
    for _ in range(n):
        front.learn(error, 0)
    limit = front.limit(3)
    if error:
        # What is left of a deviation is the rounding of n sums of squares.
        assert abs(limit - (3 - error)) <= 4 * abs(error) * (n * 2.0**-23) ** 0.5 + 1e-3
    else:
        assert limit == np.inf


# The door


def test_what_does_not_fit_never_reaches_a_kernel():
    numbers = np.zeros(32, np.uint32)
    for some, n in ((numbers, 0), (numbers, 33), (numbers[:31], 31)):
        for extreme in (links.least, links.greatest):
            with pytest.raises(ValueError, match="a multiple of 16 numbers"):
                extreme(some, n)
    for most, n in ((0, 16), (4, 0), (4, 12)):
        with pytest.raises(ValueError, match="a power of two of vertices"):
            links.WalkFront(most, n)
    front = links.WalkFront(4, 16)
    scores = np.zeros(65, np.float32)
    for count, below, slots in ((65, 1, 65), (4, 1, 3), (4, 16, 4)):
        with pytest.raises(ValueError, match="do not fit each other"):
            front.take(scores[:count], below, numbers.repeat(3)[:slots], 4)
