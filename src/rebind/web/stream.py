"""Event streams: events of a launch as `text/event-stream`, with comments that keep the connection open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from starlette.responses import StreamingResponse

from rebind.errors import RebindError
from rebind.values import Event, Phase
from rebind.web import WebSettings

KEEPALIVE = ":keepalive\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Write = Callable[[int, Event], str]


def data(number: int, event: Event) -> str:
    """One event of launch-api 1.5: a `data:` line and an empty one. JSON text holds no line break."""
    return f"data: {json.dumps(event.payload())}\n\n"


def numbered(number: int, event: Event) -> str:
    """The same with its number, for streams that can be resumed."""
    return f"id: {number}\n{data(number, event)}"


def failed(message: str, status: int | None = None) -> Event:
    extra = (("status_code", status),) if status else ()
    return Event(Phase.FAILED, message if message.endswith("\n") else message + "\n", extra)


async def one(event: Event) -> AsyncIterator[tuple[int, Event]]:
    """A stream of a single event."""
    yield 1, event


def respond(events: AsyncIterator[tuple[int, Event]], settings: WebSettings, write: Write = data) -> StreamingResponse:
    """The answer, status 200 whatever the events say."""
    text = _text(events, settings, write)
    return StreamingResponse(text, media_type="text/event-stream", headers=HEADERS)


async def _text(events: AsyncIterator[tuple[int, Event]], settings: WebSettings, write: Write) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[tuple[int, Event]] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait([waiting], timeout=settings.keepalive)
            if not done:
                yield KEEPALIVE
                continue
            try:
                item = waiting.result()
            except StopAsyncIteration:
                break
            except RebindError as error:
                item = (0, failed(error.text()))
            waiting = None
            yield write(*item)
            if item[1].phase in (Phase.READY, Phase.FAILED):
                break
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, RebindError):
                await waiting
    end = loop.time() + settings.linger
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, settings.keepalive))
        yield KEEPALIVE
