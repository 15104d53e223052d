"""The keeper of a session: enters the sandbox, carries the session's output to its log, reaps it. One per session.

It is forked from the warm parent, or is a small fresh process (`fresh`). It stays outside of the sandbox, so that the
log is bounded by somebody whom the session's code cannot reach; it ends with the session, and the session with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from rebind.engines.process.order import Order, receive_order
from rebind.errors import SandboxError
from rebind.sandbox import enter, receive_sources

LOG_LIMIT = 2 << 20
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

Serve = Callable[[Order, int, int], int]
"""Serves the order on a listening descriptor, in the sandbox; the second one is where a rehearsal tells its modules."""


@dataclass(frozen=True)
class _Descriptors:
    listener: int
    log: int
    lifeline: int | None
    locks: tuple[int, ...]


def keep(channel: socket.socket, serve: Serve) -> int:
    """The whole life of a keeper; returns its exit code."""
    gc.disable()  # a collection would touch, and so copy, the pages shared with the warm parent
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        _say(channel, pid=os.getpid())
        order = receive_order(channel)
        given = _receive_descriptors(channel, order)
        sources = receive_sources(channel) or None
    except (EOFError, OSError):
        return 1
    return _run(channel, serve, order, given, sources)


def _receive_descriptors(channel: socket.socket, order: Order) -> _Descriptors:
    listener, log, *more = receive_sources(channel)
    lifeline = more.pop(0) if order.bound else None
    return _Descriptors(listener, log, lifeline, tuple(more))


def _run(channel: socket.socket, serve: Serve, order: Order, given: _Descriptors, sources: list[int] | None) -> int:
    output, theirs = os.pipe()
    gate, open_gate = os.pipe()
    told, tell = os.pipe()
    for standard in (1, 2):
        os.dup2(theirs, standard)

    def serve_after_go() -> int:
        # The engine's record of this session is on the disk before anything of the repository runs.
        if os.read(gate, 1) != b"g":
            return 1
        os.close(gate)
        return serve(order, given.listener, tell)

    try:
        pid = enter(
            order.confinement,
            sources,
            serve_after_go,
            lifeline=given.lifeline,
            keep_fds=given.locks,
            pass_fds=(given.listener, gate, tell),
            grouped=order.grouped,
            with_parent=True,
        )
    except SandboxError as error:
        _say(channel, error=str(error), remedy=error.remedy)
        return 1
    _close(1, 2, theirs, gate, tell, given.listener, *given.locks)
    if given.lifeline is not None:
        os.close(given.lifeline)
    _say(channel, first=pid)
    _await_go(channel, open_gate)
    _carry(output, given.log)
    _, status = os.waitpid(pid, 0)
    _say(channel, ended=os.waitstatus_to_exitcode(status), modules=_read_all(told) if order.rehearsal else "")
    return 0


def _await_go(channel: socket.socket, open_gate: int) -> None:
    """With the engine gone instead, the gate closes unopened and the session ends."""
    with contextlib.suppress(OSError):
        if channel.recv(1) == b"g":
            os.write(open_gate, b"g")
    os.close(open_gate)


def _carry(output: int, log: int) -> None:
    """Until the last process of the session is gone. A full disk stops the log, never the session."""
    size = 0
    while data := os.read(output, 1 << 16):
        with contextlib.suppress(OSError):
            if size + len(data) > LOG_LIMIT:
                size = _shorten(log)
            size += os.write(log, data)


def _shorten(log: int) -> int:
    """Keeps the newer half; gives the new size. The log is open for appending."""
    rest = os.pread(log, LOG_LIMIT, LOG_LIMIT // 2).partition(b"\n")[2]
    os.ftruncate(log, 0)
    return os.write(log, b"[the beginning of this log was dropped]\n" + rest)


def _read_all(descriptor: int) -> str:
    with open(descriptor, "rb") as file:
        return file.read().decode()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _say(channel: socket.socket, **facts: int | str) -> None:
    with contextlib.suppress(OSError):  # the engine listens only until the session is up
        channel.sendall(json.dumps(facts).encode() + b"\n")
