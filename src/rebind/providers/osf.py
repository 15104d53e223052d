"""The provider `osf`: projects and registrations of the Open Science Framework."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from rebind.errors import RepositoryError
from rebind.providers.answers import entries, moment, text, value
from rebind.providers.doi import DOI_URL
from rebind.providers.http import Http, StatusError
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, RemoteFile, download, on_site
from rebind.values import Report, Spec

_ID = re.compile(r"[a-z0-9]{5}", re.ASCII)
_MOST_PAGES = 2000


class OsfProvider(RecordProvider):
    """`osf.io/<id>`: the files that the OSF itself stores, those of connected services are left out."""

    name = "osf"
    title = "the Open Science Framework"
    own_doi = re.compile(r"10\.17605/osf\.io/[a-z0-9]{5}")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Open Science Framework",
        "id": "osf",
        "spec": {"validateRegex": "[a-z0-9]{5}"},
        "detect": {"regex": r"^(?:https?://)?osf\.io/(?<repo>[a-z0-9]{5})(?:/files(?:/osfstorage)?)?/?$"},
        "repo": {"label": "OSF project", "placeholder": "example: https://osf.io/5hzc9", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(
        self,
        *,
        online: Online | None = None,
        doi_url: str = DOI_URL,
        site: str = "https://osf.io",
        api_url: str = "https://api.osf.io",
    ) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.site = site
        self.api_url = api_url

    def parse(self, raw_spec: str) -> Spec:
        """The five characters of a project, or an address."""
        bare = raw_spec.strip("/").lower()
        return Spec(self.name, f"{self.site}/{bare}") if _ID.fullmatch(bare) else super().parse(raw_spec)

    def read_url(self, address: str) -> Spec | None:
        found = on_site(address, (self.site,))
        names = [name for name in found[1].path.lower().split("/") if name] if found else []
        if (
            not names
            or not _ID.fullmatch(names[0])
            or (len(names) > 1 and names[1] not in ("files", "overview", "wiki"))
        ):
            return None
        return Spec(self.name, f"{self.site}/{names[0]}")

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        id = place.rpartition("/")[2]
        node = self._node(http, id)
        dates = [moment(text(node, "attributes", name)) for name in ("date_modified", "date_created")]
        dates += [moment(text(file, "attributes", "date_modified")) for file in self._files(http, node)]
        known: list[datetime] = [each for each in dates if each is not None]
        if not known:
            raise RepositoryError(f"The OSF does not say when {id} was changed.", remedy="Look at its page.")
        found = f"{id}.v{int(max(known).timestamp())}"
        if ref is not None and ref != found:
            raise self.changed(place, ref)
        return Record(found, max(known), f"osf/{id}", f"{self.site}/{id}", id)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        self.record(http, place, id)
        files = [_file(each) for each in self._files(http, self._node(http, place.rpartition("/")[2]))]
        if not files:
            raise RepositoryError(f"{place} holds no files of its own.", remedy="Look at its page.")
        download(http, files, into, self.online.budget(http.watch), report)

    def _node(self, http: Http, id: str) -> Any:
        try:
            return value(http.json(f"{self.api_url}/v2/nodes/{id}/"), "data")
        except StatusError as error:
            if error.status not in (404, 410):
                raise
        missing = f"The OSF has no public project {id}."
        return value(http.json(f"{self.api_url}/v2/registrations/{id}/", missing=missing), "data")

    def _files(self, http: Http, node: Any) -> list[dict[str, Any]]:
        kind = text(node, "type") or "nodes"
        folders = [f"{self.api_url}/v2/{kind}/{text(node, 'id')}/files/osfstorage/"]
        files = []
        pages = self._pages(http, folders)
        for entry in pages:
            if text(entry, "attributes", "kind") == "folder":
                folders.append(text(entry, "relationships", "files", "links", "related", "href"))
            else:
                files.append(entry)
        return files

    def _pages(self, http: Http, folders: list[str]) -> Iterator[dict[str, Any]]:
        asked = set()
        while folders:
            url = folders.pop(0)
            # The answers name the next addresses; only the service itself is asked.
            if not url or url in asked or urlsplit(url).netloc != urlsplit(self.api_url).netloc:
                continue
            asked.add(url)
            if len(asked) > _MOST_PAGES:
                raise RepositoryError("This OSF project has too many folders to be fetched.")
            answer = http.json(url)
            folders.append(text(answer, "links", "next"))
            yield from entries(answer, "data")


def _file(entry: dict[str, Any]) -> RemoteFile:
    attributes = value(entry, "attributes")
    sha256 = text(attributes, "extra", "hashes", "sha256")
    path = text(attributes, "materialized_path") or text(attributes, "name")
    return RemoteFile(path.strip("/"), text(entry, "links", "download"), f"sha256:{sha256}" if sha256 else "")
