"""The provider `figshare`: articles of Figshare, by version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from rebind.errors import RefNotFoundError, RepositoryError
from rebind.providers.answers import end_of, entries, text, value
from rebind.providers.doi import DOI_URL, read_doi
from rebind.providers.http import Http
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, RemoteFile, download, on_site, unzip_alone
from rebind.values import Report, Spec

_KINDS = frozenset(
    {"code", "dataset", "software", "figure", "media", "poster", "presentation", "preprint", "thesis", "book", "model"}
    | {"journal_contribution", "online_resource", "conference_contribution", "workflow", "fileset"}
)
_REF = re.compile(r"(?:\d+\.v|v)?(\d{1,9})", re.ASCII)
_DOI_VERSION = re.compile(r"\.v(\d{1,9})$", re.ASCII)


class FigshareProvider(RecordProvider):
    """`10.6084/m9.figshare.<number>[.v<n>]` or `figshare.com/articles/<title>/<number>[/<n>]`.

    Without a version an address means the first one, as repo2docker has it, and a link the newest, as BinderHub has it.
    """

    name = "figshare"
    title = "Figshare"
    own_doi = re.compile(r"10\.\d+/(?:m9\.)?figshare\.\d+(?:\.v\d+)?")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Figshare DOI",
        "id": "figshare",
        "spec": {"validateRegex": r"10\.\d+\/(.)+"},
        "detect": {
            "regex": r"^(?:(?:doi:|(?:https?://)?(?:dx\.)?doi\.org/))?(?<repo>10\.6084/m9\.figshare\.[\d.v]+)/?$"
        },
        "repo": {"label": "Figshare DOI", "placeholder": "example: 10.6084/m9.figshare.9782777.v1", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(
        self,
        *,
        online: Online | None = None,
        doi_url: str = DOI_URL,
        site: str = "https://figshare.com",
        api_url: str = "https://api.figshare.com",
    ) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.site = site
        self.api_url = api_url

    def detect(self, address: str) -> Spec | None:
        spec = super().detect(address)
        spec = _versioned(spec) if spec else None
        return replace(spec, ref=spec.ref or "1") if spec else None

    def parse(self, raw_spec: str) -> Spec:
        return _versioned(super().parse(raw_spec))

    def read_url(self, address: str) -> Spec | None:
        found = on_site(address, (self.site,)) or self._portal(address)
        if found is None:
            return None
        names = [name for name in found[1].path.split("/") if name]
        names = names[1:] if names[:2] == ["account", "articles"] else names
        if names[:1] != ["articles"]:
            return None
        number, version = _number(names[1:])
        return Spec(self.name, f"{self.site}/articles/{number}", version) if number else None

    def _portal(self, address: str) -> tuple[str, SplitResult] | None:
        """Institutions have portals like `https://monash.figshare.com` with the same numbers."""
        match = re.match(r"(?:https?://)?([a-z0-9-]+\.)", address, re.IGNORECASE)
        place = urlsplit(self.site)
        return on_site(address, (f"{place.scheme}://{match[1].lower()}{place.netloc}",)) if match else None

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        number = place.rpartition("/")[2]
        match = _REF.fullmatch(ref) if ref else None
        if ref and match is None:
            raise RefNotFoundError(f"{ref!r} is not a version of a Figshare article.", remedy="Give its number.")
        version = match[1] if match else self._newest(http, number)
        answer = self._answer(http, number, version)
        date = end_of(text(answer, "published_date")) or end_of(text(answer, "created_date"))
        if date is None:
            raise RepositoryError(f"Figshare does not say when {number} was published.", remedy="Look at its page.")
        doi = read_doi(text(answer, "doi")) or f"10.6084/m9.figshare.{number}.v{version}"
        if not _DOI_VERSION.search(doi):
            doi = f"{doi}.v{version}"
        return Record(f"{number}.v{version}", date, f"figshare/{number}", f"https://doi.org/{doi}", doi)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        number, _, version = id.partition(".v")
        files = entries(self._answer(http, number, version), "files")
        wanted = [_file(each) for each in files if value(each, "is_link_only") is not True]
        if not wanted:
            raise RepositoryError(f"The Figshare article {number} holds no files.", remedy="Look at its page.")
        watch = http.watch
        written = download(http, wanted, into, self.online.budget(watch), report)
        unzip_alone(written, into, self.online.budget(watch), report, by_name=True)

    def _newest(self, http: Http, number: str) -> str:
        missing = f"Figshare has no article {number}."
        answer = http.json(f"{self.api_url}/v2/articles/{number}/versions", missing=missing)
        versions = [text(each, "version") for each in entries({"all": answer}, "all")]
        known = [int(each) for each in versions if each.isdecimal()]
        if not known:
            raise RepositoryError(missing, remedy="Look whether it was published.")
        return str(max(known))

    def _answer(self, http: Http, number: str, version: str) -> Any:
        url = f"{self.api_url}/v2/articles/{number}/versions/{version}"
        return http.json(url, missing=f"Figshare has no article {number} in version {version}.")


def _number(names: Sequence[str]) -> tuple[str, str | None]:
    """Number and version of `[kind/][title/]number[/version]`; '' if it is not of this form."""
    rest = list(names[1:] if names and names[0] in _KINDS else names)
    rest = rest[1:] if len(rest) > 1 else rest  # the title, which may be a number too
    if not rest or len(rest) > 2 or not all(name.isdecimal() and name.isascii() for name in rest):
        return "", None
    return rest[0], str(int(rest[1])) if len(rest) == 2 else None


def _versioned(spec: Spec) -> Spec:
    match = _DOI_VERSION.search(spec.repository)
    return replace(spec, ref=match[1]) if match else spec


def _file(entry: dict[str, Any]) -> RemoteFile:
    md5 = text(entry, "computed_md5") or text(entry, "supplied_md5")
    return RemoteFile(text(entry, "name"), text(entry, "download_url"), f"md5:{md5}" if md5 else "")
