"""Removes from a store what nobody uses: `rebind clean`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from rebind.builds.store import Store, flock


def clean(store: Store, keep_newer_than: timedelta | None, *, dry_run: bool = False) -> tuple[int, tuple[str, ...]]:
    """Removes what nobody holds: environments and layers not used for that long (None: all), the wheels that no
    environment has, downloads. Returns the bytes that are free again and the names of what went."""
    return _Cleaning(store, keep_newer_than, dry_run).run()


class _Cleaning:
    """One run over a store."""

    def __init__(self, store: Store, keep_newer_than: timedelta | None, dry_run: bool) -> None:
        self._store = store
        self._before = time.time() - keep_newer_than.total_seconds() if keep_newer_than else None
        self._dry_run = dry_run
        self._freed = 0
        self._removed: list[str] = []

    def run(self) -> tuple[int, tuple[str, ...]]:
        """Bytes freed (or that would be), and what was removed, as `kind/digest`.

        First what nothing else rests on: sessions hold environments and layers, environments are links to wheels.
        """
        for kind in ("layers", "environments"):
            self._remove_all(kind)
        users = self._store.path / "users"
        fd = flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB) if users.exists() else -1
        if fd is not None:  # no environment is being put together just now
            self._remove_parts()
            if fd >= 0:
                os.close(fd)
        self._sweep()
        return self._freed, tuple(self._removed)

    def _remove_parts(self) -> None:
        wanted = self._wheels_in_use()
        for place in self._entries("wheels"):
            if place.name not in wanted:
                self._remove("wheels", place)
        for kind in ("downloads", "built"):
            self._remove_all(kind)

    def _remove_all(self, kind: str) -> None:
        for place in self._entries(kind):
            self._remove(kind, place)

    def _entries(self, kind: str) -> Iterator[Path]:
        folder = self._store.path / kind
        yield from sorted(folder.iterdir()) if folder.is_dir() else ()

    def _wheels_in_use(self) -> set[str]:
        """Those of all environments that stay."""
        gone = set(self._removed)
        wanted: set[str] = set()
        for place in self._entries("environments"):
            if f"environments/{place.name}" not in gone:
                with contextlib.suppress(OSError):
                    wanted.update((place / "wheels").read_text().split())
        return wanted

    def _remove(self, kind: str, place: Path) -> None:
        if self._before is not None and _used(place) >= self._before:
            return
        try:
            fd = flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if fd is None:  # somebody holds it
            return
        try:
            size = _own_size(place)
            if not self._dry_run:
                self._store.discard(place)
            self._freed += size
            self._removed.append(f"{kind}/{place.name}")
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """What killed processes left, and the lock files that nobody waits for."""
        if self._dry_run or not self._store.path.is_dir():
            return
        self._removed += [f"tmp/{path.name}" for path in self._store.sweep()]
        for path in self._entries("locks"):
            with contextlib.suppress(OSError):
                fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if fd is not None:
                    path.unlink()
                    os.close(fd)


def _used(place: Path) -> float:
    """When an entry was last used; one that is not whole, never."""
    try:
        return (place / "complete").stat().st_mtime
    except OSError:
        return 0.0


def _own_size(place: Path) -> int:
    """Bytes that its removal frees: not those of files that have another name elsewhere.

    A wheel whose environments go in the same run is counted with them gone, so a dry run counts it too little.
    """
    total = 0
    for directory, _, files in os.walk(place):
        for name in files:
            with contextlib.suppress(OSError):
                facts = os.lstat(f"{directory}/{name}")
                if facts.st_nlink == 1:
                    total += facts.st_blocks * 512
    return total
