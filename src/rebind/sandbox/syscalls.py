"""The kernel's calls that Python lacks, each raising OSError with the name of what failed. x86_64 and aarch64."""

from __future__ import annotations

import contextlib
import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAP_AMBIENT = 38, 22, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

MACHINE = os.uname().machine
# Calls of 2019 and later have one number on every machine.
OPEN_TREE, MOVE_MOUNT, CLOSE_RANGE, MOUNT_SETATTR = 428, 429, 436, 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(MACHINE, -1)
KEYCTL = {"x86_64": 250, "aarch64": 219}.get(MACHINE, -1)
CAPSET = {"x86_64": 126, "aarch64": 91}.get(MACHINE, -1)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_uint64]) -> int:
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *values), what)


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _check(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(options)),
        f"mounting {kind or source} on {target}",
    )


def unmount(target: str) -> None:
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmounting {target}")


def pivot_root(new: str, old: str) -> None:
    _syscall("pivot_root", PIVOT_ROOT, os.fsencode(new), os.fsencode(old))


def open_tree(path: str) -> int:
    """A detached copy of the mount tree at `path`, as a close-on-exec descriptor."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE
    return _syscall(f"opening {path}", OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)


def restrict_tree(tree: int, attributes: int) -> None:
    """Sets MOUNT_ATTR_* on a detached tree and all below it."""
    values = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    _syscall("mount_setattr", MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, values, ctypes.sizeof(values))


def attach_tree(tree: int, target: str) -> None:
    what = f"attaching to {target}"
    _syscall(what, MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)


def close_range(first: int, last: int) -> None:
    if first <= last:
        _syscall("close_range", CLOSE_RANGE, first, last, 0)


def close_all_but(keep: set[int]) -> None:
    """Closes every descriptor that is not in `keep`."""
    start = 0
    for number in sorted(keep):
        close_range(start, number - 1)
        start = number + 1
    close_range(start, 0x7FFF_FFFF)


def prctl(option: int, value: int = 0, other: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(other), zero, zero), f"prctl({option})")


def prctl_pointer(option: int, value: int, pointer: ctypes.Structure) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), ctypes.byref(pointer), zero, zero), f"prctl({option})")


def set_hostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), len(name.encode())), "sethostname")


def drop_capabilities() -> None:
    """Gives up every capability for good: bounding, ambient, and the three sets of this thread."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint64 * 1)(0x2008_0522)  # _LINUX_CAPABILITY_VERSION_3, pid 0 = this thread
    nothing = (ctypes.c_uint64 * 3)(0, 0, 0)
    _syscall("capset", CAPSET, header, nothing)


def leave_keyring() -> None:
    """Takes an empty session keyring instead of the owner's, if this kernel has keyrings."""
    with contextlib.suppress(OSError):
        _syscall("keyctl", KEYCTL, 1, 0)  # KEYCTL_JOIN_SESSION_KEYRING, nameless


def zero_memory(start: int, length: int) -> None:
    ctypes.memset(start, 0, length)


def locale_exists(name: str) -> bool:
    """Whether this machine has generated the locale."""
    newlocale, freelocale = _libc.newlocale, _libc.freelocale
    newlocale.restype, freelocale.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    found = newlocale(ctypes.c_int(0x1FBF), name.encode(), ctypes.c_void_p(0))
    if found:
        freelocale(found)
    return bool(found)
