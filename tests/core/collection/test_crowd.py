"""Every answer is that of one committed state. Longer: crowd.py."""

import pytest

from tests.core.collection import crowd


@pytest.mark.one_folder("its processes open the folder by themselves")
def test_answers_are_whole_while_another_thread_and_process_write(tmp_path):
    counts, wrong = crowd.run(tmp_path / "collection", 1.0, threads=2, processes=2)
    assert wrong == []
    assert counts["changes"] > 0
    assert counts["least answers of a process"] > 0
