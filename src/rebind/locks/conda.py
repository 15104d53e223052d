"""An `environment.yml` -> conda packages as of a date. rattler solves; what it solves over is fetched by us.

Channels are strangers' addresses like any other, so their lists (repodata.json) come through the same way out as
everything else (locks/conda_repodata.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rebind.errors import LockError
from rebind.locks.conda_repodata import Repodata
from rebind.locks.tags import platform_name
from rebind.locks.whole import write_whole
from rebind.values import CondaPackage, Event, LockedPlan, Package, Phase, Plan, Report

if TYPE_CHECKING:
    from rattler import RepoDataRecord

FORMAT = 1  # raised when the same question would get another answer
KERNEL = ("ipykernel", "ipywidgets", "pip")
_ANACONDA = "https://repo.anaconda.com/pkgs"
_SUBDIRS = {"linux-x86_64": "linux-64", "linux-aarch64": "linux-aarch64"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]*\.(conda|tar\.bz2)")


@dataclass(frozen=True, slots=True)
class _Question:
    sources: tuple[str, ...]
    """Addresses of the channels, in order of priority."""
    specs: tuple[str, ...]
    python: str
    when: datetime


class CondaLocker:
    """`data`: the installation's folder; `channels_url`: where channels with a name lie; `proxy_url`: the way out."""

    def __init__(self, data: Path, channels_url: str, proxy_url: str | None) -> None:
        self._place, self._channels_url = data / "conda", channels_url.rstrip("/")
        self._repodata = Repodata(self._place / "repodata", proxy_url)

    def lock(self, plan: Plan, when: datetime, report: Report) -> tuple[CondaPackage, ...]:
        """The packages, sorted by name; Python is one of them. Raises LockError (with rattler's own words),
        NetworkError."""
        need = plan.conda
        if need is None:
            return ()
        specs = tuple(self._absolute(spec) for spec in need.dependencies)
        named = (spec.rpartition("::")[0] for spec in specs)
        channels = [url for name in need.channels for url in self._addresses(name)]
        sources = tuple(dict.fromkeys([*channels, *(channel for channel in named if channel)]))
        question = _Question(sources, specs, plan.python.version or "3.10", when.astimezone(UTC).replace(microsecond=0))
        kept = self._kept(question)
        if kept is None:
            report(Event(Phase.BUILDING, f"Finding the conda packages as of {question.when:%Y-%m-%d %H:%M UTC}\n"))
            kept = self._solved(question, report)
            write_whole(self._path(question), json.dumps([_plain(package) for package in kept]))
            report(Event(Phase.BUILDING, f"{len(kept)} conda packages found\n"))
        return kept

    def _addresses(self, name: str) -> tuple[str, ...]:
        if "://" in name:
            return (name,)
        if name == "defaults":
            return f"{_ANACONDA}/main", f"{_ANACONDA}/r"
        return (f"{self._channels_url}/{name}",)

    def _absolute(self, spec: str) -> str:
        """rattler knows the usual address of a channel only."""
        channel, both, rest = spec.rpartition("::")
        return f"{self._addresses(channel.strip())[0]}::{rest}" if both else spec

    # What was found before

    def _path(self, question: _Question) -> Path:
        facts = [FORMAT, platform_name(), *question.sources, "", *question.specs, question.python, str(question.when)]
        return self._place / "kept" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]}.json"

    def _kept(self, question: _Question) -> tuple[CondaPackage, ...] | None:
        try:
            return tuple(_package(facts) for facts in json.loads(self._path(question).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    # Solving

    def _solved(self, question: _Question, report: Report) -> tuple[CondaPackage, ...]:
        subdirs = (_SUBDIRS.get(platform_name(), "linux-64"), "noarch")
        files = [
            (source, subdir, self._repodata.file(source, subdir, question.when, report))
            for source in question.sources
            for subdir in subdirs
        ]
        present = [(source, subdir, path) for source, subdir, path in files if path is not None]
        specs = [*question.specs, *KERNEL]
        try:
            records = _solve(present, [*specs, f"python {question.python}.*"], question)
        except LockError:
            # The Python to begin with is ours, as on mybinder.org: the solver may move it as far as the file allows.
            records = _solve(present, [*specs, "python"], question)
        found = [_of_record(record) for record in records]
        return tuple(sorted(found, key=lambda package: package.name))


def _solve(files: Sequence[tuple[str, str, Path]], specs: list[str], question: _Question) -> list[RepoDataRecord]:
    import asyncio

    from rattler import Channel, SparseRepoData, VirtualPackage, solve_with_sparse_repodata

    async def run() -> list[RepoDataRecord]:
        lists = [SparseRepoData(Channel(source), subdir, path) for source, subdir, path in files]
        return await solve_with_sparse_repodata(
            specs,
            lists,
            virtual_packages=VirtualPackage.detect(),
            exclude_newer=question.when,
            # Packages without a time are of the years before 2018, when conda-build began to write it.
            timestamp_policy="allow-missing",
        )

    try:
        return asyncio.run(run())
    except Exception as error:
        raise LockError(
            f"The conda packages of environment.yml cannot be had together as of {question.when:%Y-%m-%d}.",
            detail=str(error),
            remedy="Loosen the versions, add a channel, or choose a later date with --as-of.",
        ) from error


def _of_record(record: RepoDataRecord) -> CondaPackage:
    sha256 = record.sha256.hex() if record.sha256 else ""
    name, file = record.name.normalized, str(record.url).rpartition("/")[2]
    if not _SHA256.fullmatch(sha256) or not _FILENAME.fullmatch(file):
        raise LockError(f"The channel gives no sha256 for the conda package {name} ({record.version}).")
    return CondaPackage(
        name=name,
        version=str(record.version),
        build=str(record.build),
        subdir=record.subdir,
        url=str(record.url),
        sha256=sha256,
        md5=record.md5.hex() if record.md5 else "",
        size=record.size,
        uploaded=record.timestamp,
    )


def _plain(package: CondaPackage) -> dict[str, object]:
    return asdict(package) | {"uploaded": package.uploaded.isoformat() if package.uploaded else None}


def _package(facts: dict[str, str | None]) -> CondaPackage:
    uploaded = facts["uploaded"]
    known: dict[str, object] = dict(facts) | {"uploaded": datetime.fromisoformat(uploaded) if uploaded else None}
    return CondaPackage(**known)  # type: ignore[arg-type]


def channel_hosts(channels_url: str) -> frozenset[str]:
    """The host of the channels with its port: whoever runs this installation has chosen it."""
    return frozenset({urlsplit(channels_url).netloc.rpartition("@")[2]})


# The pip: list


def pip_plan(plan: Plan, packages: tuple[CondaPackage, ...], *, bound: bool = True) -> Plan | None:
    """The plan of the `pip:` list alone, on the Python that was solved; None if there is nothing of it to resolve.

    `bound`: conda's packages keep their versions, where an index knows them under the same name.
    """
    if not plan.requirements.lines and not plan.requirements.local:
        return None
    minor = ".".join(python_version(packages).split(".")[:2])
    limits = tuple(_constraints(packages)) if bound else ()
    requirements = replace(plan.requirements, constraints=(*plan.requirements.constraints, *limits))
    need = replace(plan.python, version=minor, requires="")
    return replace(plan, python=need, requirements=requirements)


def _constraints(packages: tuple[CondaPackage, ...]) -> list[str]:
    found = []
    for package in packages:
        try:
            found.append(f"{canonicalize_name(package.name)}=={Version(package.version)}")
        except InvalidVersion:
            continue
    return [each for each in found if not each.startswith("python==")]


def beside(packages: tuple[Package, ...], conda: tuple[CondaPackage, ...]) -> tuple[Package, ...]:
    """What pip would install: not what conda has in the same version already."""
    there = {canonicalize_name(package.name): package.version for package in conda}
    return tuple(package for package in packages if there.get(canonicalize_name(package.name)) != package.version)


def python_version(packages: tuple[CondaPackage, ...]) -> str:
    """Raises LockError."""
    found = next((package.version for package in packages if package.name == "python"), None)
    if found is None or not re.fullmatch(r"\d+\.\d+(\.\d+)?", found):
        raise LockError(f"The conda packages hold no Python that can be used ({found}).")
    return found


def conda_only(packages: tuple[CondaPackage, ...], when: datetime) -> LockedPlan:
    """The lock of conda packages without a `pip:` list."""
    return LockedPlan(python_version(packages), (), when, platform=platform_name(), conda=packages)
