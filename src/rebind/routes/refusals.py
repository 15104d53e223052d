"""What the proxy itself answers when no target does: a page for people, JSON for programs.

Always readable across origins (a page elsewhere that runs cells here must see the status, not a "CORS error").
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from http import HTTPStatus

from rebind.routes.head import Request


@dataclass(frozen=True, slots=True)
class Refusal:
    """One answer of the proxy's own."""

    status: int
    title: str
    text: str
    link: bool = False
    """Offer the way to the start page."""
    location: str = ""


STOPPED = Refusal(
    424,
    "This session is not running",
    "It ended, or it never began. Sessions end by themselves after a while without use. What you had open in the "
    "browser can still be saved from there; to go on, launch the repository again.",
    link=True,
)
TARGET_DEAD = Refusal(
    503,
    "This session does not answer",
    "It may be starting, or it just ended. Try again in a moment; if it stays so, launch the repository again.",
    link=True,
)
TARGET_BROKEN = Refusal(502, "The answer was broken", "What runs in this session did not answer in valid HTTP.")
HUB_AWAY = Refusal(
    503,
    "The hub is away for a moment",
    "New launches have to wait until it is back. Sessions that are running go on undisturbed.",
)
HUB_BROKEN = Refusal(502, "The answer was broken", "The hub did not answer in valid HTTP.")


def moved(prefix: str, target: bytes) -> Refusal:
    """To a session's prefix from the same path without its last slash."""
    query = target.partition(b"?")[1:]
    return Refusal(302, "This session is one slash further", "", location=prefix + b"".join(query).decode("latin-1"))


TOO_LARGE = Refusal(413, "This is too large", "The upload is larger than this hub allows.")
TIMEOUT = Refusal(408, "This took too long", "The request was not sent in time.")

_STYLE = (
    ":root{color-scheme:light dark}body{margin:0;min-height:100vh;display:grid;place-items:center;"
    "font:17px/1.6 system-ui,sans-serif;background:light-dark(#f7f7f4,#14171c);color:light-dark(#22262b,#e6e8ea)}"
    "main{max-width:34rem;padding:2rem}p.code{font:600 .85rem ui-monospace,monospace;letter-spacing:.08em;"
    "color:light-dark(#0b6e63,#58c7b6);margin:0}h1{font-size:1.7rem;line-height:1.25;margin:.3rem 0 .8rem}"
    "a{display:inline-block;margin-top:.6rem;padding:.55rem 1.1rem;border-radius:.5rem;text-decoration:none;"
    "font-weight:600;background:light-dark(#0b6e63,#58c7b6);color:light-dark(#fff,#0d1514)}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    "Access-Control-Allow-Headers: authorization, cache-control, content-type, last-event-id, x-xsrftoken\r\n"
    "Access-Control-Expose-Headers: retry-after\r\n"
)


def wants_page(request: Request | None) -> bool:
    """Whether a person looks at the answer. A program sends a token, asks for JSON, or calls an API path."""
    if request is None or request.method not in (b"GET", b"HEAD"):
        return False
    if b"/api/" in request.path or request.values(b"authorization") or request.values(b"x-requested-with"):
        return False
    return b"text/html" in b",".join(request.values(b"accept")).lower()


def write_refusal(refusal: Refusal, request: Request | None, *, close: bool) -> bytes:
    """The whole answer. Nothing of the request stands in it."""
    if request is not None and request.method == b"OPTIONS" and request.values(b"access-control-request-method"):
        head = f"HTTP/1.1 204 No Content\r\n{_CORS}Access-Control-Max-Age: 5\r\n{_connection(close)}\r\n"
        return head.encode()  # a preflight must pass, or the browser hides the status of the request after it
    if wants_page(request):
        kind, text = "text/html; charset=utf-8", _page(refusal)
    else:
        kind, text = "application/json", json.dumps({"status": refusal.status, "message": _sentence(refusal)})
    body = text.encode()
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        f"Content-Security-Policy: default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'self'\r\n"
        f"{_extra(refusal)}{_CORS}{_connection(close)}\r\n"
    )
    return head.encode("latin-1") + (b"" if request is not None and request.method == b"HEAD" else body)


def _sentence(refusal: Refusal) -> str:
    return f"{refusal.title}. {refusal.text}"


def _extra(refusal: Refusal) -> str:
    if refusal.location:
        return f"Location: {refusal.location}\r\n"
    return "Retry-After: 5\r\n" if refusal.status == 503 else ""


def _connection(close: bool) -> str:
    return "Connection: close\r\n" if close else ""


def _page(refusal: Refusal) -> str:
    link = '<a href="/">Back to the start page</a>' if refusal.link else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(refusal.title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<p class="code">{refusal.status}</p><h1>{html.escape(refusal.title)}</h1>'
        f"<p>{html.escape(refusal.text)}</p>{link}</main></body></html>"
    )
