"""The calls of a sharded collection for an event loop: each hops to a thread, which waits for the shards."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from inlay.collection import AnyCollection, Hit, Record
from inlay.collection.selection import Given as Filter


class Asynchronous(AnyCollection, Protocol):
    """The calls with an `a` before their names, with the same arguments."""

    async def aadd(self, vectors: npt.ArrayLike, **options: Any) -> list[str]:
        """Do `add` in a thread."""
        return await asyncio.to_thread(self.add, vectors, **options)

    async def aupsert(self, vectors: npt.ArrayLike, **options: Any) -> list[str]:
        """Do `upsert` in a thread."""
        return await asyncio.to_thread(self.upsert, vectors, **options)

    async def adelete(self, ids: Sequence[str] | None = None, *, filter: Filter = None) -> int:
        """Do `delete` in a thread."""
        return await asyncio.to_thread(self.delete, ids, filter=filter)

    async def aupdate_metadata(
        self, ids: Sequence[str] | None, patch: Mapping[str, Any], **options: Any
    ) -> int:
        """Do `update_metadata` in a thread."""
        return await asyncio.to_thread(self.update_metadata, ids, patch, **options)

    async def aget(self, ids: Sequence[str] | None = None, **options: Any) -> list[Record]:
        """Do `get` in a thread."""
        return await asyncio.to_thread(self.get, ids, **options)

    async def acount(self, filter: Filter = None) -> int:
        """Do `count` in a thread."""
        return await asyncio.to_thread(self.count, filter)

    async def asearch(self, vector: npt.ArrayLike, k: int = 10, **options: Any) -> list[Hit]:
        """Do `search` in a thread."""
        return await asyncio.to_thread(self.search, vector, k, **options)

    async def asearch_batch(self, vectors: npt.ArrayLike, k: int = 10, **options: Any) -> list[list[Hit]]:
        """Do `search_batch` in a thread."""
        return await asyncio.to_thread(self.search_batch, vectors, k, **options)

    async def ammr(self, vector: npt.ArrayLike, k: int = 4, **options: Any) -> list[Hit]:
        """Do `mmr` in a thread."""
        return await asyncio.to_thread(self.mmr, vector, k, **options)

    async def asearch_text(self, text: str, k: int = 10, **options: Any) -> list[Hit]:
        """Do `search_text` in a thread."""
        return await asyncio.to_thread(self.search_text, text, k, **options)

    async def ahybrid(self, vector: npt.ArrayLike, text: str, k: int = 10, **options: Any) -> list[Hit]:
        """Do `hybrid` in a thread."""
        return await asyncio.to_thread(self.hybrid, vector, text, k, **options)
