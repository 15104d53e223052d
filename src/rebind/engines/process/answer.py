"""Waits for the first answer of a session's server."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def wait_for_answer(path: Path, url: str, timeout: float) -> bool:
    """Whether anything answers a GET; False when the server goes away instead. Raises TimeoutError.

    The socket listens from the start, so that one request waits for as long as it takes.
    """
    connection = UnixConnection(path, timeout)
    try:
        connection.request("GET", url)
        connection.getresponse().read()
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
