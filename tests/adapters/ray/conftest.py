"""Sharded collections to test with, on a Ray of the tests' own; actors take seconds to start, so few do."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import ray_cluster  # noqa: F401  before Ray

WORDS = ("ant", "bee", "cat", "dog", "eel", "fast-food", "the", "the")


def documents(n: int, first: int = 0, seed: int = 1) -> dict[str, Any]:
    """Return seeded documents with many ties, as arguments of `upsert` by name."""
    rng = np.random.default_rng(seed + first)
    return {
        "vectors": rng.integers(-2, 3, size=(n, 4)).astype(np.float32),
        "ids": [f"id{first + i}" for i in range(n)],
        "texts": [" ".join(rng.choice(WORDS, rng.integers(0, 9))) for _ in range(n)],
        "metadatas": [{"n": first + i, "even": i % 2 == 0} for i in range(n)],
    }


@pytest.fixture(scope="session")
def _doubled(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from inlay.adapters.ray import ShardedCollection

    place = tmp_path_factory.mktemp("doubled") / "c"
    with ShardedCollection.open(
        place, metric="l2", index="Flat", shards=2, replicas=2, full_text=True, cpus=0.01
    ) as collection:
        yield collection


@pytest.fixture
def doubled(_doubled: Any) -> Any:
    """Two shards of two replicas each, empty."""
    _doubled.clear()
    return _doubled


@pytest.fixture(scope="session")
def _single(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from inlay.adapters.ray import ShardedCollection

    place = tmp_path_factory.mktemp("single") / "c"
    with ShardedCollection.open(
        place, metric="l2", index="Flat", shards=2, full_text=True, cpus=0.01
    ) as collection:
        yield collection


@pytest.fixture
def single(_single: Any) -> Any:
    """Two shards of one replica each, empty."""
    _single.clear()
    return _single
