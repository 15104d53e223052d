"""Files of an HTML page of an index (PEP 503, 592, 700's attributes), for upstreams that know no JSON."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urlsplit

from rebind.locks.pages import File, acceptable, timestamp, true_url, version_of


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append({name: value or "" for name, value in attrs})


def parse_html(name: str, base: str, data: bytes) -> list[File]:
    """As `parse_json`. Files without an upload time come out as untimed."""
    parser = _Anchors()
    parser.feed(data.decode("utf-8", "replace"))
    return [file for anchor in parser.found if (file := _file(name, base, anchor))]


def _file(project: str, base: str, anchor: dict[str, str]) -> File | None:
    address, fragment = urldefrag(anchor.get("href", ""))
    url = true_url(base, address)
    filename = unquote(urlsplit(url).path.rpartition("/")[2]) if url else ""
    if url is None or not acceptable(filename):
        return None
    kind, _, digest = fragment.partition("=")
    return File(
        name=filename,
        url=url,
        sha256=digest if kind == "sha256" and len(digest) == 64 and digest.isalnum() else "",
        size=None,
        uploaded=timestamp(anchor.get("data-upload-time")),
        requires_python=anchor.get("data-requires-python", ""),
        yanked=(anchor["data-yanked"] or "yes") if "data-yanked" in anchor else "",
        version=version_of(project, filename),
    )
