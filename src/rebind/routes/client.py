"""One connection of a client: reads its requests one after the other and hands each to an exchange."""

from __future__ import annotations

import asyncio
import socket
import time
from enum import Enum, auto
from typing import Protocol

from rebind.routes.exchange import Exchange
from rebind.routes.framing import Body, FramingError
from rebind.routes.head import BadMessage, Request, find_end, parse_request
from rebind.routes.limits import ProxyLimits
from rebind.routes.refusals import TIMEOUT, TOO_LARGE, Refusal, write_refusal

_PIPELINED = 64 * 1024  # of requests that wait for the answers before them
_LINGERED = 16 * 2**20  # of a refused upload, read so that the refusal arrives


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    RELAY = auto()
    LINGER = auto()
    GONE = auto()


class Front(Protocol):
    """What a connection needs of the proxy."""

    limits: ProxyLimits
    connections: set[Connection]
    stopping: bool

    def open_exchange(self, connection: Connection, request: Request) -> Exchange | Refusal:
        """Finds who answers a request."""


class Connection(asyncio.Protocol):
    """Strict about what it reads: after anything ambiguous it answers 400 and closes."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._limits = front.limits
        self._transport: asyncio.Transport | None = None
        self.peer = ""
        self.deadline: float | None = None
        """When it is over its time, in `time.monotonic()`; None while others are to move."""
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._seen = 0
        self._request: Request | None = None
        self._body: Body | None = None
        self._exchange: Exchange | None = None
        self._taken = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0].partition("%")[0] if isinstance(address, tuple) else ""
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # asyncio does so only where it can tell that this is TCP, which an accepted socket does not always say.
        # Without it a small answer in two parts waits 40 ms for the client's delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._front.connections.add(self)
        self._allow(self._limits.head_time)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.RELAY and self._exchange is not None:
            self._exchange.send(data)
        elif self._state is _State.BODY:
            self._read_body(data)
        elif self._state is _State.LINGER:
            self._taken += len(data)
            if self._taken > _LINGERED:
                self.cut()
        elif self._state is not _State.GONE:
            self._buffer += data
            if self._state is _State.HEAD:
                self._read_head()
            elif len(self._buffer) > _PIPELINED:
                self.pause()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._state = _State.GONE
        self._front.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self._transport = None

    def pause_writing(self) -> None:
        self._allow(self._limits.stall_time)
        if self._exchange is not None:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        self._allow(self._limits.body_time if self._state is _State.BODY else None)
        if self._exchange is not None:
            self._exchange.client_drained()

    # Requests

    def _read_head(self) -> None:
        try:
            while self._state is _State.HEAD and self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]  # an empty line between requests is allowed (RFC 9112 section 2.2)
                self._seen = 0
            end = find_end(self._buffer, self._seen, self._limits)
            if end < 0:
                if self._buffer and not self._seen:
                    self._allow(self._limits.head_time)
                self._seen = len(self._buffer)
                return
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._seen = 0
            request = parse_request(raw, self._limits)
        except BadMessage as error:
            self._request = None
            text = f"The request was not understood: {error}."
            self.refuse(Refusal(error.status, "The request is not valid", text))
            return
        self._begin(request)

    def _begin(self, request: Request) -> None:
        self._request = request
        self._body = request.body()
        self._taken = 0
        upload = self._limits.upload
        opened: Exchange | Refusal
        if upload and request.length is not None and request.length > upload:
            opened = TOO_LARGE
        else:
            opened = self._front.open_exchange(self, request)
        self._state = _State.ANSWER if self._body.done else _State.BODY
        self._allow(None if self._body.done else self._limits.body_time)
        if isinstance(opened, Refusal):
            self.refuse(opened)
            return
        self._exchange = opened
        opened.start()
        if not self._body.done and self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        assert self._body is not None
        assert self._exchange is not None
        try:
            payload, rest = self._body.feed(data)
        except FramingError as error:
            self.refuse(Refusal(400, "The request is not valid", f"The request was not understood: {error}."))
            return
        self._taken += len(payload)
        if self._limits.upload and self._taken > self._limits.upload:
            self.refuse(TOO_LARGE)
            return
        self._allow(self._limits.body_time)
        exchange = self._exchange
        exchange.send_payload(payload)
        if self._body.done:
            self._buffer += rest
            self._state = _State.ANSWER
            self._allow(None)
            exchange.sent_all()

    # The exchange's side

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def finish(self, keep: bool) -> None:
        self._exchange = None
        unread = self._state is _State.BODY
        if not keep or self._front.stopping:
            self._linger() if unread else self._close()
            return
        self._state = _State.HEAD
        self._request = None
        self._allow(self._limits.idle_time)
        self.resume()
        if self._buffer:
            # Not from here: a thousand pipelined requests would be a thousand frames deep.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._state is _State.HEAD and self._buffer:
            self._read_head()

    def refuse(self, refusal: Refusal) -> None:
        """Answers by itself, and closes if the rest of the connection cannot be trusted to be a next request."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        whole = self._request is not None and self._state is _State.ANSWER
        keep = whole and self._request is not None and self._request.keep_alive and not self._front.stopping
        self.write(write_refusal(refusal, self._request, close=not keep))
        if keep:
            self.finish(True)
        else:
            self._linger()

    def cut(self) -> None:
        if self._transport is not None:
            self._state = _State.GONE
            self._transport.abort()

    def relay(self) -> None:
        self._state = _State.RELAY
        self._allow(None)
        if self._buffer and self._exchange is not None:
            self._exchange.send(bytes(self._buffer))
            self._buffer.clear()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
            if self._state is _State.BODY:
                self._allow(None)  # it is the target that is slow

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
            if self._state is _State.BODY:
                self._allow(self._limits.body_time)

    # Ends

    def _linger(self) -> None:
        """Says that nothing more comes, and reads on for a moment: a reset would take the answer away again."""
        self._state = _State.LINGER
        self._taken = 0
        self._buffer.clear()
        self._allow(self._limits.linger_time)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._transport.write_eof()

    def _close(self) -> None:
        self._state = _State.GONE
        self._allow(self._limits.stall_time)
        if self._transport is not None:
            self._transport.close()

    def _allow(self, seconds: float | None) -> None:
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def expire(self) -> None:
        """Its time is over."""
        if self._state is _State.HEAD and not self._buffer:
            self._close()
        elif self._state in (_State.HEAD, _State.BODY):
            if self._state is _State.HEAD:
                self._request = None
            self.refuse(TIMEOUT)
        else:
            self.cut()

    @property
    def idle(self) -> bool:
        """Between two requests."""
        return self._state is _State.HEAD and not self._buffer
