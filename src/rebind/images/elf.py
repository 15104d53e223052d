"""Programs and libraries that look for their libraries at the place where they were built (ELF, System V ABI).

A shared interpreter would take another Python's library from /usr when its own is not at that place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_DYNAMIC = 2
_LOAD = 1
_STRTAB, _RPATH, _RUNPATH = 5, 15, 29
_SYSTEM = ("/usr/lib", "/lib")


def relocated(data: bytes, instead: str) -> bytes:
    """The file with `instead` (such as `$ORIGIN/../lib`) in place of absolute search paths outside the system's.

    A path too short to hold it, or a file that is not little-endian ELF64, stays as it is.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    changed = bytearray(data)
    try:
        for at, end in _search_paths(data):
            old = data[at:end].decode(errors="replace")
            foreign = any(part.startswith("/") and not part.startswith(_SYSTEM) for part in old.split(":"))
            if foreign and len(instead) <= end - at:
                changed[at:end] = instead.encode().ljust(end - at, b"\0")
    except (struct.error, ValueError, OverflowError, LookupError, RuntimeError):
        return data
    return bytes(changed)


def _search_paths(data: bytes) -> Iterator[tuple[int, int]]:
    """Where in the file the search paths begin and end."""
    table, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, table + number * size) for number in range(count)]
    for kind, _, offset, _, _, length in segments:
        if kind != _DYNAMIC:
            continue
        tags = [struct.unpack_from("<qQ", data, offset + at) for at in range(0, length, 16)]
        strings = next((value for tag, value in tags if tag == _STRTAB), None)
        if strings is None:
            return
        base = next(
            begin + strings - address
            for kind, _, begin, address, _, span in segments
            if kind == _LOAD and address <= strings < address + span
        )
        for tag, value in tags:
            if tag in (_RPATH, _RUNPATH):
                yield base + value, data.index(b"\0", base + value)
