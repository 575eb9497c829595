"""Filters' documents and the table of scores, by themselves."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from inlay.adapters.langchain.translation import SCORES, ReadableDocument, Rows

keys = st.text(max_size=5)
values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(metadata=st.dictionaries(keys, values, max_size=5), key=keys)
def test_a_readable_document_reads_like_its_metadata(metadata: dict[str, Any], key: str) -> None:
    document = ReadableDocument(id="a", page_content="text", metadata=metadata)
    assert isinstance(document, Document)
    assert dict(document) == {**document} == metadata
    assert list(document) == list(document.keys()) == list(metadata)
    assert list(document.items()) == list(metadata.items())
    assert list(document.values()) == list(metadata.values())
    assert len(document) == len(metadata)
    assert document  # even without metadata
    assert (key in document) == (key in metadata)
    assert document.get(key, "none") == metadata.get(key, "none")
    if key in metadata:
        assert document[key] == metadata[key]
    else:
        with pytest.raises(KeyError):
            document[key]


@given(n=st.integers(0, 20), size=st.integers(1, 25))
def test_batches_are_the_rows_in_order(n: int, size: int) -> None:
    rows = Rows.checked([str(i) for i in range(n)], [{"i": i} for i in range(n)])
    batches = list(rows.batches(size))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert [text for batch in batches for text in batch.texts] == rows.texts
    assert [metadata for batch in batches for metadata in batch.metadatas] == rows.metadatas
    assert [key for batch in batches for key in batch.ids] == rows.ids
    assert len(set(rows.ids)) == n


finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("score", ["similarity", "distance"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@given(data=st.data())
def test_a_relevance_does_not_depend_on_the_kind_of_score(
    metric: str, score: str, data: st.DataObject
) -> None:
    bounds = {"cosine": (-1.0, 1.0), "l2": (0.0, None), "ip": (None, None)}[metric]
    value = data.draw(st.floats(*bounds, allow_nan=False, allow_infinity=False))
    to_score, to_relevance = SCORES[metric, score]
    expected = {
        "cosine": lambda: value,
        "l2": lambda: 1.0 / (1.0 + value),
        "ip": lambda: 0.0 if value < -700 else 1.0 / (1.0 + math.exp(-value)),
    }[metric]()
    assert to_relevance(to_score(value)) == pytest.approx(expected, abs=1e-12)
    better = data.draw(st.floats(*bounds, allow_nan=False, allow_infinity=False))
    nearer = value > better if metric != "l2" else value < better
    if nearer:
        a, b = to_score(value), to_score(better)
        assert a <= b if score == "distance" else a >= b
