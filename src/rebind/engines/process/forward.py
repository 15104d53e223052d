"""Carries connections from a listening socket made outside to a server inside the sandbox, once that is up.

So a server that is started as a command needs no file outside: neither its disk nor its socket's place is the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_PATIENCE = 0.1


def forward(listener: int, path: str) -> None:
    """Never returns while the process lives."""
    asyncio.run(_forward(socket.socket(fileno=listener), path))


async def _forward(listener: socket.socket, path: str) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await _connect(path)
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()

    server = await asyncio.start_unix_server(carry, sock=listener)
    await server.serve_forever()


async def _connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(path)
        await asyncio.sleep(_PATIENCE)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
