import io
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inlay import file
from inlay.file import FormatError, read, to_bytes, verify, write

GOLDEN = Path(__file__).parents[1] / "formats" / "v1" / "container.inlay"
GOLDEN_HEADER = {
    "kind": "golden",
    "counts": {"rows": 3, "bytes": 2**40},
    "list": [True, False, None, -1, 0.5, "grün \N{GRINNING FACE}"],
}


def golden_sections() -> dict[str, np.ndarray]:
    counting = {code: np.arange(5).astype(code) for code in file.DTYPES}
    return {
        **counting,
        "matrix": (np.arange(6, dtype="f4") / 4 - 1).reshape(2, 3),
        "nothing": np.empty((0, 7), "f4"),
        "scalar": np.array(-5, "i8"),
    }


SMALL_HEADER = {"spec": "Flat", "count": 3}
SMALL_SECTIONS = {"ids": np.arange(3), "rows": np.ones((3, 5), "f4"), "tail": np.arange(7, dtype="u1")}
SMALL = to_bytes(SMALL_HEADER, SMALL_SECTIONS)

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
headers = st.dictionaries(st.text(), plain_values, max_size=4)
arrays = hnp.arrays(
    dtype=st.sampled_from([order + code for code in file.DTYPES for order in "<>"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
sections_of_files = st.dictionaries(st.text(min_size=1), arrays, max_size=4)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("<")
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
        assert not array.size or found[name].ctypes.data % file.ALIGNMENT == 0


@given(header=headers, sections=sections_of_files)
def test_bytes_come_back_as_they_were_given(header, sections):
    again, found = read(to_bytes(header, sections))
    assert again == header
    assert list(again) == list(header)
    assert_same(found, sections)


@pytest.mark.parametrize("mmap", [True, False])
@settings(max_examples=30)
@given(header=headers, sections=sections_of_files)
def test_files_come_back_as_they_were_given(tmp_path_factory, mmap, header, sections):
    path = tmp_path_factory.getbasetemp() / "round-trip.inlay"
    write(path, header, sections)
    verify(path)
    again, found = read(path, mmap=mmap)
    assert again == header
    assert_same(found, sections)
    assert all(array.flags.writeable is not mmap for array in found.values())


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "big-endian", "read-only"])
def test_any_memory_layout_is_written_alike_and_not_copied_as_a_whole(tmp_path, layout):
    plain = np.arange(6 << 20, dtype="f4").reshape(3 << 10, 2 << 10)
    given_array = {
        "transposed": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "reversed": lambda: plain[::-1].copy()[::-1],
        "big-endian": lambda: plain.astype(">f4"),
        "read-only": lambda: np.frombuffer(plain.tobytes(), "f4").reshape(plain.shape),
    }[layout]()
    tracemalloc.start()
    write(tmp_path / "a.inlay", {}, {"rows": given_array})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < plain.nbytes / 4
    write(tmp_path / "b.inlay", {}, {"rows": plain})
    assert (tmp_path / "a.inlay").read_bytes() == (tmp_path / "b.inlay").read_bytes()


def test_the_golden_file_opens_to_known_arrays():
    for opened in (read(GOLDEN), read(GOLDEN, mmap=False), read(GOLDEN.read_bytes())):
        assert opened[0] == GOLDEN_HEADER
        assert_same(opened[1], golden_sections())
    verify(GOLDEN)


def test_the_golden_file_is_written_byte_for_byte():
    assert to_bytes(GOLDEN_HEADER, golden_sections()) == GOLDEN.read_bytes()


def test_values_that_json_does_not_know_are_stored_as_those_it_does():
    header, _ = read(to_bytes({"a": np.int64(1), "b": np.float32(0.5), "c": (1, np.bool_(True))}, {}))
    assert header == {"a": 1, "b": 0.5, "c": [1, True]}


# Sources and targets


def test_a_file_without_sections_or_fields_is_valid():
    header, sections = read(to_bytes({}, {}))
    assert (header, sections) == ({}, {})


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, "u1")])
def test_any_bytes_like_source_is_read_into_memory_of_its_own(wrap):
    _, sections = read(wrap(SMALL))
    assert_same(sections, SMALL_SECTIONS)
    sections["rows"][:] = 0
    assert to_bytes(SMALL_HEADER, SMALL_SECTIONS) == SMALL


class Trickle(io.RawIOBase):
    """A file that cannot seek, moves at most 3 bytes at a time, and fails after `limit` bytes written."""

    def __init__(self, data: bytes = b"", limit: int = 1 << 30) -> None:
        self.source, self.written, self.limit = io.BytesIO(data), bytearray(), limit

    def readable(self):
        return True

    def writable(self):
        return True

    def readinto(self, buffer):
        return self.source.readinto(memoryview(buffer)[:3])

    def write(self, data):
        if len(self.written) >= self.limit:
            raise OSError("no space left")
        self.written += bytes(data[:3])
        return min(len(data), 3)


def test_file_objects_are_read_and_written_from_where_they_stand(tmp_path):
    path = tmp_path / "embedded"
    with open(path, "wb") as out:
        out.write(b"before")
        write(out, SMALL_HEADER, SMALL_SECTIONS)
    assert path.read_bytes() == b"before" + SMALL
    with open(path, "rb") as stream:
        stream.seek(6)
        assert_same(read(stream)[1], SMALL_SECTIONS)


def test_streams_that_move_few_bytes_at_a_time_are_read_and_written_whole():
    out = Trickle()
    write(out, SMALL_HEADER, SMALL_SECTIONS)
    assert bytes(out.written) == SMALL
    assert_same(read(Trickle(SMALL))[1], SMALL_SECTIONS)
    with pytest.raises(FormatError):
        read(Trickle(SMALL[:-1]))


def test_a_pipe_is_read_as_far_as_the_file_goes_and_may_stay_open(tmp_path):
    for data, sections in ((SMALL, SMALL_SECTIONS), (to_bytes({}, {}), {})):
        receiver, sender = os.pipe()
        os.write(sender, data + b"what comes next")
        with open(receiver, "rb", buffering=0) as stream:
            assert_same(read(stream)[1], sections)
            assert stream.read(99) == b"what comes next"
        os.close(sender)


@pytest.mark.parametrize("start", [b"", b"foreign, and no word of when it ends", SMALL[:20], SMALL[:100]])
def test_a_pipe_that_brings_no_file_is_refused(start):
    receiver, sender = os.pipe()
    os.write(sender, start)
    os.close(sender)
    with open(receiver, "rb") as stream, pytest.raises(FormatError):
        read(stream)


def test_a_pipe_with_a_foreign_file_is_refused_before_it_ends():
    receiver, sender = os.pipe()
    os.write(sender, b"foreign, and no word of when it ends")
    with open(receiver, "rb") as stream, pytest.raises(FormatError, match="not an Inlay file"):
        read(stream)
    os.close(sender)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_path_of_a_pipe_is_refused_and_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for call in (read, verify, lambda path: read(path, mmap=False)):
        with pytest.raises(FormatError, match="a pipe or a device"):
            call(tmp_path / "pipe")
    with pytest.raises(FormatError, match="a pipe or a device"):
        read(os.devnull)


@pytest.mark.parametrize("target", [io.StringIO(), 3, None, b"name"])
def test_a_target_that_takes_no_bytes_is_a_type_error(target):
    with pytest.raises(TypeError, match="target"):
        write(target, {}, {})


@pytest.mark.parametrize("source", [io.StringIO("x"), 3, None])
def test_a_source_that_gives_no_bytes_is_a_type_error(source):
    with pytest.raises(TypeError, match=r"source must|open it with mode"):
        read(source)


def test_paths_that_cannot_be_files_fail_as_open_does(tmp_path):
    for call in (read, verify):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            call(tmp_path)
    with pytest.raises(IsADirectoryError):
        write(tmp_path, {}, {})
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "missing" / "file", {}, {})
    assert list(tmp_path.iterdir()) == []


# Replacing a file


@pytest.fixture
def old(tmp_path):
    path = tmp_path / ("x" * 250)
    write(path, {"version": "old"}, SMALL_SECTIONS)
    return path


@pytest.mark.parametrize("name", ["replace", "fsync", "chmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(old, monkeypatch, name):
    def fail(*args, **kwargs):
        raise OSError("no space left")

    before = old.read_bytes()
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="no space left"):
        write(old, {"version": "new"}, SMALL_SECTIONS)
    monkeypatch.undo()
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interruption_amid_the_arrays_leaves_the_old_file_and_nothing_else(old, monkeypatch, error):
    pieces, calls = file._pieces, []

    def stop(array):
        calls.append(array)
        if len(calls) > 4:  # three sections for the checksums, one written
            raise error
        return pieces(array)

    before = old.read_bytes()
    monkeypatch.setattr(file, "_pieces", stop)
    with pytest.raises(error):
        write(old, {"version": "new"}, SMALL_SECTIONS)
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file(old, name):
    before = old.read_bytes()
    script = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from inlay.file import write\n"
        f"os.{name} = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write(sys.argv[1], {'version': 'new'}, {'rows': np.zeros(1000)})\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, old], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert old.read_bytes() == before
    write(old, {"version": "newer"}, SMALL_SECTIONS)
    assert read(old)[0] == {"version": "newer"}


def test_a_failing_file_object_raises_its_own_error():
    for limit in range(0, len(SMALL), 30):
        with pytest.raises(OSError, match="no space left"):
            write(Trickle(limit=limit), SMALL_HEADER, SMALL_SECTIONS)


def test_the_new_contents_are_on_the_disk_before_the_name_changes(old, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def note(*args, real=real, name=name):
            events.append((name, stat.S_ISDIR(os.fstat(args[0]).st_mode) if name == "fsync" else None))
            return real(*args)

        monkeypatch.setattr(os, name, note)
    write(old, {}, SMALL_SECTIONS)
    assert events == [("fsync", False), ("replace", None), ("fsync", True)]


def test_arrays_of_a_replaced_or_removed_file_stay_valid(old):
    _, sections = read(old)
    write(old, {}, {"other": np.zeros(1000)})
    os.unlink(old)
    assert_same(sections, SMALL_SECTIONS)


def test_the_mode_of_a_replaced_file_and_a_symbolic_link_are_kept(old):
    os.chmod(old, 0o640)
    link = old.parent / "link"
    link.symlink_to(old)
    write(link, {"version": "new"}, {})
    assert link.is_symlink()
    assert read(old)[0] == {"version": "new"}
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


# What cannot be stored


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"a": float("nan")}, ValueError),
        ({"a": [1, np.float32("inf")]}, ValueError),
        ({"a": {1: 2}}, TypeError),
        ({"a": b"bytes"}, TypeError),
        ({"a": {1, 2}}, TypeError),
        ({"a": "x" * (1 << 20)}, ValueError),
        ([("a", 1)], TypeError),
    ],
)
def test_a_header_that_would_not_come_back_is_refused_before_anything_is_written(tmp_path, header, error):
    with pytest.raises(error, match="header"):
        write(tmp_path / "file", header, {})
    assert list(tmp_path.iterdir()) == []


def test_a_header_may_be_nested_16_deep_and_no_deeper():
    deep: dict[str, object] = {}
    for _ in range(16):
        deep = {"a": deep}
    assert read(to_bytes(deep, {}))[0] == deep
    with pytest.raises(ValueError, match="16 deep"):
        to_bytes({"a": deep}, {})


@pytest.mark.parametrize(
    "sections",
    [
        {"a": [1, 2]},
        {"a": np.array([None])},
        {"a": np.array(["text"])},
        {"a": np.array([True])},
        {"a": np.array([1j])},
        {"a": np.array(["2020-01-01"], "M8[D]")},
        {"a": np.zeros(2, [("x", "f4")])},
        {"": np.zeros(2)},
        {3: np.zeros(2)},
    ],
)
def test_an_array_that_the_format_does_not_know_is_refused_before_anything_is_written(tmp_path, sections):
    with pytest.raises(TypeError, match="section"):
        write(tmp_path / "file", {}, sections)
    assert list(tmp_path.iterdir()) == []


def test_reading_takes_the_memory_of_the_arrays_and_mapping_next_to_none(tmp_path):
    path = tmp_path / "big.inlay"
    rows = np.zeros((1 << 14, 128), "f4")
    write(path, {}, {"rows": rows})
    for mmap, limit in ((False, rows.nbytes + (3 << 20)), (True, 100_000)):
        tracemalloc.start()
        opened = read(path, mmap=mmap)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < limit
        assert opened[1]["rows"].nbytes == rows.nbytes
