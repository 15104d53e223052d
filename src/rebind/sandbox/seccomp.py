"""The system calls that a sandbox may not make, as a BPF filter written by hand (seccomp(2)); no library needed.

A denylist: strangers' programs are anything, so what is refused is only what reaches beyond the sandbox or into rarely
watched parts of the kernel: mounts, new namespaces, keys, BPF, performance events, modules, io_uring and the like.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from rebind.sandbox import syscalls

# name: (x86_64, aarch64); None where the machine lacks it.
DENIED: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "sysfs": (139, None),
    "vhangup": (153, 58),
    "move_pages": (279, 239),
}
# Nothing happens and success is said: for package tools that act as root over a single user id (`as_root`).
PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setgroups": (116, 159),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
}
CLONE, CLONE3, IOCTL, SOCKET, PERSONALITY = (56, 220), (435, 435), (16, 29), (41, 198), (135, 92)
NAMESPACES = 0x0200_0000 | 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
TERMINAL_COMMANDS = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into somebody else's terminal
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Not AF_VSOCK: network namespaces do not hold it, it reaches the hypervisor.
FAMILIES = (1, 2, 10, 16)
PERSONALITIES = (0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF)  # 0x40000: debuggers turn address randomising off

AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, ARGUMENT = 0, 4, (16, 24)  # offsets in struct seccomp_data; low words, both machines are little-endian
ALLOW = 0x7FFF_0000


def _refuse(error: int) -> int:
    return 0x0005_0000 | error


Instruction = tuple[int, int, int, int]


def _ret(value: int) -> Instruction:
    return (RETURN, 0, 0, value)


def _one_of(number: int, argument: int, values: tuple[int, ...], found: int, other: int) -> list[Instruction]:
    """If the call is `number`: returns `found` when the low word of the argument is in `values`, else `other`."""
    tests = [(JUMP_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    body = [(LOAD, 0, 0, ARGUMENT[argument]), *tests, _ret(other), _ret(found)]
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def program(machine: str, *, as_root: bool = False) -> list[Instruction]:
    """The filter for `machine` (`x86_64` or `aarch64`); KeyError for another one."""
    at = ("x86_64", "aarch64").index(machine)
    denied, absent = _refuse(errno.EPERM), _refuse(errno.ENOSYS)
    # Programs of another word size have other numbers for the same calls: none may run.
    code: list[Instruction] = [(LOAD, 0, 0, ARCH), (JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]), _ret(absent)]
    code += [(LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code += [(JUMP_ABOVE, 0, 1, 0x4000_0000), _ret(absent)]  # the x32 numbers
    code += [(JUMP_EQUAL, 0, 1, CLONE3[at]), _ret(absent)]  # its flags are behind a pointer; libc falls back to clone
    answers = [(DENIED, denied)] + ([(PRETENDED, _refuse(0))] if as_root else [])
    for calls, answer in answers:
        for number in (numbers[at] for numbers in calls.values()):
            code += [(JUMP_EQUAL, 0, 1, number), _ret(answer)] if number is not None else []
    clone = [(LOAD, 0, 0, ARGUMENT[0]), (JUMP_BITS, 0, 1, NAMESPACES), _ret(denied), _ret(ALLOW)]
    code += [(JUMP_EQUAL, 0, len(clone), CLONE[at]), *clone]
    code += _one_of(IOCTL[at], 1, TERMINAL_COMMANDS, denied, ALLOW)
    code += _one_of(SOCKET[at], 0, FAMILIES, ALLOW, _refuse(errno.EAFNOSUPPORT))
    code += _one_of(PERSONALITY[at], 0, PERSONALITIES, ALLOW, denied)
    return [*code, _ret(ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(*, as_root: bool = False) -> None:
    """Puts the filter on this thread and all that it starts. Needs no_new_privs. OSError."""
    packed = b"".join(struct.pack("=HBBI", *each) for each in program(syscalls.MACHINE, as_root=as_root))
    syscalls.prctl_pointer(syscalls.PR_SET_SECCOMP, 2, _Program(len(packed) // 8, packed))
