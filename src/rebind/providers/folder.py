"""A plain folder: the digest of its content, and a copy of it in the same pass.

Every directory is opened below the one before it and never through a symbolic link, so that a folder that somebody
changes meanwhile leads nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rebind.errors import DiskError, RepositoryError
from rebind.providers.command import Watch, too_large

_BLOCK = 1 << 20
_DEEPEST = 200
_MOST_FILES = 2_000_000


@dataclass(slots=True)
class Seen:
    """What a walk over a folder found."""

    digest: str = ""
    nested: list[str] = field(default_factory=list)
    """Directories below the root that hold a `.git`, relative to the root."""
    size: int = 0
    files: int = 0


def read_folder(root: Path, watch: Watch, into: Path | None = None) -> Seen:
    """Digest over names, modes, link targets and bytes; with `into`, which exists and is empty, a copy as well.

    Nothing is left out but entries called `.git`. Raises RepositoryError for what cannot be read or copied, DiskError.
    """
    if into is not None and into.resolve().is_relative_to(root.resolve()):
        raise RepositoryError(f"{root} holds rebind's own data directory.", remedy="Choose a folder without it.")
    walk = _Walk(watch)
    with _opened(root, None, root) as source:
        if into is None:
            walk.directory(source, None, "", 0)
        else:
            with _opened(into, None, into) as target:
                walk.directory(source, target, "", 0)
    walk.seen.digest = walk.hash.hexdigest()
    return walk.seen


class _Walk:
    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.hash = hashlib.sha256()
        self.seen = Seen()

    def directory(self, source: int, target: int | None, path: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise RepositoryError(f"The folder {self._named(path[:200])} is nested too deeply.")
        self.watch.check()
        with os.scandir(source) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        for entry in found:
            inner = f"{path}{entry.name}"
            if entry.name == ".git":
                if path:
                    self.seen.nested.append(path.rstrip("/"))
                continue
            self._count(inner)
            try:
                self._entry(entry, source, target, inner, depth)
            except PermissionError as error:
                raise _unreadable(self._named(inner), error) from error
            except OSError as error:
                raise _failed(self._named(inner), error) from error

    def _entry(self, entry: os.DirEntry[str], source: int, target: int | None, path: str, depth: int) -> None:
        info = entry.stat(follow_symlinks=False)
        mode = info.st_mode & 0o777  # never setuid
        if stat.S_ISLNK(info.st_mode):
            to = os.readlink(entry.name, dir_fd=source)
            self._feed("l", 0, path, os.fsencode(to))
            if target is not None:
                os.symlink(to, entry.name, dir_fd=target)
        elif stat.S_ISDIR(info.st_mode):
            self._feed("d", mode, path, b"")
            self._inner(entry.name, source, target, path, mode, depth)
        elif stat.S_ISREG(info.st_mode):
            self._file(entry.name, source, target, path, mode)
        else:
            raise RepositoryError(
                f"{self._named(path)} is a socket, pipe or device, which cannot be part of a repository.",
                remedy="Remove it, or choose another folder.",
            )

    def _inner(self, name: str, source: int, target: int | None, path: str, mode: int, depth: int) -> None:
        with _opened(name, source, self._named(path)) as inner:
            if target is None:
                self.directory(inner, None, f"{path}/", depth + 1)
                return
            os.mkdir(name, 0o700, dir_fd=target)
            with _opened(name, target, self._named(path)) as made:
                self.directory(inner, made, f"{path}/", depth + 1)
                os.fchmod(made, mode | 0o700)  # a folder that cannot be written to could not be removed again

    def _file(self, name: str, source: int, target: int | None, path: str, mode: int) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        writing = -1
        try:
            size = os.fstat(reading).st_size
            self._feed("f", mode, path, size.to_bytes(8, "big"))
            self._add(size)
            if target is not None:
                writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
            while block := os.read(reading, _BLOCK):
                self.hash.update(block)
                if writing >= 0:
                    _write_all(writing, block)
            if writing >= 0:
                os.fchmod(writing, mode)
        finally:
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)

    def _feed(self, kind: str, mode: int, path: str, rest: bytes) -> None:
        name = os.fsencode(path)
        self.hash.update(b"%s %o %d %d\n" % (kind.encode(), mode, len(name), len(rest)) + name + rest)

    def _add(self, size: int) -> None:
        self.seen.size += size
        limit = self.watch.max_bytes
        if limit and self.seen.size > limit:
            raise too_large(self.watch.named, limit)

    def _count(self, path: str) -> None:
        self.seen.files += 1
        if self.seen.files > _MOST_FILES:
            raise RepositoryError(f"{self.watch.named} holds too many files.", remedy="Choose a smaller folder.")
        if self.seen.files % 500 == 0:
            self.watch.check()

    def _named(self, path: str) -> str:
        return f"{self.watch.named}/{path}"


@contextmanager
def _opened(path: str | Path, below: int | None, named: str | Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=below)
    except PermissionError as error:
        raise _unreadable(str(named), error) from error
    except OSError as error:
        raise _failed(str(named), error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _unreadable(named: str, error: OSError) -> RepositoryError:
    return RepositoryError(f"{named} may not be read.", remedy="Give it read permission.", detail=str(error))


def _failed(named: str, error: OSError) -> DiskError | RepositoryError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"No space is left to copy {named}.", remedy="Free some space (`rebind clean`).")
    return RepositoryError(f"{named} could not be copied: {error.strerror}.", remedy="Try again once nothing uses it.")
