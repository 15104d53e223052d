"""Who asks, and under which address they see the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from rebind.web import WebSettings

_HOST = re.compile(r"(?:[0-9A-Za-z._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Visitor:
    """What one request tells."""

    client: str
    """IP address, '' if unknown."""
    origin: str
    """The hub's address, ending in `/`."""


def visitor(connection: HTTPConnection, settings: WebSettings) -> Visitor:
    """Believes X-Forwarded-* only on a Unix socket, where nobody but our proxy speaks."""
    headers = connection.headers
    behind_proxy = not connection.client or not connection.client.host
    host, scheme = headers.get("host", ""), "http"
    client = connection.client.host if connection.client else ""
    if behind_proxy:
        client = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        host = headers.get("x-forwarded-host", host)
        scheme = headers.get("x-forwarded-proto", scheme)
    if not _HOST.fullmatch(host):
        host = "localhost"
    if settings.public_url:
        return Visitor(client, settings.public_url.rstrip("/") + "/")
    return Visitor(client, f"{'https' if scheme == 'https' else 'http'}://{host}{settings.base_url}")
