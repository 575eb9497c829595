"""Files: every source and target, flags, and what becomes of damage."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest

import inlay
import inlay.adapters.faiss as faiss
from tests.adapters.faiss import fuzz

pytestmark = pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning", "ignore:two bits")
N, D = 80, 12
STRINGS = (
    *("Flat", "LVQ4x8", "PQ3x4", "RVQ3x4", "IVF3,SQ8", "IVF3_HNSW4,RVQ3x4", "LoRANN3", "HNSW4,SQ8"),
    *("SymQG32", "QuIVer4", "IDMap2,OPQ3_6,IVF3,LVQ4,Refine(SQfp16)", "PCAW4,L2norm,SQ8,RFlat"),
)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(4).standard_normal((N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def indexes(x):
    made = {string: filled(string, x) for string in STRINGS}
    made["words"] = faiss.StrIDMap(faiss.IndexFlatL2(D))
    made["words"].add_with_ids(x, [f"row {i}" for i in range(N)])
    made["shards"] = faiss.IndexShards(D)
    for part in (x[:30], x[30:]):
        shard = faiss.IndexFlatL2(D)
        shard.add(part)
        made["shards"].add_shard(shard)
    return made


def filled(string, x):
    index = faiss.index_factory(D, string)
    index.train(x)
    index.add_with_ids(x, np.arange(N) * 3) if "IDMap" in string else index.add(x)
    index.remove_ids([0, 9])
    return index


def assert_same(one, two, x):
    assert type(one) is type(two)
    for a, b in zip(one.search(x[:5], 4), two.search(x[:5], 4), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [*STRINGS, "words", "shards"])
def test_every_way_out_and_in(name, indexes, x, tmp_path):
    index = indexes[name]
    faiss.write_index(index, str(tmp_path / "a"))
    assert faiss.write_index(index, tmp_path / "a") is None
    data = faiss.serialize_index(index)
    assert (data.dtype, data.ndim) == (np.uint8, 1)
    assert (tmp_path / "a").read_bytes() == data.tobytes()
    pieces = []
    faiss.write_index(index, faiss.BufferedIOWriter(faiss.PyCallbackIOWriter(pieces.append, 100)))
    assert b"".join(pieces) == data.tobytes()
    assert max(map(len, pieces)) <= 100
    memory, stream = faiss.VectorIOWriter(), io.BytesIO()
    faiss.write_index(index, memory)
    faiss.write_index(index, stream)
    faiss.write_index(index, faiss.FileIOWriter(tmp_path / "b"))
    stream.seek(0)
    for source in (
        *(tmp_path / "a", str(tmp_path / "a"), data.tobytes(), memoryview(data.tobytes()), stream),
        faiss.PyCallbackIOReader(io.BytesIO(data.tobytes()).read, 64),
        faiss.BufferedIOReader(faiss.VectorIOReader(memory.data)),
        faiss.FileIOReader(tmp_path / "b"),
    ):
        assert_same(faiss.read_index(source), index, x)
    assert_same(faiss.deserialize_index(np.frombuffer(data.tobytes(), np.uint8)), index, x)
    for flags in (
        faiss.IO_FLAG_MMAP,
        faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY,
        faiss.IO_FLAG_ONDISK_SAME_DIR,
    ):
        assert_same(faiss.read_index(str(tmp_path / "a"), flags), index, x)
    faiss.verify(tmp_path / "a")


@pytest.mark.parametrize("string", STRINGS)
def test_untrained_and_empty_indexes_round_trip(string, x):
    index = faiss.clone_index(faiss.index_factory(D, string))
    index.train(x)
    index = faiss.clone_index(index)
    assert index.is_trained
    assert index.ntotal == 0
    assert (index.search(x[:2], 2)[1] == -1).all()


def test_efforts_are_kept_and_read_only_is_meant(x, tmp_path):
    index = faiss.index_factory(D, "IDMap,IVF3,SQ8,RFlat")
    faiss.ParameterSpace().set_index_parameters(index, "nprobe=2,k_factor=3")
    index.train(x)
    index.add_with_ids(x, np.arange(N))
    faiss.write_index(index, tmp_path / "a")
    twin = faiss.read_index(tmp_path / "a", faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_MMAP)
    assert faiss.extract_index_ivf(twin).nprobe == 2
    assert twin.index.k_factor == 3
    for change in (
        lambda: twin.add_with_ids(x, np.arange(N)),
        lambda: twin.remove_ids([1]),
        lambda: twin.reset(),
    ):
        with pytest.raises(RuntimeError, match="READ_ONLY"):
            change()
    graph = faiss.IndexHNSWFlat(D, 4)
    graph.hnsw.efSearch, graph.hnsw.efConstruction = 77, 99
    assert (faiss.clone_index(graph).hnsw.efSearch, faiss.clone_index(graph).hnsw.efConstruction) == (77, 99)


def test_a_mapped_index_can_change_and_the_file_stays(x, tmp_path):
    index = filled("IVF3,SQ8", x)
    faiss.write_index(index, tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    twin = faiss.read_index(tmp_path / "a", faiss.IO_FLAG_MMAP)
    twin.add(x[:5])
    twin.remove_ids([3])
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_file_errors_are_of_both_kinds(kind, x, tmp_path):
    with pytest.raises(kind, match="No such file"):
        faiss.read_index(tmp_path / "none")
    with pytest.raises(kind):
        faiss.read_index(tmp_path)
    with pytest.raises(kind):
        faiss.write_index(faiss.IndexFlatL2(3), tmp_path / "no" / "where")
    (tmp_path / "theirs").write_bytes(b"IxF2" + bytes(100))
    with pytest.raises(kind, match=r"(?i)faiss"):
        faiss.read_index(tmp_path / "theirs")
    inlay.FlatIndex(3).save(tmp_path / "core")
    with pytest.raises(kind, match=r"inlay\.load"):
        faiss.read_index(tmp_path / "core")
    with pytest.raises(kind):
        faiss.deserialize_index(b"")


@pytest.mark.parametrize("name", ["IDMap2,OPQ3_6,IVF3,LVQ4,Refine(SQfp16)", "HNSW4,SQ8", "LoRANN3", "words"])
def test_no_damage_goes_unnoticed(name, indexes):
    data = faiss.serialize_index(indexes[name])
    rng = np.random.default_rng(6)
    for _ in range(60):
        bent = data.copy()
        bent[rng.integers(len(bent))] ^= 1 << rng.integers(8)
        cut = data[: rng.integers(len(data))]
        longer = np.concatenate([data, rng.integers(0, 256, rng.integers(1, 99), dtype=np.uint8)])
        for damaged in (bent, cut, longer):
            with pytest.raises(faiss.IndexFileError):
                faiss.deserialize_index(damaged)


def resealed(data: np.ndarray, change) -> bytes:
    """The file with another header, whose checksum is right."""
    raw = data.tobytes()
    length = struct.unpack_from("<Q", raw, 16)[0]
    document = json.loads(raw[24 : 24 + length])
    change(document["header"])
    text = json.dumps(document, separators=(",", ":")).encode()
    begin, old = 24 + len(text), -(-(24 + length) // 64) * 64
    crc = zlib.crc32(text, zlib.crc32(struct.pack("<IQ", 1, len(text))))
    head = raw[:8] + struct.pack("<IIQ", 1, crc, len(text)) + text
    return head + bytes(-begin % 64) + raw[old:]


def leaves(value, path=()):
    """Every place in a header."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


FALSE = (None, -1, 0, 3, 2**31, 2**62, 1e300, "x", "IndexFlatL2", [], {}, [0], True)


@pytest.mark.parametrize("name", [*STRINGS, "words", "shards"])
def test_false_headers_with_right_checksums_are_refused_or_harmless(name, indexes, x):
    data = faiss.serialize_index(indexes[name])
    assert_same(faiss.deserialize_index(resealed(data, lambda header: None)), indexes[name], x)
    raw = data.tobytes()
    length = struct.unpack_from("<Q", raw, 16)[0]
    places = list(leaves(json.loads(raw[24 : 24 + length])["header"]))
    rng = np.random.default_rng(len(name))
    refused = 0
    for _ in range(60):
        place = places[rng.integers(len(places))]
        value = FALSE[rng.integers(len(FALSE))]

        def lie(header, place=place, value=value):
            for key in place[:-1]:
                header = header[key]
            header[place[-1]] = value

        try:
            index = faiss.deserialize_index(resealed(data, lie))
        except faiss.IndexFileError:
            refused += 1
        else:
            ask(index, x)
    assert refused > 20


@pytest.mark.parametrize("first", [0, 40])
def test_the_fuzz_command_in_short(first, tmp_path):
    said = [fuzz.tried(3, number, tmp_path / "file") for number in range(first, first + 40)]
    assert any(came.endswith("refused") for came in said)


@pytest.mark.parametrize(
    "string", ["Pad16,Flat", "RR,Flat", "HR,Flat", "PCA4,Flat", "OPQ2_4,Flat", "SQ8", "IVF3,PQ3x4"]
)
def test_false_dimensions_cost_no_memory(string, x, tmp_path):
    data = faiss.serialize_index(filled(string, x))

    def lie(header):
        for node in header["nodes"]:
            for name in {"d", "d_in", "d_out"} & node["made"].keys():
                node["made"][name] = 1 << 16
            for core in (node["state"].get("core"),):
                if core:
                    core["dim"] = 1 << 16

    (tmp_path / "file").write_bytes(resealed(data, lie))
    assert fuzz.fuzz.opened(tmp_path / "file", False, fuzz.load, faiss.IndexFileError) is None


@pytest.mark.parametrize("rows", [1 << 16, 1 << 31])
@pytest.mark.parametrize("string", ["Flat", "IVF3,SQ8", "IDMap2,Flat"])
def test_false_numbers_of_rows_cost_no_memory(string, rows, x, tmp_path):
    index = faiss.index_factory(D, string)
    index.train(x)

    def lie(header):
        for node in header["nodes"]:
            (node["state"].get("names") or node["state"]).update(rows=rows, next=rows)

    (tmp_path / "file").write_bytes(resealed(faiss.serialize_index(index), lie))
    assert fuzz.fuzz.opened(tmp_path / "file", False, fuzz.load, faiss.IndexFileError) is None


def ask(index, x):
    """What a lie left possible answers, or says that it cannot."""
    try:
        index.search(np.resize(x, (2, index.d)), 3)
        index.remove_ids(index.ids[:2])
    except RuntimeError:
        assert not index.is_trained or index.ntotal >= 0


def test_limits_of_what_files_may_hold(x):
    data = faiss.serialize_index(filled("IDMap2,PCA4,Flat", x))
    parts, size = faiss.get_deserialization_loop_limit(), faiss.get_deserialization_vector_byte_limit()
    try:
        faiss.set_deserialization_loop_limit(2)
        with pytest.raises(faiss.IndexFileError, match="limit is 2"):
            faiss.deserialize_index(data)
        faiss.set_deserialization_loop_limit(parts)
        faiss.set_deserialization_vector_byte_limit(100)
        with pytest.raises(faiss.IndexFileError, match="limit is 100"):
            faiss.deserialize_index(data)
    finally:
        faiss.set_deserialization_loop_limit(parts)
        faiss.set_deserialization_vector_byte_limit(size)


def test_an_index_comes_through_a_pipe_that_stays_open(x, tmp_path):
    receiver, sender = os.pipe()
    index = filled("SQ8", x)
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda data: os.write(sender, data)))
    assert_same(faiss.read_index(faiss.PyCallbackIOReader(lambda size: os.read(receiver, size))), index, x)
    os.close(sender)
    os.close(receiver)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(faiss.IndexFileError, match="a pipe or a device"):
        faiss.read_index(tmp_path / "pipe")


def test_streams_have_the_names_that_scripts_know(x):
    index = faiss.IndexFlatL2(D)
    index.add(x)
    writer = faiss.VectorIOWriter()
    faiss.write_index(index, writer)
    data = faiss.vector_to_array(writer.data)
    assert data.tobytes() == faiss.serialize_index(index).tobytes()
    filled_by_copy, filled_by_swap = faiss.VectorIOReader(), faiss.VectorIOReader()
    faiss.copy_array_to_vector(data, filled_by_copy.data)
    filled_by_swap.data.swap(writer.data)
    assert writer.data.size() == 0
    for reader in (filled_by_copy, filled_by_swap):
        assert_same(faiss.read_index(reader), index, x)
    # One item after another, through what `swig_ptr` gives.
    writer = faiss.VectorIOWriter()
    assert faiss.BufferedIOWriter(writer)(faiss.swig_ptr(x), 4, x.size) == x.size
    twin = np.zeros_like(x)
    reader = faiss.BufferedIOReader(faiss.VectorIOReader(writer.data))
    assert reader(faiss.swig_ptr(twin), 4, x.size) == x.size
    np.testing.assert_array_equal(twin, x)
    assert reader(faiss.swig_ptr(twin), 4, 1) == 0
    with pytest.raises(TypeError, match="must be an index"):
        faiss.write_index(None, writer)


def test_transforms_have_files_of_their_own(x, tmp_path):
    transform = faiss.PCAMatrix(D, 4, -0.5)
    transform.train(x)
    faiss.write_VectorTransform(transform, tmp_path / "a")
    memory = faiss.VectorIOWriter()
    faiss.write_VectorTransform(transform, memory)
    for source in (tmp_path / "a", faiss.VectorIOReader(memory.data)):
        twin = faiss.read_VectorTransform(source)
        transform.check_identical(twin)
        np.testing.assert_array_equal(twin.apply(x), transform.apply(x))
    with pytest.raises(faiss.IndexFileError, match="read_VectorTransform"):
        faiss.read_index(tmp_path / "a")
    faiss.write_index(faiss.IndexFlatL2(D), tmp_path / "a")
    with pytest.raises(faiss.IndexFileError, match="read_index"):
        faiss.read_VectorTransform(tmp_path / "a")


def test_a_class_of_somebody_else_is_not_written():
    class Mine(faiss.IndexFlatL2):
        pass

    with pytest.raises(RuntimeError, match="Mine"):
        faiss.serialize_index(Mine(3))


def test_damage_in_a_mapped_file_is_not_sealed_into_another(tmp_path):
    rows = np.random.default_rng(0).standard_normal((4000, D)).astype(np.float32)
    index = faiss.IndexFlatL2(D)
    index.add(rows)
    faiss.write_index(index, tmp_path / "a")
    raw = bytearray((tmp_path / "a").read_bytes())
    raw[-1000] ^= 1
    (tmp_path / "a").write_bytes(raw)
    mapped = faiss.read_index(tmp_path / "a", faiss.IO_FLAG_MMAP)
    for call in (
        lambda: faiss.write_index(mapped, tmp_path / "b"),
        lambda: faiss.serialize_index(mapped),
        lambda: faiss.verify(tmp_path / "a"),
        lambda: faiss.read_index(tmp_path / "a"),
    ):
        with pytest.raises(faiss.IndexFileError, match="checksum"):
            call()


def test_rows_without_numbers_are_among_those_that_are_there():
    index = faiss.IndexFlatL2(2)
    index.add(np.array([[0, 1], [np.nan, 0]], np.float32))
    assert faiss.clone_index(index).search(np.zeros((1, 2), np.float32), 2)[1].tolist() == [[0, -1]]
    index._void = np.array([7])
    with pytest.raises(faiss.IndexFileError, match="void"):
        faiss.deserialize_index(faiss.serialize_index(index))
