"""What the installation of Debian packages wrote, made into a layer: nothing set-uid, no device, no one's accounts."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from rebind.builds.debian_ground import part, shared

# Of the sandbox itself in every session, or without use there.
_LEFT_OUT = """
etc/passwd etc/passwd- etc/group etc/group- etc/shadow etc/shadow- etc/gshadow etc/gshadow- etc/subuid etc/subuid-
etc/subgid etc/subgid- etc/hosts etc/nsswitch.conf etc/resolv.conf etc/hostname etc/mtab etc/.pwd.lock etc/machine-id
etc/shells etc/profile etc/ld.so.cache~ var/log var/tmp var/cache/debconf var/cache/apt var/cache/ldconfig
var/cache/man var/lib/apt var/lib/dpkg/lock var/lib/dpkg/lock-frontend var/lib/dpkg/available
var/lib/dpkg/status-old var/lib/dpkg/diversions-old var/lib/dpkg/statoverride-old var/lib/dpkg/updates
var/lib/dpkg/triggers/Lock var/lib/dpkg/tmp.ci var/backups usr/sbin/policy-rc.d
"""


def harvest(upper: Path, layer: Path) -> None:
    """Moves what is kept from `upper` (of `debian_ground.mounts`) to `layer`/usr, etc, opt and var."""
    for name in ("etc", "opt", "var"):
        tame(upper / name)
        (upper / name).rename(layer / name)
    for target in shared():
        tame(upper / part(target))
        place = _clear_way(layer, target)
        _remove(place, layer)  # where it was mounted
        (upper / part(target)).rename(place)
    for name in _LEFT_OUT.split():
        _remove(layer / name, layer)


def tame(top: Path) -> None:
    """No set-uid or set-gid bits, no devices, pipes and sockets (but the overlay's own marks of what was removed);
    every folder can be read by its owner. No link is followed."""
    waiting = [str(top)]
    while waiting:
        folder = waiting.pop()
        os.chmod(folder, stat.S_IMODE(os.lstat(folder).st_mode) & 0o1777 | 0o755)  # noqa: PTH101
        for entry in _entries(folder):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(mode):
                if mode & (stat.S_ISUID | stat.S_ISGID) or not mode & stat.S_IRUSR:
                    os.chmod(entry.path, stat.S_IMODE(mode) & 0o777 | 0o400)  # noqa: PTH101
            elif not stat.S_ISLNK(mode) and not is_mark(entry.path):
                os.unlink(entry.path)  # noqa: PTH108


def is_mark(path: str | Path) -> bool:
    """Whether an overlay hides what has this name below: its own mark, a character device 0/0 that opens nothing."""
    facts = os.lstat(path)
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0


def _clear_way(layer: Path, target: str) -> Path:
    """The place of `target` in the layer, below real folders: a package could have put links into the host's there."""
    place = layer
    for name in target[1:].split("/")[:-1]:
        place = place / name
        if place.is_symlink() or not place.is_dir():
            place.unlink(missing_ok=True)
            place.mkdir()
    return place / target.rpartition("/")[2]


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from list(entries)


def _remove(path: Path, top: Path) -> None:
    """Removes what is at `path`, unless a link on the way leads elsewhere."""
    if any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(top)):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
