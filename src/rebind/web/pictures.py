"""Pictures that other pages link to: badges and icons. Drawn here, cacheable, without cookies."""

from __future__ import annotations

import hashlib
import struct
import zlib
from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from rebind.web.assets import named, respond

_AGE = 86400
_LEFT, _RIGHT = 48, 53  # widths of the two halves
MARK = (
    '<path d="M5.2 12V6.6a3.1 3.1 0 0 1 3.1-3.1h1.1" fill="none" stroke="#fff" stroke-width="2" '
    'stroke-linecap="round"/>'
    '<circle cx="10.6" cy="7.4" r="1.35" fill="#f2b84b"/>'
)


def badge(*, logo: bool) -> str:
    """`launch | rebind` in the look of README badges; text is stretched to its place, whatever font there is."""
    left = _LEFT + (17 if logo else 0)
    width = left + _RIGHT
    mark = f'<g transform="translate(4 2)">{MARK}</g>' if logo else ""

    def text(x: float, length: int, words: str) -> str:
        common = f'x="{x}" textLength="{length}" lengthAdjust="spacingAndGlyphs" text-anchor="middle"'
        return (
            f'<text {common} y="15" fill="#010101" fill-opacity=".3">{words}</text><text {common} y="14">{words}</text>'
        )

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="launch rebind">'
        '<title>launch rebind</title><linearGradient id="s" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" '
        'stop-opacity=".1"/><stop offset="1" stop-opacity=".1"/></linearGradient>'
        f'<clipPath id="r"><rect width="{width}" height="20" rx="4" fill="#fff"/></clipPath><g clip-path="url(#r)">'
        f'<rect width="{left}" height="20" fill="#4a5058"/><rect x="{left}" width="{_RIGHT}" height="20" '
        f'fill="#0b6e63"/><rect width="{width}" height="20" fill="url(#s)"/></g>{mark}'
        '<g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">'
        f"{text(left - _LEFT / 2, 38, 'launch')}{text(left + _RIGHT / 2, 39, 'rebind')}</g></svg>"
    )


_COLOURS = {"success": (11, 110, 99), "fail": (196, 60, 60), "building": (214, 150, 30)}


def _pixel(x: float, y: float, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """A rounded square with the letter r, on a grid of 16."""
    corner_x, corner_y = max(4 - x, x - 12, 0), max(4 - y, y - 12, 0)
    if corner_x**2 + corner_y**2 > 16:
        return 0, 0, 0, 0
    ring = ((x - 8.8) ** 2 + (y - 7.6) ** 2) ** 0.5
    arc = 2.4 <= ring <= 4.4 and x <= 9.6 and y <= 7.6
    stem = 4.4 <= x <= 6.4 and 7.6 < y <= 12.6
    dot = (x - 11) ** 2 + (y - 7.4) ** 2 <= 2.4
    white, amber = (255, 255, 255, 255), (242, 184, 75, 255)
    return white if arc or stem else amber if dot else (*colour, 255)


@cache
def icon(state: str, size: int = 32) -> bytes:
    """A favicon: one PNG inside the ICO container."""
    scale = 16 / size
    rows = (
        b"\0" + b"".join(bytes(_pixel((x + 0.5) * scale, (y + 0.5) * scale, _COLOURS[state])) for x in range(size))
        for y in range(size)
    )

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    png = (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0))
        + part(b"IDAT", zlib.compress(b"".join(rows), 9))
        + part(b"IEND", b"")
    )
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, size, size, 0, 0, 1, 32, len(png), 22) + png


def _answer(request: Request, content: bytes, kind: str) -> Response:
    return respond(request, content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"', _AGE)


async def plain_badge(request: Request) -> Response:
    return _answer(request, badge(logo=False).encode(), "image/svg+xml")


async def logo_badge(request: Request) -> Response:
    return _answer(request, badge(logo=True).encode(), "image/svg+xml")


async def favicon(request: Request) -> Response:
    state = str(request.path_params.get("state", "success"))
    return _answer(request, icon(state if state in _COLOURS else "success"), "image/x-icon")


async def social(request: Request) -> Response:
    return named(request, "logo_social.png", _AGE)
