"""Searches beside changes, in short; `storm.py` is the long form, to be run by hand."""

import pytest

from tests.adapters.faiss.storm import STRINGS, storm


@pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning", "ignore:two bits")
@pytest.mark.parametrize("string", STRINGS)
def test_threads_find_what_is_there_while_one_changes_it(string):
    searches, changes = storm(string, 2 / len(STRINGS))
    assert searches > 0
    assert changes > 0
