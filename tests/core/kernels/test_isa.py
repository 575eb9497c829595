import os
import subprocess
import sys

import pytest

from inlay.kernels import table


def level_with(cap):
    """The level that a fresh process chooses under INLAY_ISA."""
    script = "from inlay.kernels import table; print(table.level())"
    environment = {**os.environ, "INLAY_ISA": cap}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)


def test_the_scalar_level_is_always_there_and_levels_rise():
    assert table.levels()[0] == "scalar"
    order = [table.LEVELS.index(name) for name in table.levels()]
    assert order == sorted(set(order))


def test_a_fresh_process_uses_the_best_level():
    assert level_with("").stdout.strip() == table.levels()[-1]


@pytest.mark.parametrize("cap", table.LEVELS)
def test_inlay_isa_caps_the_level(cap):
    below = [name for name in table.levels() if table.LEVELS.index(name) <= table.LEVELS.index(cap)]
    assert level_with(cap).stdout.strip() == below[-1]


def test_an_unknown_inlay_isa_is_refused_with_the_names_there_are():
    done = level_with("sse9")
    assert done.returncode != 0
    for part in ("sse9", *table.LEVELS):
        assert part in done.stderr
