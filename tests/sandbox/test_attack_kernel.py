"""Strangers' code against the kernel: system calls that would widen what it may do."""

from __future__ import annotations

import errno
import socket

import pytest
from sandbox_tools import Inside

from rebind.sandbox import seccomp, syscalls

CALL = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
for text in sys.argv[1:] or {calls!r}:
    result = libc.syscall(*(ctypes.c_long(value) for value in text))
    print(result if result >= 0 else -ctypes.get_errno())
"""
AT = ("x86_64", "aarch64").index(syscalls.MACHINE) if syscalls.MACHINE in ("x86_64", "aarch64") else 0


def results(inside: Inside, *calls: tuple[int, ...]) -> list[int]:
    return [int(line) for line in inside(CALL.format(calls=list(calls)), python=True).lines]


def test_every_denied_call_is_refused(inside: Inside) -> None:
    calls = [(numbers[AT], 0, 0, 0, 0, 0) for numbers in seccomp.DENIED.values() if numbers[AT] is not None]
    assert set(results(inside, *calls)) == {-errno.EPERM}  # type: ignore[arg-type]


def test_no_new_namespaces(inside: Inside) -> None:
    flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
    calls = [(seccomp.CLONE[AT], flag | 17 | high, 0, 0, 0, 0) for flag in flags for high in (0, 1 << 40)]
    assert set(results(inside, *calls)) == {-errno.EPERM}


def test_clone3_is_absent_so_that_libraries_fall_back(inside: Inside) -> None:
    assert results(inside, (435, 0, 0)) == [-errno.ENOSYS]


@pytest.mark.skipif(syscalls.MACHINE != "x86_64", reason="only x86_64 has a second set of numbers")
def test_the_other_numbers_of_a_call_are_refused(inside: Inside) -> None:
    assert results(inside, (0x40000000 | 165, 0, 0, 0, 0, 0), (0x40000000 | 39,)) == [-errno.ENOSYS] * 2


def test_programs_that_unshare_fail(inside: Inside) -> None:
    assert inside("unshare -r true").code != 0
    assert inside("unshare -n true").code != 0
    assert inside("nsenter -t 1 -m true").code != 0


def test_only_ordinary_sockets(inside: Inside) -> None:
    script = f"""
import socket
for family in ({int(socket.AF_PACKET)}, {int(socket.AF_ALG)}, {int(socket.AF_VSOCK)}, 31, 44):
    for kind in (1, 2, 3):
        try:
            socket.socket(family, kind); print("made", family)
        except OSError as error:
            print(error.errno)
"""
    assert set(inside(script, python=True).lines) == {str(errno.EAFNOSUPPORT)}


def test_no_raw_sockets(inside: Inside) -> None:
    script = """
import socket
for family, protocol in ((2, 1), (2, 255), (10, 58)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol); print("made")
    except OSError as error:
        print(error.errno)
"""
    assert set(inside(script, python=True).lines) == {str(errno.EPERM)}


def test_the_network_cannot_be_reconfigured(inside: Inside) -> None:
    assert inside("ip link add v type veth || ip addr add 10.9.9.9/8 dev lo || ip route add default dev lo").code != 0


def test_odd_personalities_are_refused(inside: Inside) -> None:
    number = seccomp.PERSONALITY[AT]
    assert results(inside, (number, 0xFFFFFFFF), (number, 0x0400000), (number, 0x1000000)) == [0, -1, -1]


def test_kernel_settings_cannot_be_written(inside: Inside) -> None:
    names = "sys/kernel/core_pattern sys/vm/overcommit_memory sys/net/ipv4/ip_forward sysrq-trigger"
    assert inside(f"for i in {names}; do (echo 1 > /proc/$i) && echo wrote $i; done 2>/dev/null; true").lines == []


def test_threads_and_processes_still_start(inside: Inside) -> None:
    script = """
import subprocess, threading, multiprocessing
thread = threading.Thread(target=print, args=("thread",), kwargs={"flush": True}); thread.start(); thread.join()
subprocess.run(["echo", "process"], check=True)
"""
    assert inside(script, python=True).lines == ["thread", "process"]


Outcome = tuple[str, int]


def decide(machine: str, number: int, *arguments: int, arch: int | None = None) -> Outcome:
    """Runs the filter as the kernel would."""
    words = {seccomp.NUMBER: number, seccomp.ARCH: seccomp.AUDIT_ARCH[machine] if arch is None else arch}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32
    code, at, accumulator = seccomp.program(machine), 0, 0
    while True:
        operation, true, false, value = code[at]
        at += 1
        if operation == seccomp.LOAD:
            accumulator = words[value]
        elif operation == seccomp.RETURN:
            return ("allow", 0) if value == seccomp.ALLOW else ("error", value & 0xFFFF)
        else:
            truth = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_ABOVE: accumulator >= value,
                seccomp.JUMP_BITS: bool(accumulator & value),
            }[operation]
            at += true if truth else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_each_machine(machine: str) -> None:
    at = ("x86_64", "aarch64").index(machine)
    for numbers in seccomp.DENIED.values():
        number = numbers[at]
        if number is not None:
            assert decide(machine, number) == ("error", errno.EPERM)
    assert decide(machine, seccomp.CLONE[at], 0x1200011) == ("allow", 0)  # fork
    assert decide(machine, seccomp.CLONE[at], 0x3D0F00) == ("allow", 0)  # a thread
    assert decide(machine, seccomp.CLONE[at], 0x10000011) == ("error", errno.EPERM)
    assert decide(machine, seccomp.IOCTL[at], 0, 0x5401) == ("allow", 0)
    assert decide(machine, seccomp.IOCTL[at], 0, 0x5412 | 1 << 32) == ("error", errno.EPERM)
    assert decide(machine, seccomp.SOCKET[at], 2) == ("allow", 0)
    assert decide(machine, seccomp.SOCKET[at], 40) == ("error", errno.EAFNOSUPPORT)
    assert decide(machine, seccomp.PERSONALITY[at], 0xFFFFFFFF) == ("allow", 0)
    assert decide(machine, 0) == ("allow", 0)
    assert decide(machine, 0, arch=0x40000003) == ("error", errno.ENOSYS)
