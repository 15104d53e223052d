"""What is to be resolved: the plan's requirements, a kernel's, and those of the repository's own packages."""

from __future__ import annotations

import hashlib
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rebind.errors import LockError
from rebind.locks.pinned import applying
from rebind.locks.releases import order
from rebind.values import Interpreter, LocalPackage, Plan, Requirements
from rebind.values.pinned import PinnedPackage

KERNEL = ("ipykernel", "ipywidgets", "pip")
KERNEL_OF_2 = ("ipywidgets<7.8", "terminado<0.9", "python-dateutil!=2.9.0")
"""What the kernel needs on Python 2: of each there is a release that is for Python 3 and does not say so."""
BUILD_TOOLS = ("setuptools", "wheel")
"""Old packages import them at run time (`pkg_resources`); a virtual environment had them until Python 3.12."""
_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fixed:
    """The part of a repository's lock that counts on the interpreter."""

    source: str
    packages: tuple[PinnedPackage, ...]
    joined: bool | None = None

    def names(self) -> set[str]:
        return {package.name for package in self.packages}

    def constraints(self) -> Iterator[str]:
        """So that nothing which is resolved beside the lock moves anything in it."""
        for package in self.packages:
            line = f"{package.name}=={package.version}"
            if read_requirement(line) is not None:  # versions of the time before PEP 440 are none
                yield line


@dataclass(frozen=True, slots=True)
class Needs:
    """Everything that decides a resolution but the date and the interpreter."""

    lines: tuple[str, ...]
    constraints: tuple[str, ...]
    options: tuple[str, ...]
    local: tuple[LocalPackage, ...]
    """Packages of the repository whose dependencies only their own build code can tell."""
    local_digest: str
    hashes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Normalised name -> the sha256 hashes, one of which the package's file must have."""
    fixed: Fixed | None = None
    """What a lock of the repository fixes: `lines` are then what it lacks, and `constraints` hold its versions."""

    def names(self) -> list[str]:
        """Normalised names of what is asked for by name."""
        return [canonicalize_name(requirement.name) for requirement in self.requirements()]

    def requirements(self) -> Iterator[Requirement]:
        """The lines that are requirements by name, without a direct address."""
        for line in self.lines:
            requirement = read_requirement(line)
            if requirement is not None and not requirement.url:
                yield requirement

    def direct(self) -> bool:
        """Whether something is wanted from an address instead of an index."""
        return any((found := read_requirement(line)) is None or found.url for line in self.lines)

    def adding(self, *lines: str) -> Needs:
        return replace(self, lines=(*self.lines, *lines))

    def key(self, interpreter: Interpreter, *facts: object) -> str:
        """Digest of the needs and what else decides the result."""
        parts = [self.lines, self.constraints, self.options, self.local_digest, interpreter.version, facts]
        parts.append([[package.path, package.editable, package.extras] for package in self.local])
        if self.hashes or self.fixed:
            parts.append([self.hashes, hashlib.sha256(repr(self.fixed).encode()).hexdigest()])
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def read_requirement(line: str) -> Requirement | None:
    """The requirement, or None for a bare address."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def needs_of(plan: Plan, root: Path, interpreter: Interpreter) -> Needs:
    """The needs of a plan on an interpreter.

    Raises LockError for a local package that is not inside `root`, and for a lock that is not for the interpreter.
    """
    wanted: Requirements = plan.requirements
    fixed = None
    if plan.pinned is not None:
        fixed = Fixed(plan.pinned.source, applying(plan.pinned, interpreter), plan.pinned.joined)
    lines, unknown, inputs = list(wanted.lines), [], hashlib.sha256()
    for package in wanted.local if fixed is None else ():  # else what they depend on is in the lock
        path = _inside(root, package.path)
        static = _static(path, package)
        if static is None:
            unknown.append(package)
            _feed(inputs, path)
        else:
            lines += static
    tools = BUILD_TOOLS if order(interpreter.minor) < (3, 12) else ()
    there = {*lines, *(fixed.names() if fixed else ())}
    kernel = (*KERNEL, *tools) if plan.conda is None else ()  # else they are conda's
    lines += [name for name in kernel if name not in there]
    kernel = KERNEL_OF_2 if interpreter.minor == "2.7" else ()
    constraints = (*wanted.constraints, *kernel, *(fixed.constraints() if fixed else ()))
    digest = inputs.hexdigest()
    return Needs(tuple(lines), constraints, wanted.options, tuple(unknown), digest, wanted.hashes, fixed)


def _inside(root: Path, path: str) -> Path:
    full = (root / path).resolve()
    if not full.is_relative_to(root.resolve()) or not full.exists():
        raise LockError(f"the package {path} is not in the repository", remedy="Correct its path.")
    return full


def _feed(inputs: hashlib._Hash, path: Path) -> None:
    files = [path / name for name in _BUILD_FILES] if path.is_dir() else [path]
    for file in files:
        data = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
        inputs.update(f"{file.name} {len(data)}\n".encode() + data)


def _static(path: Path, package: LocalPackage) -> tuple[str, ...] | None:
    """What the package depends on, as far as its text says so for certain; None if only its build can tell."""
    if path.suffix == ".whl" and path.is_file():
        return _of_wheel(path, package.extras)
    file = path / "pyproject.toml"
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LARGEST:
            return None
        project = tomllib.loads(file.read_text()).get("project")
    except (OSError, ValueError, RecursionError):
        return None
    return _of_project(project, package.extras) if isinstance(project, dict) else None


def _of_project(project: Mapping[str, object], extras: tuple[str, ...]) -> tuple[str, ...] | None:
    """PEP 621: what is not listed as dynamic is exactly what stands there."""
    dynamic = project.get("dynamic", [])
    if not isinstance(dynamic, list) or {"dependencies", "optional-dependencies"} & set(map(str, dynamic)):
        return None
    optional, found, seen = project.get("optional-dependencies", {}), _texts(project.get("dependencies", [])), set()
    groups = (
        {canonicalize_name(str(name)): items for name, items in optional.items()} if isinstance(optional, dict) else {}
    )
    name, waiting = canonicalize_name(str(project.get("name", ""))), [canonicalize_name(extra) for extra in extras]
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for line in _texts(groups.get(extra, [])):
            requirement = read_requirement(line)
            if requirement is not None and canonicalize_name(requirement.name) == name:  # `pkg[other]` in an extra
                waiting += [canonicalize_name(other) for other in requirement.extras]
            else:
                found.append(line)
    return tuple(found) if all(read_requirement(line) is not None for line in found) else None


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _of_wheel(path: Path, extras: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".dist-info/METADATA")]
            if len(entries) != 1 or entries[0].file_size > _LARGEST:
                return None
            header = HeaderParser().parsestr(archive.read(entries[0]).decode("utf-8", "replace"))
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return None
    found = []
    for line in header.get_all("Requires-Dist") or []:
        requirement = read_requirement(line)
        if requirement is None:
            return None
        if requirement.marker is None or "extra" not in str(requirement.marker):
            found.append(line)
        elif any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            requirement.marker = None
            found.append(str(requirement))
    return tuple(found)
