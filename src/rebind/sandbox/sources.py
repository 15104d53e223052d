"""The host's files that a sandbox sees, opened as detached mount trees before the privileges to reach them are gone."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import shutil
import socket
from pathlib import Path

from rebind.errors import SandboxError
from rebind.sandbox import syscalls
from rebind.sandbox.mounts import Bind, Confinement, Overlay

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_KERNEL = "Sandboxes need Linux 5.12 or newer."
_CHUNK = 200  # the kernel passes at most 253 descriptors in one message


def open_sources(confinement: Confinement, *, inside: bool = False) -> list[int]:
    """Opens all host files of a confinement, in the order in which `enter` takes them; close-on-exec descriptors.

    Needs CAP_SYS_ADMIN in the present mount namespace: call it as root, before dropping to the sandbox's user; an
    ordinary user leaves it to `enter` (`inside`). Makes the upper folders of overlays. Raises SandboxError naming the
    file.
    """
    trees: list[int] = []
    owner = None if inside or os.geteuid() != 0 else confinement.owner
    try:
        for mount in confinement.mounts:
            if isinstance(mount, Bind):
                trees.append(_open(mount.source, writable=mount.writable))
            elif isinstance(mount, Overlay):
                trees.extend(_open_overlay(mount, owner))
        trees.extend(_open(Path("/dev") / name, writable=True, device=True) for name in DEVICES)
        if confinement.egress is not None:
            trees.append(_open(confinement.egress.parent, writable=False))
    except BaseException:
        close(trees)
        raise
    return trees


def _open_overlay(mount: Overlay, owner: int | None) -> list[int]:
    found: list[int] = []
    try:
        found.extend(_open(lower, writable=False) for lower in mount.lowers)
        if mount.upper is not None:
            make_upper(mount.upper, owner)
            found.append(_open(mount.upper.parent, writable=True))
    except BaseException:
        close(found)
        raise
    return found


def work_name(upper: Path) -> str:
    """Name of the overlay's work folder, which must be on the same mount as the upper one."""
    return f"{upper.name}.work"


def make_upper(upper: Path, owner: int | None) -> None:
    """Makes the upper folder and its work folder, belonging to `owner`, None: to ourselves."""
    for path in (upper, upper.with_name(work_name(upper))):
        path.mkdir(parents=True, exist_ok=True)
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner, owner, follow_symlinks=False)


def remove_upper(upper: Path) -> None:
    """Removes the upper folder and its work folder, also those parts that their owner may not read. Nothing raises.

    The sandbox must have ended: links that appear meanwhile would be followed.
    """
    for path in (upper, upper.with_name(work_name(upper))):
        shutil.rmtree(path, ignore_errors=True)
        if path.is_dir():
            _open_up(path)
            shutil.rmtree(path, ignore_errors=True)


def _open_up(top: Path) -> None:
    with contextlib.suppress(OSError):
        top.chmod(0o700)
        for parent, folders, _ in os.walk(top):
            for name in folders:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)


def _open(path: Path, *, writable: bool, device: bool = False) -> int:
    attributes = syscalls.MOUNT_ATTR_NOSUID
    attributes |= 0 if device else syscalls.MOUNT_ATTR_NODEV
    attributes |= 0 if writable else syscalls.MOUNT_ATTR_RDONLY
    try:
        tree = syscalls.open_tree(str(path))
    except OSError as error:
        remedy = _KERNEL if error.errno == errno.ENOSYS else ""
        raise SandboxError(f"The sandbox cannot see {path}: {error.strerror}.", remedy=remedy) from error
    try:
        syscalls.restrict_tree(tree, attributes)
    except OSError as error:
        os.close(tree)
        raise SandboxError(f"{path} cannot be restricted: {error.strerror}.", remedy=_KERNEL) from error
    return tree


def close(trees: list[int]) -> None:
    for tree in trees:
        os.close(tree)


def send_sources(channel: socket.socket, trees: list[int]) -> None:
    """Sends the descriptors of `open_sources` over a Unix stream socket; the sender still closes its own."""
    channel.sendall(len(trees).to_bytes(4, "big"))
    for start in range(0, len(trees), _CHUNK):
        some = array.array("i", trees[start : start + _CHUNK])
        channel.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])


def receive_sources(channel: socket.socket) -> list[int]:
    """The other end of `send_sources`. Raises EOFError if the sender is gone."""
    head = channel.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        raise EOFError("the sender of the sources is gone")
    count, trees = int.from_bytes(head, "big"), list[int]()
    while len(trees) < count:
        wanted = min(_CHUNK, count - len(trees))
        data, some, _, _ = socket.recv_fds(channel, 1, wanted)
        if not data:
            raise EOFError("the sender of the sources is gone")
        trees.extend(some)
    for tree in trees:
        os.set_inheritable(tree, False)
    return trees
