"""BM25 over several shards, equal to that of one collection.

A shard alone would weigh a word by how rare it is *there*. So a search by words has two steps: every shard
says how many documents and tokens it has and how many documents have each word, and then scores by the
sums.

FTS5 scores by its own counts only, and tells nobody how often a word is in a document. But its score of a
single word follows from that number and from what is known:

    score = idf · f · 2.2 / (f + w)    with  w = 1.2 · (0.25 + 0.75 · length / mean length)

which gives f back; the sum over the words is then formed as FTS5 forms it, term by term.
"""

import math
from dataclasses import dataclass

import numpy as np

from inlay import FormatError
from inlay.collection import full_text
from inlay.collection.ranking import F64
from inlay.collection.records import Reader

from .routing import I64

_K1, _B = 1.2, 0.75  # FTS5's own
_PART = 500  # rows asked for at once


@dataclass(frozen=True)
class Counts:
    """What BM25 knows of all documents: how many they and their tokens are, and how many have each word."""

    documents: int
    tokens: int
    having: tuple[int, ...]

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of both together."""
        having = tuple(map(sum, zip(self.having, other.having, strict=True)))
        return Counts(self.documents + other.documents, self.tokens + other.tokens, having)


def counts(reader: Reader, words: list[str], visible: I64 | None) -> Counts:
    """Count in one shard, among all of its documents or the visible ones."""
    if visible is None:
        having = tuple(int(reader.ask(full_text.COUNT, [word])[0][0]) for word in words)
        return Counts(reader.state().n_live, _tokens(reader)[1], having)
    having = tuple(int(np.isin(_having(reader, word)[0], visible).sum()) for word in words)
    return Counts(len(visible), int(_lengths(reader, visible).sum()), having)


def scored(reader: Reader, words: list[str], everywhere: Counts) -> tuple[F64, I64]:
    """Return the BM25 of every document that has one of the words, and its row; in no order."""
    local, tokens = _tokens(reader)
    mean = everywhere.tokens / max(everywhere.documents, 1)
    parts = [_having(reader, word) for word in words]
    rows = np.unique(np.concatenate([found for found, _ in parts])) if parts else np.empty(0, np.int64)
    lengths = _lengths(reader, rows)
    totals = np.zeros(len(rows))
    for (found, values), having in zip(parts, everywhere.having, strict=True):
        if len(found):
            places = np.searchsorted(rows, found)
            often = _often(values, lengths[places], _idf(local, len(found)), tokens / local)
            weight = _K1 * (1 - _B + _B * lengths[places] / mean)
            totals[places] += _idf(everywhere.documents, having) * (often * (_K1 + 1.0) / (often + weight))
    return totals, rows


def _idf(documents: int, having: int) -> float:
    """Return the weight of a word, kept above 0 as FTS5 does."""
    weight = math.log((documents - having + 0.5) / (having + 0.5))
    return weight if weight > 0 else 1e-6


def _often(values: F64, lengths: F64, idf: float, mean: float) -> F64:
    """Return how often a word is in documents, from FTS5's scores of the word alone."""
    weight = _K1 * (1 - _B + _B * lengths / mean)
    often: F64 = np.rint(values * weight / ((_K1 + 1.0) * idf - values))
    return often


def _having(reader: Reader, word: str) -> tuple[I64, F64]:
    """Return the rows that have a word, and their scores by this shard's counts."""
    lines = reader.ask("SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rowid", [word])
    return np.array([row for row, _ in lines], np.int64), np.array([value for _, value in lines], np.float64)


def _tokens(reader: Reader) -> tuple[int, int]:
    """Return how many texts and tokens there are, by FTS5's own books."""
    lines = reader.ask("SELECT block FROM words_data WHERE id = 1")
    numbers = _numbers(lines[0][0], 2) if lines and lines[0][0] else [0, 0]
    return numbers[0], numbers[1]


def _lengths(reader: Reader, rows: I64) -> F64:
    """Return the tokens of rows."""
    found: dict[int, int] = {}
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART].tolist()
        marks = ",".join("?" * len(part))
        lines = reader.ask(f"SELECT id, sz FROM words_docsize WHERE id IN ({marks})", part)
        found.update((row, _numbers(size, 1)[0]) for row, size in lines)
    if len(found) < len(rows):
        raise FormatError("a document has words but no length; the full text is damaged")
    return np.array([found[row] for row in rows.tolist()], np.float64)


def _numbers(block: bytes, n: int) -> list[int]:
    """Return the first numbers of what FTS5 has stored: seven bits a byte, the highest ones first."""
    numbers, at = [], 0
    try:
        for _ in range(n):
            number = 0
            while True:
                byte = block[at]
                at += 1
                number = number << 7 | byte & 0x7F
                if byte < 0x80:
                    break
            numbers.append(number)
    except (IndexError, TypeError):
        raise FormatError("the books of the full text are damaged") from None
    return numbers
