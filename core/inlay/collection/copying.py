"""Copies of a collection: made beside the place they go to, and put there in one step when complete."""

import os
import secrets
import shutil
from pathlib import Path

from . import disk
from .database import DATABASE, LOCK, WriterLock
from .opening import OTHERS
from .store import Store


def copy(store: Store, target: Path) -> None:
    """Write a copy of a store to a folder, as of one moment.

    An earlier collection there is replaced, under its readers, who keep what they have open.

    Raises
    ------
    FileExistsError
        When the folder holds something else; nothing is touched then.
    BlockingIOError
        When somebody writes to the collection there.
    """
    target = target.absolute()
    if (target / OTHERS).exists():
        raise FileExistsError(f"{target} holds further collections; give another folder")
    replaced = (target / DATABASE).exists()
    if target.exists() and not replaced and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} holds something that is not a collection; give another folder")
    lock = WriterLock(target / LOCK) if replaced else None
    name = f".inlay-{secrets.token_hex(8)}"
    beside, aside = target.with_name(f"{name}.tmp"), target.with_name(f"{name}-old.tmp")
    try:
        beside.mkdir(parents=True)
        store.copy_to(beside)
        disk.sync_folder(beside)
        if replaced:
            os.rename(target, aside)  # a folder that is not empty cannot be renamed over
        elif target.exists():
            target.rmdir()
        os.rename(beside, target)
        disk.sync_folder(target.parent)
    finally:
        if lock is not None:
            lock.release()
        shutil.rmtree(beside, ignore_errors=True)
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
