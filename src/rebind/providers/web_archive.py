"""The provider `archive`: a zip or tar file at any address of the web."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from rebind.errors import AddressError, RefNotFoundError, RepositoryError
from rebind.providers.answers import today
from rebind.providers.archives import lift, unpack
from rebind.providers.http import Answer, Http, parse_http
from rebind.providers.online import Online
from rebind.providers.records import filled
from rebind.providers.texts import CONTROL, decoded, printable, shown
from rebind.values import Commit, Event, Phase, Report, Spec

_ENDING = re.compile(r".+\.(?:zip|tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz)", re.IGNORECASE)
_ID = re.compile(r"sha256-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of an address from the last time."""

    id: str
    date: str
    etag: str = ""
    modified: str = ""


class ArchiveProvider:
    """Addresses that end in `.zip`, `.tar.gz` and the like. The commit is the digest of the file.

    `cache`: a directory of its own, where a file waits between `resolve` and `fetch`.
    """

    name = "archive"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Archive (zip, tar.gz)",
        "id": "archive",
        "spec": {"validateRegex": "[^/]+"},
        "detect": {"regex": r"^(?<repo>https?://[^?#\s]+\.(?:zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)(?:\?[^#\s]*)?)$"},
        "repo": {
            "label": "Address of an archive",
            "placeholder": "https://example.org/files.tar.gz",
            "urlEncode": True,
        },
        "ref": {"enabled": False},
    }

    def __init__(self, *, cache: Path, online: Online | None = None) -> None:
        self.cache = cache
        self.online = online or Online()

    def detect(self, address: str) -> Spec | None:
        """A URL whose path ends as an archive's does."""
        text = address.strip()
        if not text.lower().startswith(("http://", "https://")) or len(text) > 4096 or CONTROL.search(text):
            return None
        try:
            parts = urlsplit(text)
        except ValueError:
            return None
        if not parts.hostname or not _ENDING.fullmatch(unquote(parts.path).rpartition("/")[2]):
            return None
        if "@" in parts.netloc:
            raise AddressError(
                f"The address of {parts.hostname} holds a login, which would end in logs and records.",
                remedy="Give one that everyone may fetch.",
            )
        return Spec(self.name, parts._replace(fragment="").geturl())

    def parse(self, raw_spec: str) -> Spec:
        """`enc(url)`."""
        spec = self.detect(decoded(raw_spec))
        if spec is None:
            raise AddressError(
                f"{printable(decoded(raw_spec))!r} is not the address of an archive.",
                remedy="Give one that ends in .zip, .tar.gz, .tar.bz2, .tar.xz or .tar.",
            )
        return spec

    def resolve(self, spec: Spec) -> Commit:
        """Fetches the file, unless the server says that it is as before; dated as the server dates it, else today."""
        url = spec.repository
        with self.online.http(self.online.watch(shown(url))) as http:
            seen = self._look(http, url)
        if spec.ref and spec.ref != seen.id:
            raise RefNotFoundError(
                f"{shown(url)} is no longer the file that it was.", remedy="Launch it anew, without a version."
            )
        parts = parse_http(url)
        identity = f"archive/{parts.netloc}{parts.path}"
        return Commit(spec, seen.id, datetime.fromisoformat(seen.date), identity, quote(url, safe=""), url)

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """The content of the archive; a single top folder goes."""
        url = commit.spec.repository
        watch = self.online.watch(shown(url), report)
        file = self._file(commit.id)
        try:
            if not _matches(file, commit.id):
                report(Event(Phase.FETCHING, f"Fetching {shown(url)}\n"))
                with self.online.http(watch) as http:
                    self._take(http, url, {})
            if not file.exists():
                raise RepositoryError(f"{shown(url)} changed while it was fetched.", remedy="Try again.")
            report(Event(Phase.FETCHING, f"Unpacking {shown(url)}\n"))
            with filled(into):
                unpack(file, into, self.online.budget(watch))
                lift(into)
        finally:
            file.unlink(missing_ok=True)

    def _look(self, http: Http, url: str) -> _Seen:
        known = self._known(url)
        headers = {}
        if known:
            headers = {"If-None-Match": known.etag} if known.etag else {"If-Modified-Since": known.modified}
        return self._take(http, url, {name: text for name, text in headers.items() if text}) or known or _nothing(url)

    def _take(self, http: Http, url: str, headers: dict[str, str]) -> _Seen | None:
        """Fetches the file to where its digest says; None if the server says that it did not change."""
        self.cache.mkdir(parents=True, exist_ok=True)
        _sweep(self.cache)
        fresh = self.cache / f"new-{os.getpid()}-{time.monotonic_ns()}"
        try:
            answer, digest = http.download(url, fresh, self.online.budget(http.watch).add, headers=headers)
            if answer.status == 304:
                return None
            seen = _seen(answer, digest)
            fresh.replace(self._file(seen.id))
        finally:
            fresh.unlink(missing_ok=True)
        note = self._note(url)
        fresh.write_text(json.dumps([seen.id, seen.date, seen.etag, seen.modified]))
        fresh.replace(note)
        return seen

    def _known(self, url: str) -> _Seen | None:
        with suppress(OSError, ValueError, TypeError):
            seen = _Seen(*json.loads(self._note(url).read_text()))
            return seen if seen.etag or seen.modified else None
        return None

    def _note(self, url: str) -> Path:
        return self.cache / f"note-{hashlib.sha256(url.encode(errors='surrogatepass')).hexdigest()[:40]}"

    def _file(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise RepositoryError(f"{printable(id)!r} is not the digest of an archive.")
        return self.cache / id


def _seen(answer: Answer, digest: str) -> _Seen:
    modified = answer.headers.get("last-modified", "")
    date = today()
    with suppress(ValueError, TypeError, OverflowError):
        stated = parsedate_to_datetime(modified)
        date = stated.replace(tzinfo=UTC) if stated.tzinfo is None else stated.astimezone(UTC)
    return _Seen(f"sha256-{digest}", date.isoformat(), answer.headers.get("etag", ""), modified)


def _nothing(url: str) -> _Seen:
    raise RepositoryError(f"The server of {shown(url)} says that nothing changed, though it was never asked before.")


def _matches(file: Path, id: str) -> bool:
    with suppress(OSError), file.open("rb") as content:
        return f"sha256-{hashlib.file_digest(content, 'sha256').hexdigest()}" == id
    return False


def _sweep(cache: Path) -> None:
    """Removes what was resolved but never fetched, or left by a killed process, a day ago."""
    for left in [*cache.glob("new-*"), *cache.glob("sha256-*")]:
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - 86400:
                left.unlink()
