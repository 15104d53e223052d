"""Pages of the dated index, as JSON (PEP 691, 700) and as HTML (PEP 503, 592, 714)."""

from __future__ import annotations

import json
from html import escape

from rebind.locks.pages import Page

JSON = "application/vnd.pypi.simple.v1+json"


def wants_json(accept: str) -> bool:
    """Whether the client of that Accept header understands JSON; the tools of old times know HTML alone."""
    return "application/vnd.pypi.simple.v1+json" in accept or "application/vnd.pypi.simple.latest+json" in accept


def to_json(page: Page, count: int, *, yanked: bool) -> bytes:
    """The first `count` files. `yanked`: whether to tell of withdrawn files; a past day knew nothing of later ones."""
    files, lines = page.files[:count], page.lines[:count]
    if yanked:
        lines = tuple(_yanked(line, file.yanked) for line, file in zip(lines, files, strict=True))
    versions = dict.fromkeys(file.version for file in files if file.version)
    head = json.dumps({"meta": {"api-version": "1.1"}, "name": page.name, "versions": list(versions)})
    return f'{head[:-1]},"files":[{",".join(lines)}]}}'.encode()


def _yanked(line: str, reason: str) -> str:
    return f'{line[:-1]},"yanked":{json.dumps(reason)}}}' if reason else line


def to_html(page: Page, count: int, *, yanked: bool) -> bytes:
    anchors = []
    for file, line in zip(page.files[:count], page.lines[:count], strict=True):
        row = json.loads(line)
        attributes = {"href": row["url"] + (f"#sha256={file.sha256}" if file.sha256 else "")}
        if row.get("requires-python"):
            attributes["data-requires-python"] = row["requires-python"]
        if file.is_wheel:
            attributes |= {"data-core-metadata": "true", "data-dist-info-metadata": "true"}
        if yanked and file.yanked:
            attributes["data-yanked"] = file.yanked
        text = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
        anchors.append(f"<a {text}>{escape(file.name)}</a><br>")
    head = '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1">'
    return f"{head}<title>{page.name}</title></head><body>\n{chr(10).join(anchors)}\n</body></html>\n".encode()
