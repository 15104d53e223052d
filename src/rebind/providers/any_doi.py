"""The provider `doi`: any DOI, for whichever archive it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from rebind.errors import AddressError, RepositoryError
from rebind.providers.doi import DOI_URL, read_doi, target
from rebind.providers.online import Online
from rebind.providers.records import RecordProvider
from rebind.providers.texts import decoded, printable, shown
from rebind.values import Commit, Report, Spec


class DoiProvider:
    """DOIs whose archive cannot be told from their text; `archives` are asked whether the address is theirs."""

    name = "doi"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "DOI",
        "id": "doi",
        "spec": {"validateRegex": r"10\.\d+\/(.)+"},
        "detect": {"regex": r"^(?:(?:doi:|(?:https?://)?(?:dx\.)?doi\.org/))?(?<repo>10\.\d{4,9}/\S+?)/?$"},
        "repo": {"label": "DOI of a data set", "placeholder": "example: 10.18419/darus-1234", "urlEncode": False},
        "ref": {"enabled": False},
    }

    def __init__(
        self, *, archives: Sequence[RecordProvider], online: Online | None = None, doi_url: str = DOI_URL
    ) -> None:
        self.archives = tuple(archives)
        self.online = online or Online()
        self.doi_url = doi_url

    def detect(self, address: str) -> Spec | None:
        """Any DOI in any spelling."""
        doi = read_doi(address)
        return Spec(self.name, doi) if doi else None

    def parse(self, raw_spec: str) -> Spec:
        spec = self.detect(decoded(raw_spec))
        if spec is None:
            raise AddressError(f"{printable(decoded(raw_spec))!r} is no DOI.", remedy="Give one like 10.5281/zenodo.1.")
        return spec

    def resolve(self, spec: Spec) -> Commit:
        """See `rebind.providers.Provider.resolve`; also NetworkError."""
        archive, place = self._archive(spec)
        found = archive.resolve(place)
        return replace(found, spec=spec, link=quote(spec.repository, safe="/:;().-_~"))

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        archive, place = self._archive(commit.spec)
        archive.fetch(replace(commit, spec=place), into, report)

    def _archive(self, spec: Spec) -> tuple[RecordProvider, Spec]:
        with self.online.http(self.online.watch(spec.repository)) as http:
            address = target(http, spec.repository, self.doi_url)
        for archive in self.archives:
            found = archive.read_url(address)
            if found is not None:
                return archive, replace(found, ref=spec.ref or found.ref)
        titles = ", ".join(archive.title for archive in self.archives)
        raise RepositoryError(
            f"The DOI {printable(spec.repository)} leads to {shown(address)}, which is of no archive known here.",
            remedy=f"Known are: {titles}.",
        )
