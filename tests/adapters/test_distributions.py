"""The two thin distributions are built, installed, and give what they are named for."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ROOT / "adapters" / "distributions"
NAMES = {
    "langchain_inlay": ("langchain_core", "from langchain_inlay import InlayVectorStore"),
    "llama_index_vector_stores_inlay": (
        "llama_index.core",
        "from llama_index.vector_stores.inlay import InlayVectorStore",
    ),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install copies of both, which the build leaves its traces in, to a folder of their own."""
    pytest.importorskip("setuptools", minversion="77", reason="they are built here, with nothing downloaded")
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("installed")
    shutil.copytree(DISTRIBUTIONS, sources, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    quiet = ["--disable-pip-version-check", "--no-index", "--target", str(target)]
    subprocess.run(
        [*command, *quiet, *(str(sources / name) for name in NAMES)], check=True, capture_output=True
    )
    return target


@pytest.mark.parametrize("name", NAMES)
def test_it_installs_and_imports(installed: Path, name: str) -> None:
    framework, line = NAMES[name]
    pytest.importorskip(framework)
    script = f"import sys; sys.path.insert(0, {str(installed)!r}); {line}; print(InlayVectorStore.__module__)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("inlay.adapters.")
    assert list(installed.rglob("py.typed"))


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_with_this_version(name: str) -> None:
    project = tomllib.loads((DISTRIBUTIONS / name / "pyproject.toml").read_text())["project"]
    assert project["version"] == version("inlay")
    (needed,) = project["dependencies"]
    assert needed.startswith("inlay[")
