"""What the providers of archives have in common: an address or a DOI leads to a record, and a record holds files."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from rebind.errors import AddressError, DiskError, RefNotFoundError, RepositoryError
from rebind.providers.archives import Budget, is_zip, lift, remove, safe_parts, unpack
from rebind.providers.doi import DOI_URL, read_doi, target
from rebind.providers.http import Http
from rebind.providers.online import Online
from rebind.providers.texts import CONTROL, decoded, printable, shown
from rebind.values import Commit, Event, Phase, Report, Spec

_HASHES = re.compile(r"(md5|sha1|sha256|sha512):([0-9a-f]{32,128})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """One version of a record."""

    id: str
    date: datetime
    identity: str
    page: str
    link: str = ""
    """The link's spec that names this very version; '' if it is the one that was asked for."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a record."""

    path: str
    url: str
    checksum: str = ""
    """`md5:...` or the like; '' or any other form is not checked."""


class RecordProvider(ABC):
    """An archive whose records have addresses and, mostly, DOIs. Subclasses know its API.

    `doi_url`: the handle service. The ref of a spec is the id of a version that was resolved before.
    """

    name: str
    title: ClassVar[str]
    display: ClassVar[dict[str, Any] | None] = None
    own_doi: ClassVar[re.Pattern[str]]
    """DOIs that are surely of this archive; others come through the provider `doi`."""

    def __init__(self, *, online: Online | None = None, doi_url: str = DOI_URL) -> None:
        self.online = online or Online()
        self.doi_url = doi_url

    @abstractmethod
    def read_url(self, address: str) -> Spec | None:
        """The spec of an address of this archive; None if it is none."""

    @abstractmethod
    def record(self, http: Http, place: str, ref: str | None) -> Record:
        """The record at an address that `read_url` has given, in the version that `ref` names (None: see there)."""

    @abstractmethod
    def write(self, http: Http, place: str, id: str, into: Path, report: Report) -> None:
        """Writes the files of the record's version `id` to `into`, which is empty."""

    def detect(self, address: str) -> Spec | None:
        """A DOI of this archive in any spelling, or an address of its own."""
        doi = read_doi(address)
        if doi is None:
            return self.read_url(address.strip()) if len(address) < 4096 and not CONTROL.search(address) else None
        return Spec(self.name, doi) if self.own_doi.fullmatch(doi.lower()) else None

    def parse(self, raw_spec: str) -> Spec:
        """A DOI or an address, percent-encoded or not."""
        text = decoded(raw_spec)
        doi = read_doi(text)
        spec = Spec(self.name, doi) if doi else self.read_url(text)
        if spec is None:
            raise AddressError(
                f"{printable(text)!r} is no DOI and no address of {self.title}.",
                remedy="Give a DOI such as 10.5281/zenodo.3242074.",
            )
        return spec

    def resolve(self, spec: Spec) -> Commit:
        """See `rebind.providers.Provider.resolve`; also NetworkError."""
        with self.http(spec) as http:
            found = self.record(http, self.place(http, spec), spec.ref or None)
        return Commit(spec, found.id, found.date, found.identity, found.link or spec.repository, found.page)

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """The record's files, under the names that it gives them."""
        with self.http(commit.spec, report) as http, filled(into):
            self.write(http, self.place(http, commit.spec), commit.id, into, report)

    def place(self, http: Http, spec: Spec) -> str:
        """The address of a spec's record. RepositoryError if its DOI leads to somebody else."""
        doi = read_doi(spec.repository)
        address = target(http, doi, self.doi_url) if doi else spec.repository
        found = self.read_url(address)
        if found is None:
            what = f"The DOI {doi} leads to {shown(address)}, which" if doi else shown(address)
            raise RepositoryError(f"{what} is not of {self.title}.", remedy="Give the DOI without a prefix of its own.")
        return found.repository

    def http(self, spec: Spec, report: Report | None = None) -> Http:
        return self.online.http(self.online.watch(printable(spec.repository), report))

    def changed(self, place: str, ref: str) -> RefNotFoundError:
        """The error for a version that an archive without old versions no longer has."""
        return RefNotFoundError(
            f"{shown(place)} is no longer as {printable(ref)!r} was, and has no older versions.",
            remedy="Launch it anew, without a version.",
        )


def on_site(address: str, sites: Sequence[str]) -> tuple[str, SplitResult] | None:
    """The site that an address (its `https://` may be missing) lies on, and the address; None if on none."""
    if "://" not in address:
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https"):
        return None
    for site in sites:
        if parts.netloc.lower().removeprefix("www.") == urlsplit(site).netloc.removeprefix("www."):
            return site, parts
    return None


@contextmanager
def filled(into: Path) -> Iterator[None]:
    """Makes `into`, and takes it away again on any error. Raises DiskError."""
    try:
        into.mkdir()
        yield
    except OSError as error:
        remove(into)
        raise DiskError(f"The files cannot be written: {error.strerror}.", remedy="Free some space.") from error
    except BaseException:
        remove(into)
        raise


def download(http: Http, files: Sequence[RemoteFile], into: Path, budget: Budget, report: Report) -> list[Path]:
    """Fetches files under their own names, each checked against its checksum. RepositoryError, NetworkError."""
    written = []
    for file in files:
        budget.file()
        parts = safe_parts(file.path)
        if not parts:
            raise RepositoryError("The record holds a file without a name.", remedy="Tell its owner.")
        path = into.joinpath(*parts)
        report(Event(Phase.FETCHING, f"Fetching {printable(file.path)}\n"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            clash = path.exists()
        except (FileExistsError, NotADirectoryError):
            clash = True
        if clash:
            raise RepositoryError(f"The record holds {printable(file.path)!r} twice.", remedy="Tell its owner.")
        http.download(file.url, path, budget.add)
        _verify(path, file)
        written.append(path)
    return written


def _verify(path: Path, file: RemoteFile) -> None:
    match = _HASHES.fullmatch(file.checksum)
    if match is None:
        return
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(match[1].lower(), usedforsecurity=False)).hexdigest()
    if found != match[2].lower():
        raise RepositoryError(
            f"{printable(file.path)!r} did not arrive as it is in the archive: its checksum is another.",
            remedy="Try again; if it stays so, tell the archive.",
        )


def unzip_alone(written: Sequence[Path], into: Path, budget: Budget, report: Report, *, by_name: bool = False) -> None:
    """A record that is one zip means what is in it; and if that is one folder, what is in that.

    `by_name`: it counts as a zip only if it is called so.
    """
    if len(written) != 1:
        return
    (path,) = written
    if not (path.name.lower().endswith(".zip") if by_name else is_zip(path)):
        return
    report(Event(Phase.FETCHING, f"Unpacking {printable(path.name)}\n"))
    replace_by_content(path, into, budget)


def replace_by_content(archive: Path, into: Path, budget: Budget, *, below: str = "", lifted: bool = True) -> None:
    """Unpacks the only file of `into` in its place; with `lifted` a single top folder goes."""
    aside = into.with_name(f"{into.name}.archive")
    archive.rename(aside)
    try:
        for left in into.iterdir():  # directories of a name like `a/b.zip`
            _remove_empty(left)
        unpack(aside, into, budget, below=below)
        if lifted:
            lift(into)
    finally:
        aside.unlink(missing_ok=True)


def _remove_empty(path: Path) -> None:
    with suppress(OSError):
        for inner in path.iterdir():
            _remove_empty(inner)
        path.rmdir()
