"""An acknowledged write survives SIGKILL at any moment. More rounds: kill_rounds.py, or INLAY_KILL_ROUNDS."""

import os
import signal

import pytest

from tests.core.collection import kill_rounds


@pytest.mark.one_folder("its processes open the folder by themselves; tests/adapters/ray kills shards")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("index", ["LVQ8", "HNSW4,LVQ8"])
def test_what_was_acknowledged_survives_a_kill(tmp_path, index):
    n = int(os.environ.get("INLAY_KILL_ROUNDS", "3"))
    counts = kill_rounds.rounds(tmp_path / "collection", n, seed=7, index=index)
    assert counts["upsert"] + counts["broken off"] > 0
