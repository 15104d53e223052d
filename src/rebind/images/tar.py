"""Layers as tar archives that are the same for the same content: one pass reads, packs, hashes and compresses.

ustar (POSIX.1-1988) with pax records (POSIX.1-2001) only for names and sizes that do not fit. Times are fixed, owners
are numbers without names, and what comes first is for the caller to say: entries are written in the order given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from rebind.errors import BuildError

MTIME = 315532800  # 1980-01-01, as all files of the build store: old .pyc files hold the time of their source
PIECE = 1 << 20
_LARGEST = 8 << 30
_ZEROS = bytes(1024)

FILE, LINK, FOLDER, DEVICE = b"0", b"2", b"5", b"3"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symbolic link of a layer."""

    name: str
    """Relative to the root of the image; undecodable bytes as surrogates."""
    kind: bytes = FILE
    mode: int = 0o644
    owner: int = 0
    group: int = 0
    target: str = ""
    """Of a symbolic link."""
    source: str = ""
    """The file on this machine with the content, of `size` bytes; '' if `content` is it."""
    size: int = 0
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Packed:
    """What a layer became."""

    digest: str
    """Of the compressed bytes, `sha256:...`."""
    size: int
    diff_id: str
    """Of the tar archive."""


class _Compressor(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


@cache
def _compressors() -> tuple[Callable[[], _Compressor], str]:
    # ISA-L at level 1: five times zlib's speed at the same size, and the same bytes on every x86-64 since 2009 (tried
    # under qemu from Nehalem on; level 3 differs between them). Both write gzip without name and time.
    try:
        from isal import isal_zlib

        return (lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)), "isal-1"
    except ImportError:
        import zlib

        return (lambda: zlib.compressobj(6, zlib.DEFLATED, 31)), f"zlib-{zlib.ZLIB_RUNTIME_VERSION}"


def compressor_name() -> str:
    """Which compressor writes layers here: part of a layer's key, for its bytes differ."""
    return _compressors()[1]


class LayerFile:
    """A layer being written to `path`. Give it bytes of tar with `write`, then `finish`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0
        self._waiting: list[bytes] = []
        self._held = 0

    def __enter__(self) -> LayerFile:
        self._compressor = _compressors()[0]()
        self._out = open(self._path, "wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._held += len(data)
        if self._held >= PIECE:
            self._drain()

    def _drain(self, *, all_of_it: bool = False) -> None:
        """In pieces of one size: what ISA-L makes of them depends on where they are cut."""
        held = memoryview(b"".join(self._waiting))
        whole = len(held) if all_of_it else len(held) - len(held) % PIECE
        for at in range(0, whole, PIECE):
            piece = held[at : min(at + PIECE, whole)]
            self._plain.update(piece)
            self._put(self._compressor.compress(piece))
        self._waiting = [bytes(held[whole:])]
        self._held = len(held) - whole

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._size += len(data)
        self._out.write(data)

    def finish(self) -> Packed:
        self._drain(all_of_it=True)
        self._put(self._compressor.flush())
        self._out.flush()
        return Packed(f"sha256:{self._packed.hexdigest()}", self._size, f"sha256:{self._plain.hexdigest()}")


def write_layer(entries: Iterable[Entry], path: Path) -> Packed:
    """Writes a layer. Raises BuildError if a file changes meanwhile, OSError."""
    with LayerFile(path) as layer:
        for entry in entries:
            layer.write(header(entry))
            if entry.kind == FILE:
                for piece in _content(entry):
                    layer.write(piece)
                if entry.size % 512:
                    layer.write(_ZEROS[: 512 - entry.size % 512])
        layer.write(_ZEROS)
        return layer.finish()


def _content(entry: Entry) -> Iterator[bytes]:
    if not entry.source:
        yield entry.content
        return
    left = entry.size
    fd = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while left:
            piece = os.read(fd, min(left, PIECE))
            if not piece:
                raise BuildError(f"/{entry.name} became shorter while its layer was written.", remedy="Build again.")
            left -= len(piece)
            yield piece
    finally:
        os.close(fd)


def header(entry: Entry) -> bytes:
    """The header blocks of an entry."""
    name = os.fsencode(entry.name) + (b"/" if entry.kind == FOLDER else b"")
    target = os.fsencode(entry.target)
    size = entry.size if entry.kind == FILE else 0
    records = b""
    prefix, fits = b"", len(name) <= 100
    if not fits:
        prefix, name, fits = _split(name)
    if not fits:
        records += _record(b"path", os.fsencode(entry.name) + (b"/" if entry.kind == FOLDER else b""))
    if len(target) > 100:
        records += _record(b"linkpath", target)
    if size >= _LARGEST:
        records += _record(b"size", b"%d" % size)
    blocks = b""
    if records:
        blocks = _block(b"pax", b"", b"x", 0o644, 0, 0, len(records), b"") + records + bytes(-len(records) % 512)
    size = 0 if size >= _LARGEST else size
    return blocks + _block(name, prefix, entry.kind, entry.mode, entry.owner, entry.group, size, target[:100])


def _split(name: bytes) -> tuple[bytes, bytes, bool]:
    """Prefix, name and whether they hold all of a long name; else as much of it as fits."""
    at = name.find(b"/", max(len(name) - 101, 0), len(name) - 1)
    if 0 < at <= 155:
        return name[:at], name[at + 1 :], True
    return b"", name[:100], False


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _block(
    name: bytes, prefix: bytes, kind: bytes, mode: int, owner: int, group: int, size: int, target: bytes
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode & 0o7777, owner, group, size, MTIME)
    before = name.ljust(100, b"\0") + numbers
    after = kind + target.ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (0, 0)
    after += prefix.ljust(155, b"\0") + bytes(12)
    checksum = sum(before) + sum(after) + 8 * 32
    return before + b"%06o\0 " % checksum + after
