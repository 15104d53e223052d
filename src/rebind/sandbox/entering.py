"""Entering a sandbox from inside a process: the form that warm sessions use, and that `run` starts in a fresh one."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection

from rebind.errors import SandboxError
from rebind.sandbox import privileges, syscalls
from rebind.sandbox.init import Wiring, catchable, exit_code, live
from rebind.sandbox.mounts import Confinement, Overlay
from rebind.sandbox.relay import Relay
from rebind.sandbox.root import build_root
from rebind.sandbox.sources import open_sources
from rebind.values import UID


def enter(
    confinement: Confinement,
    sources: list[int] | None,
    serve: Callable[[], int],
    *,
    lifeline: int | None = None,
    keep_fds: Collection[int] = (),
    pass_fds: Collection[int] = (),
    grouped: bool = False,
    with_parent: bool = False,
) -> int:
    """Starts `serve` in a new sandbox and returns the pid of the sandbox's first process, as this machine counts.

    The caller is a single-threaded process that already runs as the sandbox's user (`privileges.become`). `sources`
    are the descriptors of `open_sources`, made as root, or None for an ordinary user. The first process holds
    `keep_fds` (locks) and ends with `lifeline`; `serve` gets 0, 1, 2 and `pass_fds`, and `os.environ` is the
    confinement's. With `with_parent` everything ends with the caller. `grouped`: a control group holds the memory.
    The caller has new namespaces afterwards (all but mounts) and is good only for waiting (`follow`) or ending.
    Raises SandboxError if the machine does not allow it, or if a file of the confinement cannot be had.
    """
    if os.geteuid() == 0:
        raise SandboxError("A sandbox is not entered as root.", remedy="Call privileges.become() first.")
    wiring = Wiring(lifeline, frozenset(keep_fds), frozenset(pass_fds))
    privileges.unshare_all(0 if confinement.as_root else UID)
    heard, tell = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        _first(confinement, sources, serve, wiring, tell, grouped, parent if with_parent else None)
    os.close(tell)
    try:
        _await(heard, pid)
    finally:
        os.close(heard)
    return pid


def _await(heard: int, pid: int) -> None:
    """Waits until the first process has made everything; raises what it says otherwise."""
    said = b""
    while data := os.read(heard, 4096):
        said += data
    if said == b"1":
        return
    os.waitpid(pid, 0)
    message, _, remedy = said.decode(errors="replace").partition("\0")
    raise SandboxError(message or "The sandbox died while it was made.", remedy=remedy)


def _first(
    confinement: Confinement,
    sources: list[int] | None,
    serve: Callable[[], int],
    wiring: Wiring,
    tell: int,
    grouped: bool,
    parent: int | None,
) -> None:
    """The first process; never returns."""
    code = 1
    try:
        if parent is not None:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() not in (0, parent):  # 0: the parent is outside of our process namespace
                os._exit(1)
        poll = select.poll()
        relay = _confine(confinement, sources, wiring, tell, grouped, poll)
        code = live(serve, wiring, relay, poll, tell)
    except BaseException as error:
        _tell(tell, error)
    finally:
        os._exit(code & 0xFF)


def _confine(
    confinement: Confinement,
    sources: list[int] | None,
    wiring: Wiring,
    tell: int,
    grouped: bool,
    poll: select.poll,
) -> Relay | None:
    kept = {0, 1, 2, tell, *wiring.held, *wiring.passed, *(sources or ())}
    syscalls.close_all_but(kept if wiring.lifeline is None else kept | {wiring.lifeline})
    syscalls.unshare(syscalls.CLONE_NEWNS)
    trees = open_sources(confinement, inside=True) if sources is None else sources
    os.umask(0o022)
    build_root(confinement, iter(trees))
    syscalls.set_hostname(_hostname(confinement.name))
    privileges.start_loopback()
    relay = None
    if confinement.egress is not None:
        relay = Relay(poll, trees[-1], confinement.egress.name)
        relay.start()
    _replace_environment(confinement)
    on_disk = any(isinstance(mount, Overlay) and mount.upper for mount in confinement.mounts)
    privileges.set_limits(confinement.limits, grouped=grouped, on_disk=on_disk)
    privileges.confine_thread(as_root=confinement.as_root)
    return relay


def _hostname(name: str) -> str:
    kept = "".join(each if each.isascii() and (each.isalnum() or each == "-") else "-" for each in name)
    return kept.strip("-")[:60] or "rebind"


def _replace_environment(confinement: Confinement) -> None:
    """The variables that this process was started with stay readable in /proc/<pid>/environ; they are wiped."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, proc(5) fields 50 and 51
    os.environ.clear()
    if 0 < start < end:
        syscalls.zero_memory(start, end - start)
    os.environ.update(confinement.environment())


def _tell(tell: int, error: BaseException) -> None:
    if isinstance(error, OSError) and not isinstance(error, SandboxError):
        place = f" ({error.filename})" if error.filename else ""
        error = SandboxError(f"The sandbox could not be made: {error.strerror or error}{place}.")
    remedy = error.remedy if isinstance(error, SandboxError) else ""
    os.write(tell, f"{error}\0{remedy}".encode()[:4000])


def follow(pid: int) -> int:
    """Waits for the first process, passing on every signal that can be caught; returns the exit code.

    Signals that came before may have been blocked by the caller; they are let in now.
    """
    for number in catchable():
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        try:
            _, status = os.waitpid(pid, 0)
        except InterruptedError:
            continue
        return exit_code(status)
