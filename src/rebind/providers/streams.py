"""Readers below the archives that keep strangers' headers from filling the memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
from pathlib import Path
from typing import IO, Protocol

from rebind.providers.command import Watch

_LARGEST_READ = 8 * 2**20
_LARGEST_DIRECTORY = 128 * 2**20  # about a million files
_DICTIONARY = 256 * 2**20  # xz -9 takes 65
_BLOCK = 1 << 18


class HeadTooLarge(Exception):
    """A header wants more memory than any honest one does."""


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def decompressed(raw: IO[bytes], watch: Watch) -> Forward:
    """The content of a tar file, whatever it is packed with."""
    start = raw.read(6)
    raw.seek(0)
    source: _Source = raw
    if start.startswith(b"\x1f\x8b"):
        source = gzip.GzipFile(fileobj=raw)
    elif start.startswith(b"BZh"):
        source = bz2.BZ2File(raw)
    elif start == b"\xfd7zXZ\0":
        source = _Xz(raw)
    return Forward(source, watch)


class Forward:
    """Reads on and on; the little that `tarfile` goes back is remembered. Not more than a few MB at once."""

    def __init__(self, source: _Source, watch: Watch) -> None:
        self._source = source
        self._watch = watch
        self._at = 0
        self._last = b""
        self._again = b""

    def tell(self) -> int:
        return self._at - len(self._again)

    def read(self, size: int) -> bytes:
        if size > _LARGEST_READ:
            raise HeadTooLarge(f"a header of {size} bytes")
        if size < 0:
            raise ValueError("the size of a read must be known")
        data, self._again = self._again[:size], self._again[size:]
        while len(data) < size and (more := self._source.read(size - len(data))):
            self._at += len(more)
            self._last = (self._last + more)[-1024:]
            data += more
        self._watch.check()
        return data

    def seek(self, to: int, whence: int = 0) -> int:
        back = self._at - to
        if whence or back > len(self._last):
            raise ValueError("this archive cannot be read in one go")
        if back > 0:
            self._again = self._last[-back:]
            return to
        self._again = b""
        while self._at < to and self.read(min(_BLOCK, to - self._at)):
            pass
        return self.tell()


class _Xz:
    """lzma.LZMAFile, but with a limit to the memory that the file itself asks for."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY)

    def read(self, size: int) -> bytes:
        while not self._decoder.eof:
            data = self._raw.read(_BLOCK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not data:
                raise EOFError("the archive ends too early")
            try:
                if out := self._decoder.decompress(data, size):
                    return out
            except lzma.LZMAError as error:
                raise ValueError(str(error)) from error
        return b""


def check_directory(archive: Path) -> None:
    """Raises HeadTooLarge if a zip's directory, which is read as a whole, would not fit in a modest memory."""
    with archive.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 66_000))
        tail = file.read()
    size = 0
    at = tail.rfind(b"PK\x05\x06")
    if at >= 0 and len(tail) >= at + 16:
        size = int(struct.unpack_from("<L", tail, at + 12)[0])
        size = 0 if size == 0xFFFFFFFF else size
    at = tail.rfind(b"PK\x06\x06")
    if at >= 0 and len(tail) >= at + 48:
        size = max(size, int(struct.unpack_from("<Q", tail, at + 40)[0]))
    if size > _LARGEST_DIRECTORY:
        raise HeadTooLarge(f"a directory of {size} bytes")
