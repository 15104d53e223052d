"""What a repository's own lock fixes on one interpreter: which of its packages count, and which file of each.

No resolver takes part. A package counts by its marker, or because one that counts depends on it; its file is the best
that the lock offers, or, if the lock gives only hashes, the best file of the package index that has one of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from rebind.errors import LockError, NetworkError
from rebind.locks.index_client import IndexClient
from rebind.locks.pages import UNTIMED, File, Page, Pages
from rebind.locks.pylock import best
from rebind.locks.tags import markers, platform_name
from rebind.values import Interpreter, Package
from rebind.values.pinned import Pinned, PinnedDependency, PinnedFile, PinnedPackage

_MARKER_ERRORS = (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, ValueError, KeyError, RecursionError)


def applying(pinned: Pinned, interpreter: Interpreter) -> tuple[PinnedPackage, ...]:
    """The packages that count on an interpreter, by name. Raises LockError if the lock is not for it."""
    selection = _Selection(pinned, interpreter)
    selection.check()
    if pinned.roots is None:
        selection.flat()
    else:
        selection.walk(pinned.roots)
    return tuple(package for _, package in sorted(selection.chosen.items()) if not package.own)


@dataclass
class _Selection:
    """One lock on one interpreter."""

    pinned: Pinned
    interpreter: Interpreter
    chosen: dict[str, PinnedPackage] = field(default_factory=dict)
    _environment: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        sets = {"extras": frozenset[str](), "dependency_groups": frozenset(self.pinned.groups)}
        self._environment = {**markers(self.interpreter), **sets, "extra": ""}

    def check(self) -> None:
        version = self.interpreter.version
        if not _contains(self.pinned.requires_python, version):
            raise self.error(
                f"is for Python {self.pinned.requires_python}, not for {version}",
                "State the Python of the lock in runtime.txt, or make the lock anew.",
            )
        if self.pinned.environments and not any(map(self.holds, self.pinned.environments)):
            raise self.error(f"is not for Python {version} on {platform_name()}", "Make the lock for this platform.")

    def flat(self) -> None:
        for package in self.pinned.packages:
            if not self.holds(package.marker):
                continue
            if not _contains(package.requires_python, self.interpreter.version):
                raise self.error(
                    f"takes {package.name} {package.version}, which is for Python {package.requires_python}, "
                    f"not for {self.interpreter.version}",
                    "State the Python of the lock in runtime.txt.",
                )
            self._choose(package)

    def walk(self, roots: Iterable[PinnedDependency]) -> None:
        versions: dict[str, list[PinnedPackage]] = {}
        for package in self.pinned.packages:
            versions.setdefault(package.name, []).append(package)
        waiting, seen = list(roots), set[tuple[str, tuple[str, ...], tuple[str, ...]]]()
        while waiting:
            edge = waiting.pop()
            key = (edge.name, edge.versions, edge.extras)
            if key in seen or not self.holds(edge.marker):
                continue
            seen.add(key)
            package = self._candidate(edge, versions.get(edge.name, []))
            self._choose(package)
            waiting += package.dependencies
            waiting += [each for name, edges in package.extras if name in edge.extras for each in edges]

    def _candidate(self, edge: PinnedDependency, candidates: list[PinnedPackage]) -> PinnedPackage:
        version = self.interpreter.version
        fitting = [
            package
            for package in candidates
            if (not edge.versions or package.version in edge.versions)
            and self.holds(package.marker)
            and _contains(package.requires_python, version)
        ]
        if not fitting:
            raise self.error(
                f"lacks {edge.name}, which it needs on Python {version}",
                "Make the lock anew, or state the Python of the lock in runtime.txt.",
            )
        return self.chosen.get(edge.name, fitting[0]) if self.chosen.get(edge.name) in fitting else fitting[0]

    def _choose(self, package: PinnedPackage) -> None:
        before = self.chosen.setdefault(package.name, package)
        if before is not package and before != package:
            raise self.error(
                f"fixes two versions of {package.name} ({before.version}, {package.version}) "
                f"for Python {self.interpreter.version}",
                "Make the lock anew.",
            )

    def holds(self, marker: str) -> bool:
        if not marker:
            return True
        try:
            return bool(_marker(marker).evaluate(self._environment, context="lock_file"))  # type: ignore[arg-type]
        except _MARKER_ERRORS as error:
            raise self.error(f"has a marker that cannot be read: {str(error)[:200]}", "Make the lock anew.") from None

    def error(self, what: str, remedy: str) -> LockError:
        return LockError(f"{self.pinned.source} {what}", remedy=remedy)


@lru_cache(maxsize=4096)
def _marker(text: str) -> Marker:
    return Marker(text)


def _contains(requires: str, version: str) -> bool:
    if not requires:
        return True
    try:
        return SpecifierSet(requires).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True  # old packages' metadata; the lock's author had it installed


@dataclass(frozen=True, slots=True)
class Files:
    """Finds the files of pinned packages, at most one page of the index for each package without files."""

    pages: Pages
    client: IndexClient
    interpreter: Interpreter

    def of(self, source: str, packages: Iterable[PinnedPackage]) -> list[Package]:
        """Raises LockError for a package that has no file that is stated and fits; NetworkError."""
        pinned = list(packages)
        wanted = [package.name for package in pinned if _asks_index(package)]
        # as of now: a pin is exact, whatever the date
        unknown = self.client.unknown(wanted, time.time()) if wanted else frozenset()
        for name in sorted(unknown):
            if self.pages.read(name) is None:
                remedy = "Try again when the network is back."
                raise NetworkError(f"the package index does not say which files {name} has", remedy=remedy)
        return [self._package(source, package) for package in pinned]

    def _package(self, source: str, package: PinnedPackage) -> Package:
        if package.checkout:
            return Package(package.name, package.version, package.checkout, "", f"{package.name}.git")
        offered = self._from_index(source, package) if _asks_index(package) else list(map(_row, package.files))
        found = best(offered, self.interpreter)
        if found is None:
            raise LockError(
                f"{source} has no file of {package.name} {package.version} for Python {self.interpreter.version} "
                f"on {platform_name()}",
                remedy="State the Python of the lock in runtime.txt, or make the lock anew.",
            )
        return _made(package, found)

    def _from_index(self, source: str, package: PinnedPackage) -> list[dict[str, object]]:
        page = self.pages.read(package.name)
        files = list(_of_version(page, package.version)) if page else []
        if not files:
            raise LockError(
                f"{source} takes {package.name} {package.version}, which the package index does not have",
                remedy="Make the lock anew.",
            )
        stated = {*package.hashes, *(file.sha256 for file in package.files if file.sha256)}
        names = {file.filename for file in package.files}
        same = [file for file in files if file.sha256 and (file.sha256 in stated if stated else _named(file, names))]
        if not same:
            raise LockError(
                f"no file of {package.name} {package.version} in the package index has a hash that {source} states",
                remedy="Make the lock anew; if it is right, somebody has changed the files.",
            )
        return [row_of(file) for file in same]


def check_hashes(packages: list[Package], hashes: Iterable[tuple[str, tuple[str, ...]]]) -> list[Package]:
    """The packages as they are. Raises LockError if one has none of the hashes that are stated for it."""
    stated = dict(hashes)
    for package in packages:
        if package.name in stated and package.sha256 not in stated[package.name]:
            raise LockError(
                f"{package.filename} has none of the hashes that are stated for {package.name}",
                remedy="Correct the hashes; if they are right, somebody has changed the file.",
            )
    return packages


def _named(file: File, names: set[str]) -> bool:
    return not names or file.name in names


def _asks_index(package: PinnedPackage) -> bool:
    return not package.checkout and not any(file.url for file in package.files)


def _of_version(page: Page, version: str) -> Iterator[File]:
    for file in page.files:
        if file.version == version or (file.version and _same(file.version, version)):
            yield file


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _row(file: PinnedFile) -> dict[str, object]:
    return {
        "filename": file.filename,
        "url": file.url,
        "sha256": file.sha256,
        "size": file.size,
        "uploaded": file.uploaded,
    }


def row_of(file: File) -> dict[str, object]:
    """A file of the index as the choice of the best one takes it."""
    uploaded = None if file.uploaded == UNTIMED else datetime.fromtimestamp(file.uploaded, UTC)
    return {
        "filename": file.name,
        "url": file.url,
        "sha256": file.sha256,
        "size": file.size,
        "uploaded": uploaded,
    }


def _made(package: PinnedPackage, row: Mapping[str, object]) -> Package:
    size, uploaded = row["size"], row["uploaded"]
    return Package(
        name=package.name,
        version=package.version,
        url=str(row["url"]),
        sha256=str(row["sha256"]),
        filename=str(row["filename"]),
        size=size if isinstance(size, int) else None,
        uploaded=uploaded if isinstance(uploaded, datetime) else None,
    )
