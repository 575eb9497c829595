import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay.progress import track


class Screen(io.StringIO):
    """A stand-in for stderr that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture
def shown(monkeypatch):
    """Run two steps of work and return what stderr received."""

    def run(progress, *, terminal, total=10, steps=(4, 6), **options):
        screen = Screen(terminal)
        monkeypatch.setattr(sys, "stderr", screen)
        with track(progress, total, "adding", **options) as step:
            for n in steps:
                step(n)
        return screen.getvalue()

    return run


@pytest.mark.parametrize("terminal", [True, False])
def test_true_draws_a_bar_that_names_the_work_and_its_unit(shown, terminal):
    text = shown(True, terminal=terminal, unit="vectors")
    assert "adding" in text
    assert "vectors" in text
    assert "100%" in text
    assert "10.0/10.0" in text


@pytest.mark.parametrize("long", [True, False])
def test_false_is_silent(shown, long):
    assert shown(False, terminal=True, long=long) == ""


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("long", [True, False])
def test_none_draws_a_bar_only_for_long_work_on_a_terminal(shown, terminal, long):
    assert bool(shown(None, terminal=terminal, long=long)) is (terminal and long)


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_none_is_silent_without_a_stderr(monkeypatch, stderr):
    if stderr == "closed":
        stderr = io.StringIO()
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    with track(None, 2, "adding", long=True) as step:
        step(2)


def test_a_bar_is_full_after_success_and_not_after_failure(shown):
    assert "100%" in shown(True, terminal=True, steps=(4,))

    def failing():
        yield 4
        raise KeyError("failed")

    with pytest.raises(KeyError):
        shown(True, terminal=True, steps=failing())
    assert "100%" not in sys.stderr.getvalue()
    assert "40%" in sys.stderr.getvalue()


@given(steps=st.lists(st.integers(0, 5), max_size=8), missing=st.integers(0, 5))
def test_a_callable_hears_every_step_and_last_that_all_is_done(steps, missing):
    calls = []
    total = sum(steps) + missing
    with track(lambda done, total: calls.append((done, total)), total, "adding") as step:
        for n in steps:
            step(n)
    assert calls[-1] == (total, total)
    assert all(type(number) is int for call in calls for number in call)
    dones = [done for done, _ in calls]
    assert dones == sorted(dones)
    sums = [sum(steps[: i + 1]) for i in range(len(steps))]
    assert dones == (sums if sums and sums[-1] == total else [*sums, total])


def test_a_callable_never_hears_of_more_than_there_is():
    calls = []
    with track(lambda *call: calls.append(call), 3, "adding") as step:
        step(2)
        step(2)
    assert calls == [(2, 3), (3, 3)]


def work(progress, steps, error=None):
    with track(progress, 3, "adding") as step:
        for n in steps:
            step(n)
        if error:
            raise error


def test_a_failed_block_is_not_reported_as_done():
    calls = []
    with pytest.raises(KeyError):
        work(lambda *call: calls.append(call), [1], KeyError("failed"))
    assert calls == [(1, 3)]


@pytest.mark.parametrize("steps", [[1], []])
def test_an_exception_of_the_callable_comes_through(steps):
    def refuse(done, total):
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError):
        work(refuse, steps)


@pytest.mark.parametrize("progress", [1, 0, "yes", [], object()])
def test_anything_else_is_a_type_error_before_the_work_begins(progress):
    began = []
    with pytest.raises(TypeError, match="progress must be"), track(progress, 3, "adding"):
        began.append(True)
    assert not began


def test_tqdm_is_imported_only_to_draw_a_bar():
    script = (
        "import sys\n"
        "from inlay.progress import track\n"
        "for progress in (False, None, lambda done, total: None):\n"
        "    with track(progress, 2, 'adding') as step: step(2)\n"
        "assert 'tqdm' not in sys.modules\n"
        "with track(True, 2, 'adding') as step: step(2)\n"
        "assert 'tqdm' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
