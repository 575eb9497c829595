"""What the tests of threads share: what may hang, fork or be interrupted runs in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest


@pytest.fixture
def run_script() -> Callable[..., str]:
    """Run a Python program with a time limit; return what it printed, fail on what it did wrong."""

    def run(source: str, **environment: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            printed, complaint = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            # Its forked children too: they would go on, and hold the pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == 0, f"exit code {process.returncode}\n{printed}\n{complaint}"
        return printed.strip()

    return run
