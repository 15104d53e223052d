"""The little of HTTP/1.1 that the egress proxy must understand. What could be read in two ways is refused.

RFC 9112 (messages), RFC 9110 section 7 (proxies).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from rebind.sandbox.policy import host_name

HEAD_LIMIT = 1 << 16
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.[01]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_SIZE = re.compile(rb"[0-9]{1,15}")
_PORT = re.compile(r"[0-9]{1,5}")
# Of one connection only (RFC 9110 7.6.1), or addressed to the proxy.
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"trailer"}
_HOP |= {b"proxy-authorization", b"proxy-authenticate"}

Header = tuple[bytes, bytes]


class BadMessage(ValueError):
    """A message that is wrong or can be read in two ways."""


@dataclass(frozen=True, slots=True)
class Body:
    """How a body ends: after `length` bytes, with the last chunk, or (neither) there is none."""

    length: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a proxy."""

    method: str
    host: str
    port: int
    path: str | None
    """With its query; None for CONNECT."""
    headers: tuple[Header, ...]
    body: Body

    def head(self) -> bytes:
        """The head to send on, in origin form, one request for one connection."""
        authority = f"[{self.host}]" if ":" in self.host else self.host
        authority += "" if self.port == 80 else f":{self.port}"
        lines = [f"{self.method} {self.path} HTTP/1.1".encode(), b"Host: " + authority.encode()]
        lines += [name + b": " + value for name, value in _end_to_end(self.headers) if name.lower() != b"host"]
        return b"\r\n".join([*lines, b"Connection: close", b"", b""])


def read_request(head: bytes) -> Request:
    """Reads a head that ends with an empty line. Raises BadMessage."""
    first, headers = _split(head)
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise BadMessage("the request line is not HTTP/1.1")
    method, target = match[1].decode(), match[2].decode()
    try:
        host, port, path = _authority(target) if method == "CONNECT" else _absolute(target)
    except ValueError as error:
        raise BadMessage(str(error)) from error
    if sum(name.lower() == b"host" for name, _ in headers) > 1:
        raise BadMessage("there are two Host headers")
    body = _body(headers)
    if method == "CONNECT" and body != Body():
        raise BadMessage("CONNECT has no body")
    return Request(method, host, port, path, headers, body)


def _split(head: bytes) -> tuple[bytes, tuple[Header, ...]]:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadMessage("a header line is malformed")
        headers.append((name, value))
    return first, tuple(headers)


def _authority(target: str) -> tuple[str, int, None]:
    host, colon, port = target.rpartition(":")
    if not colon:
        raise ValueError("CONNECT needs host:port")
    return host_name(host), _port(port), None


def _absolute(target: str) -> tuple[str, int, str]:
    if not target.lower().startswith("http://"):
        raise ValueError("a proxy takes http:// addresses and CONNECT")
    parts = urlsplit(target)
    if "@" in parts.netloc:
        raise ValueError("an address with a user name is not accepted")
    host, port = parts.netloc, 80
    if not host.endswith("]") and ":" in host:
        host, _, text = host.rpartition(":")
        port = _port(text)
    path = target[len("http://") + len(parts.netloc) :].partition("#")[0]
    return host_name(host), port, path if path.startswith("/") else f"/{path}"


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise ValueError("not a port")
    return int(text)


def _body(headers: tuple[Header, ...]) -> Body:
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise BadMessage("the length of the body is said more than once")
    if codings:
        if codings[0].lower() != b"chunked":
            raise BadMessage("only the chunked transfer coding is accepted")
        return Body(chunked=True)
    if lengths and not _SIZE.fullmatch(lengths[0]):
        raise BadMessage("the length of the body is not a number")
    return Body(int(lengths[0])) if lengths else Body()


def _end_to_end(headers: tuple[Header, ...]) -> list[Header]:
    named = {
        each.strip().lower() for name, value in headers if name.lower() == b"connection" for each in value.split(b",")
    }
    dropped = _HOP | (named - {b"transfer-encoding", b"content-length", b"host"})
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def read_response(head: bytes) -> tuple[int, bytes]:
    """Status of a response head, and the head to send on: the connection ends with this response."""
    first, headers = _split(head)
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise BadMessage("the server does not speak HTTP/1.1")
    status = int(match[1])
    _body(tuple(header for header in headers if header[0].lower() != b"transfer-encoding"))
    lines = [first, *(name + b": " + value for name, value in _end_to_end(headers))]
    ending = [b"", b""] if status < 200 else [b"Connection: close", b"", b""]
    return status, b"\r\n".join([*lines, *ending])


def chunk_size(line: bytes) -> int:
    """Size in a chunk's first line, without its CRLF (RFC 9112 7.1)."""
    digits = line.partition(b";")[0].strip(b" \t")
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,12}", digits) or b"\r" in line:
        raise BadMessage("a chunk has no size")
    return int(digits, 16)


def refusal(status: str, reason: str) -> bytes:
    """A whole answer of the proxy's own."""
    body = f"rebind: {reason}.\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
