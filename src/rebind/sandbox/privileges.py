"""Giving up rights: the user, namespaces, capabilities, limits of the kernel's own. None of it can be taken back."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import struct

from rebind.errors import SandboxError
from rebind.sandbox import seccomp, syscalls
from rebind.values import UID, Limits

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_REMEDIES = {
    "apparmor": "Allow them with `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give rebind's Python "
    "an AppArmor profile with `userns,`.",
    "sysctl": "Allow them with `sudo sysctl kernel.unprivileged_userns_clone=1`.",
    "count": "Allow them with `sudo sysctl user.max_user_namespaces=10000`.",
    "": "In a container, allow user namespaces (for Docker: `--security-opt seccomp=unconfined "
    "--security-opt systempaths=unconfined`); else look at `sysctl user.max_user_namespaces`.",
}


def become(owner: int) -> None:
    """From root to the sandbox's user, with no group and no way back; an ordinary user stays itself."""
    if os.geteuid() == 0:
        if owner == 0:
            raise SandboxError("A sandbox may not run as root.", remedy="Set a user id other than 0 for sandboxes.")
        os.setgroups([])
        os.setresgid(owner, owner, owner)
        os.setresuid(owner, owner, owner)
    # Without this the files below /proc/self belong to root, and the maps of the new namespace cannot be written.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def unshare_all(inside: int = UID) -> None:
    """New user, process, network, IPC, UTS and control group namespaces; mounts follow in the first process.

    Inside, the one user has the uid and gid `inside`. Raises SandboxError with the remedy if this machine does not
    allow it.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET
    flags |= syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
    try:
        syscalls.unshare(flags)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError) -> SandboxError:
    """What to tell when the kernel refuses a namespace or a mount."""
    return SandboxError(
        f"This machine does not allow the namespaces that a sandbox needs: {error.strerror}.",
        remedy=_REMEDIES[_cause()],
    )


def _cause() -> str:
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" and os.geteuid() != 0:
        return "apparmor"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "sysctl"
    return "count" if _sysctl("user/max_user_namespaces") == "0" else ""


def _sysctl(name: str) -> str | None:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return None


def start_loopback() -> None:
    """Brings up `lo`, the only interface of the new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def set_limits(limits: Limits, *, grouped: bool, on_disk: bool) -> None:
    """Limits that every process carries.

    `grouped`: a control group holds memory already. `on_disk`: some of what is written goes to a real disk, where only
    the size of single files can be bounded.

    RLIMIT_NPROC counts per user namespace (Linux 5.14), so that it bounds this one sandbox.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 1 << 16)
    _limit(resource.RLIMIT_MEMLOCK, 8 << 20)
    if limits.processes is not None:
        _limit(resource.RLIMIT_NPROC, limits.processes)
    if limits.disk is not None and on_disk:
        _limit(resource.RLIMIT_FSIZE, limits.disk)
    if limits.memory is not None and not grouped:
        _limit(resource.RLIMIT_DATA, limits.memory)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def confine_thread(*, as_root: bool = False) -> None:
    """No capability, no way to gain one, no dangerous system call: for this process and all that it starts.

    `as_root`: what needs root's rights over owners and users succeeds without effect.
    """
    syscalls.leave_keyring()
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(as_root=as_root)
