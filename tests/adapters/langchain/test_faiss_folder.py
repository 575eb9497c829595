"""Folders of LangChain's FAISS store: read whole, and hostile ones refused without running anything."""

import datetime
import decimal
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from inlay import FormatError
from inlay.adapters.langchain import InlayVectorStore
from inlay.adapters.langchain.faiss_folder import read


class InMemoryDocstore:
    """Pickles as the one of langchain-community does."""

    def __init__(self, documents: dict[Any, Document]) -> None:
        self._dict = documents


def pickled(value: Any, protocol: int = 4) -> bytes:
    """Pickle with the docstore's class under its own name."""
    module = types.ModuleType("langchain_community.docstore.in_memory")
    module.InMemoryDocstore = InMemoryDocstore  # type: ignore[attr-defined]
    InMemoryDocstore.__module__ = module.__name__
    hidden = {
        name: types.ModuleType(name) for name in ("langchain_community", "langchain_community.docstore")
    }
    sys.modules.update(hidden, **{module.__name__: module})
    try:
        return pickle.dumps(value, protocol)
    finally:
        for name in (*hidden, module.__name__):
            del sys.modules[name]


def flat(vectors: Any, kind: bytes = b"IxF2") -> bytes:
    """Write a flat index as faiss does."""
    rows = np.asarray(vectors, "<f4")
    n, dim = rows.shape
    return struct.pack("<4siqqqBiq", kind, dim, n, 1 << 20, 1 << 20, 1, 1, n * dim) + rows.tobytes()


DOCUMENTS: dict[Any, Document] = {
    "a": Document(id="a", page_content="1 0", metadata={"page": 1, "tags": ["x", None, 1.5, True]}),
    "b": Document(page_content="0 ü", metadata={}),
    None: Document(
        page_content="2 2",
        metadata={
            "when": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
            "day": datetime.date(2024, 5, 1),
            "price": decimal.Decimal("1.50"),
            "large": 2**70,
            "pair": (1, {"b": b"\0"}),
            "set": {1, 2},
        },
    ),
}
VECTORS = [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]
ROWS = {0: "a", 1: None, 2: "b"}


def write(
    folder: Path, vectors: Any = VECTORS, documents: Any = DOCUMENTS, rows: Any = ROWS, **how: Any
) -> Path:
    (folder / "index.faiss").write_bytes(flat(vectors, how.pop("kind", b"IxF2")))
    (folder / "index.pkl").write_bytes(pickled((InMemoryDocstore(documents), rows), **how))
    return folder


@pytest.mark.parametrize("protocol", [4, 5])  # what every Python that runs LangChain writes
@pytest.mark.parametrize(("kind", "metric"), [(b"IxF2", "l2"), (b"IxFI", "ip")])
def test_a_folder_is_taken_over_whole(
    spoken: Any, tmp_path: Path, protocol: int, kind: bytes, metric: str
) -> None:
    write(tmp_path, kind=kind, protocol=protocol)
    store = InlayVectorStore.from_faiss(tmp_path, spoken, tmp_path / "store")
    assert spoken.calls == []
    assert store.collection.metric == metric
    records = list(store.collection)
    assert [record.text for record in records] == ["1 0", "2 2", "0 ü"]
    assert [record.metadata for record in records] == [DOCUMENTS[name].metadata for name in ("a", None, "b")]
    assert (records[0].id, records[2].id) == ("a", "b")
    assert len(records[1].id) == 36
    np.testing.assert_array_equal(store.collection.vectors([record.id for record in records]), VECTORS)
    store.close()


async def test_the_metric_may_be_another(spoken: Any, tmp_path: Path) -> None:
    write(tmp_path)
    os.rename(tmp_path / "index.faiss", tmp_path / "other.faiss")
    os.rename(tmp_path / "index.pkl", tmp_path / "other.pkl")
    store = await InlayVectorStore.afrom_faiss(tmp_path, spoken, index_name="other", metric="cosine")
    assert store.similarity_search_with_score("5 0", k=1)[0][1] == pytest.approx(1.0)


def test_an_empty_folder_of_faiss_is_an_empty_store(spoken: Any, tmp_path: Path) -> None:
    write(tmp_path, np.empty((0, 3)), {}, {})
    assert len(InlayVectorStore.from_faiss(tmp_path, spoken).collection) == 0


def test_what_is_not_there_is_said(spoken: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InlayVectorStore.from_faiss(tmp_path, spoken)


class Runs:
    """Pickles to a program that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, protocol: int) -> None:
    write(tmp_path)
    for hostile in (
        Runs(tmp_path / "made"),
        (InMemoryDocstore({"a": Document(page_content="")}), {0: Runs(tmp_path / "made")}),
        [print, eval, os.system, __import__],
    ):
        (tmp_path / "index.pkl").write_bytes(pickled(hostile, protocol))
        with pytest.raises(FormatError):
            read(tmp_path, "index")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x04.",
        b"\x80\x04N.",
        b"\x80\x04}.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n.",
        b"\x80\x04(i__main__\nX\n.",
        b"\x80\x04r\xff\xff\xff\x7fN.",  # a place in the memo that would take 16 GB
        b"\x80\x04Nr\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes that are not there
        b"\x80\x04X\xff\xff\xff\xff.",
        b"\x80\x04]2.",
        b"\x80\x04]\x94h\x00a.",  # a list that holds itself
        b"\x80\x04t.",
        b"\x80\x04\x85.",
        b"\x80\x04Q.",
        b"\x80\x04\x82\x01.",
        b"\x80\x04\x8c\x08datetime\x8c\x04date\x93N\x85R.",
        b"\x80\x04\x8c\x08datetime\x8c\x04date\x93}b.",
    ],
)
def test_programs_that_make_no_sense_are_format_errors(tmp_path: Path, program: bytes) -> None:
    write(tmp_path)
    (tmp_path / "index.pkl").write_bytes(program)
    with pytest.raises(FormatError):
        read(tmp_path, "index")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_folder_altered_anywhere_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path)
    file = tmp_path / data.draw(st.sampled_from(["index.faiss", "index.pkl"]))
    contents = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(contents[: data.draw(st.integers(0, len(contents)))])
    try:
        saved = read(tmp_path, "index")
    except FormatError:
        return
    assert len(saved.vectors) == len(saved.ids) == len(saved.texts) == len(saved.metadatas)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": {0: "a", 1: "b"}},
        {"rows": {0: "a", 1: "b", 3: None}},
        {"rows": {0: "a", 1: "b", 2: "nobody"}},
        {"rows": ["a", "b", None]},
        {"documents": {"a": "no document"}, "rows": {0: "a"}, "vectors": [[1.0]]},
        {"kind": b"IHNf"},
        {"vectors": np.empty((3, 0))},
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write(tmp_path, **wrong)
    with pytest.raises(FormatError):
        read(tmp_path, "index")


def test_a_few_bytes_do_not_stand_for_endless_ones(tmp_path: Path) -> None:
    value: Any = "x" * 1000
    for _ in range(60):
        value = [value, value]
    write(tmp_path, [[1.0]], {"a": Document(page_content="", metadata={"a": value})}, {0: "a"})
    with pytest.raises(FormatError, match="more than a store of its size"):
        read(tmp_path, "index")


def test_a_folder_of_faiss_itself(spoken: Any, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="the index is written by faiss")
    write(tmp_path)
    index = faiss.IndexFlatIP(2)
    index.add(np.asarray(VECTORS, np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    np.testing.assert_array_equal(read(tmp_path, "index").vectors, VECTORS)
