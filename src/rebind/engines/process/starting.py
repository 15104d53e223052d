"""One start of a session, between the engine and the session's keeper."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace

from rebind.engines.process.answer import wait_for_answer
from rebind.engines.process.order import Order, send_order
from rebind.engines.process.place import Place
from rebind.errors import SandboxError, SessionError
from rebind.sandbox import Group, open_sources, processes, send_sources
from rebind.values import Limits, Session

Facts = dict[str, str | int]
GRACE = 5.0
_PATIENCE = 60.0
"""For the keeper, whose work takes milliseconds on a quiet machine."""


class Keeper:
    """The engine's end of the channel to a keeper. Closing it before `go` ends the session unborn."""

    def __init__(self, channel: socket.socket) -> None:
        channel.settimeout(_PATIENCE)
        self._channel = channel
        self._lines = channel.makefile("rb")
        self.pid = 0

    def greet(self) -> None:
        """Hears its pid. Raises SessionError if it is dead."""
        self.pid = int(self.hear()["pid"])

    def close(self) -> None:
        self._lines.close()
        self._channel.close()

    def hear(self) -> Facts:
        """The next thing it says. Raises SessionError if it is dead, SandboxError if it says so."""
        try:
            line = self._lines.readline()
        except OSError:  # also in time
            line = b""
        if not line:
            raise SessionError("The session's keeper died.", remedy="Try again; the machine may be short of memory.")
        facts: Facts = json.loads(line)
        if "error" in facts:
            raise SandboxError(str(facts["error"]), remedy=str(facts["remedy"]))
        return facts

    def send(self, order: Order, descriptors: Sequence[int]) -> None:
        """The order and all that belongs to it."""
        try:
            send_order(self._channel, order)
            send_sources(self._channel, list(descriptors))
            trees = open_sources(order.confinement) if os.geteuid() == 0 else []
            try:
                send_sources(self._channel, trees)
            finally:
                for tree in trees:
                    os.close(tree)
        except BrokenPipeError:
            self.hear()

    def go(self) -> None:
        self._channel.sendall(b"g")


def enter(keeper: Keeper, place: Place, order: Order, limits: Limits, descriptors: Sequence[int], name: str) -> Session:
    """Has the sandbox made and writes the record; nothing of the repository runs yet.

    Raises SandboxError, SessionError; then everything is gone, the control group too.
    """
    group = Group.make(place.id, limits)
    try:
        group.add(keeper.pid)
        keeper.send(replace(order, grouped=group.holds_memory), descriptors)
        pid = int(keeper.hear()["first"])
        born = processes.born(pid)
        if born is None:
            raise SessionError("The session's first process died.", remedy="Try again.")
        session = Session(place.id, name, "process", place.socket_path, pid, born)
        place.write(session)
    except BaseException:
        keeper.close()
        group.remove()
        raise
    return session


def await_answer(keeper: Keeper, place: Place, session: Session, base_url: str, timeout: float) -> None:
    """Lets the session run and waits until its server answers. Raises SessionError; then everything is gone."""
    try:
        keeper.go()
        if not wait_for_answer(session.socket, f"{base_url}api", timeout):
            raise _failure(_how_it_ended(keeper), place)
    except TimeoutError:
        end(session)
        raise _failure(f"did not answer within {timeout:.0f} seconds", place) from None
    except BaseException:
        end(session)
        raise


def end(session: Session) -> None:
    processes.end(session.pid, session.born, GRACE)
    Group.of(session.id).remove()


def _how_it_ended(keeper: Keeper) -> str:
    code = int(keeper.hear()["ended"])
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{how} before it answered"


def _failure(what: str, place: Place) -> SessionError:
    remedy = "A `start` script, a file in ~/.jupyter or too little memory are common causes."
    return SessionError(f"The session's server {what}.", remedy=remedy, detail=place.last_lines())
