"""The provider `swh`: directories and revisions that Software Heritage keeps, by their own names."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from rebind.errors import AddressError, RefNotFoundError, RepositoryError
from rebind.providers.answers import moment, text, today
from rebind.providers.doi import DOI_URL
from rebind.providers.http import Http
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, replace_by_content
from rebind.providers.texts import decoded, printable
from rebind.values import Event, Phase, Report, Spec

_SWHID = re.compile(r"swh:1:(dir|rev):([0-9a-f]{40})")
_ANCHOR = re.compile(r"swh:1:rev:[0-9a-f]{40}")
_HOST = "archive.softwareheritage.org"
_REFUSED = "Only directories (swh:1:dir:...) and revisions (swh:1:rev:...) can be launched."


class SwhProvider(RecordProvider):
    """`swh:1:dir:<40 hex>` or `swh:1:rev:<40 hex>`; qualifiers after `;` do not matter for the content.

    A directory has no date; if a qualifier `anchor=swh:1:rev:...` names a revision of exactly this directory, that
    revision's date counts, else today's. `token`: a bearer token of the archive, for more requests.
    """

    name = "swh"
    title = "Software Heritage"
    own_doi = re.compile(r"(?!)")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Software Heritage",
        "id": "swh",
        "spec": {"validateRegex": "swh:1:(dir|rev):[0-9a-f]{40}.*"},
        "detect": {"regex": rf"^(?:https?://{_HOST}/)?(?<repo>swh:1:(?:dir|rev):[0-9a-f]{{40}})[;/]?.*$"},
        "repo": {"label": "SWHID", "placeholder": f"example: swh:1:rev:{'94dca98c' * 5}", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(
        self,
        *,
        online: Online | None = None,
        doi_url: str = DOI_URL,
        api_url: str = "https://archive.softwareheritage.org",
        token: str | None = None,
        interval: float = 5.0,
    ) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.api_url = api_url
        self.token = token
        self.interval = interval

    def detect(self, address: str) -> Spec | None:
        """A SWHID, or a page of the archive that ends in one."""
        spec = self.read_url(address.strip())
        if spec is None and address.strip().lower().startswith("swh:"):
            raise AddressError(f"{printable(address.strip())!r} cannot be launched.", remedy=_REFUSED)
        return spec

    def parse(self, raw_spec: str) -> Spec:
        spec = self.read_url(decoded(raw_spec))
        if spec is None:
            raise AddressError(f"{raw_spec[:200]!r} cannot be launched.", remedy=_REFUSED)
        return spec

    def read_url(self, address: str) -> Spec | None:
        for site in (self.api_url, "https://archive.softwareheritage.org"):
            address = address.removeprefix(f"{site}/")
        bare, _, qualifiers = unquote(address).partition(";")
        if not _SWHID.fullmatch(bare.rstrip("/")):
            return None
        stated = dict(each.partition("=")[::2] for each in qualifiers.rstrip("/").split(";"))
        anchor = stated.get("anchor", "")
        # Below the root of the revision the directory is another.
        whole = stated.get("path", "/") == "/" and bare.startswith("swh:1:dir:") and _ANCHOR.fullmatch(anchor)
        return Spec(self.name, f"{bare.rstrip('/')};anchor={anchor}" if whole else bare.rstrip("/"))

    def place(self, http: Http, spec: Spec) -> str:
        return spec.repository

    def http(self, spec: Spec, report: Report | None = None) -> Http:
        parts = urlsplit(self.api_url)
        tokens = {f"{parts.scheme}://{parts.netloc}": f"Bearer {self.token}"} if self.token else {}
        return self.online.http(self.online.watch(spec.repository, report), tokens)

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        bare, _, anchor = place.partition(";anchor=")
        match = _SWHID.fullmatch(bare)
        if match is None:
            raise AddressError(f"{printable(place)!r} cannot be launched.", remedy=_REFUSED)
        if match[1] == "rev":
            found, date = self._revision(http, bare)
        else:
            found, date = bare, today()
            http.get(f"{self.api_url}/api/1/directory/{match[2]}/", missing=f"Software Heritage has no {bare}.")
            if anchor:
                whole, dated = self._revision(http, anchor)
                date = dated if whole == bare else date
        if ref is not None and ref != found:
            raise RefNotFoundError(f"{bare} is not {printable(ref)!r}.", remedy="Leave it out.")
        return Record(found, date, f"swh/{found}", f"https://archive.softwareheritage.org/{found}", bare)

    def _revision(self, http: Http, swhid: str) -> tuple[str, datetime]:
        url = f"{self.api_url}/api/1/revision/{swhid[-40:]}/"
        answer = http.json(url, missing=f"Software Heritage has no {swhid}.")
        found = f"swh:1:dir:{text(answer, 'directory')}"
        date = moment(text(answer, "committer_date")) or moment(text(answer, "date"))
        if not _SWHID.fullmatch(found):
            raise RepositoryError(f"Software Heritage does not say which directory {swhid} is of.")
        return found, date or today()

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        match = _SWHID.fullmatch(id)
        if match is None or match[1] != "dir":
            raise RepositoryError(f"{printable(id)!r} is not a directory of Software Heritage.")
        self._cook(http, id, report)
        archive = into / "flat.tar.gz"
        http.download(f"{self.api_url}/api/1/vault/flat/{id}/raw/", archive, self.online.budget(http.watch).add)
        replace_by_content(archive, into, self.online.budget(http.watch))

    def _cook(self, http: Http, id: str, report: Report) -> None:
        """Has the vault pack the directory and waits for it; the limit of time is the fetch's own."""
        url = f"{self.api_url}/api/1/vault/flat/{id}/"
        answer = http.post(url, missing=f"Software Heritage has no {id}.").json()
        said = ""
        while (status := text(answer, "status")) != "done":
            if status not in ("new", "pending"):
                reason = printable(text(answer, "progress_message") or status)
                raise RepositoryError(f"Software Heritage could not pack {id}: {reason}.", remedy="Try again later.")
            if status != said:
                said = status
                report(Event(Phase.FETCHING, f"Software Heritage is packing {id} ({status})\n"))
            http.watch.check()
            time.sleep(self.interval)
            answer = http.json(url)
