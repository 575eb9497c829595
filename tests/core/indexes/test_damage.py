"""Damaged and lying files of indexes: a `FormatError`, or an index that is whole in itself; never a crash.

`test_file_damage.py` damages the container. Here its checksums are right, and what it says about an index is
not, as only somebody who means harm would write it. What may come of it: wrong answers of the right shape.
"""

import contextlib
import copy
import json
import math
import resource
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from core.indexes.forms import gaussian

import inlay
from inlay import FormatError, file

GOLDEN = Path(__file__).parents[2] / "formats" / "v1"
NAMES = sorted(json.loads((GOLDEN / "answers.json").read_text()))
QUERIES = gaussian(9, 20, seed=3)
NOT_FINITE = {"f4": (np.nan, np.inf, -np.inf, 3e38), "f8": (np.nan, np.inf, 1e308)}


def sealed(header, sections):
    """A file with right checksums, whatever it says."""
    return file.to_bytes(header, sections)


def opened(data):
    """Open without verifying, as a mapped file is, and use everything; FormatError is the only refusal."""
    header, sections = file.read(data)
    families = [family for family in inlay.indexes.FAMILIES if family.__name__ == header.get("index")]
    if not families:
        raise FormatError("no family")
    (family,) = families
    index = family._opened(header, sections)
    use(index)
    return index


def use(index):
    n = len(index)
    queries = QUERIES if index.dim == 20 else np.zeros((9, index.dim), np.float32)
    for effort in ({}, *({name: value} for name in type(index).EFFORT for value in (0, 1000))):
        for k in (1, 7, n + 3):
            distances, ids = index.search(queries, k, **effort)
            assert distances.shape == ids.shape == (9, k)
    mask = np.arange(n) % 2 == 0
    index.search(queries, 5, allowed=mask)
    limits, _, _ = index.range_search(queries, 1.0)
    assert (np.diff(limits) >= 0).all()
    ids = index.ids
    assert ids.shape == (n,)
    index.contains([0, 5, -1, 2**63 - 1])
    if n and len(np.unique(ids)) == n and -1 not in ids:
        assert index.reconstruct(ids).shape == (n, index.dim)
    assert index.nbytes >= 0
    assert type(index).from_bytes(index.to_bytes()).to_bytes() == index.to_bytes()
    repr(index)
    change(copy.copy(index))


def change(index):
    n = len(index)
    # Where something watches for drift, enough rows, far enough away, that it acts on what the file said.
    n_rows = 1100 if isinstance(index, inlay.LVQIndex) else 60
    rows = 50 + gaussian(n_rows, index.dim) if index.dim < 100 else np.zeros((1, index.dim))
    index.remove(index.ids[: n // 3])
    index.remove(np.arange(len(index)) % 5 == 1)
    left = len(index)
    index.add(rows, 3 * 2**50 + np.arange(len(rows)))
    assert len(index) == left + len(rows)
    index.upsert(rows[:2], [3, 2**40])
    index.search(rows[:3], 4)
    index.compact()
    index.remove(np.ones(len(index), bool))
    assert len(index) == 0
    index.reset()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def contents(name):
    header, sections = file.read((GOLDEN / name).read_bytes())
    return dict(header), dict(sections)


@pytest.fixture(autouse=True)
def bounded_memory():
    """A lie about a size must not make us take the memory: 1 GiB beyond what there is would be an error."""
    with open("/proc/self/statm") as stat:
        used = int(stat.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(contents):
    """Open and use a file; the words with which it was refused, None when it was not."""
    try:
        opened(sealed(*contents))
    except FormatError as error:
        return str(error)
    return None


def test_the_undamaged_file_is_opened_and_used(name):
    opened((GOLDEN / name).read_bytes())


def test_every_cut_is_refused(name, tmp_path):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / "cut.inlay"
    for length in [*range(0, 200, 7), *range(200, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        for mmap in (True, False):
            with pytest.raises(FormatError, match=r"cut\.inlay"):
                inlay.load(path, mmap=mmap)


def test_a_flipped_bit_anywhere_is_refused_or_found_by_verify(name, tmp_path):
    data = (GOLDEN / name).read_bytes()
    offsets = file.read(data)[1].offsets.values()
    path = tmp_path / "flip.inlay"
    rng = np.random.default_rng(0)
    for position in [place for place in (*offsets, *rng.integers(0, len(data), 60)) if place < len(data)]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        for check in (lambda: inlay.load(path, mmap=False), lambda: file.verify(path)):
            with pytest.raises(FormatError, match=r"flip\.inlay"):
                check()
        # A mapped file is not read: what it holds may be wrong, but no worse.
        with contextlib.suppress(FormatError):
            use(inlay.load(path))


LIES = (None, True, -1, 0, 1, 7, 36, 38, 4096, 2**31, 2**31 - 1, 2**63, 2**64, 10**40, -(2**63), 1.5, 1e308)
LIES += ("", "l2", [], {})
# What each file says in its header, but for the spec, which nothing depends on.
FIELDS = [(name, field) for name in NAMES for field in file.read(GOLDEN / name)[0] if field != "spec"]


def lies_about(value):
    """What may stand in the place of a header's value: anything, also deep within it."""
    yield from LIES
    if isinstance(value, dict):
        yield {**value, "unknown": 1}
        for key, inner in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            yield from ({**value, key: lie} for lie in lies_about(inner))
    if isinstance(value, list):
        yield from (value[:-1], [*value, {}])
        for at, inner in enumerate(value):
            yield from ([*value[:at], lie, *value[at + 1 :]] for lie in lies_about(inner))


@pytest.mark.parametrize(("name", "field"), FIELDS, indirect=["name"])
def test_a_header_field_that_lies_is_refused_or_harmless(contents, field):
    header, sections = contents
    said = refusal(({key: value for key, value in header.items() if key != field}, sections))
    assert said or field == "dead"  # without it there are none
    for lie in lies_about(header[field]):
        said = refusal(({**header, field: lie}, sections))
        assert said is None or said.startswith(("<bytes>", "no family"))


def reshaped(array):
    """The same numbers in other shapes and dtypes."""
    yield from (array[:-1], np.concatenate([array, array[:1]]), array[:0], array[None], np.ravel(array)[:1])
    with np.errstate(over="ignore"):
        others = [array.astype(code) for code in ("u1", "i8", "f8", "f2")]
    yield from others
    if array.ndim == 2:
        yield from (array[:, :-1], array.T, array.ravel())


def test_a_section_of_another_shape_is_refused(contents):
    header, sections = contents
    for name, array in sections.items():
        for wrong in reshaped(array):
            if (wrong.shape, wrong.dtype) != (array.shape, array.dtype):
                said = refusal((header, {**sections, name: wrong}))
                # Any number of means up to 256 is as good as another, and any of entries.
                assert f"section '{name}'" in said if said else name in ("means", "entries")
        without = {other: section for other, section in sections.items() if other != name}
        said = refusal((header, without))
        # Without ids they run on from the base.
        assert f"section '{name}': the file has no such section" in said if said else name == "ids"


def refilled(array, rng):
    """Other numbers of the same shape and dtype."""
    yield np.zeros_like(array)
    yield rng.integers(0, 256, array.nbytes, dtype=np.uint8).view(array.dtype).reshape(array.shape)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        yield from (np.full_like(array, value) for value in (limits.min, limits.max, 1))
    for value in NOT_FINITE.get(file._code(array), ()):
        one = array.copy()
        one[:1] = value
        yield from (np.full_like(array, value), one)


def test_a_section_with_other_contents_is_refused_or_harmless(contents):
    header, sections = contents
    rng = np.random.default_rng(0)
    for name, array in sections.items():
        for fill in refilled(array, rng):
            with np.errstate(all="ignore"):
                said = refusal((header, {**sections, name: fill}))
            assert said is None or f"section '{name}'" in said


def test_damage_to_a_mapped_file_does_not_reach_another(tmp_path):
    path, other = tmp_path / "mapped.inlay", tmp_path / "other.inlay"
    rows = gaussian(5000, 20)
    made = inlay.FlatIndex(20)
    made.add(rows)
    made.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40
    path.write_bytes(data)
    for change in (lambda index: None, lambda index: index.add(rows[:3]), lambda index: index.remove([4999])):
        index = inlay.load(path)  # 400 kB of rows: not read before they are searched
        change(index)
        for call in (partial(index.save, other), index.to_bytes, partial(copy.copy, index)):
            with pytest.raises(FormatError, match=r"mapped\.inlay, section 'rows'.*checksum"):
                call()
    assert not other.exists()
    made.save(path)
    inlay.load(path).save(other)
    assert other.read_bytes() == path.read_bytes()


def test_a_row_whose_last_score_is_no_number_is_not_found():
    rows = gaussian(300, 20)
    index = inlay.LVQIndex(20, vectors="float32")
    index.add(rows)
    header, sections = file.read(index.to_bytes())
    sections = {name: np.array(array) for name, array in sections.items()}
    sections["rows"][7], sections["rows"][8] = np.nan, -np.float32(np.nan)
    index = opened(sealed(header, sections))
    for k in (1, 10, 300):
        distances, ids = index.search(rows[:20], k, rerank=300)
        assert not np.isin([7, 8], ids).any()
        assert (np.sort(distances) == distances).all()
        assert (ids[:, : min(k, 298)] >= 0).all()
        assert (ids[:, 298:] == -1).all()


def test_ids_that_lie_are_refused_or_harmless(contents):
    header, sections = contents
    header.pop("dead", None)
    n = header["rows"]
    for place, lie in ((0, 1), (n - 1, 3), (3, -1), (0, 2**63 - 1), (0, -(2**63))) if n else ():
        ids = np.arange(n, dtype=np.int64)[::-1].copy()
        ids[place] = lie
        assert refusal(({**header, "next_id": n}, {**sections, "ids": ids})) is None


def test_a_next_id_that_lies_gives_no_id_twice(contents):
    header, sections = contents
    header.pop("dead", None)
    n = header["rows"]
    runs_on = {name: array for name, array in sections.items() if name != "ids"}
    backwards = {**sections, "ids": np.arange(n, dtype=np.int64)[::-1].copy()}
    for next_id in (0, n // 2):
        for stored in (runs_on, backwards):
            index = opened(sealed({**header, "base": 0, "next_id": next_id}, stored))
            index.add(gaussian(20, index.dim))
            assert len(np.unique(index.ids)) == n + 20


def test_a_header_that_promises_memory_does_not_get_it():
    for options in ({"n_means": 256}, {"bits": 8}):
        header, sections = file.read(inlay.LVQIndex(8, **options).to_bytes())
        for lie in ({"rows": 2**31 - 1}, {"dim": 65536, "rows": 2**30}, {"dim": 65536}):
            said = refusal(({**header, **lie}, sections))
            assert said is None or said.startswith("<bytes>")
    flat = file.read(inlay.FlatIndex(8).to_bytes())[0]
    for dim in (9, 2**31, 2**62, 2**63, 10**30):
        assert refusal(({**flat, "dim": dim}, {"rows": np.empty((0, 8), np.float32)}))


def test_a_resealed_container_is_what_the_reader_sees():
    """The seal of these tests is the format's own, as written down in `inlay.file`."""
    data = inlay.FlatIndex(3).to_bytes()
    magic, version, crc, length = struct.unpack_from("<8sIIQ", data)
    text = data[24 : 24 + length]
    assert (magic, version) == (file.MAGIC, file.VERSION)
    assert crc == zlib.crc32(text, zlib.crc32(struct.pack("<IQ", version, length)))
    assert math.ceil((24 + length) / 64) * 64 <= len(data)
