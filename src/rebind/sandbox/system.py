"""The host's programs with a layer of Debian packages over them: what of the layer goes where, read-only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from rebind.sandbox.mounts import Bind, Mount, Overlay, Symlink, Text, Tmpfs

_FOLDERS = ("etc", "opt", "var")
_OURS = ("/etc/rebind", "/opt/rebind")


def with_system(base: Sequence[Mount], system: Path) -> tuple[Mount, ...]:
    """`base` (of `base_mounts`) as it looks under the layer at `system`, which has `usr/`, `etc/`, `opt/`, `var/`.

    A folder of the host is seen through the layer's, a file is replaced; what only the layer has is added. Files that
    the sandbox itself writes (`Text`, as /etc/passwd) stay its own.
    """
    found: list[Mount] = []
    for mount in base:
        found.extend(_changed(mount, system))
    taken = {*_OURS, *(mount.target for mount in base)}
    above = {str(parent) for target in taken for parent in Path(target).parents}
    for name in _FOLDERS:
        found.extend(_added(system / name, f"/{name}", taken, above))
    return tuple(found)


def _changed(mount: Mount, system: Path) -> Iterator[Mount]:
    over = Path(f"{system}{mount.target}")
    kind = _kind(over) if _leads_to(over, system) else None
    if kind is None or isinstance(mount, Text | Tmpfs | Overlay):
        yield mount
    elif isinstance(mount, Bind) and stat.S_ISDIR(kind) and mount.source.is_dir():
        yield Overlay(mount.target, (over, mount.source), read_only=True)
    else:
        yield from _as_it_is(over, mount.target, kind)


def _leads_to(path: Path, top: Path) -> bool:
    """Whether there are only real folders on the way; a package's link there would lead into the host."""
    between = [parent for parent in path.parents if parent.is_relative_to(top) and parent != top]
    return all(stat.S_ISDIR(_kind(parent) or 0) for parent in between)


def _added(path: Path, target: str, taken: set[str], above: set[str]) -> Iterator[Mount]:
    kind = _kind(path)
    if kind is None or target in taken:
        return
    if target in above:
        for name in sorted(os.listdir(path)) if stat.S_ISDIR(kind) else []:  # noqa: PTH208
            yield from _added(path / name, f"{target}/{name}", taken, above)
    else:
        yield from _as_it_is(path, target, kind)


def _as_it_is(path: Path, target: str, kind: int) -> Iterator[Mount]:
    """Nothing for an overlay's mark that something was removed."""
    if stat.S_ISLNK(kind):
        yield Symlink(target, os.readlink(path))  # noqa: PTH115
    elif stat.S_ISDIR(kind) or stat.S_ISREG(kind):
        yield Bind(path, target)


def _kind(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except OSError:
        return None
