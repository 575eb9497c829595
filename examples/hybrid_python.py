"""Ask by meaning, by words, and by both, through LlamaIndex.

The passages of ask_python.py go into a LlamaIndex index over an Inlay store, on disk and with full text. Each
question is then asked in three modes side by side: a question in one's own words is what vectors are for, a
rare name is found by its letters, and the hybrid of both answers either. A second run opens the store and
answers at once.

    pip install 'inlay[examples,llama-index]'
    python examples/hybrid_python.py
    python examples/hybrid_python.py "rmtree onexc" "How do I copy a nested list?"
"""

import argparse
import shutil
import time
from pathlib import Path

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import TextNode

from ask_python import LatentWords, read_passages
from inlay.adapters.llama_index import InlayVectorStore

QUESTIONS = ["How do I make a temporary directory?", "mkdtemp", "escape HTML characters", "nlargest heapq"]
MODES = ("default", "text_search", "hybrid")


class Words(BaseEmbedding):
    """The embedder of ask_python.py, as LlamaIndex wants one."""

    _words: LatentWords = PrivateAttr()

    def __init__(self, words: LatentWords) -> None:
        super().__init__(model_name="latent words", embed_batch_size=500)
        self._words = words

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [list(vector) for vector in self._words.embed_documents(texts)]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def build(home: Path, limit: int) -> None:
    """Read, embed and store. The file `built` comes last, so a build that was cut short is begun again."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    started = time.perf_counter()
    passages = read_passages(limit)
    words = LatentWords.fit([passage.page_content for passage in passages])
    words.save(home / "embedder.npz")
    nodes = [
        TextNode(id_=passage.id or "", text=passage.page_content, metadata={"name": passage.metadata["name"]})
        for passage in passages
    ]
    with InlayVectorStore(home / "store", full_text=True) as store:
        context = StorageContext.from_defaults(vector_store=store)
        VectorStoreIndex(nodes, storage_context=context, embed_model=Words(words))
    (home / "built").touch()
    print(f"{len(nodes):,} passages read, embedded and stored in {time.perf_counter() - started:.1f} s")


def opened(home: Path) -> VectorStoreIndex:
    """Open what was built, now or earlier: the store is all there is to it."""
    store = InlayVectorStore(home / "store")
    print(f"{len(store.client):,} passages in the store")
    return VectorStoreIndex.from_vector_store(store, Words(LatentWords.load(home / "embedder.npz")))


def ask(index: VectorStoreIndex, questions: list[str], k: int) -> None:
    """Answer each question in every mode."""
    retrievers = {
        mode: index.as_retriever(similarity_top_k=k, vector_store_query_mode=mode) for mode in MODES
    }
    for question in questions:
        print(f"\n{question}")
        for mode, retriever in retrievers.items():
            names = [found.node.metadata["name"] for found in retriever.retrieve(question)]
            print(f"  {mode:12} {', '.join(names) or 'nothing'}")


def main() -> None:
    """Build or reopen, then ask."""
    cache = Path.home() / ".cache" / "inlay" / "hybrid_python"
    parser = argparse.ArgumentParser(description="Ask the documentation of your own Python in three modes.")
    add = parser.add_argument
    add("questions", nargs="*", metavar="QUESTION", help="what to ask (default: a few examples)")
    add("-k", type=int, default=3, help="answers to a question in each mode (default: %(default)s)")
    add("--path", type=Path, default=cache, help="where the store is kept (default: %(default)s)")
    add("--limit", type=int, default=10_000, help="passages to read (default: %(default)s)")
    add("--rebuild", action="store_true", help="read, embed and store everything again")
    args = parser.parse_args()
    if args.k < 1 or args.limit < 100:
        parser.error("-k must be at least 1, and --limit at least 100")
    if args.rebuild or not (args.path / "built").exists():
        build(args.path, args.limit)
    ask(opened(args.path), args.questions or QUESTIONS, args.k)


if __name__ == "__main__":
    main()
