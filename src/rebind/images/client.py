"""One connection after another to one registry, with its way of asking who we are (token and basic).

Secrets go to the registry itself and to the token server that it names, over https (or http where the registry itself
may be spoken to so); a redirect to another host never takes them along.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from rebind import __version__
from rebind.errors import NetworkError, RefusedError
from rebind.images.credentials import Credentials
from rebind.images.names import DOCKER_HUB

Body = Callable[[], Iterator[bytes]]
_HUB = "registry-1.docker.io"
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_LARGEST_ANSWER = 16 << 20
_TOKEN_ANSWER = 1 << 20
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said. The body is read, unless it was asked for in pieces."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    url: str = ""

    def location(self) -> str:
        return urljoin(self.url, self.headers.get("location", ""))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    length: int = 0
    scope: str = ""
    """What for, in the words of the token server: `repository:group/name:pull,push`."""


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


class Client:
    """Speaks to one registry. Not for several threads at once; make one for each."""

    def __init__(
        self,
        registry: str,
        credentials: Credentials | None,
        *,
        plain: frozenset[str] = frozenset(),
        timeout: float = 60.0,
        tokens: dict[str, str] | None = None,
    ) -> None:
        self.registry = registry
        self._credentials = credentials
        self._plain = plain
        self._timeout = timeout
        self._tokens = {} if tokens is None else tokens
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        host = _HUB if registry == DOCKER_HUB else registry
        name = urlsplit(f"//{host}").hostname or ""
        # As Docker does it: a registry on this very machine needs no certificate.
        self.base = f"{'http' if registry in plain or is_loopback(name) else 'https'}://{host}"

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def ask(self, asked: Asked, *, into: Callable[[Iterator[bytes]], None] | None = None) -> Answer:
        """Sends a request and reads the answer; with `into` a good answer's body goes there in pieces.

        Raises NetworkError, RefusedError; statuses are the caller's to judge. What has no body is asked again if
        the other side had closed an idle connection; of a body the other side may have had a part.
        """
        for attempt in range(2):
            answer = self._follow(asked, into)
            if answer.status != 401 or attempt or not self._authorize(answer, asked.scope):
                return answer
        return answer

    def _follow(self, asked: Asked, into: Callable[[Iterator[bytes]], None] | None) -> Answer:
        url = urljoin(self.base, asked.url)
        for _ in range(_MOST_REDIRECTS):
            answer = self._send(asked, url, into)
            if answer.status not in _REDIRECTS or asked.method not in ("GET", "HEAD"):
                return answer
            url = answer.location()
        raise NetworkError(f"The registry {self.registry} redirects in a circle.")

    def _send(self, asked: Asked, url: str, into: Callable[[Iterator[bytes]], None] | None) -> Answer:
        parts = urlsplit(url)
        self._check(parts)
        headers = {"Host": parts.netloc, "User-Agent": f"rebind/{__version__}", **dict(asked.headers)}
        authorization = self._authorization(parts, asked.scope)
        if authorization:
            headers["Authorization"] = authorization
        if asked.body is not None or asked.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(asked.length)
        connection, fresh = self._connection(parts)
        try:
            return self._exchange(connection, asked, url, headers, into)
        except (http.client.HTTPException, OSError) as error:
            self._drop(parts)
            if not fresh and asked.length == 0 and _was_idle(error):
                return self._send(asked, url, into)
            raise NetworkError(
                f"The registry {parts.netloc} did not answer: {error or type(error).__name__}.",
                remedy="Is its address right, and is it running?",
            ) from error

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        asked: Asked,
        url: str,
        headers: dict[str, str],
        into: Callable[[Iterator[bytes]], None] | None,
    ) -> Answer:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(asked.method, path or "/", skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if asked.body is not None:
            for piece in asked.body():
                connection.send(piece)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        if into is not None and response.status == 200:
            into(iter(lambda: response.read(_PIECE), b""))
            return Answer(response.status, found, b"", url)
        body = response.read(_LARGEST_ANSWER + 1)
        if len(body) > _LARGEST_ANSWER:
            raise NetworkError(f"The registry {parts.netloc} answers with more than 16 MB.")
        if response.will_close:
            self._drop(parts)
        return Answer(response.status, found, body, url)

    def _check(self, parts: SplitResult) -> None:
        """Only https, and http to where it is allowed. Raises RefusedError."""
        host = parts.hostname or ""
        allowed = parts.scheme == "https" or (
            parts.scheme == "http" and (parts.netloc in self._plain or self.base == f"http://{parts.netloc}")
        )
        if not allowed or not host or parts.username is not None:
            raise RefusedError(
                f"The registry {self.registry} sends us to {parts.scheme}://{parts.netloc}, which is not safe.",
                remedy="Name it in the setting plain_http_registries if it may be spoken to without encryption.",
            )

    def _connection(self, parts: SplitResult) -> tuple[http.client.HTTPConnection, bool]:
        key = (parts.scheme, parts.netloc)
        known = self._connections.get(key)
        if known is not None:
            return known, False
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self._timeout, context=ssl.create_default_context(), blocksize=_PIECE
            )
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._timeout, blocksize=_PIECE)
        self._connections[key] = made
        return made, True

    def _drop(self, parts: SplitResult) -> None:
        connection = self._connections.pop((parts.scheme, parts.netloc), None)
        if connection is not None:
            connection.close()

    # Who we are

    def _authorization(self, parts: SplitResult, scope: str) -> str:
        """Only for the registry itself."""
        return self._tokens.get(scope, "") if f"{parts.scheme}://{parts.netloc}" == self.base else ""

    def _authorize(self, answer: Answer, scope: str) -> bool:
        """Does what the registry asks for; False if we cannot."""
        if not answer.url.startswith(f"{self.base}/"):
            return False
        kind, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        given = dict(re.findall(r'([a-z_]+)="([^"]*)"', rest))
        if kind.lower() == "basic" and self._credentials is not None:
            self._tokens[scope] = self._credentials.basic
            return True
        if kind.lower() == "bearer" and given.get("realm"):
            token = self._token(given["realm"], given.get("service", ""), scope or given.get("scope", ""))
            self._tokens[scope] = f"Bearer {token}"
            return True
        return False

    def _token(self, realm: str, service: str, scope: str) -> str:
        """A token from the server that the registry names (the distribution project's token specification)."""
        parts = urlsplit(realm)
        self._check(parts)
        query = {"service": service, "scope": scope}
        headers: tuple[tuple[str, str], ...] = ()
        body = b""
        method = "GET"
        if self._credentials is not None and self._credentials.is_token:
            method, form = "POST", {"grant_type": "refresh_token", "refresh_token": self._credentials.password}
            body = urlencode({**query, **form, "client_id": "rebind"}).encode()
            headers = (("Content-Type", "application/x-www-form-urlencoded"),)
            url = realm
        else:
            url = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}"
            if self._credentials is not None:
                headers = (("Authorization", self._credentials.basic),)
        answer = self._send(Asked(method, url, headers, lambda: iter([body]), len(body)), url, None)
        with suppress(ValueError, AttributeError):
            found = json.loads(answer.body) if answer.status == 200 and len(answer.body) < _TOKEN_ANSWER else {}
            token = found.get("token") or found.get("access_token")
            if isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]+", token):
                return token
        raise RefusedError(
            f"The registry {self.registry} does not accept our credentials.",
            remedy="Set DOCKER_CONFIG or CONTAINER_ENGINE_REGISTRY_CREDENTIALS; `docker login` also works.",
        )


def _was_idle(error: Exception) -> bool:
    """Whether the other side had closed a connection that we kept: then nothing of the request was heard."""
    return isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError)
