"""Opening a store, and putting documents into it."""

import asyncio
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from inlay import Collection
from inlay.adapters.langchain import InlayVectorStore

Contents = Callable[[InlayVectorStore], dict[str, tuple[str, dict[str, Any], list[float]]]]


# Opening


def test_opening_does_not_call_the_embedder(spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, tmp_path / "store") as store:
        given = store.embeddings
    assert spoken.calls == []
    assert given is spoken


def test_bad_arguments_are_refused_before_anything_is_made(spoken: Any, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with pytest.raises(TypeError, match="Embeddings"):
        InlayVectorStore("not an embedder", path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="score"):
        InlayVectorStore(spoken, path, score="rank")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size"):
        InlayVectorStore(spoken, path, batch_size=0)
    with pytest.raises(TypeError, match="batch_size"):
        InlayVectorStore(spoken, path, batch_size=2.5)  # type: ignore[arg-type]
    assert not path.exists()


def test_an_existing_path_opens_as_it_was_made(contents: Contents, spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, tmp_path, metric="l2", index="LVQ8") as store:
        store.add_texts(["1 0", "0 2"], [{"n": 1}, {}], ids=["a", "b"])
        before = contents(store)
    with InlayVectorStore(spoken, tmp_path) as store:
        assert contents(store) == before
        assert (store.collection.metric, store.collection.index, store.collection.dim) == ("l2", "LVQ8", 2)
        assert [found.id for found in store.similarity_search("0 1", k=1)] == ["b"]


def test_contradicting_what_is_stored_is_an_error(contents: Contents, spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, tmp_path, metric="l2", index="LVQ8") as store:
        store.add_texts(["1 0"], ids=["a"])
    with pytest.raises(ValueError, match="metric"):
        InlayVectorStore(spoken, tmp_path, metric="cosine")
    with pytest.raises(ValueError, match="index"):
        InlayVectorStore(spoken, tmp_path, index="Flat")
    with InlayVectorStore(spoken, tmp_path) as store:
        with pytest.raises(ValueError, match="dim"):
            store.add_texts(["1 0 0"], ids=["a"])
        with pytest.raises(ValueError, match="dim"):
            store.similarity_search("1 0 0")
        assert contents(store) == {"a": ("1 0", {}, [1.0, 0.0])}


def test_a_folder_holds_collections_by_name(contents: Contents, spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, tmp_path / "store", collection="notes") as store:
        store.add_texts(["1 0"], ids=["a"])
        store.save_local(tmp_path)
    with InlayVectorStore(spoken, tmp_path / "store") as store:
        assert contents(store) == {}
    with InlayVectorStore(spoken, tmp_path / "store", collection="notes", read_only=True) as store:
        assert store.collection.name == "notes"
    loaded = InlayVectorStore.load_local(tmp_path, spoken, collection="notes")
    assert (loaded.collection.name, set(contents(loaded))) == ("notes", {"a"})


def test_a_read_only_store_refuses_changes(spoken: Any, tmp_path: Path) -> None:
    with InlayVectorStore(spoken, tmp_path) as store:
        store.add_texts(["1 0"], ids=["a"])
    with InlayVectorStore(spoken, tmp_path, read_only=True) as store:
        with pytest.raises((PermissionError, ValueError)):
            store.add_texts(["0 1"])
        with pytest.raises((PermissionError, ValueError)):
            store.delete(["a"])
        assert [found.id for found in store.similarity_search("1 0")] == ["a"]


def test_a_store_nobody_closed_has_lost_nothing(spoken: Any, tmp_path: Path) -> None:
    script = (
        "import sys, os\n"
        "from langchain_core.embeddings import DeterministicFakeEmbedding\n"
        "from inlay.adapters.langchain import InlayVectorStore\n"
        "store = InlayVectorStore(DeterministicFakeEmbedding(size=6), sys.argv[1])\n"
        "store.add_texts(['one', 'two'], ids=['1', '2'])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    with InlayVectorStore(spoken, tmp_path) as store:
        assert [found.page_content for found in store.get_by_ids(["2", "1"])] == ["two", "one"]


# Adding


def test_documents_are_not_changed_by_adding_them(store: InlayVectorStore) -> None:
    documents = [Document(page_content="1 0", metadata={"tags": ["x"]}), Document(id="b", page_content="0 1")]
    copies = [document.model_copy(deep=True) for document in documents]
    store.add_documents(documents)
    assert documents == copies


def test_nothing_is_shared_with_the_caller(store: InlayVectorStore) -> None:
    metadata = {"tags": ["x"]}
    store.add_texts(["1 0"], [metadata], ids=["a"])
    metadata["tags"].append("mine")
    for read in (store.get_by_ids(["a"])[0], store.similarity_search("1 0")[0]):
        assert read.metadata == {"tags": ["x"]}
        read.metadata["tags"].append("theirs")
    assert store.get_by_ids(["a"])[0].metadata == {"tags": ["x"]}


def test_ids_come_from_the_argument_then_the_document_then_a_uuid(store: InlayVectorStore) -> None:
    documents = [Document(id="own", page_content="1 0"), Document(page_content="0 1")]
    assert store.add_documents(documents, ids=["x", "y"]) == ["x", "y"]
    first, second = store.add_documents(documents)
    assert first == "own"
    assert str(uuid.UUID(second)) == second
    assert store.add_documents(documents, ids=[None, "z"]) == ["own", "z"]
    given, new = store.add_texts(["1 1", "2 1"], ids=["given", None])
    assert given == "given"
    assert [found.page_content for found in store.get_by_ids([new, given])] == ["2 1", "1 1"]


def test_columns_may_be_generators(store: InlayVectorStore) -> None:
    ids = store.add_texts(
        (f"{i} 1" for i in range(5)), ({"i": i} for i in range(5)), ids=(f"id{i}" for i in range(5))
    )
    assert ids == [f"id{i}" for i in range(5)]
    assert [found.metadata["i"] for found in store.get_by_ids(ids)] == list(range(5))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": "1 0"}, TypeError, "list of strings"),
        ({"texts": ["1 0", 7]}, TypeError, "texts must be strings, not int"),
        ({"texts": ["1 0"], "ids": [7]}, TypeError, "ids must be strings, not int"),
        ({"texts": ["1 0"], "ids": "a"}, TypeError, "list of strings"),
        ({"texts": ["1 0", "0 1"], "ids": ["a"]}, ValueError, "1 ids for 2 texts"),
        ({"texts": ["1 0", "0 1"], "metadatas": [{}, {}, {}]}, ValueError, "3 metadatas for 2 texts"),
        ({"texts": ["1 0"], "batch_size": 0}, ValueError, "batch_size"),
    ],
)
async def test_columns_that_do_not_fit_are_refused_before_the_embedder_is_paid(
    store: InlayVectorStore, spoken: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.add_texts(**arguments)
    with pytest.raises(error, match=message):
        await store.aadd_texts(**arguments)
    assert spoken.calls == []
    assert store.collection.count() == 0


def test_nothing_to_add_is_no_work(store: InlayVectorStore, spoken: Any) -> None:
    assert store.add_texts([]) == []
    assert store.add_documents([], ids=[]) == []
    assert store.add_embeddings([]) == []
    assert spoken.calls == []


def test_the_same_id_replaces_vector_text_and_all_metadata(
    contents: Contents, store: InlayVectorStore
) -> None:
    store.add_texts(["1 0"], [{"old": 1, "both": 1}], ids=["a"])
    store.add_texts(["0 2"], [{"both": 2}], ids=["a"])
    assert contents(store) == {"a": ("0 2", {"both": 2}, [0.0, 2.0])}
    store.add_texts(["0 2"], ids=["a"])
    assert contents(store)["a"][1] == {}


@pytest.mark.parametrize("batch_size", [1, 2, 1024])
def test_of_duplicates_in_one_call_the_last_wins(
    contents: Contents, store: InlayVectorStore, batch_size: int
) -> None:
    ids = store.add_texts(["1 0", "0 1", "3 3"], ids=["a", "b", "a"], batch_size=batch_size)
    assert ids == ["a", "b", "a"]
    assert {key: text for key, (text, _, _) in contents(store).items()} == {"a": "3 3", "b": "0 1"}


async def test_texts_are_embedded_a_batch_at_a_time(spoken: Any) -> None:
    store = InlayVectorStore(spoken, batch_size=2)
    store.add_texts(["1 0"] * 5)
    await store.aadd_texts(["1 0"] * 3, batch_size=3)
    store.add_documents([Document(page_content="1 0")] * 4, batch_size=100)
    sync = [("embed_documents", n) for n in (2, 2, 1)]
    assert spoken.calls == [*sync, ("aembed_documents", 3), ("embed_documents", 4)]
    assert store.collection.count() == 12


async def test_unknown_keywords_of_adding_are_accepted(store: InlayVectorStore) -> None:
    store.add_documents([Document(page_content="1 0")], vector_field="ignored")
    await store.aadd_documents([Document(page_content="1 0")], vector_field="ignored")
    assert store.collection.count() == 2


def test_progress_is_told_to_a_callable(spoken: Any) -> None:
    told: list[tuple[int, int]] = []
    store = InlayVectorStore(spoken, batch_size=2)
    store.add_texts(["1 0"] * 5, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


class Failing(Embeddings):
    """Gives what it was told to give, call after call; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return answer

    def embed_query(self, text: str) -> list[float]:
        raise AssertionError("nothing is searched here")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (OSError("the provider is down"), OSError),
        ([[1.0, 0.0]], ValueError),
        ([[1.0, 0.0], [float("nan"), 0.0]], ValueError),
        ([[1.0, 0.0], [1.0, 0.0, 0.0]], ValueError),
    ],
    ids=["embedder fails", "vector missing", "not a number", "ragged"],
)
async def test_a_failed_call_of_one_batch_stores_nothing(
    contents: Contents, answer: Any, error: type[Exception]
) -> None:
    with InlayVectorStore(Failing([[5.0, 5.0]], answer, answer)) as store:
        store.add_texts(["old"], ids=["a"])
        with pytest.raises(error):
            store.add_texts(["new", "newer"], ids=["a", "b"])
        with pytest.raises(error):
            await store.aadd_texts(["new", "newer"], ids=["a", "b"])
        assert contents(store) == {"a": ("old", {}, [5.0, 5.0])}


def test_a_failure_keeps_the_batches_before_it(
    contents: Contents,
) -> None:
    store = InlayVectorStore(Failing([[1.0], [2.0]], OSError("down")), batch_size=2)
    with pytest.raises(OSError, match="down"):
        store.add_texts(["one", "two", "three"], ids=["1", "2", "3"])
    assert set(contents(store)) == {"1", "2"}


def test_metadata_that_cannot_be_stored_is_named_and_leaves_the_old_version(
    contents: Contents, store: InlayVectorStore
) -> None:
    store.add_texts(["1 0"], [{"n": 1}], ids=["a"])
    with pytest.raises(TypeError, match="handle"):
        store.add_texts(["0 1", "1 1"], [{}, {"handle": object()}], ids=["a", "b"])
    assert contents(store) == {"a": ("1 0", {"n": 1}, [1.0, 0.0])}


def test_metadata_comes_back_as_it_went_in(store: InlayVectorStore) -> None:
    metadata: dict[str, Any] = {
        "int": 1,
        "float": 1.0,
        "bool": True,
        "none": None,
        "empty": [],
        "nested": {"list": [1, {"x": "ü"}], "dict": {}},
        "when": datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
        "day": date(2024, 5, 1),
        "key": uuid.UUID(int=7),
        "bytes": b"\x00\xff",
        "pair": (1, 2),
    }
    store.add_texts(["1 0"], [metadata], ids=["a"])
    read = store.get_by_ids(["a"])[0].metadata
    assert read == metadata
    assert {key: type(value) for key, value in read.items()} == {key: type(v) for key, v in metadata.items()}


@pytest.mark.parametrize("text", ["", "ß ∑ 𓀀 \x00 \n", "x" * 1_000_000])
def test_any_text_and_any_id_can_be_stored(store: InlayVectorStore, text: str) -> None:
    key = "an id with 'quotes', spaces and ünïcode"
    store.add_embeddings([(text, [1.0, 0.0])], ids=[key])
    assert store.get_by_ids([key]) == [Document(id=key, page_content=text)]


async def test_known_vectors_are_not_embedded_again(
    contents: Contents, store: InlayVectorStore, spoken: Any
) -> None:
    assert store.add_embeddings([("x", [1.0, 0.0])], [{"n": 1}], ["a"]) == ["a"]
    assert await store.aadd_embeddings(iter([("y", np.array([0.0, 1.0]))]), ids=["b"]) == ["b"]
    assert contents(store) == {"a": ("x", {"n": 1}, [1.0, 0.0]), "b": ("y", {}, [0.0, 1.0])}
    assert spoken.calls == []


# Deleting


async def test_delete_says_true_whether_or_not_there_was_something(
    contents: Contents, store: InlayVectorStore
) -> None:
    store.add_texts(["1 0", "0 1", "1 1", "2 1"], [{"n": n} for n in range(4)], ids=list("abcd"))
    assert store.delete(["a", "missing"]) is True
    assert await store.adelete(["missing"]) is True
    assert store.delete([]) is True
    assert set(contents(store)) == set("bcd")
    assert store.delete(["b", "c"], filter={"n": {"$gte": 2}}) is True
    assert set(contents(store)) == set("bd")
    assert await store.adelete(filter=lambda document: document.metadata["n"] == 3) is True
    assert set(contents(store)) == {"b"}


async def test_delete_never_guesses(contents: Contents, store: InlayVectorStore) -> None:
    store.add_texts(["1 0"], ids=["a"])
    with pytest.raises(ValueError, match="ids"):
        store.delete()
    with pytest.raises(TypeError, match="where"):
        store.delete(["a"], where={"n": 1})
    with pytest.raises(TypeError, match="where"):
        await store.adelete(["a"], where={"n": 1})
    with pytest.raises(ValueError, match="unsupported operator"):
        store.delete(filter={"n": {"$near": 1}})
    assert set(contents(store)) == {"a"}


# Building in one call


async def test_building_from_nothing_gives_an_empty_store(spoken: Any) -> None:
    for store in (InlayVectorStore.from_texts([], spoken), await InlayVectorStore.afrom_texts([], spoken)):
        assert store.similarity_search("1 0") == []
        assert store.add_texts(["1 0"], ids=["a"]) == ["a"]


async def test_building_passes_ids_metadata_and_options_on(spoken: Any, tmp_path: Path) -> None:
    documents = [Document(id="a", page_content="1 0", metadata={"n": 1}), Document(page_content="0 1")]
    pairs = [("1 0", [1.0, 0.0]), ("0 1", [0.0, 1.0])]
    options: dict[str, Any] = {"metric": "l2", "score": "distance", "progress": False}
    built = [
        InlayVectorStore.from_documents(documents, spoken, path=tmp_path / "1", **options),
        await InlayVectorStore.afrom_documents(documents, spoken, path=tmp_path / "2", **options),
        InlayVectorStore.from_texts(["1 0", "0 1"], spoken, [{"n": 1}, {}], ids=["a", "b"], **options),
        await InlayVectorStore.afrom_texts(["1 0", "0 1"], spoken, [{"n": 1}, {}], ids=["a", "b"], **options),
        InlayVectorStore.from_embeddings(pairs, spoken, [{"n": 1}, {}], ids=["a", "b"], **options),
        await InlayVectorStore.afrom_embeddings(pairs, spoken, [{"n": 1}, {}], ids=["a", "b"], **options),
    ]
    for store in built:
        found = store.similarity_search_with_score("1 0")
        assert [(hit.page_content, hit.metadata, score) for hit, score in found] == [
            ("1 0", {"n": 1}, 0.0),
            ("0 1", {}, 2.0),
        ]
        assert found[0][0].id == "a"
        store.close()
    assert (tmp_path / "1").is_dir()
    with pytest.raises(TypeError, match="persist_directory"):
        InlayVectorStore.from_texts(["1 0"], spoken, persist_directory="x")


async def test_a_failed_build_lets_go_of_the_files(spoken: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="down"):
        InlayVectorStore.from_texts(["x"], Failing(OSError("down")), path=tmp_path)
    with pytest.raises(OSError, match="down"):
        await InlayVectorStore.afrom_texts(["x"], Failing(OSError("down")), path=tmp_path)
    with pytest.raises(ValueError, match="dim"):
        InlayVectorStore.from_embeddings([("x", [])], spoken, path=tmp_path)
    with InlayVectorStore(spoken, tmp_path) as store:
        assert store.add_texts(["1 0"], ids=["a"]) == ["a"]


# Async


async def test_the_event_loop_turns_while_rows_are_written(
    spoken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write waits for something that only a running loop can do."""
    store = InlayVectorStore(spoken)
    loop_ran = threading.Event()
    upsert = store.collection.upsert
    waited: list[bool] = []

    def slow_upsert(*args: Any, **kwargs: Any) -> list[str]:
        waited.append(loop_ran.wait(timeout=30))
        return upsert(*args, **kwargs)

    monkeypatch.setattr(type(store.collection), "upsert", lambda self, *a, **k: slow_upsert(*a, **k))
    adding = asyncio.create_task(store.aadd_texts(["1 0"], ids=["a"]))
    while not adding.done():
        await asyncio.sleep(0)
        loop_ran.set()
    assert await adding == ["a"]
    assert waited == [True]


async def test_a_cancelled_add_leaves_whole_batches(contents: Contents, spoken: Any) -> None:
    class Stuck(type(spoken)):  # type: ignore[misc]
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            if "9 9" in texts:
                stuck.set()
                await asyncio.Event().wait()
            vectors: list[list[float]] = await super().aembed_documents(texts)
            return vectors

    stuck = asyncio.Event()
    store = InlayVectorStore(Stuck(), batch_size=2)
    adding = asyncio.create_task(store.aadd_texts(["1 0", "0 1", "9 9"], ids=["a", "b", "c"]))
    await stuck.wait()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert set(contents(store)) == {"a", "b"}
    assert store.add_texts(["1 1"], ids=["c"]) == ["c"]


# The end, and recall


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_deleted_collection_is_gone_and_the_others_stay(
    contents: Contents, spoken: Any, tmp_path: Path, is_async: bool
) -> None:
    with InlayVectorStore(spoken, tmp_path, collection="kept") as kept:
        kept.add_texts(["1 0"], ids=["a"])
    for name in ("default", "other"):
        store = InlayVectorStore(spoken, tmp_path, collection=name)
        store.add_texts(["1 0", "0 1"], ids=["a", "b"])
        if is_async:
            await store.adelete_collection()
        else:
            store.delete_collection()
        with pytest.raises(RuntimeError, match="closed"):
            store.similarity_search("1 0")
        store.close()
    assert Collection.names(tmp_path) == ["kept"]
    with InlayVectorStore(spoken, tmp_path, collection="kept") as kept:
        assert list(contents(kept)) == ["a"]
    with InlayVectorStore(spoken, tmp_path, metric="l2") as again:
        assert contents(again) == {}


def test_recall_is_an_option_of_the_collection(spoken: Any) -> None:
    with InlayVectorStore(spoken, recall=0.9) as store:
        assert store.collection.recall == 0.9
        with pytest.raises(ValueError, match="recall"):
            InlayVectorStore(spoken, store.collection, recall=0.5)
    with pytest.raises(ValueError, match="recall"):
        InlayVectorStore(spoken, recall=7)
    with InlayVectorStore(spoken) as store:
        assert store.collection.recall == 0.98
