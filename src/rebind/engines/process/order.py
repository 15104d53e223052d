"""What the engine tells a session's keeper. Pickled: it only ever travels from the engine to its own children."""

from __future__ import annotations

import pickle
import socket
from dataclasses import dataclass, field

from rebind.sandbox import Confinement


@dataclass(frozen=True, slots=True)
class Serving:
    """How the notebook server is reached."""

    base_url: str
    token: str = field(repr=False)
    allow_origin: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """One session to be started. Descriptors travel beside it: listener, log, then the lifeline if there is one, then
    locks."""

    confinement: Confinement
    serving: Serving
    command: tuple[str, ...] = ()
    """Runs this, and carries connections to INNER_SOCKET; () serves in the process itself."""
    grouped: bool = False
    bound: bool = False
    rehearsal: bool = False
    """Say at the end which modules a session needs: see `WarmParent`."""


INNER_SOCKET = "/run/rebind-server.sock"
"""Where a server that was started as a command listens, inside its sandbox."""


def send_order(channel: socket.socket, order: Order) -> None:
    """Sends it over a Unix stream socket."""
    data = pickle.dumps(order)
    channel.sendall(len(data).to_bytes(4, "big") + data)


def receive_order(channel: socket.socket) -> Order:
    """The other end of `send_order`. Raises EOFError if the engine is gone."""
    size = int.from_bytes(_exactly(channel, 4), "big")
    order = pickle.loads(_exactly(channel, size))
    assert isinstance(order, Order)
    return order


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = channel.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError("the engine is gone")
    return data
