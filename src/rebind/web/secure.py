"""What goes around every request: the raw path, headers that confine pages, headers for other origins.

Plain ASGI, so that streams pass through untouched.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rebind.web import WebSettings

ALLOWED_HEADERS = "authorization, cache-control, content-type, last-event-id, x-xsrftoken"
ALLOWED_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"


class RawPath:
    """Routes on the path as it was sent, below `base_url`.

    `user%2Frepo` and `user/repo` are different specs, which the decoded path cannot tell apart.
    """

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self._app = app
        self._base = base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            path = raw.partition(b"?")[0].decode("latin-1")
            if not path.startswith(self._base):
                await PlainTextResponse("There is nothing here.", 404)(scope, receive, send)
                return
            scope = {**scope, "path": "/" + path[len(self._base) :], "root_path": ""}
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # the server stops: end the streams that are open, watchers come back
            with suppress(Exception):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


class Secure:
    """Confines pages to what this hub itself serves, and opens the API to other origins (launch-api 1.7, Q6, Q9)."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._origin = settings.cors_allow_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = scope.setdefault("state", {})["nonce"] = secrets.token_urlsafe(16)
        path = scope["path"]

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                self._share(headers, path)
                self._confine(headers, nonce)
            await send(message)

        if scope["method"] == "OPTIONS":
            await Response(status_code=200)(scope, receive, dressed)
        else:
            await self._app(scope, receive, dressed)

    def _share(self, headers: MutableHeaders, path: str) -> None:
        origin = "*" if path == "/versions" else self._origin
        if not origin:
            return
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
        if origin != "*":
            headers.append("Vary", "Origin")

    def _confine(self, headers: MutableHeaders, nonce: str) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        # Sessions share the origin, so 'self' would let in scripts that a stranger's repository serves.
        headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if headers.get("content-type", "").startswith("image/"):
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # badges stand on other people's pages


def nonce_of(request: Request) -> str:
    """The nonce that the policy of this answer names."""
    return str(request.scope["state"]["nonce"])
