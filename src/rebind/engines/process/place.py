"""The folder of one session: its socket, log, record, and the lock that says whether it is in use.

sessions/<id>/lock           flocked by whoever starts it, then by the session's first process, to its end
sessions/<id>/session.json   written before the session may do anything
sessions/<id>/log            what the session said; kept as sessions/failed/<id>.log if it did not start
sessions/<id>/s              the Unix socket; elsewhere if that path would be too long
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Self

from rebind.errors import SessionError
from rebind.values import Session

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_FAILED = "failed"
_DRAFT = ".new-"
_OLD = 600.0
_KEPT = 50
_LONGEST_PATH = 100  # the kernel's limit for the path of a Unix socket is 107


class Place:
    """One session's folder. `make` takes it; `lock` and `log` are open until `close`, or the end of the block."""

    def __init__(self, directory: Path, id: str) -> None:
        if not _ID.fullmatch(id) or id == _FAILED:
            raise SessionError(f"{id!r} cannot be the id of a session.", remedy="Use letters, digits, `-` and `_`.")
        self.directory, self.id = directory, id
        self.folder = directory / id
        self.log = self.lock = -1

    @property
    def socket_path(self) -> Path:
        path = self.folder / "s"
        if len(os.fsencode(path)) < _LONGEST_PATH:
            return path
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        return _short_folder() / name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make(self) -> None:
        """Raises SessionError if a session of this id is there."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Locked before it has its name, so that nobody finds it without an owner.
        draft = self.directory / f"{_DRAFT}{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.lock = os.open(draft / "lock", flags, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.log = os.open(draft / "log", flags | os.O_APPEND, 0o600)
        try:
            draft.rename(self.folder)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise SessionError(f"There is a session {self.id} already.", remedy="Stop it first.") from None

    def listen(self) -> socket.socket:
        """The listening socket. Only its maker, and root, may connect to it."""
        listener = socket.socket(socket.AF_UNIX)
        path = self.socket_path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(512)
        return listener

    def write(self, session: Session) -> None:
        """The record; whole or not there at all."""
        facts = asdict(session) | {"socket": os.fspath(session.socket)}
        draft = self.folder / "session.json.new"
        draft.write_text(json.dumps(facts))
        draft.rename(self.folder / "session.json")

    def read(self) -> Session | None:
        try:
            facts = json.loads((self.folder / "session.json").read_text())
            return Session(**(facts | {"socket": Path(facts["socket"])}))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def last_lines(self, count: int = 15) -> str:
        """The end of the log."""
        with contextlib.suppress(OSError), open(self.folder / "log", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
        return ""

    def close(self) -> None:
        """Gives up the lock; a session that has a copy of it goes on holding it."""
        for descriptor in (self.lock, self.log):
            if descriptor >= 0:
                os.close(descriptor)
        self.lock = self.log = -1

    def remove(self, *, keep_log: bool = False) -> None:
        """Takes the folder away; `keep_log` moves the log to where failed ones are kept for a while."""
        if keep_log:
            failed = self.directory / _FAILED
            failed.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError):
                (self.folder / "log").rename(failed / f"{self.id}.log")
            _prune(failed)
        self.socket_path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def abandoned(self) -> bool:
        """Whether nobody holds the lock: neither a start that is under way nor a session."""
        return _free(self.folder)


def places(directory: Path) -> Iterator[Place]:
    """All sessions' folders. Removes what a killed process left before it had its name."""
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.startswith(_DRAFT):
            _remove_draft(path)
        elif path.is_dir() and _ID.fullmatch(path.name) and path.name != _FAILED:
            yield Place(directory, path.name)


def _remove_draft(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > _OLD and _free(path):
            shutil.rmtree(path, ignore_errors=True)


def _free(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # its remover was killed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _short_folder() -> Path:
    """For sockets whose own folder's path is too long; nobody else's folder, whoever made it."""
    path = Path(tempfile.gettempdir(), f"rebind-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o77 or not path.is_dir() or path.is_symlink():
        raise SessionError(f"{path} belongs to somebody else.", remedy="Remove it, or choose a shorter data directory.")
    return path


def _prune(failed: Path) -> None:
    logs = sorted(failed.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[:-_KEPT]:
        path.unlink(missing_ok=True)
