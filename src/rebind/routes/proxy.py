"""The proxy: `python -m rebind.routes.proxy`. One process, one event loop, no import of the web or the hub.

Paths below a route's prefix go to that session's socket, everything else to the hub's. See `ProxyProcess` for how it is
started; by hand it needs `--host`, `--port`, `--database` and `--hub`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

from rebind.routes.activity import Activity
from rebind.routes.client import Connection
from rebind.routes.exchange import Exchange
from rebind.routes.head import Request
from rebind.routes.limits import ProxyLimits
from rebind.routes.refusals import STOPPED, Refusal, moved
from rebind.routes.table import RouteReader
from rebind.routes.target import Pool

log = logging.getLogger(__name__)

SESSIONS = b"/user/"


class Proxy:
    """Accepts connections and says who answers a request."""

    def __init__(self, database: Path, hub: Path, limits: ProxyLimits) -> None:
        self.limits = limits
        self.connections: set[Connection] = set()
        self.stopping = False
        self._hub = hub
        self._table = RouteReader(database)
        self._activity = Activity(database)
        self._pool = Pool(limits)
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, listening: socket.socket) -> None:
        """Begins to serve on a socket that listens already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listening)
        self._tasks = [loop.create_task(self._sweep()), loop.create_task(self._flush())]

    async def stop(self) -> None:
        """Lets running requests end within the grace time, then closes all and writes the activity."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        until = time.monotonic() + self.limits.grace_time
        for connection in [c for c in self.connections if c.idle]:
            connection.cut()
        while self.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.cut()
        self._pool.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0.01)  # the connections that were cut say so in the next turns of the loop
        await asyncio.to_thread(self._activity.write, self._activity.take(), fresh=True)
        self._table.close()

    def open_exchange(self, connection: Connection, request: Request) -> Exchange | Refusal:
        route = self._table.find(request.path)
        if route is None and request.path.startswith(SESSIONS):
            below = self._table.find(request.path + b"/")
            return STOPPED if below is None else moved(below.prefix, request.target)
        if route is None:
            request.upgrade = None  # the hub speaks plain HTTP only; a tunnel to it would pass by every check here
        target = route.socket if route else self._hub
        return Exchange(
            connection, request, target, route, pool=self._pool, activity=self._activity, limits=self.limits
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.limits.sweep)
            now = time.monotonic()
            self._pool.sweep(now)
            for connection in list(self.connections):
                if connection.deadline is not None and connection.deadline < now:
                    connection.expire()

    async def _flush(self) -> None:
        await asyncio.to_thread(self._activity.write, [], fresh=True)
        while True:
            await asyncio.sleep(self.limits.flush)
            rows = self._activity.take()
            if rows and not await asyncio.to_thread(self._activity.write, rows):
                self._activity.put_back(rows)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


async def serve(arguments: argparse.Namespace) -> None:
    """Runs until SIGTERM or SIGINT and, if bound, until its standard input ends."""
    listening = (
        listen(arguments.host, arguments.port)
        if arguments.listen_fd is None
        else socket.socket(fileno=arguments.listen_fd)
    )
    trusted = tuple(ip_network(network) for network in arguments.trusted)
    limits = ProxyLimits(upload=arguments.upload_limit, flush=arguments.flush, trusted=trusted)
    proxy = Proxy(arguments.database, arguments.hub, limits)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if arguments.bound:  # nothing is ever written there: it is readable when the starter is gone
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    await proxy.start(listening)
    if arguments.ready_fd is not None:
        with open(arguments.ready_fd, "w") as ready:
            ready.write("ready\n")
    await stop.wait()
    await proxy.stop()


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rebind.routes.proxy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8585)
    parser.add_argument("--listen-fd", type=int, help="a listening socket that was inherited, instead of host and port")
    parser.add_argument("--database", type=Path, required=True, help="the store, an SQLite file")
    parser.add_argument("--hub", type=Path, required=True, help="Unix socket of the hub's web application")
    parser.add_argument("--ready-fd", type=int, help="where `ready` is written once it serves")
    parser.add_argument("--bound", action="store_true", help="end when standard input ends, that is with the starter")
    parser.add_argument("--trusted", action="append", default=[], help="network of proxies before this one (repeat)")
    parser.add_argument("--upload-limit", type=int, default=0, help="bytes of one request's body; 0 for no limit")
    parser.add_argument("--flush", type=float, default=3.0, help="seconds between two writes of activity")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
