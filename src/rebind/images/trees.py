"""Directory trees of this machine -> entries of a layer, in an order that does not depend on the machine.

The trees of a repository are a stranger's: links are never followed, set-uid bits and special files do not come along.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rebind.images.tar import FILE, FOLDER, LINK, Entry

_OPAQUE = "user.overlay.opaque"
WHITEOUT = ".wh."
OPAQUE_MARK = ".wh..wh..opq"

Choose = Callable[[str, os.stat_result], bool]
"""Whether an entry, by its path below the tree, belongs to the layer; a folder that does not is not entered."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree lies in the image, and to whom it belongs there."""

    path: str
    """Relative to the root, '' for the root itself."""
    owner: int = 0


def everything(path: str, facts: os.stat_result) -> bool:
    return True


def entries(root: Path, place: Place, choose: Choose = everything) -> Iterator[Entry]:
    """The tree at `root`, itself included, sorted by name; whiteouts of an overlay become those of OCI layers."""
    yield Entry(place.path, FOLDER, stat.S_IMODE(root.stat().st_mode) & 0o1777, place.owner, place.owner)
    yield from _below(str(root), "", place, choose)


def _below(root: str, folder: str, place: Place, choose: Choose) -> Iterator[Entry]:
    here = f"{root}/{folder}" if folder else root
    if _opaque(here):
        yield _marker(place, f"{folder}/{OPAQUE_MARK}".lstrip("/"))
    for name in sorted(os.listdir(here), key=os.fsencode):  # noqa: PTH208
        path = f"{folder}/{name}" if folder else name
        facts = os.lstat(f"{root}/{path}")
        if not choose(path, facts):
            continue
        if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
            yield _marker(place, f"{folder}/{WHITEOUT}{name}".lstrip("/"))
            continue
        if name.startswith(WHITEOUT):
            continue  # would remove its neighbour in the image
        entry = _entry(f"{root}/{path}", path, facts, place)
        if entry is not None:
            yield entry
        if stat.S_ISDIR(facts.st_mode):
            yield from _below(root, path, place, choose)


def _entry(source: str, path: str, facts: os.stat_result, place: Place) -> Entry | None:
    name = f"{place.path}/{path}".lstrip("/")
    mode = stat.S_IMODE(facts.st_mode) & 0o1777
    owner = place.owner
    if stat.S_ISREG(facts.st_mode):
        return Entry(name, FILE, mode, owner, owner, source=source, size=facts.st_size)
    if stat.S_ISDIR(facts.st_mode):
        return Entry(name, FOLDER, mode, owner, owner)
    if stat.S_ISLNK(facts.st_mode):
        return Entry(name, LINK, 0o777, owner, owner, target=os.readlink(source))  # noqa: PTH115
    return None


def _marker(place: Place, path: str) -> Entry:
    return Entry(f"{place.path}/{path}".lstrip("/"), FILE, 0o644, place.owner, place.owner)


def _opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError:
        return False


def above(path: str, owner: int) -> list[Entry]:
    """The folders on the way to a path, the topmost first."""
    parts = path.split("/")
    return [Entry("/".join(parts[:count]), FOLDER, 0o755, owner, owner) for count in range(1, len(parts))]
