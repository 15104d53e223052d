"""Connections to what answers: a session's server or the hub, each on a Unix socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from pathlib import Path
from typing import Protocol

from rebind.routes.framing import Body, FramingError
from rebind.routes.head import Answer, BadMessage, find_end, parse_answer
from rebind.routes.limits import ProxyLimits


class Listener(Protocol):
    """Whom a target tells what it answers."""

    def on_answer(self, answer: Answer) -> Body | None:
        """A head came. Returns how its body ends; None if from now on bytes are only relayed. Raises BadMessage."""

    def on_payload(self, payload: bytes) -> None: ...

    def flush(self) -> None:
        """All that came at once was told."""

    def on_end(self, reusable: bool) -> None:
        """The answer is whole."""

    def on_broken(self) -> None:
        """The answer was not valid HTTP."""

    def on_lost(self) -> None:
        """The connection ended; with a body until close that is its end."""

    def on_full(self) -> None:
        """The target does not take more for now."""

    def on_drained(self) -> None: ...


class Target(asyncio.Protocol):
    """One connection to a Unix socket. Carries one request at a time and reads its answer."""

    def __init__(self, pool: Pool, path: Path, limits: ProxyLimits) -> None:
        self._pool = pool
        self.path = path
        self._limits = limits
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self._buffer = bytearray()
        self._seen = 0
        self._body: Body | None = None
        self._relay = False
        self._keep = False
        self.listener: Listener | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def write(self, data: bytes) -> None:
        if self.transport is not None and data:
            self.transport.write(data)

    def close(self) -> None:
        """Ends the connection at once and tells nobody."""
        self.listener = None
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.listener is None:
            self.close()  # nothing was asked: what comes now would be taken for the answer to the next request
        elif self._relay:
            self.listener.on_payload(data)
            self.listener.flush()
        else:
            try:
                self._read(data)
                if self.listener is not None:
                    self.listener.flush()
            except (BadMessage, FramingError):
                listener = self.listener
                self.close()
                if listener is not None:
                    listener.on_broken()

    def _read(self, data: bytes) -> None:
        rest = data
        while rest and self.listener is not None:
            if self._body is not None:
                payload, rest = self._body.feed(rest)
                if payload:
                    self.listener.on_payload(payload)
            else:
                rest = self._read_head(rest)
                if self._relay:
                    if rest and self.listener is not None:
                        self.listener.on_payload(rest)
                    return
            if self._body is not None and self._body.done:
                self._finish(clean=not rest)
                return

    def _read_head(self, data: bytes) -> bytes:
        """Returns what follows the head; remembers data while it is not whole."""
        assert self.listener is not None
        self._buffer += data
        end = find_end(self._buffer, self._seen, self._limits)
        if end < 0:
            self._seen = len(self._buffer)
            return b""
        raw, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        self._seen = 0
        answer = parse_answer(raw, self._limits)
        self._keep = answer.version == "1.1" and b"close" not in answer.tokens(b"connection")
        body = self.listener.on_answer(answer)
        if body is None:
            self._relay = True
        elif answer.status >= 200:
            self._body = body
        return rest

    def _finish(self, *, clean: bool) -> None:
        listener = self.listener
        self._body = None
        if listener is not None:
            listener.on_end(self._keep and clean)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.forget(self)
        self.transport = None
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.on_lost()

    def pause_writing(self) -> None:
        if self.listener is not None:
            self.listener.on_full()

    def resume_writing(self) -> None:
        if self.listener is not None:
            self.listener.on_drained()


class Pool:
    """Keeps idle connections for the next request to the same socket."""

    def __init__(self, limits: ProxyLimits) -> None:
        self._limits = limits
        self._idle: defaultdict[Path, list[Target]] = defaultdict(list)

    def take(self, path: Path) -> Target | None:
        """An idle connection that still stands."""
        idle = self._idle.get(path)
        while idle:
            target = idle.pop()
            if target.transport is not None and not target.transport.is_closing():
                return target
        return None

    async def connect(self, path: Path) -> Target:
        """A new connection. Raises OSError."""
        target = Target(self, path, self._limits)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, str(path))
            await loop.create_unix_connection(lambda: target, sock=connection)
        except BaseException:
            connection.close()
            raise
        return target

    def give_back(self, target: Target) -> None:
        """After a whole exchange."""
        target.listener = None
        idle = self._idle[target.path]
        if target.transport is None or len(idle) >= self._limits.pooled:
            target.close()
            return
        target.idle_since = time.monotonic()
        target.transport.resume_reading()
        idle.append(target)

    def forget(self, target: Target) -> None:
        idle = self._idle.get(target.path)
        if idle and target in idle:
            idle.remove(target)

    def sweep(self, now: float) -> None:
        """Closes what was idle for too long."""
        for path, idle in list(self._idle.items()):
            for target in [t for t in idle if now - t.idle_since > self._limits.pooled_time]:
                idle.remove(target)
                target.close()
            if not idle:
                del self._idle[path]

    def close(self) -> None:
        for idle in self._idle.values():
            for target in list(idle):
                target.close()
        self._idle.clear()
