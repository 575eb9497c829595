"""Collections to test with: in memory and on disk, and a way to open the latter again.

    pytest tests/core/collection --sharded 2x2

runs the same tests on `inlay.adapters.ray.ShardedCollection` with so many shards and replicas. What looks
into the files or the memory of a single collection is marked `one_folder`, and skipped then."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlay.collection import Collection

WORDS = ("ant", "bee", "cat", "dog", "eel")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--sharded"):
        return
    twice = [item for item in items if _is_in_memory(item)]
    config.hook.pytest_deselected(items=twice)
    items[:] = [item for item in items if item not in twice]
    for item in items:
        if marker := item.get_closest_marker("one_folder"):
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


def _is_in_memory(item: pytest.Item) -> bool:
    """Tell whether a test is run in memory as well as on disk, where shards always are."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "memory" in (params.get("place"), params.get("filled"))


@pytest.fixture(autouse=True)
def kind_of_collection(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let `Collection.open` open a sharded one, if that is what is tested."""
    shape: str | None = request.config.getoption("--sharded")
    if shape is None:
        yield
        return
    request.getfixturevalue("local_ray")
    from inlay.adapters.ray import ShardedCollection

    shards, replicas = map(int, shape.split("x"))
    every = []

    def opened(path: Any = ":memory:", *args: Any, **options: Any) -> Any:
        place = tmp_path_factory.mktemp("memory") / "c" if path == ":memory:" else path
        there = {} if (Path(place) / "shards.json").exists() else {"shards": shards, "replicas": replicas}
        every.append(ShardedCollection.open(place, *args, cpus=0.01, **there, **options))
        return every[-1]

    monkeypatch.setattr(Collection, "open", opened)
    yield
    for collection in every:
        collection.close()


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a collection can be opened."""
    return ":memory:" if request.param == "memory" else str(tmp_path / "collection")


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Callable[..., Collection]:
    """Open collections that are closed after the test."""

    def open_one(*args: Any, **options: Any) -> Collection:
        collection = Collection.open(*args, **options)
        request.addfinalizer(collection.close)
        return collection

    return open_one


@pytest.fixture
def documents() -> Callable[..., dict[str, Any]]:
    """Return seeded documents, as arguments of `add` by name."""

    def make(n: int, dim: int = 8, seed: int = 1) -> dict[str, Any]:
        rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
        return {
            "vectors": rows,
            "ids": [f"id{i}" for i in range(n)],
            "texts": [f"text {i} {WORDS[i % 5]}" for i in range(n)],
            "metadatas": [{"n": i, "word": WORDS[i % 5], "half": i / 2} for i in range(n)],
        }

    return make
