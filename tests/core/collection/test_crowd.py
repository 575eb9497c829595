"""Every answer is that of one committed state. Longer: crowd.py."""

from tests.core.collection import crowd


def test_answers_are_whole_while_another_thread_and_process_write(tmp_path):
    counts, wrong = crowd.run(tmp_path / "collection", 1.0, threads=2, processes=2)
    assert wrong == []
    assert counts["changes"] > 0
    assert counts["least answers of a process"] > 0
