"""One request and its answer: bytes go both ways as they come, and whoever is slow slows the other down."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from rebind.routes.activity import Activity
from rebind.routes.forward import answer_head, request_head
from rebind.routes.framing import END, Body, UntilClose, chunk
from rebind.routes.head import Answer, BadMessage, Request
from rebind.routes.limits import ProxyLimits
from rebind.routes.refusals import HUB_AWAY, HUB_BROKEN, TARGET_BROKEN, TARGET_DEAD, Refusal
from rebind.routes.target import Pool, Target
from rebind.values import Route

_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Client(Protocol):
    """What an exchange needs of the client's connection."""

    peer: str

    def write(self, data: bytes) -> None: ...

    def finish(self, keep: bool) -> None:
        """The answer is whole."""

    def refuse(self, refusal: Refusal) -> None:
        """Answers in the target's place."""

    def cut(self) -> None:
        """Ends the connection in the middle of an answer, so that the client does not take it for whole."""

    def relay(self) -> None:
        """From now on bytes are only passed on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Exchange:
    """Listens to one target on behalf of one client."""

    def __init__(
        self, client: Client, request: Request, socket: Path, route: Route | None, *,
        pool: Pool, activity: Activity, limits: ProxyLimits,
    ) -> None:  # fmt: skip
        self._client = client
        self._request = request
        self._socket = socket
        self._route = route
        self._pool = pool
        self._activity = activity
        self._limits = limits
        self._target: Target | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[bytes] = []  # for the target, until it is connected
        self._body: Body | None = None  # of the answer, once its head was passed on
        self._chunked = False
        self._out: list[bytes] = []  # for the client: what came at once leaves in one piece
        self._sent_all = request.length == 0
        self._reused = False
        self._over = False

    def start(self) -> None:
        """Sends the head, over a kept connection where a repeated request does no harm."""
        if self._route is not None:
            self._activity.opened(self._route.session)
        head = request_head(self._request, self._client.peer, self._limits)
        harmless = self._request.method in _REPEATABLE and self._sent_all and not self._request.upgrade
        target = self._pool.take(self._socket) if harmless else None
        if target is not None:
            self._reused = True
            self._attach(target)
            target.write(head)
        else:
            self._connect(head)

    def _connect(self, head: bytes) -> None:
        self._waiting.insert(0, head)
        self._client.pause()
        self._connecting = asyncio.get_running_loop().create_task(self._connected())

    async def _connected(self) -> None:
        try:
            target = await self._pool.connect(self._socket)
        except OSError:
            self._fail(TARGET_DEAD if self._route else HUB_AWAY)
            return
        if self._over:
            target.close()
            return
        self._attach(target)
        self._client.resume()
        for data in self._waiting:  # may pause the client again
            target.write(data)
        self._waiting.clear()

    def _attach(self, target: Target) -> None:
        target.listener = self
        self._target = target

    def _end(self) -> Target | None:
        """Once, whatever the end is. Returns the target if it is still there."""
        if self._over:
            return None
        self._over = True
        if self._route is not None:
            self._activity.closed(self._route.session)
        target, self._target = self._target, None
        if target is not None:
            target.listener = None
        return target

    def _fail(self, refusal: Refusal) -> None:
        target = self._end()
        if target is not None:
            target.close()
        self.flush()
        if self._body is None:
            self._client.refuse(refusal)
        else:
            self._client.cut()

    def _touch(self) -> None:
        if self._route is not None:
            self._activity.touch(self._route.session)

    # From the client

    def send(self, data: bytes) -> None:
        """Bytes for the target: a part of the body, framed, or anything after an upgrade."""
        self._touch()
        if self._target is None:
            self._waiting.append(data)
        else:
            self._target.write(data)

    def send_payload(self, payload: bytes) -> None:
        if payload:
            self.send(chunk(payload) if self._request.length is None else payload)

    def sent_all(self) -> None:
        """The body of the request is whole."""
        self._sent_all = True
        if self._request.length is None:
            self.send(END)

    def abandon(self) -> None:
        """The client went away, or broke off: the target learns it at once."""
        target = self._end()
        if target is not None:
            target.close()
        elif self._connecting is not None:
            self._connecting.cancel()

    def client_full(self) -> None:
        if self._target is not None and self._target.transport is not None:
            self._target.transport.pause_reading()

    def client_drained(self) -> None:
        if self._target is not None and self._target.transport is not None:
            self._target.transport.resume_reading()

    # From the target

    def on_answer(self, answer: Answer) -> Body | None:
        if answer.status == 101:
            return self._upgrade(answer)
        body = answer.body(self._request.method)
        close = not (self._request.keep_alive and self._sent_all)
        prefix = self._route.prefix.encode() if self._route else b""
        if answer.status < 200 and self._request.version == "1.0":
            return body
        head, self._chunked = answer_head(answer, self._request, body, close=close, prefix=prefix)
        if answer.status >= 200:
            self._body = body
        self._out.append(head)
        return body

    def _upgrade(self, answer: Answer) -> Body | None:
        if not self._request.upgrade:
            raise BadMessage("an upgrade that nobody asked for")
        head, _ = answer_head(answer, self._request, UntilClose(), close=False)
        self._body = UntilClose()
        self._out.append(head)
        self._client.relay()
        return None

    def on_payload(self, payload: bytes) -> None:
        self._touch()
        self._out.append(chunk(payload) if self._chunked else payload)

    def flush(self) -> None:
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._client.write(data)

    def on_end(self, reusable: bool) -> None:
        if self._chunked:
            self._out.append(END)
        self.flush()
        target = self._end()
        if target is not None:
            if reusable and self._sent_all:
                self._pool.give_back(target)
            else:
                target.close()
        self._client.finish(self._request.keep_alive and self._sent_all)

    def on_broken(self) -> None:
        self._fail(TARGET_BROKEN if self._route else HUB_BROKEN)

    def on_lost(self) -> None:
        self._target = None
        if isinstance(self._body, UntilClose):
            if self._chunked:
                self._out.append(END)
            self.flush()
            self._end()
            self._client.finish(self._chunked and self._request.keep_alive and self._sent_all)
        elif self._reused and self._body is None and not self._over:
            self._reused = False  # it was closed while we asked, which only a kept connection can be
            self._connect(request_head(self._request, self._client.peer, self._limits))
        else:
            self._fail(TARGET_DEAD if self._route else HUB_AWAY)

    def on_full(self) -> None:
        self._client.pause()

    def on_drained(self) -> None:
        self._client.resume()
