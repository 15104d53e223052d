"""The first process of a sandbox: starts the command, reaps, forwards signals, carries the network, watches its owner.

When it ends, the kernel ends everything else inside; so ending the sandbox is ending this process, and nothing more.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass

from rebind.sandbox import syscalls
from rebind.sandbox.relay import Relay

_SYNCHRONOUS = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}
_TO_GROUP = {signal.SIGINT, signal.SIGQUIT}  # what a terminal sends to all of its foreground


def catchable() -> set[int]:
    """Signals that are passed on: all that can be caught and do not tell of the receiver's own fault or children."""
    names = {"SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE"} | _SYNCHRONOUS
    kept = {getattr(signal, name) for name in names if hasattr(signal, name)}
    return {int(each) for each in signal.valid_signals()} - kept


@dataclass(frozen=True)
class Wiring:
    """Descriptors of the first process and of what it starts."""

    lifeline: int | None = None
    """Reading end of a pipe; when the other end is gone, everything ends."""
    held: frozenset[int] = frozenset()
    """Kept open for as long as the sandbox lives, out of reach of the command: locks."""
    passed: frozenset[int] = frozenset()
    """Open in the command, not here."""


def live(serve: Callable[[], int], wiring: Wiring, relay: Relay | None, poll: select.poll, started: int) -> int:
    """Runs `serve` in a child with a session of its own and returns its exit code (128 + n for a signal).

    `started` is closed once the child runs.
    """
    gc.disable()  # a collection would touch, and so copy, every page shared with the warm parent
    heard, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (*catchable(), signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # no process inside may trace this one or take its descriptors
    child = os.fork()
    if child == 0:
        _serve(serve, wiring)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.write(started, b"1")
    syscalls.close_all_but(_mine(wiring, relay, heard, tell))
    poll.register(heard, select.POLLIN)
    if wiring.lifeline is not None:
        poll.register(wiring.lifeline, select.POLLIN)
    return _watch(child, heard, wiring.lifeline, relay, poll)


def _mine(wiring: Wiring, relay: Relay | None, *more: int) -> set[int]:
    kept = {0, 1, 2, *wiring.held, *more}
    if wiring.lifeline is not None:
        kept.add(wiring.lifeline)
    return kept | (relay.descriptors() if relay else set())


def _serve(serve: Callable[[], int], wiring: Wiring) -> None:
    code = 1
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        _volunteer()
        signal.set_wakeup_fd(-1)
        for number in (*catchable(), signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is an error, not a death
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        syscalls.close_all_but({0, 1, 2, *wiring.passed})
        gc.enable()
        code = serve()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code & 0xFF)


def _volunteer() -> None:
    """When the machine runs out of memory, strangers' code goes first, not the hub."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _watch(child: int, heard: int, lifeline: int | None, relay: Relay | None, poll: select.poll) -> int:
    while True:
        for descriptor, events in poll.poll():
            if descriptor == heard:
                code = _answer(os.read(heard, 4096), child)
                if code is not None:
                    return code
            elif descriptor == lifeline:
                return 128 + signal.SIGKILL
            elif relay is not None:
                relay.handle(descriptor, events)


def _answer(signals: bytes, child: int) -> int | None:
    for number in signals:
        if number == signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        else:
            pass_on(number, child)
    return None


def _reap(child: int) -> int | None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == child:
            return exit_code(status)
        if pid == 0:
            return None


def exit_code(status: int) -> int:
    """As a shell says it: 128 + n for a process that signal n ended."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def pass_on(number: int, pid: int) -> None:
    try:
        if number in _TO_GROUP:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass
