"""What this process holds in memory, as the kernel counts it (Linux; None elsewhere).

Rows that workers map from a file are shared and belong to nobody, so an index is charged for the anonymous
pages only: the growth of ``RssAnon`` from just before the build to just after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # the code that proc(5) gives to "forget the high-water mark"


def settle() -> None:
    """Hand freed memory back to the kernel, so that it is not charged to whoever is measured next."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def anonymous() -> int | None:
    """Return the bytes of resident memory that belong to this process alone."""
    return _field("RssAnon")


def resident() -> int | None:
    """Return the bytes of resident memory, mapped files included."""
    return _field("VmRSS")


def peak() -> int | None:
    """Return the most bytes that were resident since the last ``reset_peak``."""
    return _field("VmHWM")


def reset_peak() -> bool:
    """Let ``peak`` start anew from what is resident now; False where the kernel offers no such thing."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _field(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        label, _, value = line.partition(":")
        if label == name:
            return int(value.split()[0]) * 1024
    return None
