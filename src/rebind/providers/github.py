"""The providers `gh` and `gist`: GitHub, over git alone or, with credentials, its API."""

from __future__ import annotations

import base64
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from rebind.errors import AddressError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.addresses import parse_url
from rebind.providers.answers import entries, moment, text, value
from rebind.providers.forge import ForgeProvider
from rebind.providers.git import GitProvider
from rebind.providers.http import Http, StatusError
from rebind.providers.online import Online
from rebind.providers.refs import FULL_ID, candidates, check_ref, is_default, not_found
from rebind.values import Commit, Report, Spec

_REMEMBERED = 1024
_NOTHING_FOR = 300.0  # seconds for which "no such ref" is believed
_GIST = re.compile(r"[0-9a-f]{20,64}|\d{1,10}", re.ASCII)
_HEADERS = {"Accept": "application/vnd.github+json"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of the API: an OAuth application's, or a token. Sent to the API alone, never to git."""

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """Value of the Authorization header; '' without credentials."""
        if self.access_token:
            return f"token {self.access_token}"
        if self.client_id and self.client_secret:
            return "Basic " + base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        return ""


@dataclass(frozen=True, slots=True)
class _Answered:
    etag: str
    id: str
    date: datetime


class _Memory:
    """What the API said, by URL; the oldest goes first. Safe for threads; a process that starts anew asks anew."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Answered] = OrderedDict()
        self._nothing: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, url: str) -> _Answered | None:
        with self._lock:
            return self._answers.get(url)

    def keep(self, url: str, answer: _Answered) -> None:
        with self._lock:
            self._answers[url] = answer
            self._answers.move_to_end(url)
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)

    def is_nothing(self, url: str) -> bool:
        with self._lock:
            return time.monotonic() < self._nothing.get(url, 0.0)

    def keep_nothing(self, url: str, seconds: float) -> None:
        with self._lock:
            self._nothing[url] = time.monotonic() + seconds
            self._nothing.move_to_end(url)
            if len(self._nothing) > _REMEMBERED:
                self._nothing.popitem(last=False)


class GitHubProvider(ForgeProvider):
    """`gh/owner/name/ref`.

    Without credentials everything is asked over git, which has no quota. With them a ref is asked of the commits API:
    an unchanged answer (ETag) costs no quota, and "no such ref" is believed for `nothing_for` seconds.
    """

    name = "gh"
    title = "GitHub"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "GitHub",
        "id": "gh",
        "spec": {"validateRegex": "[^/]+/[^/]+/.+"},
        "detect": {
            "regex": r"^(?:(?:https?://)?(?:www\.)?github\.com/)?(?<repo>[A-Za-z0-9][A-Za-z0-9_-]*/[\w.-]+?)(?:\.git)?/?$"
        },
        "repo": {
            "label": "GitHub repository name or URL",
            "placeholder": "example: binder-examples/requirements",
            "urlEncode": False,
        },
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(
        self,
        *,
        git: GitProvider,
        online: Online | None = None,
        base_url: str = "https://github.com",
        api_url: str = "https://api.github.com",
        credentials: Credentials | None = None,
        nothing_for: float = _NOTHING_FOR,
    ) -> None:
        super().__init__(git=git, base_url=base_url)
        self.online = online or Online()
        self.api_url = api_url
        self.credentials = credentials or Credentials()
        self.nothing_for = nothing_for
        self._memory = _Memory()

    def resolve(self, spec: Spec) -> Commit:
        # Where a page left open how long its ref is, only all names of the repository tell.
        if not self.credentials.header or (spec.ref or "").endswith("/"):
            return super().resolve(spec)
        url = self.git.access.check(parse_url(spec.repository))
        ref = check_ref(spec.ref) or "HEAD"
        asked = f"{self.api_url}/repos/{self.project_of(spec)}/commits/{quote(ref, safe='/')}"
        if self._memory.is_nothing(asked):
            raise not_found(ref, spec.repository)
        with api(self.online, self.api_url, self.credentials) as http:
            found = self._ask(http, asked, ref, spec)
        return self.linked(Commit(spec, found.id, found.date, url.identity))

    def _ask(self, http: Http, asked: str, ref: str, spec: Spec) -> _Answered:
        known = self._memory.answer(asked)
        headers = {**_HEADERS, **({"If-None-Match": known.etag} if known and known.etag else {})}
        try:
            answer = http.get(asked, headers=headers)
        except StatusError as error:
            check_quota(error)
            if error.status in (404, 422):
                self._memory.keep_nothing(asked, self.nothing_for)
                raise not_found(ref, spec.repository) from error
            raise
        if answer.status == 304 and known is not None:
            return known
        said = answer.json()
        date = moment(text(said, "commit", "committer", "date"))
        id = text(said, "sha")
        if date is None or not FULL_ID.fullmatch(id):
            raise RepositoryError(f"GitHub does not say which commit {ref!r} of {spec.repository} is.")
        found = _Answered(answer.headers.get("etag", ""), id, date)
        self._memory.keep(asked, found)
        return found


class GistProvider(ForgeProvider):
    """`gist/owner/id[/ref]`. Empty, HEAD, main and master mean the newest version, anything else must be a version.

    Whether a gist is secret only the API tells; with credentials for it, secret ones are refused unless `allow_secret`.
    """

    name = "gist"
    title = "GitHub's gists"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Gist",
        "id": "gist",
        "spec": {"validateRegex": "[^/]+/[^/]+(/[^/]+)?"},
        "detect": {"regex": r"^(?:https?://)?gist\.github\.com/(?<repo>[A-Za-z0-9_-]+/[0-9a-f]+?)(?:\.git)?/?$"},
        "repo": {"label": "Gist", "placeholder": "example: https://gist.github.com/owner/0a1b2c", "urlEncode": False},
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(
        self,
        *,
        git: GitProvider,
        online: Online | None = None,
        base_url: str = "https://gist.github.com",
        api_url: str = "https://api.github.com",
        credentials: Credentials | None = None,
        allow_secret: bool = False,
    ) -> None:
        super().__init__(git=git, base_url=base_url)
        self.online = online or Online()
        self.api_url = api_url
        self.credentials = credentials or Credentials()
        self.allow_secret = allow_secret

    def project(self, names: Sequence[str]) -> str:
        found = super().project(names)
        return found if found and _GIST.fullmatch(found.rpartition("/")[2]) else ""

    def clone_url(self, project: str) -> str:
        return f"{self.base_url}/{project}.git"

    def project_of(self, spec: Spec) -> str:
        return super().project_of(spec).removesuffix(".git")

    def spec(self, names: Sequence[str], ref: str, raw_spec: str) -> Spec:
        found = super().spec(names, ref, raw_spec)
        if not _GIST.fullmatch(self.project_of(found).rpartition("/")[2]):
            raise AddressError(
                f"{names[-1][:100]!r} is not the id of a gist.", remedy="Copy it from the gist's address."
            )
        return found

    def resolve(self, spec: Spec) -> Commit:
        wanted = spec if not is_default(spec.ref) and spec.ref not in ("main", "master") else replace(spec, ref=None)
        found = self._ask(wanted) if self.credentials.header else self.git.resolve(wanted)
        return replace(self.linked(found), spec=spec)

    def linked(self, commit: Commit) -> Commit:
        project = self.project_of(commit.spec)
        return replace(commit, link=f"{project}/{commit.id}", page=f"{self.base_url}/{project}/{commit.id}")

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        newest = commit.spec.ref in ("main", "master")
        self.git.fetch(replace(commit, spec=replace(commit.spec, ref=None)) if newest else commit, into, report)

    def _ask(self, spec: Spec) -> Commit:
        id = self.project_of(spec).rpartition("/")[2]
        url = self.git.access.check(parse_url(spec.repository))
        with api(self.online, self.api_url, self.credentials) as http:
            try:
                said = http.get(
                    f"{self.api_url}/gists/{id}", headers=_HEADERS, missing=f"There is no gist {id}."
                ).json()
            except StatusError as error:
                check_quota(error)
                raise
        if value(said, "public") is not True and not self.allow_secret:
            raise RefusedError(
                f"The gist {id} is secret; only public ones are launched here.", remedy="Make it public."
            )
        for version in entries(said, "history"):
            commit, date = text(version, "version"), moment(text(version, "committed_at"))
            if (spec.ref or commit) == commit and date is not None and FULL_ID.fullmatch(commit):
                return Commit(spec, commit, date, url.identity)
        raise RefNotFoundError(
            f"The gist {id} has no version {candidates(spec.ref or 'HEAD')[0]!r}.",
            remedy="Give a full id, or leave it out.",
        )


def api(online: Online, api_url: str, credentials: Credentials) -> Http:
    """Connections to the API, which alone gets the credentials."""
    parts = urlsplit(api_url)
    return online.http(online.watch("GitHub"), {f"{parts.scheme}://{parts.netloc}": credentials.header})


def check_quota(error: StatusError) -> None:
    """Raises RepositoryError if the answer means that the quota is used up."""
    if error.status not in (403, 429) or error.headers.get("x-ratelimit-remaining") != "0":
        return
    reset = error.headers.get("x-ratelimit-reset", "")
    left = max(0.0, float(reset) - time.time()) if reset.isdecimal() else 0.0
    minutes = max(5, 5 * math.ceil(left / 300))
    raise RepositoryError(f"GitHub rate limit exceeded. Try again in {minutes} minutes.") from error
