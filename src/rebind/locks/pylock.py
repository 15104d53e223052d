"""Lock files in the standard format (PEP 751, pylock.toml), with a table of our own.

A lock that we write holds one file for each package. One that we read may be anyone's: uv's (several files a package),
or a stranger's, so names, hashes and addresses are checked here, once, and what passes is safe in a path or a request.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

import rebind
from rebind.errors import LockError
from rebind.locks.pages import acceptable, project_name, true_url
from rebind.locks.tags import markers, platform_name, rank
from rebind.values import DebianPackage, Interpreter, LockedPlan, Package

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,100}\Z")
Table = Mapping[str, object]
Hashes = Mapping[str, Collection[str]]


def write_pylock(locked: LockedPlan) -> str:
    """The text of a pylock.toml that says all a LockedPlan says."""
    minor = ".".join(locked.python.split(".")[:2])
    head = [
        'lock-version = "1.0"',
        'created-by = "rebind"',
        f"requires-python = {_text(f'=={minor}.*')}",
    ]
    tail = [
        "[tool.rebind]",
        f"version = {_text(rebind.__version__)}",
        f"date = {_time(locked.date)}",
        f"python = {_text(locked.python)}",
        f"platform = {_text(locked.platform)}",
        f"joined = {str(locked.joined).lower()}",
        f"environment = {_text(locked.environment)}",
        f"warnings = [{', '.join(map(_text, locked.warnings))}]",
        *(line for package in locked.debian for line in _debian(package)),
    ]
    return "\n".join([*head, "", *(line for package in locked.packages for line in _entry(package)), *tail, ""])


def _debian(package: DebianPackage) -> list[str]:
    """For the reader: which archives a layer of Debian packages was made of. Not read again."""
    facts = ("name", "version", "architecture", "url", "sha256")
    return ["", "[[tool.rebind.debian]]", *(f"{fact} = {_text(getattr(package, fact))}" for fact in facts)]


def _entry(package: Package) -> list[str]:
    lines = ["[[packages]]", f"name = {_text(package.name)}"]
    if package.version:
        lines.append(f"version = {_text(package.version)}")
    if package.url.startswith("git+"):
        address, _, rest = package.url[4:].rpartition("@")
        commit, _, folder = rest.partition("#subdirectory=")
        facts = f'type = "git", url = {_text(address)}, commit-id = {_text(commit)}'
        facts += f", subdirectory = {_text(folder)}" if folder else ""
        return [*lines, f"vcs = {{ {facts} }}", ""]
    fields = [f"name = {_text(package.filename)}", f"url = {_text(package.url)}"]
    fields += [f"upload-time = {_time(package.uploaded)}"] if package.uploaded else []
    fields += [f"size = {package.size}"] if package.size is not None else []
    fields.append(f"hashes = {{ sha256 = {_text(package.sha256)} }}")
    file = f"{{ {', '.join(fields)} }}"
    return [*lines, f"wheels = [{file}]" if package.is_wheel else f"sdist = {file}", ""]


def _text(value: str) -> str:
    # a JSON string without raw controls is a TOML basic string, but for the DEL character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_pylock(text: str, interpreter: Interpreter) -> LockedPlan:
    """The lock as it applies to an interpreter: packages whose markers hold, best file of each. Raises LockError."""
    data = parse(text)
    found = packages_of(data, interpreter)
    tool = data.get("tool")
    ours = tool.get("rebind") if isinstance(tool, dict) else None
    ours = ours if isinstance(ours, dict) else {}
    stated, warnings = ours.get("date"), ours.get("warnings")
    uploads = [package.uploaded for package in found if package.uploaded is not None]
    return LockedPlan(
        python=interpreter.version,
        packages=tuple(sorted(found, key=lambda package: package.name)),
        date=stated if isinstance(stated, datetime) else max(uploads, default=datetime.fromtimestamp(0, UTC)),
        joined=ours.get("joined") is True,
        platform=platform_name(),
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
    )


def parse(text: str) -> Table:
    """The tables of a lock file. Raises LockError."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LockError(f"the lock file is not readable: {error}", remedy="Remove it; it is then made again.") from None
    if str(data.get("lock-version", "")).partition(".")[0] != "1":
        raise LockError(f"the lock file has version {data.get('lock-version')!r}, known is 1.0")
    return data


def packages_of(data: Table, interpreter: Interpreter, hashes: Hashes = MappingProxyType({})) -> list[Package]:
    """Packages that apply to an interpreter, each with its best file; without those of the repository itself.

    A package named in `hashes` gets a file that has one of them.
    """
    _check_python(data.get("requires-python"), interpreter)
    environment = markers(interpreter)
    entries = data.get("packages")
    found: dict[str, Package] = {}
    for entry in entries if isinstance(entries, list) else []:
        name = project_name(str(entry.get("name", ""))) if isinstance(entry, dict) else None
        if name is None:
            raise LockError("the lock file holds a package without a proper name")
        if not _applies(name, entry.get("marker"), environment) or _own(entry):
            continue
        found[name] = _package(name, entry, interpreter, hashes.get(name))
    return list(found.values())


def _own(entry: Table) -> bool:
    """Whether it is a folder or file of the repository itself: those are no part of a lock."""
    archive = entry.get("archive")
    return isinstance(entry.get("directory"), dict) or (isinstance(archive, dict) and "path" in archive)


def _check_python(requires: object, interpreter: Interpreter) -> None:
    try:
        fits = not isinstance(requires, str) or SpecifierSet(requires).contains(interpreter.version, prereleases=True)
    except InvalidSpecifier:
        fits = True
    if not fits:
        raise LockError(
            f"the lock file is for Python {requires}, not for {interpreter.version}",
            remedy="State the Python of the lock in `runtime.txt`.",
        )


def _applies(name: str, marker: object, environment: dict[str, str]) -> bool:
    if not isinstance(marker, str):
        return True
    try:
        return Marker(marker).evaluate({**environment, "extra": ""})
    except (InvalidMarker, ValueError) as error:
        raise LockError(f"the lock file has a marker of {name} that cannot be read: {error}") from None


def _package(name: str, entry: Table, interpreter: Interpreter, hashes: Collection[str] | None = None) -> Package:
    version = str(entry.get("version", ""))
    if version and not _VERSION.match(version):
        raise LockError(f"the lock file has a version of {name} that is none")
    vcs = entry.get("vcs")
    if isinstance(vcs, dict):
        return _checkout(name, version, vcs)
    files = [file for file in _files(entry) if file["sha256"]]
    found = best([file for file in files if hashes is None or file["sha256"] in hashes], interpreter)
    if found is None and hashes is not None and files:
        raise LockError(
            f"no file of {name} {version} for Python {interpreter.version} has a hash that is stated for it",
            remedy="Correct the hashes; if they are right, somebody has changed the files.",
        )
    if found is None:
        raise LockError(
            f"there is no file with a sha256 hash of {name} {version} for Python {interpreter.version}",
            remedy="Take the package from an index that states hashes.",
        )
    return Package(
        name=name,
        version=version or str(found["version"]),
        url=str(found["url"]),
        sha256=str(found["sha256"]),
        filename=str(found["filename"]),
        size=found["size"] if isinstance(found["size"], int) else None,
        uploaded=found["uploaded"] if isinstance(found["uploaded"], datetime) else None,
    )


def _checkout(name: str, version: str, vcs: Table) -> Package:
    commit, parts = str(vcs.get("commit-id", "")), urlsplit(str(vcs.get("url", "")))
    if vcs.get("type") != "git" or not _COMMIT.match(commit) or parts.scheme not in ("https", "http", "ssh", "git"):
        raise LockError(f"the lock file takes {name} from a place that is not understood")
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    folder = vcs.get("subdirectory")
    part = f"#subdirectory={folder}" if isinstance(folder, str) and _inside(folder) else ""
    return Package(name, version, f"git+{address}@{commit}{part}", "", f"{name}.git")


def _inside(folder: str) -> bool:
    return bool(re.fullmatch(r"[\w./+-]+", folder)) and not folder.startswith("/") and ".." not in folder.split("/")


def _files(entry: Table) -> Iterator[dict[str, object]]:
    wheels, sdist, archive = entry.get("wheels"), entry.get("sdist"), entry.get("archive")
    for table in [*(wheels if isinstance(wheels, list) else []), sdist, archive]:
        if not isinstance(table, dict) or not isinstance(table.get("url"), str):
            continue
        url, hashes, uploaded = true_url("", table["url"]), table.get("hashes"), table.get("upload-time")
        filename = str(table.get("name") or unquote(urlsplit(table["url"]).path.rpartition("/")[2]))
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        if url is None or not acceptable(filename):
            continue
        yield {
            "filename": filename,
            "url": url,
            "sha256": digest if isinstance(digest, str) and _SHA256.match(digest) else "",
            "size": table.get("size"),
            "uploaded": uploaded if isinstance(uploaded, datetime) and uploaded.tzinfo else None,
            "version": filename.split("-")[1] if filename.endswith(".whl") else "",
        }


def best(files: Iterable[dict[str, object]], interpreter: Interpreter) -> dict[str, object] | None:
    """The wheel whose tags suit best (then the highest build number), else the source package."""
    ranked = []
    sources = []
    for file in files:
        filename = str(file["filename"])
        if not filename.endswith(".whl"):
            sources.append(file)
        elif (place := rank(filename, interpreter.minor)) is not None:
            ranked.append((place, _build(filename), file))
    if ranked:
        return min(ranked, key=lambda item: (item[0], item[1]))[2]
    return sources[0] if sources else None


def _build(filename: str) -> tuple[int, str]:
    parts = filename.split("-")
    number = re.match(r"\d+", parts[2]) if len(parts) == 6 else None
    return (-int(number[0]), parts[2]) if number else (0, "")


def is_newer(version: str, least: str) -> bool:
    """Whether a version is `least` or later; False for what is no version."""
    try:
        return Version(version) >= Version(least)
    except InvalidVersion:
        return False
