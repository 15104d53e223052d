"""The provider `hydroshare`: resources of HydroShare."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, ClassVar

from rebind.errors import AddressError, RepositoryError
from rebind.providers.answers import entries, moment, text
from rebind.providers.archives import is_zip
from rebind.providers.doi import DOI_URL, read_doi
from rebind.providers.http import Http
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, on_site, replace_by_content
from rebind.providers.texts import decoded
from rebind.values import Event, Phase, Report, Spec

_ID = re.compile(r"[0-9a-f]{32}")


class HydroshareProvider(RecordProvider):
    """`hydroshare.org/resource/<id>` or `10.4211/hs.<id>`. `patience`: seconds to wait until the bag is packed."""

    name = "hydroshare"
    title = "HydroShare"
    own_doi = re.compile(r"10\.4211/hs\.[0-9a-f]{32}")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Hydroshare resource",
        "id": "hydroshare",
        "spec": {"validateRegex": "[^/]+"},
        "detect": {"regex": r"^(?<repo>(?:https?://)?(?:www\.)?hydroshare\.org/resource/[0-9a-f]{32}/?|10\.4211/hs\.[0-9a-f]{32})$"},
        "repo": {
            "label": "Hydroshare resource id or URL",
            "placeholder": "example: https://www.hydroshare.org/resource/8f7c2f0341ef4180b0dbe97f59130756",
            "urlEncode": True,
        },
        "ref": {"enabled": False},
    }  # fmt: skip

    def __init__(
        self,
        *,
        online: Online | None = None,
        doi_url: str = DOI_URL,
        site: str = "https://www.hydroshare.org",
        interval: float = 10.0,
        patience: float = 120.0,
    ) -> None:
        super().__init__(online=online, doi_url=doi_url)
        self.site = site
        self.interval = interval
        self.patience = patience

    def parse(self, raw_spec: str) -> Spec:
        """Anything that holds the 32 hexadecimal digits of a resource."""
        found = _ID.findall(decoded(raw_spec))
        if not found:
            raise AddressError(
                f"{raw_spec[:200]!r} names no HydroShare resource.", remedy="Give its address, or its 32-digit id."
            )
        return Spec(self.name, f"{self.site}/resource/{found[-1]}")

    def read_url(self, address: str) -> Spec | None:
        found = on_site(address, (self.site,))
        names = [name for name in found[1].path.split("/") if name] if found else []
        if len(names) > 1 and names[0] == "resource" and _ID.fullmatch(names[1]):
            return Spec(self.name, f"{self.site}/resource/{names[1]}")
        return None

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        id = place.rpartition("/")[2]
        missing = f"HydroShare has no public resource {id}."
        answer = http.json(f"{self.site}/hsapi/resource/{id}/scimeta/elements", missing=missing)
        stated = next((text(each, "start_date") for each in entries(answer, "dates") if _is_change(each)), "")
        date = moment(stated) or moment(text(answer, "modified"))
        if date is None:
            raise RepositoryError(f"HydroShare does not say when {id} was changed.", remedy="Look at its page.")
        found = f"{id}.v{int(date.timestamp())}"
        if ref is not None and ref != found:
            raise self.changed(place, ref)
        return Record(found, date, f"hydroshare/{id}", place, id)

    def place(self, http: Http, spec: Spec) -> str:
        doi = (read_doi(spec.repository) or "").lower()
        # The DOI holds the id, so there is nobody to ask.
        return f"{self.site}/resource/{doi[-32:]}" if self.own_doi.fullmatch(doi) else super().place(http, spec)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        self.record(http, place, id)
        number = place.rpartition("/")[2]
        budget = self.online.budget(http.watch)
        bag = self._bag(http, number, into / "bag.zip", report)
        # data/contents of a folder that is called like the resource; the rest describes it.
        replace_by_content(bag, into, budget, below=f"{number}/data/contents", lifted=False)

    def _bag(self, http: Http, number: str, bag: Path, report: Report) -> Path:
        until = time.monotonic() + self.patience
        url = f"{self.site}/django_irods/download/bags/{number}"
        while True:
            report(Event(Phase.FETCHING, f"Asking HydroShare for the bag of {number}\n"))
            budget = self.online.budget(http.watch)
            http.download(url, bag, budget.add)
            if is_zip(bag):
                return bag
            bag.unlink()
            if time.monotonic() > until:
                raise RepositoryError(
                    f"HydroShare had not packed the resource {number} after {self.patience:.0f} seconds.",
                    remedy="Try again in a few minutes.",
                )
            time.sleep(self.interval)


def _is_change(entry: dict[str, Any]) -> bool:
    return text(entry, "type") == "modified"
