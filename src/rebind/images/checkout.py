"""A launch's layers -> entries of the image: home/ to the home directory, srv/ to /srv, usr/ and such to themselves."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rebind.images import git
from rebind.images.tar import FILE, Entry
from rebind.images.trees import Place, above, entries
from rebind.values import APP_BASE, REPO_DIR, UID, Layer

_THIS_MACHINES = {
    "etc/ld.so.cache",
    "var/lib/dpkg",
    "var/lib/apt",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/gshadow",
}
_UNCHECKED = b"\1\0\0\0" + bytes(8)  # PEP 552: a hash that nobody compares


def layer_entries(layer: Layer) -> Iterator[Entry]:
    """The files of a layer. Raises BuildError, OSError."""
    with tempfile.TemporaryDirectory(prefix="rebind-git-") as scratch:
        if (layer.path / "home").is_dir():
            yield from _home(layer.path / "home", Path(scratch))
    for part in ("etc", "opt", "usr", "var"):
        if (layer.path / part).is_dir():
            yield from _system(layer.path / part, part)
    if (layer.path / "srv").is_dir():
        for entry in entries(layer.path / "srv", Place(APP_BASE[1:], UID)):
            yield _timeless(entry)


def _home(home: Path, scratch: Path) -> Iterator[Entry]:
    place = REPO_DIR[1:]
    git_dirs = _git_dirs(home)

    def chosen(path: str, facts: os.stat_result) -> bool:
        # Times are fixed in a layer, so what was compiled for a source of another time is stale. It is not marked as
        # good for ever, as below /srv: people edit these sources.
        if stat.S_ISREG(facts.st_mode) and path.endswith(".pyc") and _timed(f"{home}/{path}"):
            return False
        inside = next((folder for folder in git_dirs if path.startswith(f"{folder}/")), None)
        return inside is None or not git.left_out(path[len(inside) + 1 :])

    found = list(entries(home, Place(place, UID), chosen))
    for number, folder in enumerate(git_dirs):
        out = scratch / str(number)
        out.mkdir()
        git.rewrite(home / folder, out)
        found += list(entries(out, Place(f"{place}/{folder}", UID)))[1:]
    unique = {entry.name: entry for entry in found}
    yield from above(place, 0)
    yield from sorted(unique.values(), key=lambda entry: entry.name.split("/"))


def _system(tree: Path, part: str) -> Iterator[Entry]:
    """Files of Debian packages. The records of what is installed stay the base's: those here tell of this machine."""

    def chosen(path: str, facts: os.stat_result) -> bool:
        return f"{part}/{path}" not in _THIS_MACHINES

    for entry in list(entries(tree, Place(part), chosen))[1:]:  # the folder itself is the base's
        yield _timeless(entry)


def _git_dirs(home: Path) -> list[str]:
    """`.git` and those of its submodules, at most two levels of `modules/`; longest first."""
    found = []
    waiting = [".git"]
    while waiting:
        folder = waiting.pop()
        path = home / folder
        if path.is_symlink() or not git.is_git_dir(path):
            continue
        found.append(folder)
        modules = path / "modules"
        if modules.is_dir() and not modules.is_symlink():
            for below, names, _ in os.walk(modules):
                if "HEAD" in os.listdir(below):  # noqa: PTH208
                    names.clear()
                    waiting.append(str(Path(below).relative_to(home)))
    return sorted(found, key=len, reverse=True)


def _timed(path: str) -> bool:
    """Whether a compiled file is valid for one time of its source only."""
    with open(path, "rb") as stream:
        return _is_timed(stream.read(16))


def _is_timed(start: bytes) -> bool:
    version = int.from_bytes(start[:2], "little")
    if version < 3390 or version > 20000:  # before Python 3.7 (and 2.7, whose numbers are large) there is no other way
        return True
    return start[4:8] == bytes(4)


def _timeless(entry: Entry) -> Entry:
    """A compiled file below /srv that is used whatever the time of its source."""
    if entry.kind != FILE or not entry.name.endswith(".pyc") or not entry.source:
        return entry
    data = Path(entry.source).read_bytes()
    if int.from_bytes(data[:2], "little") < 3390 or data[4:8] != bytes(4):
        return entry
    changed = data[:4] + _UNCHECKED + data[16:]
    return replace(entry, source="", content=changed, size=len(changed))
