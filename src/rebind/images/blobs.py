"""Blobs that were made or fetched once: `sha256/<hex>` the bytes, `keys/<hex>` what a key stands for.

A blob is written aside and renamed to its place. After a power cut its bytes may be missing all the same, so whoever
sends one hashes it on the way and calls `forget` when it is not what its name says.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from rebind.errors import BuildError, DiskError
from rebind.images.tar import PIECE, Packed, compressor_name

FORMAT = 1  # raised when the same key would give other bytes


class Blobs:
    """The blobs below one directory; any number of processes may use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users: IO[str] | None = None

    def start(self) -> None:
        """Makes the directories, and removes what killed processes left a day ago. From now on `clean` finds the blobs
        in use, until this process ends."""
        for name in ("sha256", "keys", "tmp", "locks"):
            (self.path / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in (self.path / "tmp").iterdir():
            with contextlib.suppress(OSError):
                if left.lstat().st_mtime < time.time() - 86400:
                    left.unlink()
        if self._users is None:
            self._users = open(self.path / "users", "a")  # noqa: SIM115
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def file(self, digest: str) -> Path:
        """Where the bytes of a digest are, or would be."""
        algorithm, _, hexadecimal = digest.partition(":")
        if algorithm != "sha256" or len(hexadecimal) != 64 or set(hexadecimal) - set("0123456789abcdef"):
            raise BuildError(f"{digest!r} is not a digest.")
        return self.path / "sha256" / hexadecimal

    def has(self, digest: str, size: int) -> bool:
        try:
            return self.file(digest).stat().st_size == size
        except OSError:
            return False

    def layer(self, key: object, write: Callable[[Path], Packed]) -> Packed:
        """The layer of a key, written by `write` if it is not there; one writer per key over all processes."""
        found = self._layer(key)
        if found:
            return found
        with self._lock(self._name(key)):
            found = self._layer(key)
            if found:
                return found
            with self.writing() as draft:
                packed = write(draft)
                self.keep(draft, packed.digest)
            self.note(key, asdict(packed))
            return packed

    def _layer(self, key: object) -> Packed | None:
        known = self.noted(key)
        if not isinstance(known, dict):
            return None
        packed = Packed(**known)
        if not self.has(packed.digest, packed.size):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.file(packed.digest))  # `clean` goes by the last use
        return packed

    def small(self, content: bytes) -> Packed:
        """Keeps a few bytes, such as a configuration."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not self.has(digest, len(content)):
            with self.writing() as draft:
                draft.write_bytes(content)
                self.keep(draft, digest)
        return Packed(digest, len(content), digest)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A file to write a blob to; removed afterwards unless it was kept."""
        draft = self.path / "tmp" / secrets.token_hex(8)
        try:
            yield draft
        except OSError as error:
            raise _no_room(error, self.path) from error
        finally:
            draft.unlink(missing_ok=True)

    def keep(self, draft: Path, digest: str) -> None:
        draft.replace(self.file(digest))

    def receive(self, digest: str, size: int, pieces: Iterator[bytes]) -> None:
        """Keeps a blob that others made, if it is what its name says. Raises BuildError, DiskError."""
        hashed, total = hashlib.sha256(), 0
        with self.writing() as draft:
            with open(draft, "wb") as out:
                for piece in pieces:
                    hashed.update(piece)
                    total += len(piece)
                    if total > size:
                        break
                    out.write(piece)
            if total != size or f"sha256:{hashed.hexdigest()}" != digest:
                raise BuildError(f"The blob {digest} of the base image is not what its name says.")
            self.keep(draft, digest)

    def forget(self, digest: str) -> None:
        """Removes a blob, so that it is made or fetched again."""
        self.file(digest).unlink(missing_ok=True)

    def noted(self, key: object) -> Any:
        """What was noted under a key, else None."""
        try:
            return json.loads((self.path / "keys" / self._name(key)).read_bytes())
        except (OSError, ValueError):
            return None

    def note(self, key: object, value: object) -> None:
        with self.writing() as draft:
            draft.write_text(json.dumps(value))
            draft.replace(self.path / "keys" / self._name(key))

    def open_checked(self, packed: Packed, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from `start` on. Raises BuildError at their end if they are not those of the digest."""
        digest = hashlib.sha256()
        try:
            with open(self.file(packed.digest), "rb") as stream:
                at = 0
                while piece := stream.read(PIECE):
                    digest.update(piece)
                    skip = min(max(start - at, 0), len(piece))
                    at += len(piece)
                    if skip < len(piece):
                        yield piece[skip:]
        except FileNotFoundError as error:
            raise BuildError(f"The layer {packed.digest} was removed meanwhile.", remedy="Build again.") from error
        if f"sha256:{digest.hexdigest()}" != packed.digest:
            self.forget(packed.digest)
            raise BuildError(f"The layer {packed.digest} was damaged on the disk.", remedy="Build again.")

    def clean(self, before: float | None, *, dry_run: bool = False) -> tuple[int, tuple[str, ...]]:
        """Removes the blobs that were last used before that time (None: all), unless they are in use just now; bytes
        and names."""
        if not self.path.is_dir():
            return 0, ()
        with open(self.path / "users", "a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0, ()
            gone = list(self._gone(before, dry_run))
        return sum(size for size, _ in gone), tuple(name for _, name in gone)

    def _gone(self, before: float | None, dry_run: bool) -> Iterator[tuple[int, str]]:
        for path in sorted((self.path / "sha256").glob("*")):
            facts = path.stat()
            if before is None or facts.st_mtime < before:
                if not dry_run:
                    path.unlink()
                yield facts.st_blocks * 512, f"blobs/{path.name}"

    def _name(self, key: object) -> str:
        return hashlib.sha256(json.dumps([FORMAT, compressor_name(), key]).encode()).hexdigest()

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with open(self.path / "locks" / name[:2], "a") as lock:  # 256 locks are enough, and need no sweeping
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _no_room(error: OSError, path: Path) -> Exception:
    import errno

    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(path).free
    return DiskError(
        f"No space left on the disk of {path}: {free / 1e6:.0f} MB are free.",
        remedy="Run `rebind clean` to remove what is not in use, or make room on that disk.",
    )
