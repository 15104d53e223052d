"""Unpacks zip and tar archives of strangers: nothing lands outside, nothing grows without end.

Every file is written below a fresh directory that holds no symbolic link while anything is written; links are made last
and only those stay that lead to a place inside. Sizes are counted as they are written, never believed.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rebind.errors import DiskError, RepositoryError
from rebind.providers.command import Watch, too_large
from rebind.providers.streams import HeadTooLarge, check_directory, decompressed
from rebind.providers.texts import printable

MAX_FILES = 200_000
_BLOCK = 1 << 18
_DEEPEST = 100
_LONGEST_LINK = 4096
_REGULAR, _DIRECTORY, _LINK = 0o10, 0o04, 0o12

Leave = Callable[[str], bool]


@dataclass(slots=True)
class Budget:
    """How much may still be written. `add` and `file` raise RepositoryError once it is too much, or takes too long."""

    watch: Watch = field(default_factory=Watch)
    max_bytes: int | None = None
    max_files: int = MAX_FILES
    bytes: int = 0
    files: int = 0

    def add(self, count: int) -> None:
        self.bytes += count
        if self.max_bytes and self.bytes > self.max_bytes:
            raise too_large(self.watch.named, self.max_bytes)
        self.watch.check()

    def file(self) -> None:
        self.files += 1
        if self.files > self.max_files:
            raise RepositoryError(
                f"{self.watch.named} holds more than the {self.max_files} files that may be fetched.",
                remedy="Pack the data into fewer files and unpack them in the session.",
            )


def is_zip(path: Path) -> bool:
    """Whether the file is a zip archive, by its content."""
    return zipfile.is_zipfile(path)


def unpack(archive: Path, into: Path, budget: Budget, *, below: str = "") -> None:
    """Unpacks an archive (zip, or tar, plain or packed with gzip, bzip2 or xz) into an empty directory.

    `below`: only what stands below this path of the archive. Raises RepositoryError for archives that are damaged,
    locked with a password, too large, or that try to get out of `into`; DiskError.
    """
    writer = _Writer(into, budget, below.strip("/"))
    try:
        (_unzip if is_zip(archive) else _untar)(archive, writer)
        writer.finish()
    except OSError as error:
        if isinstance(error, tarfile.TarError | EOFError) or error.errno is None:
            raise _damaged(archive, error) from error
        if error.errno == 36:  # ENAMETOOLONG
            raise RepositoryError(f"The archive {_named(archive)} holds a name that is too long.") from error
        raise DiskError(
            f"{_named(archive)} cannot be unpacked: {error.strerror}.", remedy="Free some space."
        ) from error
    except _DAMAGED as error:
        raise _damaged(archive, error) from error


def lift(root: Path) -> None:
    """If a directory holds nothing but one directory, its content takes the place of that one."""
    entries = list(root.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        lifted = root.with_name(f"{root.name}.lifted")
        entries[0].rename(lifted)
        root.rmdir()
        lifted.rename(root)


def safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a relative path as a stranger names it. RepositoryError if it leads out, or cannot be a path."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise RepositoryError(
            f"The file name {printable(name)!r} leads out of the repository.", remedy="Tell its owner."
        )
    if len(parts) > _DEEPEST or any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise RepositoryError(f"The file name {printable(name)!r} is too long.")
    return parts


_DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    HeadTooLarge,
    OverflowError,
    MemoryError,
)  # what the readers of the standard library raise for broken input, a password or an unknown compression


def _damaged(archive: Path, error: BaseException) -> RepositoryError:
    what = "needs a password" if "encrypted" in str(error) or "password" in str(error) else "is damaged"
    return RepositoryError(
        f"The archive {_named(archive)} {what}, so it cannot be unpacked.",
        remedy="Tell its owner.",
        detail=printable(f"{type(error).__name__}: {error}"),
    )


def _named(archive: Path) -> str:
    return repr(printable(archive.name))


@dataclass(slots=True)
class _Writer:
    root: Path
    budget: Budget
    below: str = ""
    links: dict[str, str] = field(default_factory=dict)

    def place(self, name: str) -> Path | None:
        """Where an entry goes, its directories made; None for one that is not wanted."""
        self.budget.file()
        parts = safe_parts(name)
        inner = safe_parts(self.below)
        if parts[: len(inner)] != inner or len(parts) == len(inner):
            return None
        path = self.root.joinpath(*parts[len(inner) :])
        self.links.pop(str(path.relative_to(self.root)), None)  # what comes later counts
        self.directory(path.parent, name)
        return path

    def directory(self, path: Path, name: str) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RepositoryError(f"The archive holds {printable(name)!r} below a file.") from None
        except UnicodeEncodeError:
            raise RepositoryError(f"The file name {printable(name)!r} cannot be written here.") from None

    def file(self, path: Path, source: IO[bytes], *, executable: bool) -> None:
        if path.is_dir():
            raise RepositoryError(f"The archive holds {printable(path.name)!r} both as a file and as a folder.")
        path.unlink(missing_ok=True)
        with path.open("xb") as target:
            while block := source.read(_BLOCK):
                self.budget.add(len(block))
                target.write(block)
        path.chmod(0o755 if executable else 0o644)  # never setuid

    def link(self, path: Path, target: str) -> None:
        self.links[str(path.relative_to(self.root))] = target

    def hard_link(self, path: Path, target: str) -> None:
        parts = safe_parts(target)[len(safe_parts(self.below)) :]
        source = self.root.joinpath(*parts)
        if not source.is_file():
            raise RepositoryError(f"The archive links {printable(path.name)!r} to a file that it does not hold.")
        if source != path:
            path.unlink(missing_ok=True)
            with source.open("rb") as content:
                self.file(path, content, executable=os.access(source, os.X_OK))

    def finish(self) -> None:
        """Makes the symbolic links, and takes away again those that lead out, whichever way they go about it."""
        made = []
        for name, target in self.links.items():
            path = self.root / name
            if not path.exists() and target and "\0" not in target and len(target) < _LONGEST_LINK:
                path.symlink_to(target)
                made.append(path)
        root = self.root.resolve()
        out = True
        while out:  # without one link another may lead elsewhere
            out = False
            for path in list(made):
                if path.readlink().is_absolute() or not _inside(path, root):
                    path.unlink()
                    made.remove(path)
                    out = True


def _inside(path: Path, root: Path) -> bool:
    try:
        return Path(os.path.realpath(path)).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _unzip(archive: Path, writer: _Writer) -> None:
    check_directory(archive)
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            name = _zip_name(info)
            if name.startswith("__MACOSX/"):  # what the Finder adds to every zip
                continue
            path = writer.place(name)
            kind = info.external_attr >> 28 if info.create_system == 3 else 0
            if path is None:
                continue
            if name.endswith("/") or kind == _DIRECTORY:
                writer.directory(path, name)
            elif kind == _LINK:
                with packed.open(info) as source:
                    writer.link(path, source.read(_LONGEST_LINK).decode(errors="surrogateescape"))
            elif kind in (0, _REGULAR):
                with packed.open(info) as source:
                    writer.file(path, source, executable=bool(info.external_attr >> 16 & 0o100))
            else:
                raise _device(name)


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if not info.flag_bits & 0x800:  # many programs write UTF-8 and do not say so
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.orig_filename
    return name.replace("\\", "/") if info.create_system in (0, 10, 11) else name


def _untar(archive: Path, writer: _Writer) -> None:
    with archive.open("rb") as raw:
        stream = decompressed(raw, writer.budget.watch)
        # Names that are not UTF-8 come from a time when they were Latin-1.
        with tarfile.TarFile(fileobj=stream, mode="r", encoding="utf-8", errors="surrogateescape") as packed:  # type: ignore[arg-type]
            while (member := packed.next()) is not None:
                packed.members = []  # type: ignore[attr-defined]  # which would grow with every one
                _member(packed, member, writer)
        if stream.tell() == 0:
            raise tarfile.ReadError("empty")


def _member(packed: tarfile.TarFile, member: tarfile.TarInfo, writer: _Writer) -> None:
    path = writer.place(_tar_name(member.name))
    if path is None:
        return
    if member.isdir():
        writer.directory(path, member.name)
    elif member.issym():
        writer.link(path, _tar_name(member.linkname))
    elif member.islnk():
        writer.hard_link(path, _tar_name(member.linkname))
    elif member.isreg():
        source = packed.extractfile(member)
        if source is not None:
            with source:
                writer.file(path, source, executable=bool(member.mode & 0o100))
    else:
        raise _device(member.name)


def _tar_name(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _device(name: str) -> RepositoryError:
    return RepositoryError(
        f"The archive holds {printable(name)!r}, a device, pipe or socket, which cannot be part of a repository."
    )


def remove(path: Path) -> None:
    """Removes a half-written repository and what `lift` may have left beside it."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(path.with_name(f"{path.name}.lifted"), ignore_errors=True)
