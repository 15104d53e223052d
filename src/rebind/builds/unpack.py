"""Unpacks one wheel into the shape that it has below a prefix. Standard library only: also run by path as a worker.

Follows the binary distribution format (PEP 427, PEP 491) and the database of installed packages (PEP 376, PEP 627). A
wheel is a stranger's archive: every name, size and range in it is checked before a byte is written, local headers have
to agree with the central directory, and links do not exist. RECORD is not believed but written anew.
"""

from __future__ import annotations

import base64
import configparser
import csv
import errno
import hashlib
import io
import json
import mmap
import os
import re
import stat
import struct
import sys
import zipfile
import zlib
from dataclasses import asdict, dataclass, field

MTIME = 315532800  # 1980-01-01: one time for all files, so that the same wheel gives the same bytes everywhere
MAX_ENTRIES = 200_000
MAX_TOTAL = 8 << 30
MAX_RATIO = 100  # of the whole; real wheels have 2 to 10
SMALL_TOTAL = 64 << 20  # below it no ratio is suspicious
CHUNK = 8 << 20
LARGEST_TEXT = 16 << 20

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*:\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(?:\[[^\]]*\])?")
_RESERVED = re.compile(r"python[0-9.]*|pythonw")
_OWN = re.compile(rf"pyvenv\.cfg|lib64|bin|bin/({_RESERVED.pattern})")
_PROJECT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class BadWheel(ValueError):
    """The archive breaks the rules. The text says which entry and how."""


@dataclass
class Unpacked:
    """What was unpacked. Paths are relative to the prefix."""

    name: str = ""
    version: str = ""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Directory -> names of its files, in `tree/`."""
    scripts: list[str] = field(default_factory=list)
    """Files in `scripts/` that want the interpreter's path in their first line."""
    entry_points: list[list[str]] = field(default_factory=list)
    """[script name, module, attribute]"""
    warnings: list[str] = field(default_factory=list)


def unpack(wheel: str, into: str, python: str, owner: int | None = None) -> Unpacked:
    """Unpacks `wheel` into the empty directory `into`: `tree/` and `scripts/`. `python` is a minor version, `3.10`.

    Raises BadWheel, OSError.
    """
    with open(wheel, "rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
            entries = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, struct.error) as error:
            raise BadWheel(f"it is not a zip archive ({error})") from error
        size = os.fstat(stream.fileno()).st_size
        _check_entries(archive.infolist(), size)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Unpacking(data, into, python, owner).run(entries)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    total = sum(info.file_size for info in entries)
    if len(entries) > MAX_ENTRIES or total > min(MAX_TOTAL, max(SMALL_TOTAL, MAX_RATIO * size)):
        raise BadWheel(f"it would grow from {size} to {total} bytes in {len(entries)} files")
    seen = set()
    for info in entries:
        _check_name(info.orig_filename, directory=info.is_dir())
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadWheel(f"{info.filename!r} is not a regular file")
        if info.filename in seen:
            raise BadWheel(f"{info.filename!r} is there twice")
        seen.add(info.filename)
    end = 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BadWheel(f"{info.filename!r} overlaps another entry")
        end = info.header_offset + 30 + len(info.orig_filename) + info.compress_size
    if end > size:
        raise BadWheel("it is cut off")


def _check_name(name: str, *, directory: bool = False) -> None:
    if _CONTROL.search(name) or "\\" in name or _DRIVE.match(name):
        raise BadWheel(f"{name!r} has characters that no name may have")
    parts = (name[:-1] if directory else name).split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise BadWheel(f"{name!r} leaves the archive")
    try:
        if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 1024:
            raise BadWheel(f"{name[:60]!r}... is too long")
    except UnicodeEncodeError as error:
        raise BadWheel(f"{name!r} is not Unicode") from error


class _Unpacking:
    def __init__(self, data: mmap.mmap, into: str, python: str, owner: int | None) -> None:
        self.data, self.into, self.owner, self.python = data, into, owner, python
        self.site = f"lib/python{python}/site-packages"
        self.info = ""
        self.result = Unpacked()
        self.records: list[tuple[str, str, str]] = []
        self.made: set[str] = set()

    def run(self, entries: list[zipfile.ZipInfo]) -> Unpacked:
        self.info = _info_directory(entries)
        self.made.add(self.into)
        by_name = {info.filename: info for info in entries}
        self._read_metadata(by_name)
        for info in entries:
            ours = info.filename in (f"{self.info}/RECORD", f"{self.info}/INSTALLER")
            if not ours and _cached_source(info.filename) not in by_name:
                self._write_entry(info)
        self._entry_points(by_name)
        self._compare_record(by_name)
        self._write(f"tree/{self.site}/{self.info}", "INSTALLER", b"rebind\n", 0o644)
        self._write_record()
        return self.result

    def _read_metadata(self, by_name: dict[str, zipfile.ZipInfo]) -> None:
        wheel = _fields(self._text(by_name, "WHEEL"))
        if wheel.get("wheel-version", "").split(".")[0] != "1":
            raise BadWheel(f"its format is {wheel.get('wheel-version', 'unknown')}, known is 1.x")
        metadata = _fields(self._text(by_name, "METADATA"))
        self.result.name, self.result.version = metadata.get("name", ""), metadata.get("version", "")
        stem = self.info[: -len(".dist-info")]
        same = normal(stem.rpartition("-")[0] or stem) == normal(self.result.name)
        if not same or not _PROJECT.fullmatch(self.result.name):
            raise BadWheel(f"{self.info} holds the metadata of {self.result.name!r}")

    def _text(self, by_name: dict[str, zipfile.ZipInfo], name: str) -> str:
        info = by_name.get(f"{self.info}/{name}")
        if info is None or info.file_size > LARGEST_TEXT:
            raise BadWheel(f"{self.info}/{name} is missing or too large")
        return b"".join(self._content(info)).decode("utf-8", "replace")

    def _target(self, name: str) -> tuple[str, str]:
        """Where an entry goes: (`tree` or `script` or `bin`, path relative to the prefix)."""
        top, _, rest = name.partition("/")
        if not top.lower().endswith(".data") or not rest:
            return "tree", f"{self.site}/{name}"
        if normal(top[:-5].rpartition("-")[0]) != normal(self.result.name):
            return "tree", f"{self.site}/{name}"
        scheme, _, path = rest.partition("/")
        if scheme in ("purelib", "platlib") and path:
            return "tree", f"{self.site}/{path}"
        if scheme == "headers" and path:
            return "tree", f"include/site/python{self.python}/{self.result.name}/{path}"
        if scheme == "data" and path:
            return "tree", ("lib" + path[5:] if path.startswith("lib64/") else path)
        if scheme == "scripts" and path:
            return "script", path
        raise BadWheel(f"{name!r} belongs to no known part of an installation")

    def _write_entry(self, info: zipfile.ZipInfo) -> None:
        where, path = self._target(info.filename)
        mode = 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
        if where == "script":
            self._write_script(info, path)
        elif _OWN.fullmatch(path):
            self.result.warnings.append(f"{path} is the environment's own and was left out")
        else:
            directory, _, name = path.rpartition("/")
            self._record(path, *self._write(f"tree/{directory}", name, self._content(info), mode))

    def _write_script(self, info: zipfile.ZipInfo, path: str) -> None:
        if "/" in path or not _SCRIPT.fullmatch(path) or _RESERVED.fullmatch(path):
            raise BadWheel(f"the script name {path!r} is not allowed")
        content = b"".join(self._content(info))
        if content.startswith(b"#!python"):
            self._write("scripts", path, content, 0o755)
            self.result.scripts.append(path)
            self.records.append((f"../../../bin/{path}", "", ""))
        else:
            self._record(f"bin/{path}", *self._write("tree/bin", path, content, 0o755))

    def _entry_points(self, by_name: dict[str, zipfile.ZipInfo]) -> None:
        if f"{self.info}/entry_points.txt" not in by_name:
            return
        points = read_entry_points(self._text(by_name, "entry_points.txt"))
        for name, module, attribute in versioned(points, normal(self.result.name), self.python):
            if name in self.result.files.get("bin", ()) or name in self.result.scripts:
                continue  # a script of the same name was shipped
            self.result.entry_points.append([name, module, attribute])
            self.records.append((f"../../../bin/{name}", "", ""))

    def _content(self, info: zipfile.ZipInfo) -> list[bytes]:
        """The entry's bytes in chunks, with sizes and checksum verified."""
        start = _data_start(self.data, info)
        raw = self.data[start : start + info.compress_size]
        if info.compress_type == zipfile.ZIP_STORED:
            chunks = [raw]
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            chunks = _inflate(raw, info)
        else:
            raise BadWheel(f"{info.filename!r} is compressed in an unknown way")
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
        if sum(map(len, chunks)) != info.file_size or crc != info.CRC:
            raise BadWheel(f"{info.filename!r} is damaged")
        return chunks

    def _write(self, directory: str, name: str, content: bytes | list[bytes], mode: int) -> tuple[str, int]:
        chunks = [content] if isinstance(content, bytes) else content
        folder = f"{self.into}/{directory}"
        self._make(folder)
        digest = hashlib.sha256()
        try:
            fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        except (FileExistsError, IsADirectoryError) as error:
            raise BadWheel(f"{directory}/{name} is written twice") from error
        try:
            for chunk in chunks:
                digest.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
            if self.owner is not None:
                os.fchown(fd, self.owner, self.owner)
            os.utime(fd, (MTIME, MTIME))
        finally:
            os.close(fd)
        if directory.startswith("tree"):
            self.result.files.setdefault(directory[5:], []).append(name)
        encoded = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        return f"sha256={encoded}", sum(map(len, chunks))

    def _make(self, folder: str) -> None:
        if folder in self.made:
            return
        self._make(os.path.dirname(folder))  # noqa: PTH120
        try:
            os.mkdir(folder, 0o755)  # noqa: PTH102
        except FileExistsError as error:
            raise BadWheel(f"{folder[len(self.into) + 1 :]} is a file and a directory") from error
        os.chmod(folder, 0o755)  # noqa: PTH101
        if self.owner is not None:
            os.chown(folder, self.owner, self.owner)
        self.made.add(folder)

    def _record(self, path: str, digest: str, size: int) -> None:
        inner = self.site + "/"
        shown = path[len(inner) :] if path.startswith(inner) else f"../../../{path}"
        self.records.append((shown, digest, str(size)))

    def _compare_record(self, by_name: dict[str, zipfile.ZipInfo]) -> None:
        """PEP 427 wants RECORD verified; as pip and uv take wheels whose RECORD is wrong, it is corrected and said."""
        true = {path: digest for path, digest, _ in self.records}
        try:
            stated = {row[0]: row[1] for row in csv.reader(io.StringIO(self._text(by_name, "RECORD"))) if len(row) > 1}
        except csv.Error:
            stated = {"RECORD": "is no table"}
        lies = [
            path
            for path, digest in stated.items()
            if digest.startswith("sha256=") and true.get(path) and digest.rstrip("=") != true[path]
        ]
        odd = [path for path in stated if path.startswith("/") or ".." in path.split("/")]
        if lies or odd:
            self.result.warnings.append(f"its RECORD is wrong about {len(lies) + len(odd)} files; it was written anew")

    def _write_record(self) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows(sorted(self.records))
        rows.writerows((f"{self.info}/{name}", "", "") for name in ("INSTALLER", "RECORD"))
        self._write(f"tree/{self.site}/{self.info}", "RECORD", text.getvalue().encode(), 0o644)


def _info_directory(entries: list[zipfile.ZipInfo]) -> str:
    tops = {info.filename.partition("/")[0] for info in entries if "/" in info.filename}
    found = [top for top in tops if top.lower().endswith(".dist-info")]
    if len(found) != 1 or not found[0].endswith(".dist-info"):
        raise BadWheel(f"it has {len(found)} .dist-info directories, one is needed")
    return found[0]


def _cached_source(name: str) -> str | None:
    """The source of a .pyc in __pycache__: where it is there, we compile it ourselves."""
    match = re.fullmatch(r"(.*/)?__pycache__/([^/]+?)\.[^/]+\.pyc", name)
    return f"{match[1] or ''}{match[2]}.py" if match else None


def _data_start(data: mmap.mmap, info: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin. The local header must say what the central directory says."""
    header = data[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise BadWheel(f"{info.filename!r} has no header")
    flags, method = struct.unpack_from("<HH", header, 6)
    length, extra = struct.unpack_from("<HH", header, 26)
    name = data[info.header_offset + 30 : info.header_offset + 30 + length]
    expected = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")
    if name != expected or method != info.compress_type:
        raise BadWheel(f"{info.filename!r} has another name in its own header")
    if flags & 0x2041:
        raise BadWheel(f"{info.filename!r} is encrypted")
    start: int = info.header_offset + 30 + length + extra
    if start + info.compress_size > len(data):
        raise BadWheel(f"{info.filename!r} is cut off")
    return start


def _inflate(raw: bytes, info: zipfile.ZipInfo) -> list[bytes]:
    """Never makes more bytes than were declared, plus one that gives the lie away."""
    stream = zlib.decompressobj(-15)
    chunks, left = [], info.file_size + 1
    try:
        while left > 0 and not stream.eof:
            chunk = stream.decompress(raw, min(left, CHUNK))
            raw = stream.unconsumed_tail
            left -= len(chunk)
            chunks.append(chunk)
            if not chunk and not raw:
                break
    except zlib.error as error:
        raise BadWheel(f"{info.filename!r} is damaged ({error})") from error
    return chunks


def normal(name: str) -> str:
    """A project name in its one form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _fields(text: str) -> dict[str, str]:
    """The first value of each header of an RFC 822 text, keys in lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            found.setdefault(key.strip().lower(), value.strip())
    return found


def read_entry_points(text: str) -> list[tuple[str, str, str]]:
    """(script, module, attribute) of the console and GUI scripts. Raises BadWheel for what is more than a name."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadWheel("its entry_points.txt cannot be read") from error
    points = {}
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            match = _REFERENCE.fullmatch(value.strip())
            if not match or not _SCRIPT.fullmatch(name) or _RESERVED.fullmatch(name):
                raise BadWheel(f"the entry point {name[:60]!r} = {value[:60]!r} is not allowed")
            points[name] = (name, match[1], match[2])
    return list(points.values())


def versioned(points: list[tuple[str, str, str]], project: str, python: str) -> list[tuple[str, str, str]]:
    """The names of pip and easy_install hold the version of the Python that built the wheel: put in ours."""
    if project not in ("pip", "setuptools"):
        return points
    kept = [point for point in points if not re.fullmatch(r"(pip|easy_install)-?[0-9].*", point[0])]
    for point in list(kept):
        if point[0] == "pip":
            kept += [(f"pip{python.split('.')[0]}", *point[1:]), (f"pip{python}", *point[1:])]
    return kept


def serve() -> None:
    """The worker: a JSON array of `unpack`'s arguments a line in, a JSON object a line out."""
    for line in sys.stdin:
        try:
            answer: dict[str, object] = asdict(unpack(*json.loads(line)))
        except BadWheel as error:
            answer = {"bad": str(error)}
        except OSError as error:
            answer = {"errno": error.errno or errno.EIO, "text": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
