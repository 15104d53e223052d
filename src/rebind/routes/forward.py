"""Writes the heads that the proxy sends: a request to its target, an answer to its client.

Everything passes as it came but what belongs to one connection only (RFC 9110 section 7.6.1), what tells of the client
(set here, never believed from a stranger), and what an answer of one session must not decide for the whole origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from rebind.routes.framing import Body, Chunked, UntilClose
from rebind.routes.head import Answer, Field, Head, Request
from rebind.routes.limits import ProxyLimits

_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer transfer-encoding "
    b"upgrade http2-settings content-length".split()
)
# Naming these in Connection must not make the proxy drop them.
_END_TO_END = frozenset(b"host cookie authorization origin referer content-type cache-control expect".split())
_ABOUT_CLIENT = frozenset(b"forwarded x-real-ip x-scheme x-client-ip true-client-ip".split())
# A session shares its origin with others: no service worker above its prefix, no other host for the origin, no
# clearing of everybody's storage.
_ORIGIN_WIDE = frozenset(
    b"service-worker-allowed alt-svc clear-site-data strict-transport-security public-key-pins nel report-to".split()
)


def _kept(head: Head) -> Iterable[tuple[bytes, Field]]:
    """Fields that go on, each with its lower-case name. Underscores count as hyphens, as in CGI."""
    named = head.tokens(b"connection") - _END_TO_END
    for item in head.fields:
        name = item[0].lower()
        plain = name.replace(b"_", b"-")
        if plain not in _HOP and name not in named:
            yield plain, item


def _lines(fields: Iterable[Field]) -> bytes:
    return b"".join(b"%b: %b\r\n" % item for item in fields)


def client_address(request: Request, peer: str, limits: ProxyLimits) -> tuple[str, bool]:
    """Address of the client, and whether the peer is a trusted proxy: then it is the last that no trusted one named."""

    def trusted(address: str) -> bool:
        return any(ip_address(address) in network for network in limits.trusted)

    if not peer or not trusted(peer):
        return peer, False
    for part in reversed(b",".join(request.values(b"x-forwarded-for")).decode("latin-1").split(",")):
        try:
            address = str(ip_address(part.strip()))
        except ValueError:
            break
        if not trusted(address):
            return address, True
    return peer, True


def _forwarded(request: Request, peer: str, limits: ProxyLimits) -> list[Field]:
    address, trusted = client_address(request, peer, limits)

    def given(name: bytes, otherwise: bytes) -> bytes:
        values = request.values(name) if trusted else []
        return values[0].partition(b",")[0].strip() if values else otherwise

    proto = given(b"x-forwarded-proto", b"http").lower()
    proto = proto if proto in (b"http", b"https") else b"http"
    host = given(b"x-forwarded-host", request.host)
    _, colon, port = host.rpartition(b":")
    standard = b"443" if proto == b"https" else b"80"
    return [
        (b"X-Forwarded-For", address.encode() or b"127.0.0.1"),
        (b"X-Forwarded-Proto", proto),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", given(b"x-forwarded-port", port if colon and port.isdigit() else standard)),
    ]


def request_head(request: Request, peer: str, limits: ProxyLimits) -> bytes:
    """The head that goes to the target, over HTTP/1.1 whatever the client speaks."""
    fields = [
        item
        for name, item in _kept(request)
        if name not in _ABOUT_CLIENT and not name.startswith(b"x-forwarded-") and name != b"host"
    ]
    if request.version == "1.0":
        fields = [item for item in fields if item[0].lower() != b"expect"]
    fields.insert(0, (b"Host", request.host or b"localhost"))
    fields += _forwarded(request, peer, limits)
    if request.length is None:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif request.length or request.values(b"content-length"):
        fields.append((b"Content-Length", b"%d" % request.length))
    if request.upgrade:
        fields += [(b"Upgrade", request.values(b"upgrade")[0]), (b"Connection", b"Upgrade")]
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, _lines(fields))


def answer_head(
    answer: Answer, request: Request, body: Body, *, close: bool, prefix: bytes = b""
) -> tuple[bytes, bool]:
    """The head that goes to the client, and whether its body is sent in chunks.

    `prefix` is the path of the session that answers; empty for the hub, whose word counts for the whole origin.
    """
    fields = [_confined(name, item, prefix) for name, item in _kept(answer) if not (prefix and name in _ORIGIN_WIDE)]
    chunked = isinstance(body, (Chunked, UntilClose)) and request.version == "1.1"
    if answer.status == 101:
        fields += [(b"Upgrade", value) for value in answer.values(b"upgrade")] + [(b"Connection", b"Upgrade")]
    elif answer.status >= 200:
        if chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        elif answer.status != 204 and not isinstance(body, (Chunked, UntilClose)):
            fields += [(b"Content-Length", value) for value in answer.values(b"content-length")]
        if close:
            fields.append((b"Connection", b"close"))
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (answer.status, answer.reason, _lines(fields)), chunked


def _confined(name: bytes, item: Field, prefix: bytes) -> Field:
    """A cookie that a session sets is for its own path and this host only."""
    if not prefix or name != b"set-cookie":
        return item
    pair, *attributes = item[1].split(b";")
    kept = []
    for attribute in attributes:
        key, _, value = attribute.strip().partition(b"=")
        key = key.strip().lower()
        if key == b"domain" or (key == b"path" and not value.strip().startswith(prefix)):
            continue
        kept.append(attribute.strip())
    if not any(a.lower().startswith(b"path") for a in kept):
        kept.append(b"Path=" + prefix)
    return item[0], b"; ".join([pair, *kept])
