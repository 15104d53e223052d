"""Reads the head of a request or an answer: httptools (llhttp) for the grammar, and over it the rules by which a proxy
refuses what the two sides might read in two ways (request smuggling, RFC 9112 section 11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import httptools

from rebind.routes.framing import Body, Chunked, Counted, UntilClose
from rebind.routes.limits import ProxyLimits

END = b"\r\n\r\n"
# No line folding, no bare CR or LF, no NUL or other control character, no space before a colon.
_SHAPE = re.compile(rb"[\x20-\x7e\x80-\xff]+\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_HOST = re.compile(rb"(?:[0-9A-Za-z._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BODILESS = frozenset({204, 304})

Field = tuple[bytes, bytes]


class BadMessage(Exception):
    """A head that is refused; `status` is the answer to a client that sent it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class _Parsed:
    """Collects what httptools calls out."""

    target: bytes = b""
    reason: bytes = b""
    fields: list[Field] = field(default_factory=list)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


@dataclass(slots=True)
class Head:
    """What requests and answers have in common."""

    version: str
    fields: list[Field]
    _values: dict[bytes, list[bytes]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._values = {}
        for name, value in self.fields:
            self._values.setdefault(name.lower(), []).append(value)

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field; `name` in lower case."""
        return self._values.get(name, [])

    def tokens(self, name: bytes) -> set[bytes]:
        """The comma-separated words of a field, in lower case."""
        values = self._values.get(name)
        if not values:
            return set()
        words = b",".join(values).lower().split(b",")
        return {word.strip() for word in words} - {b""}


@dataclass(slots=True)
class Request(Head):
    """The head of a request that passed all checks. `target` is in origin form, raw."""

    method: bytes
    target: bytes
    host: bytes
    length: int | None
    """Of the body; None for chunked."""
    keep_alive: bool
    upgrade: bytes | None = None
    """The wanted protocol, lower case."""

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def body(self) -> Body:
        return Chunked() if self.length is None else Counted(self.length)


@dataclass(slots=True)
class Answer(Head):
    """The head of a target's answer."""

    status: int
    reason: bytes

    def body(self, method: bytes) -> Body:
        """How its body ends. Raises BadMessage."""
        length = _length(self)
        if method == b"HEAD" or self.status < 200 or self.status in _BODILESS:
            return Counted(0)
        if length is None:
            return Chunked()
        return UntilClose() if length < 0 else Counted(length)


def find_end(data: bytearray, seen: int, limits: ProxyLimits) -> int:
    """Where the head in `data` ends, or -1 while it is not whole; its first `seen` bytes were looked at before.

    Raises BadMessage as soon as it cannot become good.
    """
    start = max(0, seen - 3)
    end = data.find(END, start, limits.head)
    if end >= 0:
        return end + len(END)
    if _BARE_LF.search(data, start):
        raise BadMessage("a line ends without a carriage return")
    if len(data) >= limits.head:
        raise BadMessage("the header is too large", 431)
    return -1


def parse_request(raw: bytes, limits: ProxyLimits) -> Request:
    """The head `raw`, which ends with its empty line. Raises BadMessage."""
    line = raw[: raw.find(b"\r\n")]
    if len(line) > limits.target:
        raise BadMessage("the address is too long", 414)
    parsed = _Parsed()
    parser = httptools.HttpRequestParser(parsed)
    _feed(parser, raw, parsed, limits)
    version = parser.get_http_version()
    method = parser.get_method()
    if method == b"CONNECT":
        raise BadMessage("CONNECT is not offered here", 405)
    head = Head(version, parsed.fields)
    host = _host(head)
    length = _length(head)
    upgrade = _upgrade(head)
    if upgrade and length != -1 and length != 0:
        raise BadMessage("a request for an upgrade must not have a body")
    return Request(
        version=version,
        fields=parsed.fields,
        method=method,
        target=_origin_form(parsed.target, host),
        host=host,
        length=0 if length == -1 else length,
        keep_alive=version == "1.1" and b"close" not in head.tokens(b"connection"),
        upgrade=upgrade,
    )


def parse_answer(raw: bytes, limits: ProxyLimits) -> Answer:
    """The head of an answer. Raises BadMessage."""
    parsed = _Parsed()
    parser = httptools.HttpResponseParser(parsed)
    _feed(parser, raw, parsed, limits)
    status = parser.get_status_code()
    if not 100 <= status <= 999:
        raise BadMessage("the status is not valid")
    return Answer(parser.get_http_version(), parsed.fields, status, parsed.reason)


def _feed(parser: object, raw: bytes, parsed: _Parsed, limits: ProxyLimits) -> None:
    if _SHAPE.fullmatch(raw) is None:
        raise BadMessage("the header is not valid")
    try:
        parser.feed_data(raw)  # type: ignore[attr-defined]
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadMessage(f"the header is not valid ({error})") from None
    if len(parsed.fields) > limits.fields:
        raise BadMessage("there are too many header fields", 431)
    if parser.get_http_version() not in ("1.0", "1.1"):  # type: ignore[attr-defined]
        raise BadMessage("only versions 1.1 and 1.0 of HTTP are spoken here", 505)


def _length(head: Head) -> int | None:
    """Length of the body; -1 if the head says nothing of one, None for chunked."""
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or head.version != "1.1":
            raise BadMessage("the length of the body is ambiguous")
        return None
    if not lengths:
        return -1
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadMessage("the length of the body is not valid")
    return int(lengths[0])


def _host(head: Head) -> bytes:
    hosts = head.values(b"host")
    if not hosts and head.version == "1.0":
        return b""
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise BadMessage("the Host field is not valid")
    return hosts[0]


def _origin_form(target: bytes, host: bytes) -> bytes:
    """The target without scheme and authority, which must be those of the Host field (RFC 9112 section 3.2.2)."""
    scheme, colon, rest = target.partition(b"://")
    if colon and scheme.lower() in (b"http", b"https"):
        authority, slash, path = rest.partition(b"/")
        if authority.lower() != host.lower():
            raise BadMessage("the address names another host than the Host field")
        target = slash + path if slash else b"/"
    if not target.startswith(b"/") or b"#" in target:
        raise BadMessage("the address is not valid")
    return target


def _upgrade(head: Head) -> bytes | None:
    """The protocol asked for, if it is one to relay. `h2c` is not: its tunnel would carry requests nobody checks."""
    if head.version != "1.1" or b"upgrade" not in head.tokens(b"connection"):
        return None
    wanted = head.values(b"upgrade")
    if len(wanted) != 1 or b"h2c" in head.tokens(b"upgrade"):
        return None
    return wanted[0].lower()
