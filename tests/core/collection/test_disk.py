import zlib

import pytest

from inlay.collection import disk


def test_a_checksum_covers_every_byte(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    assert disk.checksum(tmp_path / "f") == (len(data), zlib.crc32(data))
    (tmp_path / "f").write_bytes(data[:-1] + b"\0")
    assert disk.checksum(tmp_path / "f") == (len(data), zlib.crc32(data[:-1] + b"\0"))
    (tmp_path / "f").write_bytes(b"")
    assert disk.checksum(tmp_path / "f") == (0, 0)


def test_files_and_folders_are_synced_and_errors_show(tmp_path):
    with open(tmp_path / "f", "wb") as stream:
        stream.write(b"x" * 1000)
        disk.sync_file(stream.fileno())
    disk.sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        disk.sync_folder(tmp_path / "nowhere")
    (tmp_path / "below").mkdir()
    (tmp_path / "g").write_bytes(b"y" * 5)
    assert disk.folder_bytes(tmp_path) == 1005
