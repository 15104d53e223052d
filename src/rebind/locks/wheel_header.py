"""Reads the METADATA of a wheel that is not here, by asking for the few parts of the file that hold it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable

from packaging.utils import canonicalize_name

_PIECE = 65536
_ROUNDS = 8
_LARGEST = 4 * 1024 * 1024

Fetch = Callable[[int, int], Awaitable[bytes]]
"""Bytes from start up to, not including, end."""


class MissingPartError(OSError):
    """The archive wants bytes that were not fetched yet."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__("part not fetched")
        self.start, self.end = start, end


class _Parts(io.RawIOBase):
    """A file of known size of which some parts are known."""

    def __init__(self, size: int) -> None:
        self.size, self.place, self.parts = size, 0, dict[int, bytes]()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = max(0, offset + (0, self.place, self.size)[whence])
        return self.place

    def read(self, count: int = -1, /) -> bytes:
        end = self.size if count < 0 else min(self.size, self.place + count)
        for start, part in self.parts.items():
            if start <= self.place and end <= start + len(part):
                data = part[self.place - start : end - start]
                self.place = max(end, self.place)
                return data
        raise MissingPartError(self.place, max(end, self.place))


async def wheel_metadata(project: str, size: int, fetch: Fetch) -> bytes | None:
    """The bytes of METADATA; None if the file is no wheel of that project. Raises what `fetch` raises."""
    file = _Parts(size)
    start = max(0, size - _PIECE)
    file.parts[start] = await fetch(start, size)
    for _ in range(_ROUNDS):
        file.place = 0
        try:
            return _read(project, file)
        except MissingPartError as missing:
            start = min(missing.start, max(0, missing.end - _PIECE))
            if missing.end - start > 4 * _LARGEST:
                return None
            end = min(size, max(missing.end, start + _PIECE))
            file.parts[start] = await fetch(start, end)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
            return None
    return None


def _read(project: str, file: _Parts) -> bytes | None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            folder, _, name = entry.filename.partition("/")
            stem = folder.removesuffix(".dist-info")
            if name == "METADATA" and stem != folder and canonicalize_name(stem.partition("-")[0]) == project:
                return archive.read(entry) if entry.file_size <= _LARGEST else None
    return None
