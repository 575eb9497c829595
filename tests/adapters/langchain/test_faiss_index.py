"""Files of faiss indexes of float vectors, written here as faiss writes them."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay import FormatError
from inlay.adapters.langchain.faiss_index import vectors

ROWS = np.random.default_rng(5).normal(size=(23, 3)).astype("<f4")
METRICS = {"ip": 0, "l2": 1}


def header(kind, n, metric, dim=3):
    return struct.pack("<4siqqqBi", kind, dim, n, 1 << 20, 1 << 20, 1, METRICS[metric])


def counted(values, dtype="<i8"):
    array = np.asarray(values, dtype)
    return struct.pack("<q", array.size) + array.tobytes()


def flat(rows=ROWS, metric="l2"):
    return header(b"IxF2" if metric == "l2" else b"IxFI", len(rows), metric) + counted(rows, "<f4")


def hnsw(metric="l2"):
    graph = counted([0.5, 0.5], "<f8") + counted([0, 4, 8], "<i4") + counted(range(40), "<i4")
    return (
        header(b"IHNf", len(ROWS), metric) + graph + struct.pack("<iiii", 3, 1, 40, 16) + flat(ROWS, metric)
    )


def ivf(metric="l2", n_lists=5, sparse=False, mapped=0):
    lists = [np.arange(len(ROWS))[i::n_lists] if i != 1 else np.arange(0) for i in range(n_lists)]
    lists[0] = np.setdiff1d(np.arange(len(ROWS)), np.concatenate(lists[1:]))
    data = header(b"IwFl", len(ROWS), metric) + struct.pack("<qq", n_lists, 1) + flat(ROWS[:n_lists])
    data += struct.pack("<B", mapped) + counted([7] * (len(ROWS) if mapped == 1 else 0))
    if mapped == 2:
        data += struct.pack("<q", len(ROWS)) + bytes(16 * len(ROWS))
    data += b"ilar" + struct.pack("<qq", n_lists, 12)
    if sparse:
        data += b"sprs" + counted(
            [number for i, held in enumerate(lists) if len(held) for number in (i, len(held))]
        )
    else:
        data += b"full" + counted([len(held) for held in lists])
    return data + b"".join(ROWS[held].tobytes() + held.astype("<i8").tobytes() for held in lists)


FORMS = {
    "flat": flat(),
    "flat ip": flat(metric="ip"),
    "hnsw": hnsw(),
    "hnsw ip": hnsw("ip"),
    "ivf": ivf(),
    "ivf ip": ivf("ip"),
    "ivf sparse": ivf(sparse=True),
    "ivf with a map": ivf(mapped=1),
    "ivf with a table": ivf(mapped=2),
}


@pytest.mark.parametrize("form", FORMS)
def test_vectors_come_in_the_order_of_their_numbers(form):
    metric, rows = vectors(FORMS[form])
    assert metric == ("ip" if form.endswith("ip") else "l2")
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_cut_is_a_format_error(form):
    data = FORMS[form]
    for end in {*range(0, len(data), 7), len(data) - 1}:
        with pytest.raises(FormatError):
            vectors(data[:end])


@given(st.sampled_from(sorted(FORMS)), st.data())
def test_damage_is_a_format_error_or_other_numbers(form, data):
    damaged = bytearray(FORMS[form])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, rows = vectors(bytes(damaged))
    except FormatError:
        return
    assert rows.dtype == np.float32
    assert rows.size <= len(damaged) / 4


@pytest.mark.parametrize("kind", [b"IxSQ", b"IxPq", b"IwPQ", b"IHNs", b"IxMp", b"", b"\0\0\0\0"])
def test_other_kinds_are_named(kind):
    with pytest.raises(FormatError, match="of the kind"):
        vectors(kind + bytes(100))
