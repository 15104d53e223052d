"""GET over kept connections, directly or through a proxy. http.client: a package more would cost more than it saves."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections import defaultdict
from urllib.parse import urljoin, urlsplit

from rebind.errors import BuildError

USER_AGENT = "rebind"
TIMEOUT = 30.0
MAX_REDIRECTS = 5
SMALL = 1 << 16


def shown(url: str) -> str:
    """The URL as it may stand in a log: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


class Response:
    """An answer whose body is to be read. `close` gives the connection back if the body was read to its end."""

    def __init__(self, client: Client, key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        self._client, self._key, self._connection = client, key, connection
        self._answer = connection.getresponse()
        self.status = self._answer.status
        self.length = self._answer.length
        self.read = self._answer.read1  # what has come, so that a slow server can be given up at any time

    def header(self, name: str) -> str:
        return self._answer.getheader(name) or ""

    def skip(self) -> None:
        """Reads a short body for nothing, to keep the connection."""
        if self.length is not None and self.length < SMALL:
            self._answer.read()

    def close(self) -> None:
        if self._answer.length == 0:
            self._answer.read()  # read1 does not notice the end
        if self._answer.isclosed() and not self._answer.will_close:
            self._client.keep(self._key, self._connection)
        else:
            self._connection.close()


class Client:
    """Connections by scheme and host, shared by threads. `proxy_url` takes all of them."""

    def __init__(self, proxy_url: str | None = None) -> None:
        self._proxy = urlsplit(proxy_url) if proxy_url else None
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def get(self, url: str, headers: dict[str, str] | None = None) -> Response:
        """Follows redirects. Raises OSError or http.client.HTTPException for broken connections, BuildError for URLs
        that are not http(s)."""
        for _ in range(MAX_REDIRECTS):
            response = self._request(url, headers or {})
            if response.status not in (301, 302, 303, 307, 308):
                return response
            response.skip()
            response.close()
            url = urljoin(url, response.header("Location"))
        raise BuildError(f"{shown(url)} redirects without end.")

    def keep(self, key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle[key].append(connection)

    def close(self) -> None:
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _request(self, url: str, headers: dict[str, str]) -> Response:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BuildError(f"{url.partition(':')[0]}: addresses are not downloaded, only http and https are.")
        netloc = parts.netloc.rpartition("@")[2]
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = f"http://{netloc}{path}" if self._proxy and parts.scheme == "http" else path
        key = (parts.scheme, netloc)
        with self._lock:
            kept = self._idle[key].pop() if self._idle[key] else None
        sent = {"Host": netloc, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if kept:
            try:
                kept.request("GET", target, headers=sent)
                return Response(self, key, kept)
            except (OSError, http.client.HTTPException):
                kept.close()  # the server closed it while it lay idle
        connection = self._connect(parts.scheme, parts.hostname, parts.port)
        connection.request("GET", target, headers=sent)
        return Response(self, key, connection)

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if self._proxy:
            assert self._proxy.hostname
            address, proxy_port = self._proxy.hostname, self._proxy.port or 80
            if scheme == "http":
                return http.client.HTTPConnection(address, proxy_port, timeout=TIMEOUT)
            tunnel = http.client.HTTPSConnection(address, proxy_port, timeout=TIMEOUT, context=self._tls())
            tunnel.set_tunnel(host, port or 443)
            return tunnel
        if scheme == "http":
            return http.client.HTTPConnection(host, port or 80, timeout=TIMEOUT)
        return http.client.HTTPSConnection(host, port or 443, timeout=TIMEOUT, context=self._tls())

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:  # loading the certificates takes tens of milliseconds: once, when first needed
                self._context = ssl.create_default_context()
            return self._context


Broken = (OSError, http.client.HTTPException, socket.gaierror)
"""What a connection that breaks, or never comes, raises."""
