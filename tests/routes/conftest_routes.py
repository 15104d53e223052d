"""A real proxy and real backends on Unix sockets, in a thread of their own; tests speak to them over TCP."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rebind.routes.limits import ProxyLimits
from rebind.routes.proxy import Proxy, listen

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SCHEMA = """
CREATE TABLE routes (prefix TEXT PRIMARY KEY, socket TEXT NOT NULL, session TEXT NOT NULL);
CREATE TABLE route_revision (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL);
INSERT INTO route_revision VALUES (1, 0);
CREATE TABLE activity (session TEXT PRIMARY KEY, last REAL NOT NULL, connections INTEGER NOT NULL);
"""


class Database:
    """The tables that the store makes, written with plain SQL as the store writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(SCHEMA)

    def add(self, *routes: tuple[str, Path, str]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        rows = [(prefix, str(path), session) for prefix, path, session in routes]
        self.connection.executemany("INSERT OR REPLACE INTO routes VALUES (?, ?, ?)", rows)
        self.connection.execute("UPDATE route_revision SET revision = revision + 1")
        self.connection.execute("COMMIT")

    def delete(self, prefix: str) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("DELETE FROM routes WHERE prefix = ?", (prefix,))
        self.connection.execute("UPDATE route_revision SET revision = revision + 1")
        self.connection.execute("COMMIT")

    def activity(self) -> dict[str, tuple[float, int]]:
        return {s: (last, n) for s, last, n in self.connection.execute("SELECT * FROM activity")}


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its own raw head (and body of a known length), keeping the connection."""
    while True:
        head = await read_head(reader)
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        body = head + (await reader.readexactly(length) if length else b"")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(b"" if head.startswith(b"HEAD") else body)
        await writer.drain()


def says(raw: bytes, *, close: bool = True) -> Handler:
    """A backend that answers every request with these bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_head(reader)
            writer.write(raw)
            await writer.drain()
            if close:
                break

    return handler


class Stage:
    """A loop in a thread with the proxy and its backends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = Database(directory / "rebind.db")
        self.hub = directory / "hub.sock"
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.proxy: Proxy | None = None
        self.ended: dict[str, threading.Event] = {}

    def do(self, coroutine: Awaitable[object]) -> object:
        async def run() -> object:
            return await coroutine

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def start(self, limits: ProxyLimits) -> None:
        self.proxy = Proxy(self.database.path, self.hub, limits)
        listening = listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.do(self.proxy.start(listening))

    def backend(self, name: str, handler: Handler) -> Path:
        """Listens on a Unix socket; `ended[name]` is set when a connection to it ended."""
        path = self.directory / f"{name}.sock"
        ended = self.ended[name] = threading.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                ended.set()
                writer.close()

        self.do(asyncio.start_unix_server(serve, path=str(path)))
        return path

    def session(self, name: str, handler: Handler = echo) -> Path:
        path = self.backend(name, handler)
        self.database.add((f"/user/{name}/", path, name))
        return path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Sends bytes on a fresh connection and reads until the other side closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def get(self, path: str, *headers: str, method: str = "GET") -> bytes:
        lines = "".join(f"{line}\r\n" for line in ("Host: hub.example", "Connection: close", *headers))
        return self.raw(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))

    def close(self) -> None:
        if self.proxy is not None:
            self.do(self.proxy.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.database.connection.close()


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    with closing(connection):
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            pieces.append(piece)
    return b"".join(pieces)


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """One answer with a known length from a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


LIMITS = replace(ProxyLimits(), flush=0.1, sweep=0.05, linger_time=0.5, grace_time=0.5)


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    made = []

    def make(**changes: object) -> Stage:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        stage = Stage(directory)
        made.append(stage)
        stage.start(replace(LIMITS, **changes))  # type: ignore[arg-type]
        return stage

    yield make
    for stage in made:
        stage.close()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """A proxy with the sessions `a` and `ab`, and a hub, that all answer with what they were asked."""
    stage = make_stage()
    stage.session("a")
    stage.session("ab")
    stage.backend("hub", echo)
    return stage
