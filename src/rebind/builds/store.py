"""The content-addressed store: what was downloaded, unpacked, installed; each thing once, by digest.

    downloads/<sha256>/<filename>      files as their index has them, hash verified
    built/<digest>/<filename>.whl      wheels made of source packages
    wheels/<sha256>-<cpXY>/            wheels unpacked and compiled for one minor Python
    environments/<digest>/             environments, hard links into wheels/
    layers/<digest>/                   what lies over an environment
    tmp/  locks/  unsettled/           work in progress; files for flock; what may not be on the disk yet

An entry is made in tmp/, gets a file `complete` and is renamed to its place: nothing at its place is ever half-made,
whatever was killed when. A directory in tmp/ whose flock is free belongs to nobody and is removed. Power loss is
another matter than a killed process: `complete` names the boot it was written in, and an entry that is not known to be
on the disk (`settle`) is not believed after a reboot. So no build has to wait for fsync.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rebind.errors import BuildError, DiskError

Say = Callable[[str], None]
"""Takes one line of progress, without its line end."""

KINDS = ("downloads", "built", "wheels", "environments", "layers")
_DIGEST = re.compile(r"[0-9a-f]{16,128}(-cp[0-9]{2,4})?")
_SETTLED = "settled"
_OURS = re.compile(r"[0-9a-f]{16}")
STRANGE_AGE = 86400.0
WAIT_UNSAID = 1.0
LEASE = 120.0
SETTLE_AFTER = 90.0


class StoppedError(BuildError):
    """Another part of the same build failed or was interrupted; that one's error is the one to show."""


def silent(line: str) -> None:
    """A `Say` for those who do not want to know."""


def boot() -> str:
    """Id of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


@contextlib.contextmanager
def room(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turns "no space left" (or a quota) below `path` into a DiskError that says how much is free."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full(path, needed) from error


def full(path: Path, needed: int | None = None) -> DiskError:
    """The error for a disk without room."""
    try:
        free = f"{shutil.disk_usage(path).free / 1e6:.0f} MB are free"
    except OSError:
        free = "it is full"
    wants = f", {needed / 1e6:.0f} MB are needed" if needed else ""
    return DiskError(
        f"No space left on the disk of {path}: {free}{wants}.",
        remedy="Run `rebind clean` to remove what is not in use, or make room on that disk.",
    )


class Making:
    """The right to make one entry. `found` is the entry if another made it first, else fill `work` and `keep` it.

    `fd` holds `work`: a process that gets it keeps the directory from being swept, even if we are killed.
    """

    def __init__(
        self, store: Store, kind: str, digest: str, found: Path | None, work: Path | None = None, fd: int = -1
    ) -> None:
        self.found = found
        self.fd = fd
        self._store, self._kind, self._digest, self._work = store, kind, digest, work

    @property
    def work(self) -> Path:
        """An empty directory on the store's file system."""
        assert self._work is not None
        return self._work

    def drop(self, path: Path) -> None:
        """Removes a file or a tree, whatever a stranger made of it."""
        if path.is_dir() and not path.is_symlink():
            remove(path)
        else:
            path.unlink()

    def keep(self) -> Path:
        """Declares `work` whole and moves it to its place; returns the place."""
        place = self._store.place(self._kind, self._digest)
        with room(self._store.path):
            (self.work / "complete").write_text(boot())
            (self._store.path / "unsettled" / f"{self._kind}-{self._digest}").touch()
            if place.exists():  # not whole, or it would have been found
                self._store.discard(place)
            self.work.rename(place)
        return place


class Store:
    """One store. `owner`: the uid that the files inside environments get (as root), None for one's own."""

    def __init__(self, path: Path, owner: int | None = None) -> None:
        self.path = path
        self.owner = owner
        self._ready = False
        self._settling = threading.Lock()
        self._leases: dict[tuple[str, str], tuple[int, float]] = {}
        self._leasing = threading.Lock()

    def start(self) -> None:
        """Makes the directories and removes what killed processes left in tmp/. Cheap when done before."""
        if self._ready:
            return
        with room(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (*KINDS, "tmp", "locks", "unsettled"):
                (self.path / name).mkdir(mode=0o755, exist_ok=True)
        self._ready = True
        self.sweep()
        self._settle_later()

    def place(self, kind: str, digest: str) -> Path:
        """Where an entry is, or would be."""
        if kind not in KINDS or not _DIGEST.fullmatch(digest):
            raise BuildError(f"{kind}/{digest} is not a name in the store.")
        return self.path / kind / digest

    def find(self, kind: str, digest: str) -> Path | None:
        """The entry if it is whole."""
        place = self.place(kind, digest)
        try:
            mark = (place / "complete").read_text()
        except OSError:
            return None
        return place if mark in (_SETTLED, boot()) else None

    @contextlib.contextmanager
    def making(
        self, kind: str, digest: str, say: Say = silent, stop: threading.Event | None = None
    ) -> Iterator[Making]:
        """One maker per entry over all processes and threads; the others wait (until `stop`) and then find it."""
        self.start()
        self.place(kind, digest)
        with self._lock(f"{kind}-{digest}", say, stop or threading.Event()):
            found = self.find(kind, digest)
            if found:
                yield Making(self, kind, digest, found)
                return
            with self._held() as (work, fd):
                yield Making(self, kind, digest, None, work, fd)

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """A new directory in tmp/, held while in use and removed afterwards if it is still there."""
        self.start()
        with self._held() as (path, _):
            yield path

    @contextlib.contextmanager
    def _held(self) -> Iterator[tuple[Path, int]]:
        while True:
            path = self.path / "tmp" / secrets.token_hex(8)
            with room(self.path):
                path.mkdir(mode=0o755)
            with contextlib.suppress(FileNotFoundError):  # swept between these two lines: take another
                fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if fd is not None:
                    break
        inode = os.fstat(fd).st_ino
        try:
            yield path, fd
        finally:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:
                    remove(path)
            os.close(fd)

    def hold(self, kind: str, digest: str) -> int:
        """A file descriptor that keeps `clean` from removing the entry until it, and all its copies, are closed."""
        place = self.place(kind, digest)
        try:
            fd = flock(place, fcntl.LOCK_SH)
        except FileNotFoundError:
            fd = None
        if fd is None:
            raise BuildError(f"{kind}/{digest} is not in the store (any more).", remedy="Build it again.")
        return fd

    def lease(self, kind: str, digest: str) -> Path | None:
        """The entry if it is whole, held by this process for a while: until whoever asked for it can hold it."""
        now = time.monotonic()
        with self._leasing:
            for key, (fd, taken) in list(self._leases.items()):
                if now - taken > LEASE or key == (kind, digest):
                    os.close(fd)
                    del self._leases[key]
            if not self.find(kind, digest):
                return None
            try:
                self._leases[kind, digest] = (self.hold(kind, digest), now)
            except BuildError:
                return None
            self.touch(kind, digest)
            return self.place(kind, digest)

    def touch(self, kind: str, digest: str) -> None:
        """Notes that the entry was used now."""
        with contextlib.suppress(OSError):
            os.utime(self.place(kind, digest) / "complete")

    def discard(self, place: Path) -> None:
        """Takes an entry away: out of its place at once, then file by file."""
        away = self.path / "tmp" / secrets.token_hex(8)
        place.rename(away)
        remove(away)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Meanwhile `clean` leaves downloads and wheels alone: they are being put together."""
        self.start()
        users = self.path / "users"
        users.touch(0o600)
        fd = flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            if fd is not None:
                os.close(fd)

    def sweep(self) -> tuple[Path, ...]:
        """Removes the directories in tmp/ that no living process holds; those of others' making after a day."""
        gone = []
        for path in (self.path / "tmp").iterdir():
            if not _OURS.fullmatch(path.name) and not _older(path, STRANGE_AGE):
                continue
            with contextlib.suppress(OSError):
                fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if fd is not None:
                    remove(path)
                    os.close(fd)
                    gone.append(path)
        return tuple(gone)

    def settle(self, older_than: float = SETTLE_AFTER) -> tuple[str, ...]:
        """Sees to it that whole entries are on the disk, and marks them so; returns which.

        Only those that the kernel has most likely written by itself: forcing it at once would stall the next build.
        """
        settled = []
        with self._settling:
            fresh = [mark for mark in (self.path / "unsettled").iterdir() if _older(mark, older_than)]
            if fresh:
                _syncfs(self.path)
            for mark in fresh:
                kind, _, digest = mark.name.partition("-")
                with contextlib.suppress(OSError):
                    if self.find(kind, digest):
                        _rewrite(self.place(kind, digest) / "complete", _SETTLED)
                        settled.append(mark.name)
                mark.unlink(missing_ok=True)
        return tuple(settled)

    def _settle_later(self) -> None:
        if any(_older(mark, SETTLE_AFTER) for mark in (self.path / "unsettled").iterdir()):
            threading.Thread(target=self.settle, name="rebind-settle", daemon=True).start()

    @contextlib.contextmanager
    def _lock(self, name: str, say: Say, stop: threading.Event) -> Iterator[None]:
        path = self.path / "locks" / name
        began, said = time.monotonic(), False
        while True:
            with room(self.path):
                path.touch(0o600)
            with contextlib.suppress(FileNotFoundError):  # removed by `clean` just now
                fd = flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if fd is not None:
                    break
            if not said and time.monotonic() - began > WAIT_UNSAID:
                say(f"Waiting for another build, which is making {name[:32]}")
                said = True
            if stop.wait(0.02):
                raise StoppedError("The build was stopped.")
        try:
            yield
        finally:
            os.close(fd)


def flock(path: Path, how: int) -> int | None:
    """The descriptor of a lock on a file or directory; None if another holds it, or the path means another by now."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, how)
        if os.fstat(fd).st_ino == path.lstat().st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def remove(path: Path) -> None:
    """Removes a tree, also one with directories that their writer made unreadable; what resists is left."""
    shutil.rmtree(path, ignore_errors=True)
    if not path.is_dir() or path.is_symlink():
        return
    waiting = [str(path)]
    while waiting:
        directory = waiting.pop()
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)  # noqa: PTH101
            with os.scandir(directory) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(path, ignore_errors=True)


def _rewrite(mark: Path, text: str) -> None:
    """A new text in place of the old, whatever happens meanwhile; the time stays."""
    used = mark.stat().st_mtime
    draft = mark.with_name(f"{mark.name}.new")
    draft.write_text(text)
    os.utime(draft, (used, used))
    draft.rename(mark)


def _older(path: Path, seconds: float) -> bool:
    try:
        return path.lstat().st_mtime < time.time() - seconds
    except OSError:
        return False


def _syncfs(path: Path) -> None:
    import ctypes

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)
