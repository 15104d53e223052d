"""The provider `zenodo`: records of Zenodo and of other archives that run Invenio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from rebind.errors import RefNotFoundError, RepositoryError
from rebind.providers.answers import end_of, entries, text, value
from rebind.providers.doi import DOI_URL, read_doi
from rebind.providers.http import Http
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, RemoteFile, download, on_site, unzip_alone
from rebind.values import Report, Spec

SITES = ("https://zenodo.org", "https://sandbox.zenodo.org", "https://data.caltech.edu")
_ID = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", re.ASCII)


class ZenodoProvider(RecordProvider):
    """`10.5281/zenodo.<number>`, `zenodo.org/records/<number>` and the like. A concept's DOI means the newest."""

    name = "zenodo"
    title = "Zenodo"
    own_doi = re.compile(r"10\.(?:5281|5072)/zenodo\.\d+|10\.(?:22002|14291)/.+")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Zenodo DOI",
        "id": "zenodo",
        "spec": {"validateRegex": r"10\.\d+\/(.)+"},
        "detect": {
            "regex": r"^(?:(?:doi:|(?:https?://)?(?:dx\.)?doi\.org/))?(?<repo>10\.(?:5281|5072)/zenodo\.\d+)/?$"
        },
        "repo": {"label": "Zenodo DOI", "placeholder": "example: 10.5281/zenodo.3242074", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(self, *, online: Online | None = None, doi_url: str = DOI_URL, sites: Sequence[str] = SITES) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.sites = tuple(sites)

    def read_url(self, address: str) -> Spec | None:
        found = on_site(address, self.sites)
        if found is None:
            return None
        site, parts = found
        names = [name for name in parts.path.split("/") if name]
        if len(names) > 1 and names[0] == "doi" and (doi := read_doi("/".join(names[1:]))):
            return Spec(self.name, doi)
        if len(names) > 1 and names[0] in ("record", "records") and _ID.fullmatch(names[1]):
            return Spec(self.name, f"{site}/records/{names[1]}")
        return None

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        site, id = _split(place)
        if ref is not None and not _ID.fullmatch(ref):
            raise RefNotFoundError(f"{ref!r} is not the number of a record.", remedy="Leave it out.")
        answer = self._answer(http, site, ref or id)
        found = text(answer, "id") or ref or id
        published = text(answer, "metadata", "publication_date")
        date = end_of(published) or end_of(text(answer, "created"))
        if date is None or not _ID.fullmatch(found):
            raise RepositoryError(f"{site} does not say what the record {id} is.", remedy="Look at its page.")
        whole = text(answer, "conceptrecid") or text(answer, "parent", "id") or found
        doi = read_doi(text(answer, "doi") or text(answer, "pids", "doi", "identifier"))
        page = f"https://doi.org/{doi}" if doi else f"{site}/records/{found}"
        link = doi or quote(f"{site}/records/{found}", safe="")
        return Record(found, date, f"zenodo/{urlsplit(site).netloc}/{whole}", page, link)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        site, _ = _split(place)
        answer = self._answer(http, site, id)
        files = entries(answer, "files")
        if not files:
            files = entries(http.json(f"{site}/api/records/{id}/files"), "entries")
        if not files:
            raise RepositoryError(f"The record {id} of {site} holds no files that everyone may have.")
        watch = http.watch
        written = download(http, [_file(site, id, each) for each in files], into, self.online.budget(watch), report)
        unzip_alone(written, into, self.online.budget(watch), report)

    def _answer(self, http: Http, site: str, id: str) -> Any:
        return http.json(f"{site}/api/records/{id}", missing=f"{urlsplit(site).netloc} has no record {id}.")


def _split(place: str) -> tuple[str, str]:
    site, _, id = place.rpartition("/records/")
    return site, id


def _file(site: str, id: str, entry: dict[str, Any]) -> RemoteFile:
    key = text(entry, "key") or text(entry, "filename")
    links = value(entry, "links")
    url = text(links, "content") or text(links, "self")
    if not url or (not text(links, "content") and "/api/files/" not in url and not url.endswith("/content")):
        url = f"{site}/api/records/{id}/files/{quote(key, safe='')}/content"
    return RemoteFile(key, url, text(entry, "checksum"))
