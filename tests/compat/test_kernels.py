"""Promises of compat.kernels: every kernel runs at every level, over the bytes that it is charged for."""

import numpy as np
import pytest

from compat import kernels
from compat.kernels import KERNELS, main, nanoseconds
from inlay.kernels import table as compiled

SMALL = 64 << 10


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_every_kernel_is_timed_at_every_level(kernel):
    found = nanoseconds(kernel, 40, SMALL, compiled.levels(), rounds=2)
    assert list(found) == compiled.levels()
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [1, 8, 12, 40, 129])
def test_codes_are_charged_for_what_a_packed_row_takes(bits, dim):
    packed = compiled.pack(np.zeros((16, dim), np.uint8), bits)
    charged = next(kernel for kernel in KERNELS if kernel.name == f"codes{bits}").row_bytes(dim)
    assert charged == packed.nbytes / 16


def test_the_table_has_a_row_for_cache_and_one_for_memory(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "MEMORY_BYTES", 4 << 20)
    assert main(["--dims", "16", "--rounds", "2", "--only", "codes4*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.replace("|", "").split()[:3] for line in lines[-4:]] == [
        ["codes4", "16", "cache"],
        ["codes4", "16", "memory"],
        ["codes4-x8", "16", "cache"],
        ["codes4-x8", "16", "memory"],
    ]


@pytest.mark.parametrize("arguments", [["--dims", "0"], ["--rounds", "0"], ["--only", "nothing"]])
def test_a_bad_command_line_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err
