"""Files of the pages, with the hash of their content as ETag. What is not in the folder cannot be named."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Name -> content, type, ETag."""
    found = {}
    for path in FOLDER.iterdir():
        if path.suffix in TYPES:
            content = path.read_bytes()
            found[path.name] = content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return found


def respond(request: Request, content: bytes, kind: str, etag: str, age: int) -> Response:
    """The file, or 304 if the visitor has it."""
    headers = {"ETag": etag, "Cache-Control": f"max-age={age}" if age else "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


async def asset(request: Request) -> Response:
    """`/static/<name>`. Asked for anew each time (304), so that after an upgrade page and scripts fit together."""
    return named(request, str(request.path_params["name"]), 0)


def named(request: Request, name: str, age: int) -> Response:
    file = _files().get(name)
    if file is None:
        raise HTTPException(404)
    return respond(request, *file, age)
