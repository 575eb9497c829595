"""Copies of a store: saved to a folder, loaded into memory, merged into another store."""

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from inlay import FormatError
from inlay.adapters.langchain import InlayVectorStore

from .conftest import Spoken

Contents = Callable[[InlayVectorStore], dict[str, tuple[str, dict[str, Any], list[float]]]]


def test_a_saved_copy_loads_into_a_store_of_its_own(
    contents: Contents, store: InlayVectorStore, spoken: Any, tmp_path: Path
) -> None:
    store.add_texts(["1 0", "0 1", "1 1"], [{"n": n} for n in range(3)], ids=list("abc"))
    store.delete(["b"])
    before = contents(store)
    store.save_local(tmp_path / "saved")
    spoken.calls.clear()
    loaded = InlayVectorStore.load_local(tmp_path / "saved", spoken, allow_dangerous_deserialization=True)
    assert spoken.calls == []
    assert contents(loaded) == before
    assert list(contents(loaded)) == list(before)
    loaded.delete(["a"])
    again = InlayVectorStore.load_local(str(tmp_path / "saved"), spoken, score="distance")
    assert contents(again) == before
    assert contents(store) == before
    shutil.rmtree(tmp_path / "saved")
    assert [score for _, score in again.similarity_search_with_score("1 0", k=1)] == [0.0]


def test_a_saved_copy_is_a_store_that_can_be_opened(
    contents: Contents, store: InlayVectorStore, spoken: Any, tmp_path: Path
) -> None:
    store.add_texts(["1 0"], ids=["a"])
    store.save_local(tmp_path)
    with InlayVectorStore(spoken, tmp_path / "index") as copy:
        assert contents(copy) == contents(store)


def test_the_metric_and_the_index_travel_with_the_copy(spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, metric="ip", index="LVQ8") as store:
        store.add_texts(["1 0", "5 5"], ids=["a", "b"])
        store.save_local(tmp_path)
    loaded = InlayVectorStore.load_local(tmp_path, spoken)
    assert (loaded.collection.metric, loaded.collection.index) == ("ip", "LVQ8")
    assert loaded.similarity_search_with_score("1 0", k=1) == [(Document(id="b", page_content="5 5"), 5.0)]


def test_saving_again_replaces_and_names_keep_copies_apart(
    contents: Contents, store: InlayVectorStore, spoken: Any, tmp_path: Path
) -> None:
    store.add_texts(["1 0"], ids=["a"])
    store.save_local(tmp_path, "first")
    store.save_local(tmp_path)
    store.add_texts(["0 1"], ids=["b"])
    store.save_local(tmp_path)
    assert set(contents(InlayVectorStore.load_local(tmp_path, spoken))) == {"a", "b"}
    assert set(contents(InlayVectorStore.load_local(tmp_path, spoken, "first"))) == {"a"}


def test_an_empty_store_can_be_saved(
    contents: Contents, store: InlayVectorStore, spoken: Any, tmp_path: Path
) -> None:
    store.save_local(tmp_path)
    assert contents(InlayVectorStore.load_local(tmp_path, spoken)) == {}


def test_loading_what_is_not_there_is_an_error(spoken: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="save_local"):
        InlayVectorStore.load_local(tmp_path, spoken)
    (tmp_path / "index").mkdir()
    with pytest.raises((FileNotFoundError, ValueError)):
        InlayVectorStore.load_local(tmp_path, spoken)
    assert list((tmp_path / "index").iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/abs"])
def test_an_index_name_cannot_lead_out_of_the_folder(spoken: Any, tmp_path: Path, name: str) -> None:
    store = InlayVectorStore(spoken)
    with pytest.raises(ValueError, match="index_name"):
        store.save_local(tmp_path, name)
    with pytest.raises(ValueError, match="index_name"):
        InlayVectorStore.load_local(tmp_path, spoken, name)


def test_a_damaged_copy_is_refused(store: InlayVectorStore, spoken: Any, tmp_path: Path) -> None:
    store.add_texts([f"{i} 1" for i in range(50)])
    store.save_local(tmp_path)
    for file in (tmp_path / "index").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(FormatError):
        InlayVectorStore.load_local(tmp_path, spoken)


@pytest.fixture(scope="module")
def packed() -> bytes:
    with InlayVectorStore(Spoken(), metric="ip", index="LVQ8") as store:
        store.add_texts(
            [f"{i} 1" for i in range(20)], [{"n": i} for i in range(20)], [str(i) for i in range(20)]
        )
        store.delete(["3"])
        return store.serialize_to_bytes()


async def test_bytes_come_back_as_a_store(
    contents: Contents, store: InlayVectorStore, spoken: Any, packed: bytes
) -> None:
    store.add_texts(["1 0", "0 1"], [{"n": 1}, {"deep": {"list": [None]}}], ids=["a", "b"])
    before, spoken.calls[:] = contents(store), []
    there = await store.aserialize_to_bytes()
    again = InlayVectorStore.deserialize_from_bytes(there, spoken, allow_dangerous_deserialization=True)
    assert contents(again) == before
    again.delete(["a"])
    assert contents(store) == before
    assert spoken.calls == []
    other = await InlayVectorStore.adeserialize_from_bytes(bytearray(packed), spoken, score="distance")
    assert (other.collection.metric, other.collection.index, len(other.collection)) == ("ip", "LVQ8", 19)
    assert [score for _, score in other.similarity_search_with_score("1 0", k=1)] == [-19.0]
    with InlayVectorStore(spoken) as empty:
        assert contents(InlayVectorStore.deserialize_from_bytes(empty.serialize_to_bytes(), spoken)) == {}


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_bytes_that_are_cut_off_are_refused(spoken: Any, packed: bytes, share: float) -> None:
    with pytest.raises(FormatError):
        InlayVectorStore.deserialize_from_bytes(packed[: int(len(packed) * share)], spoken)


@pytest.mark.parametrize("at", [0, 5, 40, 3000, 20_000, -1, -5, -30])
def test_bytes_that_were_altered_are_refused_or_harmless(spoken: Any, packed: bytes, at: int) -> None:
    altered = bytearray(packed)
    altered[at] ^= 0x55
    try:
        store = InlayVectorStore.deserialize_from_bytes(bytes(altered), spoken)
    except FormatError:
        return
    assert len(store.collection) == 19  # a date or a comment of the archive


def archive(compression: int = zipfile.ZIP_STORED, **files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        archive(),
        archive(**{"../outside.sqlite": b"x"}),
        archive(**{"/tmp/outside.sqlite": b"x"}),
        archive(**{"a/inlay.sqlite": b"x"}),
        archive(**{"inlay.sqlite": b"x"}),
        archive(**{"inlay.sqlite": b"SQLite format 3\0" + bytes(5000)}),
        archive(**{"index.pkl": b"x"}),
        archive(zipfile.ZIP_DEFLATED, **{"vectors-0.f32": bytes(10**7)}),
        pickle.dumps(["what FAISS makes"]),
    ],
)
def test_bytes_of_others_are_refused(spoken: Any, hostile: bytes) -> None:
    with pytest.raises(FormatError):
        InlayVectorStore.deserialize_from_bytes(hostile, spoken)
    assert not Path("/tmp/outside.sqlite").exists()


def test_a_packed_store_is_bytes(spoken: Any) -> None:
    with pytest.raises(TypeError, match="bytes, not str"):
        InlayVectorStore.deserialize_from_bytes("PK", spoken)  # type: ignore[arg-type]


def test_merging_adds_and_replaces_and_leaves_the_other_alone(
    contents: Contents, store: InlayVectorStore, spoken: Any
) -> None:
    store.add_texts(["1 0", "0 1"], [{"old": 1}, {}], ids=["a", "b"])
    other = InlayVectorStore(spoken, batch_size=2)
    other.add_texts(["5 5", "6 6", "7 7"], [{"n": n} for n in range(3)], ids=["a", "c", "d"])
    before = contents(other)
    spoken.calls.clear()
    store.merge_from(other)
    assert spoken.calls == []
    assert contents(other) == before
    assert contents(store) == {"b": ("0 1", {}, [0.0, 1.0]), **before}
    store.merge_from(store)
    assert contents(store) == {"b": ("0 1", {}, [0.0, 1.0]), **before}
