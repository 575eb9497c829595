"""The fuzz command in short: a few damaged files of every form, and that it sees what it looks for."""

import json
import os
import signal

import pytest
from formats import fuzz

import inlay


def test_no_damaged_file_does_what_none_may():
    came_of_it, bad = fuzz.run(seed=7, n_files=600)
    assert not bad
    assert sum(came_of_it.values()) == 600
    names = {said.split(":")[0].replace(" ", "_") for said in came_of_it}
    assert names == {damage.__name__ for damage in (*fuzz.ACCIDENTS, *fuzz.LIES)}


def test_a_file_is_made_by_its_number_and_differs_from_its_original():
    for number in range(20):
        data, original, damage = fuzz.damaged(3, number)
        assert (data, original, damage) == fuzz.damaged(3, number)
        assert data != original


@pytest.mark.parametrize("spec", ["LVQ4x8", "HNSW8,LVQ8", "QuIVer8", "PQ4x8", "RVQ4x4", "IVF4,LVQ8", "LoRANN4"])
def test_a_false_dimension_is_refused_before_memory_is_taken_for_it(spec, tmp_path):
    index = inlay.from_spec(spec, 20)
    for _ in range(2):
        text, arrays = fuzz.taken_apart(bytearray(index.to_bytes()))
        document = json.loads(text)
        document["header"]["dim"] = 1 << 16
        (tmp_path / "file").write_bytes(fuzz.sealed(document, arrays))
        for mmap in (False, True):
            opened = fuzz.opened(tmp_path / "file", mmap)
            assert opened is None or not opened.is_trained
        index.add(fuzz.numbers(300, 20))


def troubled(seed, number, path):
    """Stands for a file that kills, one that hangs, one that raises, and a good one."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        while True:
            pass
    assert number != 3
    return "good"


def test_what_goes_wrong_in_a_process_is_counted_and_the_next_file_is_tried():
    came_of_it, bad = fuzz.run(seed=7, n_files=5, trial=troubled)
    assert came_of_it == {"good": 2}
    assert list(bad) == [1, 2, 3]
    assert bad[1] == f"the process ended with exit code {-signal.SIGSEGV}"
    assert bad[2] == "it hangs"
    assert "AssertionError" in bad[3]


def test_a_damaged_file_that_is_opened_is_seen(tmp_path, monkeypatch):
    number = next(number for number in range(100) if fuzz.damaged(7, number)[2] is fuzz.flip)
    original = inlay.FlatIndex(4)
    monkeypatch.setattr(fuzz, "opened", lambda path, mmap: original)
    with pytest.raises(AssertionError, match="although its bytes are not those"):
        fuzz.tried(7, number, tmp_path / "file.inlay")
