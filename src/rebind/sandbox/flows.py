"""Carrying bytes for the egress proxy: tunnels, and single requests with their bodies."""

from __future__ import annotations

import asyncio
import contextlib

from rebind.sandbox.messages import BadMessage, Body, Request, chunk_size, read_response

IDLE_SECONDS = 600.0
HALF_SECONDS = 60.0
"""How long a tunnel may be idle once one side has said all: it may have gone for good."""
_BLOCK = 1 << 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Flow:
    """One direction of a tunnel."""

    def __init__(self) -> None:
        self.moved = 0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await asyncio.wait_for(reader.read(_BLOCK), IDLE_SECONDS):
            self.moved += len(data)
            writer.write(data)
            await asyncio.wait_for(writer.drain(), IDLE_SECONDS)
        if writer.can_write_eof():
            writer.write_eof()


async def tunnel(request: Request, client: Streams, server: Streams) -> None:
    """Both ways until both sides have said all, one fails, or nothing moves any more."""
    client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    flows = (_Flow(), _Flow())
    tasks = {
        asyncio.ensure_future(flows[0].pump(client[0], server[1])),
        asyncio.ensure_future(flows[1].pump(server[0], client[1])),
    }
    try:
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while rest and not any(task.exception() for task in done):
            before = sum(flow.moved for flow in flows)
            done, rest = await asyncio.wait(rest, timeout=HALF_SECONDS)
            if not done and sum(flow.moved for flow in flows) == before:
                return
    finally:
        await _cancel(*tasks)


async def exchange(request: Request, client: Streams, server: Streams) -> None:
    """One request, one response, which may come before the whole request is sent. BadMessage for a wrong response."""
    server[1].write(request.head())
    answering = asyncio.ensure_future(_send_response(server[0], client[1]))
    asking = asyncio.ensure_future(_send_request(request.body, client[0], server[1]))
    try:
        await asyncio.wait({answering, asking}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        await _cancel(answering, asking)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _send_response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    status = 100
    while status < 200:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
        status, out = read_response(head)
        writer.write(out)
    await _Flow().pump(reader, writer)


async def _send_request(body: Body, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends the body and waits for the client to go; ends early if the client breaks off or breaks the rules."""
    with contextlib.suppress(ConnectionError):  # the server takes no more; its answer may be on its way
        await (_send_chunks(reader, writer) if body.chunked else _send_exactly(body.length, reader, writer))
    while await reader.read(_BLOCK):
        pass


async def _send_exactly(length: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while length:
        data = await asyncio.wait_for(reader.read(min(length, _BLOCK)), IDLE_SECONDS)
        if not data:
            raise BadMessage("the request ended early")
        length -= len(data)
        writer.write(data)
        await writer.drain()


async def _send_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads and writes the chunks anew, so that both sides see the same ones. Trailers are dropped."""
    while True:
        size = chunk_size((await asyncio.wait_for(reader.readuntil(b"\r\n"), IDLE_SECONDS))[:-2])
        if size == 0:
            break
        writer.write(b"%x\r\n" % size)
        await _send_exactly(size, reader, writer)
        if await reader.readexactly(2) != b"\r\n":
            raise BadMessage("a chunk is longer than it says")
        writer.write(b"\r\n")
    while await asyncio.wait_for(reader.readuntil(b"\r\n"), IDLE_SECONDS) != b"\r\n":
        pass
    writer.write(b"0\r\n\r\n")
    await writer.drain()
