"""The dated index: the upstream Python index as it was on a day (docs/design/dated-index.md), on a Unix socket."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from rebind.errors import NetworkError
from rebind.locks.pages import Pages
from rebind.locks.socket_path import index_socket


class DatedIndex:
    """Serves in a thread of its own between `start` and `stop`. `upstream` is the address of a simple index.

    It listens at once, but what answers is loaded when the first client comes (rebind.locks.index_answers).
    """

    def __init__(self, data: Path, upstream: str, *, socket: Path | None = None) -> None:
        self.socket = socket or index_socket(data)
        self._pages = Pages(data / "index")
        self._url = upstream
        self._thread: threading.Thread | None = None
        self._end: int | None = None
        self._asked = False

    @property
    def hosts(self) -> frozenset[str]:
        """The index's own host (with its port, if it is no usual one), and where the public index keeps its files."""
        parts = urlsplit(self._url)
        host = parts.hostname or self._url
        port = {f"{host}:{parts.port}"} if parts.port else set()
        files = {"files.pythonhosted.org"} if host == "pypi.org" else set()
        return frozenset({host} | port | files)

    @property
    def asked(self) -> bool:
        """Whether any client has come yet."""
        return self._asked

    def start(self) -> None:
        """Listen. Raises NetworkError if the socket cannot be made."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            self.socket.parent.mkdir(parents=True, exist_ok=True)
            self.socket.unlink(missing_ok=True)
            listener.bind(str(self.socket))
            self.socket.chmod(0o600)
            listener.listen(512)
        except OSError as error:
            listener.close()
            raise NetworkError(f"the dated index cannot listen on {self.socket}: {error}") from error
        ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(listener, ended), name="dated-index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; safe to call at any time and more than once."""
        if self._end is not None:
            os.close(self._end)  # the other end of the pipe becomes readable
            self._end = None
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def _run(self, listener: socket.socket, ended: int) -> None:
        try:
            readable, _, _ = select.select([listener.fileno(), ended], [], [])
            if ended not in readable:
                self._asked = True
                self._serve(listener, ended)
        finally:
            listener.close()
            os.close(ended)
            with suppress(OSError):
                self.socket.unlink()

    def _serve(self, listener: socket.socket, ended: int) -> None:
        import asyncio

        from rebind.locks.index_answers import serve

        async def until_ended() -> None:
            end = asyncio.Event()
            asyncio.get_running_loop().add_reader(ended, end.set)
            await serve(listener, self._pages, self._url, end.wait())

        asyncio.run(until_ended())
