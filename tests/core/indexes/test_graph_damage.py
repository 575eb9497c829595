"""Links, entries and codes that only somebody who means harm would write: no crash, and every walk ends.

`test_damage.py` does this to every index, on files of few rows, which a search looks at one by one. Here
there are enough for walks. What may come of it: wrong answers of the right shape.
"""

import contextlib

import numpy as np
import pytest
from core.indexes.forms import Form
from core.indexes.graphs import low_rank

import inlay
from inlay import FormatError, file

N, DIM = 1200, 8
FORMS = (
    (Form("HNSW4"), "l2"),
    (Form("HNSW4,LVQ8"), "cosine"),
    (Form("HNSW4,LVQ4x8"), "ip"),
    (Form("QuIVer4"), "l2"),
    (Form("QuIVer4", {"vectors": "float16"}), "ip"),
    (Form("SymQG32"), "ip"),
    (Form("SymQG32", {"code": "pq4"}), "l2"),
)
NONE = 0xFFFFFFFF
pytestmark = pytest.mark.filterwarnings("ignore:two bits a dimension:UserWarning")


def with_dead(form, metric):
    index = form.untrained(DIM, metric)
    index.add(low_rank(N, DIM))
    index.remove(np.arange(0, N, 11))
    return index


@pytest.fixture(params=FORMS, ids=lambda pair: f"{pair[0]}-{pair[1]}", scope="module")
def contents(request):
    header, sections = file.read(with_dead(*request.param).to_bytes())
    return dict(header), dict(sections)


def opened(header, sections):
    """What anybody gets who maps such a file."""
    (family,) = (family for family in inlay.indexes.FAMILIES if family.__name__ == header["index"])
    return family._opened(*file.read(file.to_bytes(header, sections)))


@np.errstate(all="ignore")
def use(index):
    """Search, change, save; each result names a row that is there, once."""
    queries = low_rank(6, DIM, seed=1)
    there = set(index.ids.tolist())
    for k, effort in ((1, {"ef": 8}), (10, {}), (10, {"ef": 10, "rerank": 0}), (60, {"ef": N}), (N + 5, {})):
        for allowed in (None, index.ids[::2], index.ids[:3]):
            distances, ids = index.search(queries, k, allowed=allowed, **effort)
            assert distances.shape == ids.shape == (6, k)
            assert not np.isnan(distances).any()
            most = len(there if allowed is None else allowed)
            for line in ids:
                found = line[line >= 0].tolist()
                assert len(found) == len(set(found)) <= min(k, most)
                assert set(found) <= (there if allowed is None else set(allowed.tolist()))
    limits, _, ids = index.range_search(queries, 5.0)
    assert (np.diff(limits) >= 0).all()
    assert set(ids.tolist()) <= there
    assert all(isinstance(fault, str) for fault in index.check())
    rows = low_rank(300, DIM, seed=2)
    index.add(rows, 10**6 + np.arange(300))
    index.check()
    index.search(queries, 10, ef=12)
    index.remove(index.ids[::3])
    index.upsert(rows[:50], 10**6 + np.arange(50))
    index.compact()
    index.search(queries, 10, ef=12)
    assert index.contains(10**6 + np.arange(50)).all()
    # What was swept has no links to what is not there.
    assert not any("beyond" in fault for fault in index.check())
    index.remove(np.ones(len(index), bool))
    index.add(rows)
    assert index.check() == []


def links_that_lie(links):
    """Other links of the same shape."""
    rng = np.random.default_rng(0)
    n, degree = links.shape
    yield rng.integers(0, 2**32, links.shape, dtype=np.uint32)
    yield rng.integers(0, n, links.shape, dtype=np.uint32)
    # To new slots, as there are once rows are added.
    yield rng.integers(n - 5, n + 200, links.shape, dtype=np.uint32)
    for value in (0, 7, n - 1, n, n + 1, 2**31 - 1, 2**31, 2**32 - 2, NONE):
        yield np.full_like(links, value)
    yield np.repeat(np.arange(n, dtype=np.uint32)[:, None], degree, axis=1)
    yield np.repeat((np.arange(n, dtype=np.uint32)[:, None] + 1) % n, degree, axis=1)
    some = links.copy()
    some[:, 0] = NONE
    yield some
    some = links.copy()
    some[rng.random(links.shape) < 0.3] = n + 9
    yield some
    yield np.where(np.arange(n)[:, None] % 2, links, NONE).astype(np.uint32)


def test_links_that_lie_are_walked_over(contents):
    header, sections = contents
    for links in links_that_lie(sections["links"]):
        use(opened(header, {**sections, "links": links}))


def test_entries_that_lie_are_refused_or_walked_from(contents):
    header, sections = contents
    n = len(sections["links"])
    for entries in ([0], [n - 1] * 900, list(range(n)) * 2, [0] * 64 + [1]):
        use(opened(header, {**sections, "entries": np.array(entries, np.uint32)}))
    for entries in ([], [n], [NONE], [0, 2**31]):
        with pytest.raises(FormatError, match="section 'entries'"):
            opened(header, {**sections, "entries": np.array(entries, np.uint32)})


def test_header_fields_of_the_graph_that_lie_are_refused_or_harmless(contents):
    header, sections = contents
    n = len(sections["links"])
    for unmended in (0, 1, n):
        use(opened({**header, "graph": {"unmended": unmended}}, sections))
    for graph in (
        {},
        None,
        [],
        {"unmended": n + 1},
        {"unmended": -1},
        {"unmended": 2**70},
        {"unmended": "1"},
    ):
        with pytest.raises(FormatError, match=r"unmended|graph"):
            opened({**header, "graph": graph}, sections)
    for degree in (1, 3, 5, 513, 2**40, -4, None, 4.0):
        with pytest.raises(FormatError, match=r"degree|links"):
            opened({**header, "options": {**header["options"], "degree": degree}}, sections)
    for ef in (1, 2**40):
        use(opened({**header, "options": {**header["options"], "ef_construction": ef}}, sections))
    for ef in (0, 2**62):
        use(opened({**header, "effort": {"ef": ef, "rerank": ef}}, sections))


NOT_FINITE = (np.nan, -np.inf, 3e38)


def numbers_that_lie(array):
    """The floats of an array, or any bytes, replaced: all, every other row, or at random."""
    rng = np.random.default_rng(0)
    yield rng.integers(0, 256, array.nbytes, dtype=np.uint8).view(array.dtype).reshape(array.shape)
    if array.dtype.kind == "f":
        fills = [fill for fill in NOT_FINITE if array.dtype != np.float16 or fill != 3e38]
    else:
        fills = [0, 255]
    for fill in fills:
        yield np.full_like(array, fill)
        some = array.copy()
        some[::2] = fill
        yield some
    # Corrections that lie among the codes.
    if array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] % 4 == 0:
        for fill in NOT_FINITE:
            some = array.copy()
            some.view(np.float32)[::2] = fill
            yield some


def test_codes_and_corrections_that_lie_give_no_nan(contents):
    header, sections = contents
    for name, array in sections.items():
        if name in ("links", "entries", "ids"):
            continue
        for lie in numbers_that_lie(array):
            # Some are refused.
            with contextlib.suppress(FormatError):
                use(opened(header, {**sections, name: lie}))
