"""Packages of an environment -> layers: each large one alone, the others in a few buckets by the hash of their name.

One layer per package hits the limit of 127 and is pulled half as quickly (findings B); this way another requirement
changes one layer, and repositories share all the others. A layer is keyed by the hashes of its wheels, which are what
was downloaded, never by their RECORD, which a stranger wrote.

Layout of the build store: `environments/<digest>/wheels` names the wheels in the order of their installation,
`wheels/<name>/manifest.json` their files, `wheels/<name>/tree/` holds them. A file of the environment with one link
only was written for the place (scripts, settings, kernels): it belongs to the frame.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rebind.images.tar import FILE, FOLDER, Entry
from rebind.images.trees import Place, above, entries
from rebind.values import APP_BASE, NB_PREFIX, UID, Environment

LARGE = 4 << 20
BUCKETS = 8
PREFIX = NB_PREFIX[1:]


@dataclass(frozen=True, slots=True)
class Wheel:
    """One unpacked wheel of the environment."""

    key: str
    """Its name in the store: the hash of the wheel and the Python it was compiled for."""
    name: str
    tree: Path
    files: dict[str, list[str]]
    """Folder -> names, relative to the prefix."""
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """The packages of one layer."""

    title: str
    wheels: tuple[Wheel, ...]
    without: frozenset[str]
    """Files that a package of another layer brings as well, and wins."""

    @property
    def key(self) -> list[object]:
        return ["packages", PREFIX, [wheel.key for wheel in self.wheels], sorted(self.without)]


def wheels(environment: Environment) -> list[Wheel]:
    """The wheels of an environment, in the order of their installation."""
    store = environment.path.parent.parent / "wheels"
    names = (environment.path / "wheels").read_text().split()
    return [_load(key, store / key) for key in names]


def _load(key: str, place: Path) -> Wheel:
    facts = json.loads((place / "manifest.json").read_bytes())
    name = re.sub(r"[-_.]+", "-", facts["name"]).lower()
    files: dict[str, list[str]] = facts["files"]
    size = sum(os.lstat(f"{place}/tree/{folder}/{file}").st_size for folder in files for file in files[folder])
    return Wheel(key, name, place / "tree", files, size)


def groups(found: Sequence[Wheel]) -> list[Group]:
    """The layers of packages: large ones by name, then the buckets. Where two bring a file, the later wheel wins."""
    winner = {
        f"{folder}/{name}": wheel.key for wheel in found for folder, names in wheel.files.items() for name in names
    }
    large = sorted((wheel for wheel in found if wheel.size >= LARGE), key=lambda wheel: (wheel.name, wheel.key))
    made = [_group(wheel.name, [wheel], winner) for wheel in large]
    for number in range(BUCKETS):
        small = [wheel for wheel in found if wheel.size < LARGE and bucket(wheel.name) == number]
        if small:
            ordered = sorted(small, key=lambda wheel: (wheel.name, wheel.key))
            made.append(_group(", ".join(wheel.name for wheel in ordered), ordered, winner))
    return made


def bucket(name: str) -> int:
    return hashlib.sha256(name.encode()).digest()[0] % BUCKETS


def _group(title: str, members: list[Wheel], winner: dict[str, str]) -> Group:
    lost = {
        f"{wheel.key} {folder}/{name}"
        for wheel in members
        for folder, names in wheel.files.items()
        for name in names
        if winner[f"{folder}/{name}"] != wheel.key
    }
    return Group(title, tuple(members), frozenset(lost))


def group_entries(group: Group) -> Iterator[Entry]:
    """The files of a layer of packages, folders first met first, sorted."""
    by_folder: dict[str, dict[str, str]] = {}
    for wheel in group.wheels:
        for folder, names in wheel.files.items():
            kept = [name for name in names if f"{wheel.key} {folder}/{name}" not in group.without]
            by_folder.setdefault(folder, {}).update({name: f"{wheel.tree}/{folder}/{name}" for name in kept})
    yield from above(PREFIX, UID)
    yield Entry(PREFIX, FOLDER, 0o755, UID, UID)
    made: set[str] = set()
    for folder in sorted(by_folder):
        for parent in [*_parents(folder), folder]:
            if parent not in made:
                made.add(parent)
                yield Entry(f"{PREFIX}/{parent}", FOLDER, 0o755, UID, UID)
        for name, source in sorted(by_folder[folder].items()):
            facts = os.lstat(source)
            path = f"{PREFIX}/{folder}/{name}"
            yield Entry(path, FILE, stat.S_IMODE(facts.st_mode), UID, UID, source=source, size=facts.st_size)


def _parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def frame_entries(environment: Environment, found: Sequence[Wheel]) -> Iterator[Entry]:
    """All of an environment that is not in a layer of packages."""
    owned = {
        f"{PREFIX[4:]}/{folder}/{name}" for wheel in found for folder, names in wheel.files.items() for name in names
    }

    def ours(path: str, facts: os.stat_result) -> bool:
        return stat.S_ISDIR(facts.st_mode) or facts.st_nlink == 1 or path not in owned

    yield from _without_empty(entries(environment.path / "srv", Place(APP_BASE[1:], UID), ours), owned)


def _without_empty(found: Iterator[Entry], owned: set[str]) -> Iterator[Entry]:
    """Leaves out folders that are only on the way to files of packages."""
    packaged = {folder for path in owned for folder in _parents(path)}
    waiting: list[Entry] = []
    for entry in found:
        if entry.kind == FOLDER:
            waiting = [each for each in waiting if entry.name.startswith(f"{each.name}/")]
            waiting.append(entry)
            if entry.name[4:] in packaged:
                continue
        else:
            waiting = [each for each in waiting if entry.name.startswith(f"{each.name}/")]
        yield from waiting
        if entry.kind != FOLDER:
            yield entry
        waiting = []
