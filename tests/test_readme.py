"""Every Python block of the README runs, one after the other, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_readme_runs(tmp_path):
    pytest.importorskip("langchain_core", reason="the README's first block is about LangChain")
    pytest.importorskip("llama_index.core", reason="its second is about LlamaIndex")
    # The block on Ray runs in tests/adapters/ray, on a Ray that is there already.
    blocks = [block for block in python_blocks() if "ray.init" not in block]
    assert len(blocks) >= 2
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("the text of paper") == 5


def test_the_readme_calls_what_ci_runs():
    commands = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert commands[0].strip().endswith("examples/ask_python.py")
    assert commands[1].strip().endswith("-m pytest -n auto")
