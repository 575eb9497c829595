"""Collections to test with: in memory and on disk, and a way to open the latter again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlay.collection import Collection

WORDS = ("ant", "bee", "cat", "dog", "eel")


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
