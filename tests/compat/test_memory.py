"""Promises of compat.memory: growth is counted, mapped files are not, and a peak is seen."""

import sys

import numpy as np
import pytest

from compat import memory

MEGABYTE = 1 << 20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def test_what_is_allocated_and_touched_is_counted():
    memory.settle()
    before = memory.anonymous()
    held = np.ones(32 * MEGABYTE, np.uint8)
    grown = memory.anonymous() - before
    assert 30 * MEGABYTE < grown < 36 * MEGABYTE
    assert held.nbytes == 32 * MEGABYTE


def test_a_mapped_file_is_nobodys(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones(32 * MEGABYTE, np.uint8))
    memory.settle()
    before = memory.anonymous()
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="c")
    assert int(mapped.max()) == 1
    assert memory.anonymous() - before < 4 * MEGABYTE


def test_the_peak_remembers_what_is_gone_until_it_is_reset():
    memory.settle()
    if not memory.reset_peak():
        pytest.skip("this kernel does not let the high-water mark be reset")
    before = memory.resident()
    del_me = np.ones(48 * MEGABYTE, np.uint8)
    del del_me
    memory.settle()
    assert memory.peak() - before > 44 * MEGABYTE
    assert memory.reset_peak()
    assert memory.peak() - memory.resident() < 8 * MEGABYTE
