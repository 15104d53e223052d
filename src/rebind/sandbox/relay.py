"""Carries connections from 127.0.0.1:3128 in a sandbox to the egress proxy's Unix socket outside.

It lives in the first process of every session, so it is one loop over `poll`: no thread, no heavy import.
"""

from __future__ import annotations

import contextlib
import select
import socket

from rebind.sandbox.mounts import PROXY_PORT

MOST = 256
"""Connections at once; more wait in the queue of the listening socket."""
_BLOCK = 1 << 16
_READ, _WRITE = select.POLLIN, select.POLLOUT


class _End:
    """One end of a carried connection: what is still to be written to it, and whether it has said all."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.pending = b""
        self.ended = False
        self.shut = False
        self.other: _End


class Relay:
    """`folder` is a descriptor of the folder that holds the proxy's socket; only this process can reach it."""

    def __init__(self, poll: select.poll, folder: int, name: str) -> None:
        self._poll = poll
        self._folder = folder
        self._name = name
        self._listener = socket.socket()
        self._ends: dict[int, _End] = {}

    def start(self) -> None:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", PROXY_PORT))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._poll.register(self._listener, _READ)

    def handle(self, descriptor: int, events: int) -> None:
        """Takes one event of the poll; others than its own are ignored."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._ends:
            self._move(self._ends[descriptor], events)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"/proc/self/fd/{self._folder}/{self._name}")
        except OSError:
            with contextlib.suppress(OSError):
                client.send(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            client.close()
            server.close()
            return
        one, two = _End(client), _End(server)
        one.other, two.other = two, one
        for end in (one, two):
            end.stream.setblocking(False)
            self._ends[end.stream.fileno()] = end
            self._poll.register(end.stream, _READ)
        if len(self._ends) >= 2 * MOST:
            self._poll.modify(self._listener, 0)

    def _move(self, end: _End, events: int) -> None:
        try:
            if events & _WRITE:
                self._flush(end)
            if events & (_READ | select.POLLHUP) and not end.ended and not end.other.pending:
                self._read(end)
            elif events & (select.POLLERR | select.POLLNVAL):
                raise ConnectionError
        except OSError:
            self._close(end)
            return
        self._watch(end)

    def _read(self, end: _End) -> None:
        try:
            data = end.stream.recv(_BLOCK)
        except BlockingIOError:
            return
        end.ended = not data
        end.other.pending = data
        self._flush(end.other)

    def _flush(self, end: _End) -> None:
        if end.pending:
            try:
                end.pending = end.pending[end.stream.send(end.pending) :]
            except BlockingIOError:
                return
        if not end.pending and end.other.ended and not end.shut:
            end.shut = True
            end.stream.shutdown(socket.SHUT_WR)

    def _watch(self, end: _End) -> None:
        if end.shut and end.other.shut:
            self._close(end)
            return
        for each in (end, end.other):
            wanted = (_WRITE if each.pending else 0) | (_READ if not each.ended and not each.other.pending else 0)
            # Nothing wanted: taken out, because a hang-up would be told again and again.
            if wanted:
                self._poll.register(each.stream, wanted)
            else:
                self._forget(each)

    def _close(self, end: _End) -> None:
        for each in (end, end.other):
            self._forget(each)
            del self._ends[each.stream.fileno()]
            each.stream.close()
        self._poll.modify(self._listener, _READ)

    def _forget(self, end: _End) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(end.stream)

    def descriptors(self) -> set[int]:
        """What must stay open."""
        return {self._listener.fileno(), self._folder}
