"""What the tests of threads share: what may hang, fork or be interrupted runs in a process of its own."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest


@pytest.fixture
def run_script() -> Callable[..., str]:
    """Run a Python program with a time limit; return what it printed, fail on what it did wrong."""

    def run(source: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    return run
