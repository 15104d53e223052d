"""A plain HTTP GET over TCP or a Unix socket, cheap enough to be repeated until somebody answers."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Failed

_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server answers: a path for a Unix socket, else a port of this machine."""

    socket: Path | None = None
    port: int = 0


def status(place: Place, target: str) -> int:
    """The status code of `GET target`; the answer is read to its end. Raises OSError."""
    family = socket.AF_UNIX if place.socket else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(place.socket) if place.socket else ("127.0.0.1", place.port))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while block := connection.recv(65536):
            answer += block
    if not answer.startswith(b"HTTP/1."):
        raise ConnectionError(f"no HTTP answer: {answer[:40]!r}")
    return int(answer.split(b" ", 2)[1])


def until_ok(place: Place, target: str, patience: float = 180.0) -> None:
    """Asks until the answer is 200. Raises Failed if it never is."""
    last: object = None
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            last = status(place, target)
        except OSError as error:
            last = error
        if last == 200:
            return
        time.sleep(_PAUSE)
    raise Failed(f"GET {target.partition('?')[0]} gave no 200 in {patience:.0f} s, the last answer was {last}")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
