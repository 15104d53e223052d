"""Pages of the upstream index, cut down to what a date can be applied to in a millisecond, and kept on disk.

One page is one text file: a JSON header, then a line for each file, oldest first. A line holds the file's object of the
JSON index (PEP 691) ready to be sent, so a page as of a date is the join of its first lines.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from packaging.utils import canonicalize_name

from rebind.locks.repair import repair_specifiers
from rebind.locks.whole import write_whole

FORMAT = 1
UNTIMED = float("inf")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_LONGEST_NAME = 120
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_KINDS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")
_BUILD_TOOLS = {"setuptools", "wheel"}
_BUILD_TOOLS_UNTIL = datetime(2019, 3, 1, tzinfo=UTC).timestamp()
"""uv builds with setuptools >= 40.8; with no limit at all old packages fail on features since removed."""


def project_name(text: str) -> str | None:
    """The normalised name of a project (PEP 503), or None if it can be none. Safe as a file name."""
    name = canonicalize_name(text) if len(text) <= _LONGEST_NAME else ""
    return name if _NAME.match(name) else None


def cut(name: str, when: float) -> float:
    """The date up to which files of a project are shown."""
    return max(when, _BUILD_TOOLS_UNTIL) if name in _BUILD_TOOLS else when


class File(NamedTuple):
    """One file of a project, as the upstream index describes it."""

    name: str
    url: str
    sha256: str
    size: int | None
    uploaded: float
    """Seconds since 1970; UNTIMED if the index does not say."""
    requires_python: str
    yanked: str
    """'' if not yanked."""
    version: str

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")

    def line(self, project: str) -> str:
        """The file's object for our own pages, dates and repairs applied."""
        row: dict[str, object] = {"filename": self.name, "url": f"../../files/{project}/{quote(self.name)}"}
        row["hashes"] = {"sha256": self.sha256} if self.sha256 else {}
        if self.requires_python:
            row["requires-python"] = repair_specifiers(self.requires_python, bare=False) or None
        if self.size is not None:
            row["size"] = self.size
        if self.uploaded != UNTIMED:
            row["upload-time"] = datetime.fromtimestamp(self.uploaded, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self.is_wheel:
            row["core-metadata"] = True
        return json.dumps(row, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Page:
    """All files of one project that the upstream had at `fetched`. `files` and `lines` go together, oldest first."""

    name: str
    fetched: float
    etag: str
    files: tuple[File, ...]
    lines: tuple[str, ...]
    times: tuple[float, ...]
    missing: bool = False
    """The upstream said that there is no such project."""

    def final_for(self, when: float) -> bool:
        """Nothing that happens upstream can still change what this page says of `when` (uploads show within a day)."""
        return self.fetched >= cut(self.name, when) + 86400

    def count(self, when: float) -> int:
        """How many files had been uploaded by then."""
        return bisect_right(self.times, cut(self.name, when))

    def changed(self, after: float, until: float) -> bool:
        return self.count(until) > self.count(after)

    def find(self, filename: str) -> File | None:
        return next((file for file in self.files if file.name == filename), None)

    def of_version(self, version: str) -> Iterator[File]:
        return (file for file in self.files if file.version == version)


def make_page(name: str, fetched: float, etag: str, files: Iterable[File], *, missing: bool = False) -> Page:
    ordered = tuple(sorted(files, key=lambda file: (file.uploaded, file.name)))
    lines = tuple(file.line(name) for file in ordered)
    return Page(name, fetched, etag, ordered, lines, tuple(file.uploaded for file in ordered), missing)


def parse_json(name: str, base: str, data: bytes) -> list[File]:
    """Files of a JSON page (PEP 691, 700). Raises ValueError."""
    page = json.loads(data)
    if not isinstance(page, dict) or not isinstance(page.get("files"), list):
        raise ValueError("no list of files")
    return [file for row in page["files"] if isinstance(row, dict) and (file := _file(name, base, row))]


def _file(project: str, base: str, row: dict[str, object]) -> File | None:
    filename, url, hashes = row.get("filename"), row.get("url"), row.get("hashes")
    if not isinstance(filename, str) or not isinstance(url, str) or not acceptable(filename):
        return None
    full = true_url(base, url)
    if full is None:
        return None
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    size, requires, yanked = row.get("size"), row.get("requires-python"), row.get("yanked")
    return File(
        name=filename,
        url=full,
        sha256=sha256 if isinstance(sha256, str) and _SHA256.match(sha256) else "",
        size=size if isinstance(size, int) and size >= 0 else None,
        uploaded=timestamp(row.get("upload-time")),
        requires_python=requires if isinstance(requires, str) else "",
        yanked=(yanked or "yes") if isinstance(yanked, str) else ("yes" if yanked else ""),
        version=version_of(project, filename),
    )


def acceptable(filename: str) -> bool:
    return bool(_FILENAME.match(filename)) and filename.endswith(_KINDS)


def true_url(base: str, url: str) -> str | None:
    """Absolute http(s) address of a file without credentials and fragment; None for anything else."""
    try:
        parts = urlsplit(urljoin(base, url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    address = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{address}:{port}" if port else address, fragment="").geturl()


def timestamp(text: object) -> float:
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            pass
    return UNTIMED


def version_of(project: str, filename: str) -> str:
    """The version in a file's name; '' if it does not follow the rules (PEP 427, 625 and before)."""
    if filename.endswith(".whl"):
        parts = filename.split("-")
        return parts[1] if len(parts) in (5, 6) else ""
    stem = next((filename[: -len(kind)] for kind in _KINDS if filename.endswith(kind)), "")
    for place in (match.start() for match in re.finditer("-", stem)):
        if canonicalize_name(stem[:place]) == project:
            return stem[place + 1 :]
    return ""


class Pages:
    """The pages on disk, below one folder. Reading a page of two thousand files takes a few milliseconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / "pages" / f"{name}.v{FORMAT}"

    def read(self, name: str) -> Page | None:
        """The page, or None if there is none or it is damaged."""
        try:
            head, *lines, end = self.path(name).read_text().split("\n")
            facts = json.loads(head)
            if facts["name"] != name or facts["count"] != len(lines) or end:
                return None
            return _page(name, facts, [line.split("\t") for line in lines])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def file(self, name: str, filename: str) -> File | None:
        """One file of a page, without reading all the others: a lock asks for one of each of its packages."""
        try:
            text = self.path(name).read_text()
            middle = text.index(f"\t{filename}\t")
            start, end = text.rindex("\n", 0, middle) + 1, text.index("\n", middle)
            file = _row(text[start:end].split("\t"))
        except (OSError, ValueError, IndexError):
            return None
        return file if file.name == filename else None

    def write(self, page: Page) -> None:
        facts = {"name": page.name, "fetched": page.fetched, "etag": page.etag, "missing": page.missing}
        rows = [json.dumps(facts | {"count": len(page.files)})]
        for file, line in zip(page.files, page.lines, strict=True):
            size = "" if file.size is None else str(file.size)
            fields = (str(file.uploaded), file.name, file.url, file.sha256, size, file.version)
            rows.append("\t".join((*fields, json.dumps(file.requires_python), json.dumps(file.yanked), line)))
        write_whole(self.path(page.name), "\n".join(rows) + "\n")


def _row(row: list[str]) -> File:
    return File(
        row[1],
        row[2],
        row[3],
        int(row[4]) if row[4] else None,
        float(row[0]),
        "" if row[6] == '""' else json.loads(row[6]),
        "" if row[7] == '""' else json.loads(row[7]),
        row[5],
    )


def _page(name: str, facts: dict[str, object], rows: list[list[str]]) -> Page:
    files = tuple(map(_row, rows))
    times = tuple(file.uploaded for file in files)
    lines = tuple(row[8] for row in rows)
    return Page(name, float(str(facts["fetched"])), str(facts["etag"]), files, lines, times, bool(facts["missing"]))
