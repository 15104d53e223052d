"""Removes kept copies of repositories that nobody has used for a while."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path


def prune(root: Path, before: float, *, dry_run: bool = False) -> tuple[int, tuple[str, ...]]:
    """Removes caches below `root` last used before that time and in nobody's use; bytes freed, and their names."""
    freed, names = 0, []
    for path in sorted(root.glob("*-*")):
        with suppress(OSError):
            if not (path / "lock").exists() or path.stat().st_mtime >= before:
                continue
            size = _size(path)
            if dry_run or _remove(path):
                freed += size
                names.append(f"{root.name}/{path.name}")
    return freed, tuple(names)


def _remove(path: Path) -> bool:
    """False if somebody uses it. Renamed first: whoever comes now makes a new one."""
    lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(f"gone.{secrets.token_hex(8)}")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _size(path: Path) -> int:
    return sum(found.lstat().st_blocks * 512 for found in path.rglob("*"))
