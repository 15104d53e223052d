"""The provider `ckan`: data sets of any CKAN server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from rebind.errors import AddressError, NetworkError, RefNotFoundError, RepositoryError
from rebind.providers.answers import entries, moment, text, value
from rebind.providers.http import Http, StatusError
from rebind.providers.online import Online
from rebind.providers.records import Record, RecordProvider, RemoteFile, download
from rebind.providers.texts import CONTROL, decoded, printable, shown
from rebind.values import Event, Phase, Report, Spec

_NAME = re.compile(r"[\w.~-]{1,200}")
# Where git repositories are, `dataset` may be a person or a group.
_NOT_HERE = frozenset(
    {"github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "huggingface.co", "gist.github.com"}
)


class CkanProvider(RecordProvider):
    """Addresses with `/dataset/<name>`, perhaps with `?activity_id=<id>` or `/history/<id>` for an older state."""

    name = "ckan"
    title = "a CKAN server"
    own_doi = re.compile(r"(?!)")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "CKAN dataset",
        "id": "ckan",
        "spec": {"validateRegex": "[^/]+"},
        "repo": {
            "label": "CKAN dataset URL",
            "placeholder": "example: https://demo.ckan.org/dataset/sample-dataset-1",
            "urlEncode": True,
        },
        "ref": {"enabled": False},
    }

    def __init__(self, *, online: Online | None = None, schemes: tuple[str, ...] = ("https", "http")) -> None:
        super().__init__(online=online)
        self.schemes = schemes

    def parse(self, raw_spec: str) -> Spec:
        text = decoded(raw_spec)
        spec = self.read_url(text)
        if spec is None:
            raise AddressError(
                f"{printable(text)!r} is not the address of a CKAN data set.",
                remedy="Give one like https://demo.ckan.org/dataset/name.",
            )
        return spec

    def read_url(self, address: str) -> Spec | None:
        try:
            parts = urlsplit(address)
            query = parse_qs(parts.query)
        except ValueError:
            return None
        host = (parts.hostname or "").removeprefix("www.")
        if parts.scheme not in self.schemes or not host or host in _NOT_HERE or "@" in parts.netloc:
            return None
        before, mark, after = parts.path.partition("/dataset/")
        names = [unquote(name) for name in after.split("/") if name]
        if (
            not mark
            or not names
            or names[0].endswith(".git")
            or not _NAME.fullmatch(names[0])
            or CONTROL.search(before)
        ):
            return None
        activity = query.get("activity_id", [""])[0]
        if len(names) > 2 and names[1] == "history":
            activity = names[2]
        if activity and not _NAME.fullmatch(activity):
            return None
        base = f"{parts.scheme}://{parts.netloc.lower()}{before}/dataset/{quote(names[0], safe='')}"
        return Spec(self.name, f"{base}?{urlencode({'activity_id': activity})}" if activity else base)

    def record(self, http: Http, place: str, ref: str | None) -> Record:
        package = self._package(http, place)
        bare = place.partition("?")[0]
        name = unquote(bare.rpartition("/")[2])
        date = moment(text(package, "metadata_modified"))
        if date is None:
            raise RepositoryError(f"{shown(place)} does not say when it was changed.", remedy="Look at its page.")
        id = f"{name}.v{int(date.timestamp())}"
        if ref is not None and ref != id:
            raise self.changed(place, ref)
        parts = urlsplit(bare)
        # A data set may be called by its id as well as by its name.
        known = text(package, "id") or name
        link = quote(place, safe="")
        return Record(id, date, f"ckan/{parts.netloc}{parts.path.rpartition('/dataset/')[0]}/{known}", place, link)

    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        self.record(http, place, id)
        files: dict[str, RemoteFile] = {}
        for resource in entries(self._package(http, place), "resources"):
            url = text(resource, "url").strip()
            if not url:
                continue
            if not url.startswith(("http://", "https://")):
                report(Event(Phase.FETCHING, f"Left out, as it is not on the web: {printable(url)}\n"))
                continue
            name = unquote(urlsplit(url).path.rpartition("/")[2]) or text(resource, "id")
            path = f"{text(resource, 'id')}-{name}" if name in files else name
            files[path] = RemoteFile(path.replace("/", "_"), url)
        download(http, list(files.values()), into, self.online.budget(http.watch), report)

    def _package(self, http: Http, place: str) -> Any:
        bare, _, query = place.partition("?")
        base, _, name = bare.rpartition("/dataset/")
        activity = parse_qs(query).get("activity_id", [""])[0]
        asked = {"id": unquote(name)}
        action = "package_show"
        if activity:
            action, asked = "activity_data_show", {"id": activity, "object_type": "package"}
        try:
            answer = http.json(f"{base}/api/3/action/{action}?{urlencode(asked)}")
        except StatusError as error:
            self._check(http, base, place)
            what = f"{shown(base)} has no data set {printable(unquote(name))!r}"
            raise RefNotFoundError(
                f"{what} that everyone may see{' in that state' if activity else ''} ({error.status}).",
                remedy="Look whether the address is spelled right.",
            ) from error
        result = value(answer, "result")
        return value(result, "package") or result

    def _check(self, http: Http, base: str, place: str) -> None:
        """Tells a server that is no CKAN from one that lacks the data set."""
        try:
            http.get(f"{base}/api/3/action/status_show")
        except (StatusError, NetworkError) as error:
            raise RepositoryError(
                f"{shown(place)} looks like the address of a CKAN data set, but the server is no CKAN.",
                remedy="If it is a git repository, write its address with `.git` at the end.",
            ) from error
