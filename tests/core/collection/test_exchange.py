import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay import FormatError
from inlay.collection import Collection
from tests.core.collection import values

vectors = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)
rows = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"])), values.metadata, vectors), max_size=5
)


@given(rows)
def test_what_is_exported_is_imported(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    with Collection.open(dim=3) as collection, Collection.open() as other:
        if rows:
            texts, metadatas, given_vectors = zip(*rows, strict=True)
            collection.add(given_vectors, texts=texts, metadatas=metadatas)
        assert collection.export_jsonl(file) == len(rows)
        assert other.import_jsonl(file) == len(rows)
        assert [repr(record) for record in other] == [repr(record) for record in collection]
        ids = [record.id for record in collection]
        if ids:
            np.testing.assert_array_equal(other.vectors(ids), collection.vectors(ids))


def test_the_lines_are_for_other_programs(opened, place, tmp_path):
    collection = opened(place)
    collection.add([[0.1, 2]], ids=["ä"], texts=["line\nbreak"], metadatas=[{"day": date(2024, 5, 1)}])
    collection.export_jsonl(tmp_path / "a.jsonl")
    (line,) = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {
        "id": "ä",
        "text": "line\nbreak",
        "metadata": {"day": {"$date": "2024-05-01"}},
        "vector": [0.100000001, 2],
    }


def test_lines_of_other_programs_are_taken(opened, place, tmp_path):
    collection = opened(place)
    (tmp_path / "a").write_text('{"vector": [1, 2], "id": "a"}\n\n{"id": "b", "vector": [3, 4], "text": "t"}')
    assert collection.import_jsonl(tmp_path / "a") == 2
    assert [(record.id, record.text, record.metadata) for record in collection] == [
        ("a", "", {}),
        ("b", "t", {}),
    ]
    np.testing.assert_array_equal(collection.vectors(["a", "b"]), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"x", b'{"id": "a"}', b"\xff\xfe", b'{"id":"a","vector":[1,2]']
)
def test_a_line_that_is_no_document_is_named(opened, place, tmp_path, line):
    (tmp_path / "a").write_bytes(b'{"id":"a","vector":[1,2]}\n' + line + b"\n")
    with pytest.raises(FormatError, match=r"line [12] cannot be read"):
        opened(place).import_jsonl(tmp_path / "a")


@pytest.mark.parametrize(
    "fields", ['"vector":["x",1]', '"vector":[[1]]', '"vector":[1,2],"text":5', '"vector":{}']
)
def test_fields_that_make_no_document_are_errors(opened, place, tmp_path, fields):
    (tmp_path / "a").write_text(f'{{"id":"a",{fields}}}')
    with pytest.raises((TypeError, ValueError)):
        opened(place).import_jsonl(tmp_path / "a")


def test_an_export_that_fails_leaves_what_was_there(opened, place, tmp_path, documents, monkeypatch):
    collection = opened(place)
    collection.add(**documents(3))
    (tmp_path / "a").write_text("before")
    monkeypatch.setattr("inlay.collection.disk.sync_file", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        collection.export_jsonl(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
