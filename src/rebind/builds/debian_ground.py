"""The ground on which Debian packages are installed: what of this machine dpkg sees, so that it can write over it.

An ordinary user's sandbox may not write into folders of real root, but an overlay takes a folder's owner from its top:
so over /usr and dpkg's records lies a tree of empty folders that are ours. What is small and gets changed is copied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from rebind.builds.store import Store
from rebind.sandbox import Bind, Mount, Overlay, Symlink, Text, Tmpfs, base_mounts

DPKG = "/var/lib/dpkg"
_ETC = """
adduser.conf debconf.conf login.defs ucf.conf papersize skel xml sgml default/useradd passwd group init.d/README
"""
_VAR = """
cache/debconf/config.dat cache/debconf/templates.dat lib/ucf/hashfile lib/ucf/registry lib/sgml-base lib/xml-core
lib/python lib/pam lib/emacsen-common lib/ghostscript
"""
_VAR_FOLDERS = (
    "cache/ldconfig cache/man cache/apt/archives lib/misc lib/apt/lists lib/systemd log mail spool tmp backups"
)
_DPKG_FILES = ("status", "diversions", "statoverride", "arch", "cmethopt", "triggers", "alternatives")
_EMPTY = ("lock", "lock-frontend", "available", "triggers/Lock")
_EMPTIED = ("/tmp", "/var/tmp", "/var/log", "/run", "/dev/shm", "/root", "/home", "/mnt", "/media")


def shared() -> tuple[str, ...]:
    """The host's folders that sandboxes see and packages write to: /usr, dpkg's records, a few others of /var."""
    seen = (mount.target for mount in base_mounts() if isinstance(mount, Bind))
    return ("/usr", *(target for target in seen if target.startswith("/var/") and Path(target).is_dir()))


def part(target: str) -> str:
    """The name of the folder below `upper` that has the changes of one of them."""
    return target[1:].replace("/", "-")


def make_folders(work: Path, owner: int | None) -> None:
    """All folders below `shared`, empty and ours, below `work`.

    They depend on the host's packages alone, so a machine needs one such tree.
    """
    for target in shared():
        _copy_folders(target, f"{work}{target}", owner)


def make_copies(work: Path, owner: int | None) -> None:
    """`work`/etc, var and dpkg: small parts of the host's, to be changed at will. Only what all may read."""
    etc, var = work / "etc", work / "var"
    for mount in base_mounts():
        if mount.target.startswith("/etc/"):
            place = work / mount.target[1:]
            if isinstance(mount, Bind):
                _copy(mount.source, place)
            elif isinstance(mount, Text):
                _write(place, mount.content)
            elif isinstance(mount, Symlink) and not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(mount.to)
    for name in _ETC.split():
        _copy(Path("/etc", name), etc / name)
    _write(etc / "shadow", _locked(etc / "passwd"))
    _write(etc / "gshadow", "")
    for name in _VAR.split():
        _copy(Path("/var", name), var / name)
    for name in _VAR_FOLDERS.split():
        (var / name).mkdir(parents=True, exist_ok=True)
    for name in _DPKG_FILES:
        _copy(Path(DPKG, name), work / "dpkg" / name)
    for name in _EMPTY:
        _write(work / "dpkg" / name, "")
    _write(work / "usr/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")  # no service is started
    (work / "usr/usr/sbin/policy-rc.d").chmod(0o755)
    give(work, owner)


def mounts(folders: Path, copies: Path, replaced: Path, upper: Path) -> tuple[Mount, ...]:
    """The file system in which dpkg writes: changes of /etc, /opt, /var and all of `shared` go below `upper`."""
    links = [mount for mount in base_mounts() if isinstance(mount, Symlink) and mount.target.count("/") == 1]
    over = {"/usr": (replaced / "usr", copies / "usr/usr"), DPKG: (copies / "dpkg",)}

    def writable(target: str) -> Overlay:
        lowers = (*over.get(target, ()), Path(f"{folders}{target}"), Path(target))
        return Overlay(target, lowers, upper / part(target))

    return (
        Overlay("/etc", (copies / "etc",), upper / "etc"),
        Overlay("/var", (copies / "var",), upper / "var"),
        Overlay("/opt", (), upper / "opt"),
        *(writable(target) for target in shared()),
        *links,
        *(Tmpfs(each) for each in _EMPTIED),
    )


def give(top: Path, owner: int | None) -> None:
    """All of a tree of ours to the sandbox's user."""
    if owner is None:
        return
    for place, folders, files in os.walk(top):
        for name in ("", *folders, *files):
            os.chown(os.path.join(place, name), owner, owner, follow_symlinks=False)  # noqa: PTH118


def ready_folders(store: Store, kind: str, digest: str) -> Path:
    """The tree of `make_folders` from the store, made at first use and leased."""
    while not (place := store.lease(kind, digest)):
        with store.making(kind, digest) as making:
            if not making.found:
                make_folders(making.work, store.owner)
                making.keep()
    return place


def _copy_folders(source: str, target: str, owner: int | None) -> None:
    """`target` lies in `owner`'s own folder, or in that of a store that nobody else may enter."""
    waiting = [(source, target)]
    while waiting:
        source, target = waiting.pop()
        _make(target, owner)
        with contextlib.suppress(OSError), os.scandir(source) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{target}/{entry.name}"))


def _make(path: str, owner: int | None) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)  # noqa: PTH103
    if owner is not None:
        os.chown(path, owner, owner)


def _copy(source: Path, target: Path) -> None:
    """A file or tree of the host as far as everybody may read it; links as they are."""
    try:
        facts = source.lstat()
    except OSError:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if stat.S_ISLNK(facts.st_mode):
            target.symlink_to(source.readlink())
        elif stat.S_ISREG(facts.st_mode) and facts.st_mode & stat.S_IROTH:
            shutil.copyfile(source, target, follow_symlinks=False)
            target.chmod(stat.S_IMODE(facts.st_mode) & 0o755 | 0o600)
        elif stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_IROTH:
            target.mkdir(exist_ok=True)
            for entry in source.iterdir():
                _copy(entry, target / entry.name)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)


def _locked(passwd: Path) -> str:
    """Users without passwords, in the form of /etc/shadow; the host's own is nobody's business."""
    names = [line.partition(":")[0] for line in passwd.read_text().splitlines() if ":" in line]
    return "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names)
