"""What the entries of lock files have in common: names, versions, markers, hashes, addresses, each checked once here.

What passes is safe in a path, a request and a command line. What does not is an error that names the lock file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from rebind.errors import RecipeError
from rebind.recipes.references import check_url
from rebind.recipes.where import Where, shown
from rebind.values.pinned import PinnedDependency, PinnedFile, PinnedPackage

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,118}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,100}")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}")
_KINDS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")
_LONGEST_MARKER = 16 * 1024
_REMEDY = "Make the lock anew with the tool that wrote it."
PUBLIC = frozenset(f"https://{host}/{path}" for host in ("pypi.org", "pypi.python.org") for path in ("simple", "pypi"))
"""Addresses of the public index, for which the dated index stands."""


def is_public(index: str) -> bool:
    """Whether an address is the public index's (or none is stated)."""
    return not index or index.rstrip("/").replace("http://", "https://", 1) in PUBLIC


def name_of(value: object, where: Where) -> str:
    """A package's name, normalised (PEP 503). Raises RecipeError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise where.error(f"{shown(str(value))} is not the name of a package.", _REMEDY)
    return canonicalize_name(value)


def version_of(value: object, name: str, where: Where) -> str:
    """An exact version. Raises RecipeError."""
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise where.error(f"{shown(str(value))} is not a version of {name}.", _REMEDY)
    return value


def marker_of(value: object, where: Where) -> str:
    """An environment marker, '' for none. Raises RecipeError."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_MARKER or not _is_marker(value):
        raise where.error(f"{shown(str(value))} is not an environment marker.", _REMEDY)
    return value


@lru_cache(maxsize=1024)
def _is_marker(text: str) -> bool:
    try:
        Marker(text)
    except (InvalidMarker, RecursionError):
        return False
    return True


def any_of(markers: Iterable[str]) -> str:
    """The marker that holds if one of them does; '' if there are none, or one always holds."""
    found = list(dict.fromkeys(markers))
    if not found or "" in found:
        return ""
    return found[0] if len(found) == 1 else " or ".join(f"({marker})" for marker in found)


def all_of(*markers: str) -> str:
    """The marker that holds if all of them do."""
    found = [marker for marker in markers if marker]
    return found[0] if len(found) == 1 else " and ".join(f"({marker})" for marker in found)


def requires_of(value: object, where: Where) -> str:
    """A condition on Python's version, '' for none or any. Raises RecipeError."""
    if value in (None, "", "*"):
        return ""
    try:
        if not isinstance(value, str) or len(value) > 500:
            raise InvalidSpecifier
        SpecifierSet(value)
    except InvalidSpecifier as error:
        raise where.error(f"{shown(str(value))} is not a condition on Python's version.", _REMEDY) from error
    return value


def sha256_of(value: object, where: Where) -> str:
    """The digits of `sha256:<hex>`, '' for a hash of another kind. Raises RecipeError for what is none."""
    kind, _, digits = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind != "sha256":
        if not kind.isalnum() or not digits.isalnum():
            raise where.error(f"{shown(str(value))} is not a hash.", _REMEDY)
        return ""
    if not _SHA256.fullmatch(digits):
        raise where.error(f"{shown(str(value))} is not a sha256 hash.", _REMEDY)
    return digits


def file_of(
    filename: object,
    where: Where,
    *,
    url: object = None,
    sha256: str = "",
    size: object = None,
    uploaded: object = None,
) -> PinnedFile | None:
    """One file; None for a kind of file that is no longer used (`.exe`, `.egg`, `.rpm`). Raises RecipeError."""
    address = web_address(url, where) if url else ""
    name = filename or unquote(urlsplit(address).path.rpartition("/")[2])
    if not isinstance(name, str) or not _FILENAME.fullmatch(name):
        raise where.error(f"{shown(str(name))} is not the name of a package's file.", _REMEDY)
    if not name.endswith(_KINDS):
        return None
    if address and not sha256:
        raise where.error(f"{name} has no sha256 hash.", _REMEDY)
    known = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
    return PinnedFile(name, address, sha256, known, _time(uploaded))


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else None


def web_address(value: object, where: Where) -> str:
    """An http(s) address without credentials and fragment, of no private machine. Raises RecipeError."""
    if not isinstance(value, str) or len(value) > 4096:
        raise where.error(f"{shown(str(value))} is not an address.", _REMEDY)
    url, _ = check_url(value, where)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise where.error(f"{shown(value)} is not a web address.", _REMEDY)
    check_host(parts.hostname or "", where)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def check_host(host: str, where: Where) -> None:
    """Raises RecipeError for this machine and for addresses of private networks: no lock has business there."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    try:
        private = not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        # what ends in a number is an address in one of the spellings that resolvers take: 127.1, 0x7f.1, 2130706433
        private = last == "localhost" or bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last))
    if private:
        raise where.error(f"{shown(host)} is not an address of the public network.", "Take the package from an index.")


def checkout_of(url: str, commit: object, folder: object, where: Where) -> str:
    """`git+https://...@<commit>#subdirectory=...`. Raises RecipeError."""
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise where.error(f"{shown(url)} is not fixed to a commit, which a lock must do.", _REMEDY)
    address, _ = check_url(url if url.startswith(("git+", "git:")) else f"git+{url}", where)
    parts = urlsplit(address)
    check_host(parts.hostname or "", where)
    # a user's name belongs to ssh addresses; anything before the @ of another is a secret, and no lock needs one
    netloc = parts.netloc if parts.scheme == "git+ssh" else parts.netloc.rpartition("@")[2]
    clean = parts._replace(netloc=netloc, query="", fragment="").geturl()
    if folder in (None, "", "."):
        return f"{clean}@{commit}"
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder) or ".." in folder.split("/"):
        raise where.error(f"{shown(str(folder))} is not a folder of {shown(url)}.", _REMEDY)
    return f"{clean}@{commit}#subdirectory={folder}"


def edges_of(lines: Iterable[object], where: Where) -> Iterator[PinnedDependency]:
    """The edges that PEP 508 requirements make. Raises RecipeError."""
    for line in lines:
        try:
            if not isinstance(line, str) or len(line) > 4096:
                raise InvalidRequirement
            found = Requirement(line)
        except (InvalidRequirement, RecursionError) as error:
            raise where.error(f"{shown(str(line))} is not a requirement.", _REMEDY) from error
        yield PinnedDependency(
            canonicalize_name(found.name),
            marker=str(found.marker or ""),
            extras=tuple(sorted(canonicalize_name(extra) for extra in found.extras)),
        )


def reached(packages: Iterable[PinnedPackage], roots: Iterable[PinnedDependency]) -> set[str]:
    """Names of all that the roots lead to, whatever the markers say."""
    known: dict[str, list[PinnedPackage]] = {}
    for package in packages:
        known.setdefault(package.name, []).append(package)
    waiting, found = list(roots), set[tuple[str, tuple[str, ...]]]()
    while waiting:
        edge = waiting.pop()
        if (edge.name, edge.extras) in found:
            continue
        found.add((edge.name, edge.extras))
        for package in known.get(edge.name, []):
            waiting += package.dependencies
            waiting += [each for name, edges in package.extras if name in edge.extras for each in edges]
    return {name for name, _ in found}


def only_known(version: str, known: tuple[str, ...], where: Where) -> None:
    """Raises RecipeError for a format that is newer than what is read here."""
    if version.partition(".")[0] not in known:
        raise RecipeError(
            f"{where.file} has the format {shown(version)}, which this version of rebind does not read."
            if version
            else f"{where.file} does not say which format it has: it is damaged or no lock.",
            remedy=f"Known are the formats {', '.join(known)}; write the lock with a tool that makes one of these.",
        )
