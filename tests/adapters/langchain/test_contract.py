"""The class against LangChain's base class and against its own documentation."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from inlay.adapters.langchain import InlayVectorStore

PUBLIC = [
    name for name in dir(VectorStore) if not name.startswith("_") and callable(getattr(VectorStore, name))
]
EMPTY = inspect.Parameter.empty


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_accepts_what_the_base_class_accepts(name: str) -> None:
    base = inspect.signature(getattr(VectorStore, name)).parameters
    ours = inspect.signature(getattr(InlayVectorStore, name)).parameters
    any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values())
    positions = [p.name for p in ours.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for place, parameter in enumerate(base.values()):
        match parameter.kind:
            case inspect.Parameter.POSITIONAL_ONLY:
                assert ours[positions[place]].kind is parameter.kind
            case inspect.Parameter.POSITIONAL_OR_KEYWORD:
                assert positions[place] == parameter.name
                assert ours[parameter.name].default == parameter.default
            case inspect.Parameter.KEYWORD_ONLY:
                assert parameter.name in ours
            case inspect.Parameter.VAR_KEYWORD:
                assert any_keyword
    required = {p.name for p in ours.values() if p.default is EMPTY and p.kind is not p.VAR_KEYWORD}
    if inspect.Parameter.VAR_POSITIONAL not in {parameter.kind for parameter in base.values()}:
        assert required <= set(base)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in PUBLIC
        if name.startswith("a") and inspect.iscoroutinefunction(getattr(VectorStore, name))
    ],
)
def test_no_async_method_runs_the_embedder_in_a_thread(name: str) -> None:
    """The base class's own async methods do, but for those that only call another async method."""
    delegating = {"asearch", "afrom_documents", "asimilarity_search_with_relevance_scores"}
    assert name in delegating or getattr(InlayVectorStore, name) is not getattr(VectorStore, name)
    assert inspect.iscoroutinefunction(getattr(InlayVectorStore, name))


def test_the_docstring_has_the_sections_langchain_asks_for() -> None:
    sections = re.findall(r"^ {4}([A-Z][A-Za-z ]+):$", InlayVectorStore.__doc__ or "", flags=re.MULTILINE)
    assert sections == [
        "Setup",
        "Key init args",
        "Instantiate",
        "Add Documents",
        "Delete Documents",
        "Search",
        "Search with filter",
        "Search with score",
        "Async",
        "Use as Retriever",
    ]


async def test_the_examples_of_the_docstring_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"code-block:: python\n\n((?: {12}.*\n|\n)+)", InlayVectorStore.__doc__ or "")
    assert len(blocks) == 8
    names: dict[str, Any] = {"embedding": DeterministicFakeEmbedding(size=6), "Document": Document}
    for block in blocks:
        code = compile(textwrap.dedent(block), "docstring", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
    assert [found.id for found in names["store"].get_by_ids(["a"])] == ["a"]
    names["store"].close()
    assert (tmp_path / "my_store").is_dir()


def test_every_parameter_of_the_constructor_is_documented() -> None:
    parameters = set(inspect.signature(InlayVectorStore).parameters)
    documented = set(re.findall(r"^ {8}(\w+) : ", InlayVectorStore.__doc__ or "", flags=re.MULTILINE))
    assert documented == parameters


def test_without_langchain_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['langchain_core'] = None; import inlay.adapters.langchain"
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "ImportError" in failed.stderr
    assert "pip install 'inlay[langchain]'" in failed.stderr


def test_nothing_of_langchain_is_imported_by_the_package_itself() -> None:
    script = "import sys, inlay, inlay.adapters; sys.exit('langchain_core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
