"""The class against LlamaIndex's base class and against its own documentation."""

import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from inlay.adapters.llama_index import InlayVectorStore

OURS = ["add", "delete", "delete_nodes", "get_nodes", "clear", "query", "persist"]
TWINS = ["async_add", "adelete", "adelete_nodes", "aget_nodes", "aclear", "aquery"]


@pytest.mark.parametrize("name", [*OURS, *TWINS])
def test_every_method_is_ours_and_accepts_what_the_base_class_accepts(name: str) -> None:
    base = inspect.signature(getattr(BasePydanticVectorStore, name)).parameters
    ours = inspect.signature(getattr(InlayVectorStore, name)).parameters
    assert getattr(InlayVectorStore, name) is not getattr(BasePydanticVectorStore, name)
    for parameter in base.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            assert any(own.kind is own.VAR_KEYWORD for own in ours.values())
        else:
            assert (ours[parameter.name].kind, ours[parameter.name].default) == (
                parameter.kind,
                parameter.default,
            )
    assert inspect.iscoroutinefunction(getattr(InlayVectorStore, name)) == (name in TWINS)


def test_the_examples_of_the_docstring_run(
    embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = InlayVectorStore.__doc__ or ""
    blocks = re.findall(r"code-block:: python\n\n((?: {12}.*\n|\n)+)", said)
    assert len(blocks) == 7
    names: dict[str, Any] = {
        **{"StorageContext": StorageContext, "VectorStoreIndex": VectorStoreIndex, "model": embedder},
        **{"VectorStoreQuery": VectorStoreQuery, "MetadataFilters": MetadataFilters},
        **{"MetadataFilter": MetadataFilter, "FilterOperator": FilterOperator},
        "documents": [Document(text=f"{page} a tree", metadata={"page": page}) for page in (1, 2, 9)],
    }
    for block in blocks:
        exec(textwrap.dedent(block), names)
    assert len(names["store"].get_nodes()) == 2
    names["store"].close()
    assert (tmp_path / "my_store").is_dir()


def test_every_parameter_of_the_constructor_is_documented() -> None:
    parameters = set(inspect.signature(InlayVectorStore.__init__).parameters) - {"self", "constants"}
    documented = re.findall(r"^ {4}(\w+) : ", InlayVectorStore.__doc__ or "", flags=re.MULTILINE)
    assert set(documented) == parameters


def test_without_llama_index_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['llama_index.core'] = None; import inlay.adapters.llama_index"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'inlay[llama-index]'" in done.stderr
