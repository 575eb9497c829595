"""What makes bytes durable: file contents and folder entries reach the disk when told to, not before."""

import os
import zlib
from pathlib import Path

_PIECE = 1 << 20


def sync_file(descriptor: int) -> None:
    """Wait until the contents of an open file, and its length, are on the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:  # macOS, Windows
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until names made, changed or removed in a folder are on the disk."""
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder, and has no need to
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checksum(file: Path) -> tuple[int, int]:
    """Return the number of bytes of a file and their CRC-32."""
    size = crc = 0
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
    return size, crc


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())
