"""The specification of the graph: how it is walked, how links are chosen and made, in plain Python.

Distances are functions (slot, slots) -> float32 array, smaller is nearer. A walk and a choice depend on
nothing but comparisons of them, so with exact distances the package gives the same links and the same
results. `occlusion` is None where they are negated inner products. Links are rows of places: slots first,
then NONE.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from inlay.graph.build import FIRST, GROWTH, ROUNDS
from inlay.graph.graph import entries_of, sampled_entries

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]
Apart = Callable[[int, Sequence[int]], F32]
Found = list[tuple[float, int]]

NONE = 0xFFFFFFFF


def links_of(places: U32, slot: int) -> list[int]:
    """Return the links of a vertex; what is no vertex is no link."""
    return [int(to) for to in places[slot] if to < len(places)]


def reached(places: U32, start: int) -> set[int]:
    """Return all vertices to which links lead from `start`, itself among them."""
    met, waiting = {start}, [start]
    while waiting:
        new = set(links_of(places, waiting.pop())) - met
        met |= new
        waiting += new
    return met


def walk(
    places: U32, entries: Iterable[int], score: Callable[[Sequence[int]], F32], most: int
) -> tuple[Found, int, int]:
    """Return the `most` nearest that a walk finds, how many it expanded, how many it scored.

    Three vertices are under way: the next is chosen before what the links of the last one bring is scored,
    and that comes a step later.
    """
    n, seen, expanded = len(places), set[int](), set[int]()
    beam: Found = []
    scored = 0

    def unseen(slots: Iterable[int]) -> list[int]:
        fresh = []
        for slot in map(int, slots):
            if slot < n and slot not in seen:
                seen.add(slot)
                fresh.append(slot)
        return fresh

    def take(slots: list[int]) -> None:
        nonlocal scored
        scored += len(slots)
        for distance, slot in zip(score(slots).tolist() if slots else [], slots, strict=True):
            if distance == distance:  # not NaN
                insort(beam, (distance, slot))
        del beam[most:]

    take(unseen(entries))
    coming: int | None = None
    waiting: list[int] = []
    while True:
        fresh = [] if coming is None else unseen(places[coming])
        coming = next((slot for _, slot in beam if slot not in expanded), None)
        if coming is not None:
            expanded.add(coming)
        elif not fresh and not waiting:
            return beam, len(expanded), scored
        take(waiting)
        waiting = fresh


def shadows(distance: float, further: float, gap: float, occlusion: float | None) -> bool:
    """Return whether one at a distance hides one further away, with such a gap between the two."""
    if occlusion is None:
        return gap < further
    # What equals the vertex itself stands in the way of its equals alone.
    return bool(np.float32(occlusion) * max(gap, 0) <= max(further, 0)) if distance > 0 else gap <= 0


def choose(found: Found, degree: int, occlusion: float | None, apart: Apart) -> tuple[list[int], list[int]]:
    """Return (links that passed the diversity test, links that fill up) of what was found, nearest first."""
    if len(found) <= degree:
        return [slot for _, slot in found], []
    left = [(np.float32(distance), slot) for distance, slot in found]
    kept: list[int] = []
    skipped: Found = []
    while left and len(kept) < degree:
        distance, slot = left.pop(0)
        kept.append(slot)
        gaps = apart(slot, [other for _, other in left]) if left else []
        rest = []
        for candidate, gap in zip(left, gaps, strict=True):
            (skipped if shadows(distance, candidate[0], gap, occlusion) else rest).append(candidate)
        left = rest
    least = -np.inf if occlusion is None else 0
    fill = sorted((max(distance, least), slot) for distance, slot in skipped)
    return kept, [slot for _, slot in fill][: degree - len(kept)]


def chosen(found: Found, degree: int, occlusion: float | None, apart: Apart) -> list[int]:
    """Return the links of a vertex, of what was found, nearest first."""
    kept, fill = choose(found, degree, occlusion, apart)
    return kept + fill


def nearest(slot: int, others: Sequence[int], apart: Apart) -> Found:
    """Return (distance, slot) of others, nearest first."""
    return sorted(zip(apart(slot, others).tolist(), others, strict=True)) if len(others) else []


def put(places: U32, slot: int, links: Sequence[int]) -> None:
    places[slot] = NONE
    places[slot, : len(links)] = links


def link(
    places: U32, entries: U32, first: int, ef: int, occlusion: float | None, seed: int, apart: Apart
) -> tuple[U32, U32]:
    """Return (places, entries) of a graph whose vertices from `first` on were linked in rounds."""
    places = places.copy()
    n, degree = places.shape
    if first == n:
        return places, entries
    order = np.random.Generator(np.random.PCG64([seed, first])).permutation(n - first) + first
    if first == 0:
        entries = order[: entries_of(n)].astype(np.uint32)
    done = first
    while done < n:
        if done == 0:
            size = min(n, max(FIRST, len(entries)))
        else:
            size = min(n - done, max(1, min(done // GROWTH, n // ROUNDS)))
        members = order[done - first : done - first + size].tolist()
        before = places.copy()
        for slot in members:
            if done == 0:
                found = nearest(slot, [other for other in members if other != slot], apart)
            else:
                found = walk(before, entries, lambda slots, slot=slot: apart(slot, slots), ef)[0]
            put(places, slot, chosen(found, degree, occlusion, apart))
        offers: dict[int, list[int]] = {}
        for slot in sorted(members):
            for to in links_of(places, slot):
                offers.setdefault(to, []).append(slot)
        for to, offered in offers.items():
            has = links_of(places, to)
            wanted = has + [slot for slot in offered if slot not in has]
            if len(wanted) > degree:
                wanted = chosen(nearest(to, wanted, apart), degree, occlusion, apart)
            put(places, to, wanted)
        done += size
    if entries_of(n) >= 2 * len(entries):
        entries = sampled_entries(np.arange(n, dtype=np.uint32), seed)
    return places, entries


def heal(places: U32, alive: npt.NDArray[np.bool_], occlusion: float | None, apart: Apart) -> U32:
    """Return places without links from live vertices to dead ones, before `mend` looks at them."""
    healed = places.copy()
    for slot in np.flatnonzero(alive).tolist():
        links = links_of(places, slot)
        if all(alive[links]):
            continue
        candidates: list[int] = []
        for to in links:
            candidates += [to] if alive[to] else links_of(places, to)
        wanted = {other for other in candidates if alive[other] and other != slot}
        found = nearest(slot, sorted(wanted), apart)
        put(healed, slot, chosen(found, places.shape[1], occlusion, apart))
    return healed
