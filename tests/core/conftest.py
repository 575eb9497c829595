"""Share the fixture that runs a program in a process of its own with all tests of the core."""

from core.parallel.conftest import run_script

__all__ = ["run_script"]
