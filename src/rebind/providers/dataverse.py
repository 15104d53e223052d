"""The provider `dataverse`: data sets of any Dataverse installation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from rebind.errors import RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.answers import entries, moment, text, value
from rebind.providers.archives import lift
from rebind.providers.doi import DOI_URL, read_doi
from rebind.providers.http import Http, StatusError
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, RemoteFile, download
from rebind.values import Report, Spec

_PERSISTENT = re.compile(r"(doi:10\.\d{4,9}(?:\.\d+)*/|hdl:\d[\d.]*/)[^\s?#&\"]+", re.IGNORECASE)
_PAGES = ("dataset.xhtml", "citation", "file.xhtml")
_VERSION = re.compile(r"(\d+)\.v(\d+)\.(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Set:
    site: str
    persistent: str

    def url(self, path: str) -> str:
        return f"{self.site}/api/datasets/:persistentId/{path}?{urlencode({'persistentId': self.persistent})}"


class DataverseProvider(RecordProvider):
    """Addresses with `/dataset.xhtml?persistentId=`, `/citation?...`, `/file.xhtml?...`, `/api/access/datafile/<id>`.

    A file means its whole data set. `installations_url`: a JSON list of installations (`{"installations": [{"hostname":
    ...}]}`); if it is given, no other server is asked. Else any that answers as a Dataverse does.
    """

    name = "dataverse"
    title = "a Dataverse"
    own_doi = re.compile(r"10\.7910/dvn/.+")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Dataverse DOI",
        "id": "dataverse",
        "spec": {"validateRegex": r"10\.\d+\/(.)+"},
        "detect": {"regex": r"^(?:(?:doi:|(?:https?://)?(?:dx\.)?doi\.org/))?(?<repo>10\.7910/DVN/[A-Z0-9/]+?)/?$"},
        "repo": {"label": "Dataverse DOI", "placeholder": "example: 10.7910/DVN/TJCLKP", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(
        self,
        *,
        online: Online | None = None,
        doi_url: str = DOI_URL,
        installations_url: str | None = None,
        scheme: str = "https",
    ) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.installations_url = installations_url
        self.scheme = scheme
        """Under which all installations are asked, whatever the address says."""

    def read_url(self, address: str) -> Spec | None:
        try:
            parts = urlsplit(address)
            query = parse_qs(parts.query)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            return None
        before, _, page = parts.path.rstrip("/").rpartition("/")
        site = f"{self.scheme}://{parts.netloc.lower()}"
        persistent = _PERSISTENT.fullmatch(query.get("persistentId", [""])[0])
        if page in _PAGES and persistent:
            base = quote(before, safe="/~-._")
            found = quote(persistent[0], safe=":/")
            return Spec(self.name, f"{site}{base}/{page}?persistentId={found}")
        if before.endswith("/api/access/datafile") and page.isdecimal() and page.isascii():
            return Spec(self.name, f"{site}{quote(before, safe='/~-._')}/{page}")
        return None

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        found = self._set(http, place)
        data = value(self._described(http, found), "data")
        newest = value(data, "latestVersion")
        if ref is not None:
            newest = self._version(http, found, ref)
        numbers = [text(newest, name) for name in ("versionNumber", "versionMinorNumber")]
        id = f"{text(data, 'id')}.v{'.'.join(numbers)}"
        date = moment(text(newest, "releaseTime")) or moment(text(newest, "lastUpdateTime"))
        if not _VERSION.fullmatch(id) or date is None:
            raise RepositoryError(
                f"{found.persistent} has no published version.", remedy="Ask its owner to publish it."
            )
        if ref is not None and ref != id:
            raise self.changed(place, ref)
        link = read_doi(found.persistent) or found.persistent
        page = text(data, "persistentUrl") or place
        return Record(id, date, f"dataverse/{urlsplit(found.site).netloc}/{found.persistent.lower()}", page, link)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        found = self._set(http, place)
        files = [_file(found.site, each) for each in entries(self._version(http, found, id), "files")]
        if not files:
            raise RepositoryError(f"The data set {found.persistent} holds no files that everyone may have.")
        download(http, files, into, self.online.budget(http.watch), report)
        lift(into)

    def _version(self, http: Http, found: _Set, id: str) -> Any:
        match = _VERSION.fullmatch(id)
        if match is None:
            raise RefNotFoundError(f"{id!r} is not a version of a data set.", remedy="Leave it out.")
        missing = f"{found.persistent} has no version {match[2]}.{match[3]}."
        return value(http.json(found.url(f"versions/{match[2]}.{match[3]}"), missing=missing), "data")

    def _described(self, http: Http, found: _Set) -> Any:
        missing = f"{urlsplit(found.site).netloc} has no data set {found.persistent}."
        answer = http.json(found.url(""), missing=missing)
        if text(answer, "status") != "OK":
            raise RepositoryError(missing)
        return answer

    def _set(self, http: Http, place: str) -> _Set:
        """The data set that an address is of, or that holds the file that it is of."""
        site, _, last = place.rpartition("/")
        self._check(http, site)
        if site.endswith("/api/access/datafile"):
            return self._holder(http, site.removesuffix("/api/access/datafile"), f"entityId:{last}")
        persistent = parse_qs(urlsplit(place).query)["persistentId"][0]
        site = place.partition("?")[0].rpartition("/")[0]
        found = _Set(site, persistent)
        if "/file.xhtml?" not in place:
            try:
                self._described(http, found)
                return found
            except StatusError as error:
                if error.status != 404:
                    raise
        return self._holder(http, site, f'filePersistentId:"{persistent}"')

    def _holder(self, http: Http, site: str, query: str) -> _Set:
        answer = http.json(f"{site}/api/search?{urlencode({'q': query, 'type': 'file'})}")
        for item in entries(answer, "data", "items"):
            persistent = _PERSISTENT.fullmatch(text(item, "dataset_persistent_id"))
            if persistent:
                return _Set(site, persistent[0])
        what = query.partition(":")[2].strip('"')
        raise RepositoryError(
            f"{urlsplit(site).netloc} has no data set and no file {what}.", remedy="Look whether it was published."
        )

    def _check(self, http: Http, site: str) -> None:
        if self.installations_url is None:
            return
        known = entries(http.json(self.installations_url), "installations")
        host = urlsplit(site).netloc
        if host not in {text(each, "hostname").lower() for each in known}:
            raise RefusedError(f"{host} is not on the list of Dataverse installations.")


def _file(site: str, entry: dict[str, Any]) -> RemoteFile:
    data = value(entry, "dataFile")
    folder = text(entry, "directoryLabel")
    # Tables are kept in a form of Dataverse's own; wanted is what was uploaded, under the name that it had.
    original = text(data, "originalFileName") or text(data, "originalFileFormat")
    name = text(data, "originalFileName") or text(entry, "label") or text(data, "filename")
    checksum = value(data, "checksum")
    stated = f"{text(checksum, 'type').replace('-', '')}:{text(checksum, 'value')}"
    md5 = text(data, "md5")
    url = f"{site}/api/access/datafile/{quote(text(data, 'id'), safe='')}?format=original"
    path = f"{folder.strip('/')}/{name}" if folder else name
    return RemoteFile(path, url, "" if original else stated if checksum else f"md5:{md5}")
