"""LangChain's own suite for vector stores, as it is: nothing overridden, nothing expected to fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from inlay.adapters.langchain import InlayVectorStore


class TestInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        with InlayVectorStore(self.get_embeddings()) as store:
            yield store


class TestOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        with InlayVectorStore(self.get_embeddings(), tmp_path / "store") as store:
            yield store


class TestQuantised(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        with InlayVectorStore(self.get_embeddings(), tmp_path / "store", index="LVQ4x8") as store:
            yield store
