"""One small HTTP client for the providers: GET and POST, a few redirects, limits of time and size.

Through `proxy_url` everything goes by the egress proxy, which decides where to; each redirect is asked of it anew.
A token is sent to the server that it was made for and to no other.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from rebind import __version__
from rebind.errors import DiskError, NetworkError, RefusedError, RepositoryError
from rebind.providers.command import Watch
from rebind.providers.texts import CONTROL, printable, shown

USER_AGENT = f"rebind/{__version__}"
MAX_REDIRECTS = 5
MAX_TEXT = 32 * 2**20
"""Largest description that is read; what is larger is no description of a record."""
_TIMEOUT = 30.0
_TRIES = 3
_BLOCK = 1 << 18
_SMALL = 1 << 16
_SAFE = "/?%:@!$&'()*+,;=~-._"
_AGAIN = frozenset({429, 500, 502, 503, 504})


class StatusError(RepositoryError):
    """A server answered, but not with what was asked for."""

    def __init__(self, message: str, status: int, headers: Mapping[str, str], *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body if that was read."""

    url: str
    """The last of all redirects."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON. RepositoryError if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise RepositoryError(
                f"{host_of(self.url)} answered with something that is no JSON.",
                remedy="Look whether the address is right; the service may be out of order.",
            ) from None


@dataclass(frozen=True, slots=True)
class _Exchange:
    key: tuple[str, str]
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse


@dataclass(slots=True)
class Http:
    """Connections of one piece of work; use it in a `with`, which closes them. Not for several threads."""

    proxy_url: str | None = None
    watch: Watch = field(default_factory=Watch)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`scheme://host[:port]` -> value of the Authorization header."""
    pause: float = 1.0
    """Seconds before a second try."""
    _idle: dict[tuple[str, str], http.client.HTTPConnection] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Http:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()

    def get(self, url: str, *, headers: Mapping[str, str] | None = None, missing: str = "") -> Answer:
        """Reads a short text. 304 counts as an answer. StatusError, NetworkError, RefusedError, RepositoryError."""
        return self._text("GET", url, headers or {}, missing)

    def post(self, url: str, *, missing: str = "") -> Answer:
        """Asks for something to be done; no body. Raises as `get`."""
        return self._text("POST", url, {}, missing)

    def json(self, url: str, *, missing: str = "") -> Any:
        """GET of JSON. `missing`: what to say if there is nothing. Raises as `get`."""
        return self.get(url, headers={"Accept": "application/json"}, missing=missing).json()

    def download(
        self, url: str, into: Path, add: Callable[[int], None], *, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, str]:
        """Writes the body to a new file; `add` is told of each block and may raise. Gives the sha256 as well.

        A body shorter than announced is an error. Raises as `get`, and DiskError.
        """
        digest = hashlib.sha256()
        asked = self._answered("GET", url, headers or {}, "")
        with asked as (answer, response), _writing(into), into.open("xb") as file:
            for block in _blocks(response, self.watch, answer.url):
                add(len(block))
                digest.update(block)
                file.write(block)
        return answer, digest.hexdigest()

    def _text(self, method: str, url: str, headers: Mapping[str, str], missing: str) -> Answer:
        body = bytearray()
        with self._answered(method, url, headers, missing) as (answer, response):
            for block in _blocks(response, self.watch, answer.url):
                body += block
                if len(body) > MAX_TEXT:
                    raise RepositoryError(f"The answer of {host_of(url)} is too long to be read.")
        return Answer(answer.url, answer.status, answer.headers, bytes(body))

    @contextmanager
    def _answered(
        self, method: str, url: str, headers: Mapping[str, str], missing: str
    ) -> Iterator[tuple[Answer, http.client.HTTPResponse]]:
        """Follows redirects and tries again where that may help; gives only answers with 200 to 299 or 304."""
        for _ in range(MAX_REDIRECTS + 1):
            answer, exchange = self._tried(method, url, headers)
            with self._given_back(exchange):
                if answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers:
                    url = _redirected(url, answer.headers["location"])
                    method = "GET" if answer.status == 303 else method
                    continue
                response = exchange.response
                if answer.status != 304 and not 200 <= answer.status < 300:
                    raise _status_error(answer, response.read(2000), missing)
                if answer.headers.get("content-encoding", "identity") not in ("identity", ""):
                    raise RepositoryError(f"{host_of(url)} answered in an encoding that was not asked for.")
                yield answer, response
                return
        raise RepositoryError(f"{shown(url)} redirects too often.", remedy="Give the address where it leads to.")

    @contextmanager
    def _given_back(self, exchange: _Exchange) -> Iterator[None]:
        """Keeps the connection for the next request if this one's body was read to its end."""
        try:
            yield
        finally:
            response = exchange.response
            with suppress(OSError, http.client.HTTPException):
                if not response.isclosed() and response.length is not None and response.length < _SMALL:
                    response.read()
            if response.isclosed() and not response.will_close:
                self._idle[exchange.key] = exchange.connection
            else:
                exchange.connection.close()

    def _tried(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[Answer, _Exchange]:
        for left in range(_TRIES - 1, -1, -1):
            self.watch.check()
            try:
                exchange = self._request(method, url, headers)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if not left:
                    raise _network_error(url, error) from error
            except OSError as error:
                raise _network_error(url, error) from error
            else:
                found = {name.lower(): value for name, value in exchange.response.getheaders()}
                answer = Answer(url, exchange.response.status, found)
                if answer.status not in _AGAIN or not left or method == "POST":
                    return answer, exchange
                with self._given_back(exchange):
                    pass
            time.sleep(self.pause * (_TRIES - left))
        raise AssertionError

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> _Exchange:
        parts = parse_http(url)
        proxy = self._proxy(parts)
        path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        target = f"{parts.scheme}://{parts.netloc}{path}" if proxy and parts.scheme == "http" else path
        sent = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if token := self.tokens.get(f"{parts.scheme}://{parts.netloc}"):
            sent["Authorization"] = token
        if method == "POST":
            sent["Content-Length"] = "0"
        key = (parts.scheme, parts.netloc)
        kept = self._idle.pop(key, None)
        connection = kept or _connect(parts, proxy)
        try:
            connection.request(method, target, headers=sent)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            if kept is None:
                raise
            return self._request(method, url, headers)  # the server had closed it while it lay idle
        return _Exchange(key, connection, response)

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        if self.proxy_url:
            return urlsplit(self.proxy_url)
        found = getproxies().get(parts.scheme)  # the person's own, as any program honours it
        return urlsplit(found) if found and not proxy_bypass(parts.hostname or "") else None


def parse_http(url: str) -> SplitResult:
    """A URL that may be asked for: http or https, without a login, with a good host. RefusedError, RepositoryError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RepositoryError(f"{printable(url)!r} is not a good address.") from None
    if parts.scheme not in ("http", "https"):
        raise RefusedError(f"{shown(url)} cannot be fetched: only http and https are.")
    odd = CONTROL.search(url) or any("\ud800" <= c <= "\udfff" for c in url)
    if odd or not parts.netloc.isascii() or " " in parts.netloc or not parts.hostname or port == 0:
        raise RepositoryError(f"{printable(url)!r} is not a good address.")
    # Credentials in an address would end in logs.
    return parts._replace(netloc=parts.netloc.rpartition("@")[2].lower())


def host_of(url: str) -> str:
    """The host of a URL, for messages."""
    return urlsplit(url).hostname or "the server"


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if url.startswith("https:") and not target.startswith("https:"):
        raise RefusedError(f"{host_of(url)} redirects to {shown(target)}, which is not https.")
    return target


def _connect(parts: SplitResult, proxy: SplitResult | None) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if proxy is not None:
        at, at_port = proxy.hostname or "", proxy.port or 80
        if parts.scheme == "http":
            return http.client.HTTPConnection(at, at_port, timeout=_TIMEOUT)
        tunnel = http.client.HTTPSConnection(at, at_port, timeout=_TIMEOUT, context=_tls())
        tunnel.set_tunnel(host, port or 443)
        return tunnel
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port or 80, timeout=_TIMEOUT)
    return http.client.HTTPSConnection(host, port or 443, timeout=_TIMEOUT, context=_tls())


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # loading the certificates takes tens of milliseconds: once


def _blocks(response: http.client.HTTPResponse, watch: Watch, url: str) -> Iterator[bytes]:
    """The body as it comes, so that a slow server can be given up at any time."""
    left = response.length
    try:
        while block := response.read1(_BLOCK):
            watch.check()
            left = None if left is None else left - len(block)
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _network_error(url, error) from error
    if left:
        raise NetworkError(f"{host_of(url)} ended its answer too early.", remedy="Try again in a while.")
    if response.length == 0:
        response.read()  # read1 does not notice the end, and the connection would be lost


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path.name!r} cannot be written: {error.strerror or error}.", remedy="Free some space and try again."
        ) from error


def _network_error(url: str, error: BaseException) -> NetworkError | RefusedError:
    host = host_of(url)
    said = str(error)
    if "Tunnel connection failed: 403" in said:
        return RefusedError(
            f"{host} may not be reached from here: its address or port is not allowed.",
            remedy="Only public addresses (unless allow_private_addresses is set) and the ports of egress_ports are.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetworkError(
            f"The certificate of {host} is not trusted: {error.verify_message}.",
            remedy="If it is right, name its authority in SSL_CERT_FILE.",
        )
    if isinstance(error, TimeoutError):
        reason = "it does not answer"
    elif isinstance(error, socket.gaierror):
        reason = "its name is not known here"
    else:
        reason = getattr(error, "strerror", None) or said or type(error).__name__
    return NetworkError(f"{host} cannot be reached: {reason}.", remedy="Look whether the network works, and try again.")


def _status_error(answer: Answer, body: bytes, missing: str) -> StatusError | NetworkError | RefusedError:
    host, status = host_of(answer.url), answer.status
    text = body.decode(errors="replace")
    if text.startswith("rebind: ") and status in (403, 502):
        error = RefusedError if status == 403 else NetworkError
        return error(f"{host} cannot be reached: {text[8:].strip().rstrip('.')}.")
    remedy = "Look whether the address is spelled right and public."
    if status in (404, 410):
        message = missing or f"There is nothing at {shown(answer.url)}."
    elif status in (401, 403):
        message = f"{host} does not give out {shown(answer.url)} to everyone ({status})."
    elif status == 429:
        message, remedy = f"{host} wants fewer requests from here (429).", "Try again in a while."
    else:
        message, remedy = f"{host} answered {status} for {shown(answer.url)}.", "Try again in a while."
    return StatusError(message, status, answer.headers, remedy=remedy)
