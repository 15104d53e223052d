"""Unpacks one conda package (`.conda` or `.tar.bz2`) into the shape that it has below a prefix.

A package is a stranger's archive: every name is checked before a byte is written, no link is made while anything is
still being written, and what it grows to is limited. What has the prefix of its builder in it is kept apart
(`prefixed/`), all else can be hard links (`tree/`). Format: conda's CEP 35 and the older conda-build documentation.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from rebind.builds.unpack import MTIME, BadWheel, read_entry_points

MAX_FILES = 300_000
MAX_TOTAL = 30 << 30
MAX_RATIO = 300
SMALL_TOTAL = 256 << 20
MAX_TEXT = 64 << 20
OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class BadPackage(ValueError):
    """The archive breaks the rules. The text says which entry and how."""


@dataclass
class CondaContents:
    """What was unpacked. Paths are relative to the prefix."""

    index: dict[str, Any] = field(default_factory=dict)
    """`info/index.json`."""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Directory -> names of its files, in `tree/`."""
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links; their targets stay below the prefix."""
    prefixed: list[list[str]] = field(default_factory=list)
    """[path, placeholder, `text` or `binary`], in `prefixed/`."""
    entry_points: list[list[str]] = field(default_factory=list)
    noarch_python: bool = False
    warnings: list[str] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """All files and links."""
        for directory, names in self.files.items():
            yield from (f"{directory}/{name}" if directory else name for name in names)
        yield from self.links
        yield from (path for path, _, _ in self.prefixed)


def unpack_conda(archive: Path, into: Path, minor: str, owner: int | None = None) -> CondaContents:
    """Unpacks `archive` into the empty directory `into`, for Python `minor`. Raises BadPackage, OSError."""
    unpacking = _Unpacking(into, archive.stat().st_size, owner)
    try:
        for tar in _tars(archive):
            unpacking.take(tar)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadPackage(f"it cannot be read ({error})") from error
    return _Arranging(unpacking, minor).run()


def _tars(archive: Path) -> Iterator[tarfile.TarFile]:
    if archive.name.endswith(".tar.bz2"):
        with tarfile.open(archive, "r|bz2") as tar:
            yield tar
        return
    import zstandard

    with zipfile.ZipFile(archive) as outer:
        parts = [info for info in outer.infolist() if re.fullmatch(r"(info|pkg)-[^/]+\.tar\.zst", info.filename)]
        if len(parts) != 2:
            raise BadPackage("it has not the two parts of a .conda file")
        for part in parts:
            with outer.open(part) as packed:
                plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
                try:
                    with tarfile.open(fileobj=plain, mode="r|") as tar:
                        yield tar
                except zstandard.ZstdError as error:
                    raise BadPackage(f"it is damaged ({error})") from error


def check_path(name: str) -> str:
    """A path below the prefix, as it is. Raises BadPackage."""
    parts = name.split("/")
    if _CONTROL.search(name) or any(part in ("", ".", "..") for part in parts):
        raise BadPackage(f"{name[:80]!r} leaves the archive or is no name")
    try:
        if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 1024:
            raise BadPackage(f"{name[:60]!r}... is too long")
    except UnicodeEncodeError as error:
        raise BadPackage(f"{name[:80]!r} is not Unicode") from error
    return name


class _Unpacking:
    """Everything into `raw/`, links only noted."""

    def __init__(self, into: Path, packed: int, owner: int | None) -> None:
        self.into, self.owner, self.raw = into, owner, into / "raw"
        self.room = min(MAX_TOTAL, max(SMALL_TOTAL, MAX_RATIO * packed))
        self.modes: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self.raw.mkdir()

    def take(self, tar: tarfile.TarFile) -> None:
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if member.isdir() and name in ("", "."):
                continue
            check_path(name)
            if len(self.modes) + len(self.links) > MAX_FILES:
                raise BadPackage(f"it has more than {MAX_FILES} files")
            if member.isreg():
                self._file(tar, member, name)
            elif member.issym():
                self.links[name] = member.linkname
            elif member.islnk():
                self._again(check_path(member.linkname.removeprefix("./")), name)
            elif not member.isdir():
                raise BadPackage(f"{name!r} is no file, directory or link")

    @contextmanager
    def _new(self, name: str, executable: int) -> Iterator[IO[bytes]]:
        path = self.raw / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except (FileExistsError, NotADirectoryError) as error:
            raise BadPackage(f"{name!r} is there twice") from error
        with os.fdopen(fd, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(fd, 0o755 if executable else 0o644)
            if self.owner is not None:
                os.fchown(fd, self.owner, self.owner)
            os.utime(fd, (MTIME, MTIME))
        self.modes[name] = executable

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        self.room -= member.size
        source = tar.extractfile(member)
        if self.room < 0 or source is None:
            raise BadPackage("it grows to more than any real package does")
        with self._new(name, member.mode & 0o111) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)

    def _again(self, other: str, name: str) -> None:
        """A hard link: the same content under another name."""
        if other not in self.modes:
            raise BadPackage(f"{name!r} is a link to nothing")
        self.room -= (self.raw / other).stat().st_size
        if self.room < 0:
            raise BadPackage("it grows to more than any real package does")
        with (self.raw / other).open("rb") as source, self._new(name, self.modes[other]) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)


class _Arranging:
    """From `raw/` to `tree/` and `prefixed/`."""

    def __init__(self, unpacked: _Unpacking, minor: str) -> None:
        self.unpacked, self.minor, self.into = unpacked, minor, unpacked.into
        self.result = CondaContents()
        self.made: set[Path] = set()

    def run(self) -> CondaContents:
        index = self._json("index.json")
        if not isinstance(index, dict) or not isinstance(index.get("name"), str):
            raise BadPackage("its info/index.json does not say what it is")
        self.result.index = index
        self.result.noarch_python = index.get("noarch") in ("python", True) and index["noarch"] is not False
        placeholders = self._placeholders()
        taken: set[str] = set()
        for name in (*self.unpacked.modes, *self.unpacked.links):
            if name.startswith("info/"):
                continue
            path = self._place(name)
            if path in taken:
                raise BadPackage(f"{path!r} is there twice")
            taken.add(path)
            if name in self.unpacked.links:
                self._link(path, self.unpacked.links[name])
            elif name in placeholders:
                self._move(name, f"prefixed/{path}")
                self.result.prefixed.append([path, *placeholders[name]])
            else:
                self._move(name, f"tree/{path}")
                directory, _, last = path.rpartition("/")
                self.result.files.setdefault(directory, []).append(last)
        self._entry_points()
        shutil.rmtree(self.unpacked.raw)
        return self.result

    def _place(self, name: str) -> str:
        if not self.result.noarch_python:
            return name
        first, _, rest = name.partition("/")
        if first == "site-packages" and rest:
            return f"lib/python{self.minor}/site-packages/{rest}"
        return f"bin/{rest}" if first == "python-scripts" and rest else name

    def _move(self, name: str, to: str) -> None:
        target = self.into / to
        for folder in reversed(target.relative_to(self.into).parents):
            if self.into / folder not in self.made:
                (self.into / folder).mkdir(exist_ok=True)
                self.made.add(self.into / folder)
        (self.unpacked.raw / name).rename(target)

    def _link(self, path: str, target: str) -> None:
        """One that leads out of the prefix is left out: nothing real needs it, and it could mean anything."""
        landed = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if target.startswith("/") or landed.startswith("..") or _CONTROL.search(target) or not target:
            self.result.warnings.append(f"the link {path} to {target[:80]!r} was left out")
        else:
            self.result.links[path] = target

    def _text(self, name: str) -> bytes | None:
        if f"info/{name}" not in self.unpacked.modes:
            return None
        path = self.unpacked.raw / "info" / name
        if path.stat().st_size > MAX_TEXT:
            raise BadPackage(f"its info/{name} is too large")
        return path.read_bytes()

    def _json(self, name: str) -> Any:
        data = self._text(name)
        try:
            return None if data is None else json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadPackage(f"its info/{name} is damaged") from error

    def _placeholders(self) -> dict[str, tuple[str, str]]:
        """Path -> placeholder and mode."""
        stated = self._json("paths.json")
        if isinstance(stated, dict) and isinstance(stated.get("paths"), list):
            rows = [row for row in stated["paths"] if isinstance(row, dict) and row.get("prefix_placeholder")]
            found = {str(r.get("_path")): (str(r["prefix_placeholder"]), str(r.get("file_mode", "text"))) for r in rows}
        else:
            found = dict(_has_prefix((self._text("has_prefix") or b"").decode("utf-8", "replace")))
        for path, (placeholder, mode) in found.items():
            if mode not in ("text", "binary") or not 4 <= len(placeholder.encode("utf-8", "replace")) <= 1000:
                raise BadPackage(f"{path[:80]!r} has no usable prefix in it")
        return found

    def _entry_points(self) -> None:
        link = self._json("link.json")
        noarch = link.get("noarch") if isinstance(link, dict) else None
        stated = noarch.get("entry_points") if isinstance(noarch, dict) else None
        if not stated or not self.result.noarch_python:
            return
        if not isinstance(stated, list) or any(not isinstance(each, str) or "\n" in each for each in stated):
            raise BadPackage("its entry points are no list")
        try:
            points = read_entry_points("[console_scripts]\n" + "\n".join(stated))
        except BadWheel as error:
            raise BadPackage(str(error)) from error
        self.result.entry_points = [list(point) for point in points]


def _has_prefix(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """The format of before `paths.json`: `placeholder mode path`, or a path alone."""
    for line in io.StringIO(text):
        parts = [part.strip('"') for part in line.strip().split(" ", 2)]
        if len(parts) == 3:
            yield parts[2], (parts[0], parts[1])
        elif parts[0]:
            yield line.strip().strip('"'), (OLD_PLACEHOLDER, "text")


def with_prefix(data: bytes, placeholder: str, mode: str, prefix: str) -> bytes:
    """`data` with the prefix in place of the placeholder; binary files keep their length. Raises BadPackage."""
    old, new = placeholder.encode(), prefix.encode()
    if mode == "text":
        return data.replace(old, new)
    if len(new) > len(old):
        raise BadPackage("its prefix has less room than ours needs")

    def padded(match: re.Match[bytes]) -> bytes:
        return match[0].replace(old, new).ljust(len(match[0]), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*(?=\0|\Z)", padded, data)


def dump(contents: CondaContents) -> str:
    return json.dumps(asdict(contents))
