"""Where the body of a message ends (RFC 9112 section 6); what two parsers could read in two ways is refused."""

from __future__ import annotations

import re
from typing import Protocol

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_LONGEST_LINE = 4096
_TRAILERS = 16 * 1024

END = b"0\r\n\r\n"


class FramingError(Exception):
    """The bytes of a body break the framing that its head announced."""


class Body(Protocol):
    """Takes the bytes after a head; knows where the body ends."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The payload in `data`, and what lies behind the end of the body. Raises FramingError."""


class Counted:
    """A body of a known length; of none with 0."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        cut, self._left, self.done = self._left, 0, True
        return data[:cut], data[cut:]


class UntilClose:
    """The body of an answer that ends with the connection."""

    done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class Chunked:
    """The chunked coding (RFC 9112 section 7.1). Extensions and trailer fields are checked and dropped."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._step = self._size
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        pieces = []
        at = 0  # an index, not slices of the rest: thousands of tiny chunks must not cost the square of their number
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
            else:
                at = self._read_line(data, at)
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[at:]

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + _LONGEST_LINE) + 1
        self._line += data[at : end or at + _LONGEST_LINE]
        if len(self._line) > _LONGEST_LINE or not (end or len(data) - at < _LONGEST_LINE):
            raise FramingError("a line of the chunked body is too long")
        if not end:
            return len(data)
        line, self._line = self._line, b""
        if line[-2:] != b"\r\n":
            raise FramingError("a line of the chunked body ends without a carriage return")
        self._step(line[:-2])
        return end

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise FramingError("a chunk has no valid size")
        self._left = int(match[1], 16)
        self._step = self._after_chunk if self._left else self._trailer

    def _after_chunk(self, line: bytes) -> None:
        if line:
            raise FramingError("a chunk is longer than it says")
        self._step = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > _TRAILERS or (line and not _TRAILER.fullmatch(line)):
            raise FramingError("the trailer of the chunked body is not valid")
        self.done = not line


def chunk(payload: bytes) -> bytes:
    """One chunk; nothing for an empty payload, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
