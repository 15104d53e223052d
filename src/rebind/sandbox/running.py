"""`run`: one command in a sandbox of its own, from any thread of any program."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rebind.errors import DeadlineError, SandboxError
from rebind.sandbox.limits import Group
from rebind.sandbox.mounts import Confinement
from rebind.sandbox.order import Order
from rebind.sandbox.scratch import scratch

_STARTER = Path(__file__).with_name("starter.py")
_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_LONGEST = 1 << 16
"""A line longer than this is cut into several."""

OnLine = Callable[[str], None]


def run(
    confinement: Confinement,
    argv: Sequence[str],
    *,
    on_line: OnLine | None = None,
    timeout: float | None = None,
    keep_fds: Sequence[int] = (),
    pass_fds: Sequence[int] = (),
) -> int:
    """Runs a command in a sandbox and returns its exit code: 128 + n for signal n, 127 not found, 126 not runnable.

    `on_line` gets each line of stdout and stderr, without its end, in the calling thread, and stdin is empty; with None
    the three are the caller's own. `keep_fds` (locks) stay open as long as the sandbox lives, out of the command's
    reach; `pass_fds` are open in the command. Everything inside ends with the call, and with the caller.
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and 2 go to the command if the caller is the main thread and `on_line` is
    None; else Ctrl-C ends the sandbox. Raises SandboxError (not allowed here), DeadlineError after `timeout` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with Group.make(confinement.name, confinement.limits) as group, scratch(confinement) as scratched:
        order = Order(scratched, tuple(argv), tuple(keep_fds), tuple(pass_fds))
        child = _Child(order, piped=on_line is not None)
        try:
            if on_line is not None:
                child.start(group)
                child.read(on_line, deadline)
                return child.wait(deadline)
            with _forwarding(child):
                child.start(group)
                return child.wait(deadline)
        finally:
            child.stop()


class _Child:
    """The starter process and the pipes to it. `stop` ends everything inside."""

    def __init__(self, order: Order, *, piped: bool) -> None:
        self._order = order
        self._piped = piped
        self._lifeline: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._made = False
        self._early: list[int] = []

    def start(self, group: Group) -> None:
        spec, tell_spec = os.pipe()
        status, tell_status = os.pipe()
        lifeline, self._lifeline = os.pipe()
        with open(status, "rb") as answer, open(tell_spec, "wb") as said:
            try:
                self._process = self._spawn(spec, tell_status, lifeline)
            finally:
                for theirs in (spec, tell_status, lifeline):
                    os.close(theirs)
            group.add(self._process.pid)
            with contextlib.suppress(BrokenPipeError):
                pickle.dump(replace(self._order, grouped=group.holds_memory), said)
                said.close()
            heard = answer.read()
        if heard != b"1":
            message, _, remedy = heard.decode(errors="replace").partition("\0")
            raise SandboxError(message or "The sandbox died while it was made.", remedy=remedy)
        self._made = True
        for number in self._early:
            self.send(number)

    def _spawn(self, *descriptors: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_STARTER), *map(str, descriptors)],
            stdin=subprocess.DEVNULL if self._piped else None,
            stdout=subprocess.PIPE if self._piped else None,
            stderr=subprocess.STDOUT if self._piped else None,
            pass_fds=(*descriptors, *self._order.keep_fds, *self._order.pass_fds),
            env={},
            cwd="/",
            # A terminal's Ctrl-C reaches the caller alone, which passes it on once.
            start_new_session=True,
        )

    def read(self, on_line: OnLine, deadline: float | None) -> None:
        """Gives all lines until the last process inside has closed the pipe."""
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            rest = b""
            while data := _read(stream.fileno(), deadline):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    on_line(_text(line))
                while len(rest) > _LONGEST:
                    on_line(_text(rest[:_LONGEST]))
                    rest = rest[_LONGEST:]
            if rest:
                on_line(_text(rest))

    def wait(self, deadline: float | None) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise DeadlineError("The command took longer than it may.") from None
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Passes a signal on; one that comes before the sandbox is made waits until it is."""
        if self._process is None or not self._made:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def stop(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process is None:
            return
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its child, the first process inside, dies with it
            self._process.wait()


def _read(descriptor: int, deadline: float | None) -> bytes:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(None if deadline is None else max(0, deadline - time.monotonic()) * 1000):
        raise DeadlineError("The command took longer than it may.")
    return os.read(descriptor, 1 << 16)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


@contextlib.contextmanager
def _forwarding(child: _Child) -> Iterator[None]:
    """Signals of the caller go to the command meanwhile; only a main thread can have it so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, frame: FrameType | None) -> None:
        child.send(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
