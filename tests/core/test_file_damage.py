"""Damaged, lying and foreign files: each is refused as what it is, before it can do harm."""

import io
import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from inlay import file
from inlay.file import FormatError, read, to_bytes, verify

SMALL = to_bytes(
    {"spec": "Flat", "count": 3},
    {"ids": np.arange(3), "rows": np.ones((3, 5), "f4"), "tail": np.arange(7, dtype="u1")},
)


def resealed(document: object, payload: bytes = b"") -> bytes:
    """A file whose header says what it likes and whose checksum is right."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    crc = zlib.crc32(text, zlib.crc32(struct.pack("<IQ", 1, len(text))))
    head = struct.pack("<8sIIQ", file.MAGIC, 1, crc, len(text)) + text
    return head + bytes(-len(head) % 64) + payload


def listing(**changes: object) -> dict[str, object]:
    """A document with one section, 16 bytes of float32, of which some fields lie."""
    row = {"name": "rows", "dtype": "f4", "shape": [2, 2], "offset": 0, "crc32": zlib.crc32(bytes(16))}
    row |= changes
    return {"header": {}, "sections": [{key: value for key, value in row.items() if value is not ...}]}


@pytest.mark.parametrize("mmap", [True, False])
def test_every_truncation_is_refused(tmp_path, mmap):
    path = tmp_path / "cut.inlay"
    for length in range(len(SMALL)):
        path.write_bytes(SMALL[:length])
        with pytest.raises(FormatError, match=r"cut\.inlay"):
            read(path, mmap=mmap)


def test_every_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "flip.inlay"
    for position in range(len(SMALL)):
        for bit in range(8):
            damaged = bytearray(SMALL)
            damaged[position] ^= 1 << bit
            with pytest.raises(FormatError, match=r"<bytes>.*byte \d+"):
                read(damaged)
        damaged[position] = SMALL[position] ^ 0xFF
        path.write_bytes(damaged)
        with pytest.raises(FormatError):
            read(path, mmap=False)
        with pytest.raises(FormatError):
            verify(path)


def test_bytes_after_the_end_are_refused(tmp_path):
    path = tmp_path / "long.inlay"
    path.write_bytes(SMALL + b"\0")
    for call in (read, verify):
        with pytest.raises(FormatError, match="1 bytes after its end"):
            call(path)


def test_a_damaged_array_is_named_with_its_file_and_place(tmp_path):
    path = tmp_path / "bad.inlay"
    offset = read(SMALL)[1].offsets["rows"]
    path.write_bytes(SMALL[:offset] + b"\xff" + SMALL[offset + 1 :])
    with pytest.raises(FormatError) as caught:
        verify(path)
    assert (caught.value.file, caught.value.section, caught.value.offset) == (str(path), "rows", offset)
    assert str(caught.value).startswith(f"{path}, section 'rows', byte {offset}: ")
    with pytest.raises(FormatError, match=r"section 'rows'.*checksum"):
        read(path)


def test_mapping_verifies_small_arrays_at_once_and_large_ones_when_asked(tmp_path):
    path = tmp_path / "large.inlay"
    data = to_bytes({}, {"small": np.arange(9), "large": np.arange(20_000), "last": np.arange(5)})
    offsets = read(data)[1].offsets
    for name in offsets:
        path.write_bytes(data[: offsets[name]] + b"\xff" + data[offsets[name] + 1 :])
        if name == "large":
            sections = read(path)[1]
            assert list(sections.unverified) == ["large"]
            with pytest.raises(FormatError, match=rf"section 'large', byte {offsets[name]}: .*checksum"):
                sections.verify()
        else:
            with pytest.raises(FormatError, match=f"section '{name}', byte {offsets[name]}: .*checksum"):
                read(path)
    path.write_bytes(data)
    sections = read(path)[1]
    sections.verify()
    assert not sections.unverified


def test_a_file_that_shrinks_while_it_is_read_is_refused():
    class Shrunk(io.BytesIO):
        def read(self, size=-1):
            return b"" if self.tell() > 300 else super().read(min(size, 100))

    with pytest.raises(FormatError, match="ended here"):
        read(Shrunk(SMALL))


def listings(*rows: dict[str, object]) -> dict[str, object]:
    """A document with several sections, each like that of `listing` but for some fields."""
    return {"header": {}, "sections": [listing(**row)["sections"][0] for row in rows]}


NONE = b""  # no bytes of arrays
ONE = bytes(16)  # those of the section of `listing`
LIES = {  # what the header says, the bytes of arrays there are, what is said about it
    "a shape beyond the end": (listing(shape=[2, 3]), ONE, "'rows'.*has only"),
    "a huge shape": (listing(shape=[2**40, 2**20]), ONE, "'rows'.*has only"),
    "a shape beyond any memory": (listing(shape=[2**62, 2**62]), ONE, "'rows'.*no shape"),
    "an empty shape beyond any memory": (listing(shape=[0, 2**62, 2**62]), NONE, "'rows'.*no shape"),
    "a length of very many digits": (listing(shape=[10**4000]), ONE, "'rows'.*no shape"),
    "a negative shape": (listing(shape=[-2, -2]), ONE, "'rows'.*no shape"),
    "a boolean shape": (listing(shape=[True, 4]), ONE, "'rows'.*no shape"),
    "a fractional shape": (listing(shape=[2.0, 2]), ONE, "'rows'.*no shape"),
    "a shape that is no list": (listing(shape=4), ONE, "'rows'.*no shape"),
    "no shape": (listing(shape=...), ONE, "'rows'.*no shape"),
    "too many dimensions": (listing(shape=[4] + [1] * 32), ONE, "'rows'.*no shape"),
    "a shape too short for the file": (listing(shape=[2]), ONE, "8 bytes after its end"),
    "an offset beyond the end": (listing(offset=64), ONE, "'rows'.*its place"),
    "a gap before the first": (listing(offset=64), bytes(64) + ONE, "'rows'.*its place"),
    "a misaligned offset": (listing(offset=4), bytes(20), "'rows'.*its place"),
    "a negative offset": (listing(offset=-64), ONE, "'rows'.*its place"),
    "a huge offset": (listing(offset=2**62), ONE, "'rows'.*its place"),
    "an offset of very many digits": (listing(offset=10**4300 - 1), ONE, "'rows'.*64-bit"),
    "an offset that is no number": (listing(offset="0"), ONE, "'rows'.*64-bit"),
    "a boolean offset": (listing(offset=False), ONE, "'rows'.*64-bit"),
    "a wider dtype": (listing(dtype="f8"), ONE, "'rows'.*has only"),
    "a narrower dtype": (listing(dtype="f2"), ONE, "8 bytes after its end"),
    "an object dtype": (listing(dtype="O8"), bytes(32), "'rows'.*dtype"),
    "a structured dtype": (listing(dtype=[["x", "f4"]]), ONE, "'rows'.*dtype"),
    "a byte order": (listing(dtype=">f4"), ONE, "'rows'.*dtype"),
    "no dtype": (listing(dtype=...), ONE, "'rows'.*dtype"),
    "no checksum": (listing(crc32=...), ONE, "'rows'.*checksum"),
    "no name": (listing(name=...), ONE, "'name'"),
    "a name that is no text": (listing(name=3), ONE, "'name'"),
    "a row that is no object": ({"header": {}, "sections": ["rows"]}, NONE, "no row"),
    "sections that are no list": ({"header": {}, "sections": {}}, NONE, "'sections'"),
    "no sections": ({"header": {}}, NONE, "'sections'"),
    "no header": ({"sections": []}, NONE, "'header'"),
    "a header that is no object": ({"header": 3, "sections": []}, NONE, "'header'"),
    "a list": ([1, 2], NONE, "not an object"),
    "the same section twice": (listings({}, {"offset": 64}), bytes(80), "'rows'.*twice"),
    "overlapping sections": (listings({}, {"name": "b"}), ONE, "'b'.*its place"),
    "partly overlapping": (
        listings({"shape": [32]}, {"name": "b", "offset": 64}),
        bytes(128),
        "'b'.*its place",
    ),
    "sections out of order": (listings({"offset": 64}, {"name": "b"}), bytes(80), "'rows'.*its place"),
    "a gap": (listings({}, {"name": "b", "offset": 128}), bytes(144), "'b'.*its place"),
    "a key twice": (b'{"header":{"a":1,"a":1},"sections":[]}', NONE, "twice"),
    "a NaN": (b'{"header":{"a":NaN},"sections":[]}', NONE, "finite"),
    "an infinity": (b'{"header":{"a":-Infinity},"sections":[]}', NONE, "finite"),
    "a number that overflows": (b'{"header":{"a":1e999},"sections":[]}', NONE, "finite"),
    "deep nesting": (b'{"header":' + b'{"a":' * 50_000, NONE, "parsed"),
    "deep lists": (b'{"header":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b'},"sections":[]}', NONE, "parsed"),
    "no JSON": (b"header", NONE, "parsed"),
    "no text": (b"\xff\xfe{}", NONE, "parsed"),
    "nothing": (b"", NONE, "parsed"),
    "a header beyond the limit": (b'{"header":{},"sections":[]}'.ljust((1 << 20) + 1), NONE, "limit"),
}


@pytest.mark.parametrize(("document", "payload", "message"), LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("mmap", [True, False])
def test_a_header_that_lies_is_refused_and_takes_no_memory(tmp_path, document, payload, message, mmap):
    data = resealed(document, payload)
    path = tmp_path / "lie.inlay"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=rf"lie\.inlay.*{message}"):
            read(path, mmap=mmap)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(data) + 100_000  # the second term is for the error itself


def test_a_header_that_tells_the_truth_is_accepted():
    _, sections = read(resealed(listing(), ONE))
    np.testing.assert_array_equal(sections.take("rows", "f4", (2, 2)), 0)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1, 2**40, 2**64 - 1])
def test_a_lie_about_the_length_of_the_header_is_refused(length):
    data = bytearray(SMALL)
    data[16:24] = struct.pack("<Q", length)
    with pytest.raises(FormatError, match="header"):
        read(data)


# Foreign files


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"IxFI" + bytes(60), "FAISS"),
        (b"IwFl" + bytes(60), "FAISS"),
        (b"IHNf" + bytes(60), "FAISS"),
        (SMALL.replace(b"\r\n", b"\n", 1), "text mode"),
        (SMALL.replace(b"\n", b"\r\n"), "text mode"),
        (b"\x80\x04\x95 pickle ............", "not an Inlay file"),
        (b"Ix", "not an Inlay file"),
        (SMALL[:8] + struct.pack("<I", 2) + SMALL[12:], "newer"),
        (SMALL[:8] + struct.pack("<I", 0) + SMALL[12:], "never was"),
    ],
)
def test_a_file_that_is_not_ours_or_too_new_is_refused_with_what_to_do(tmp_path, data, message):
    path = tmp_path / "foreign"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=f"foreign.*{message}"):
        read(path)
