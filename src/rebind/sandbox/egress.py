"""The egress proxy: the only way out of a sandbox. It looks names up itself and connects to the address it checked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rebind.errors import NetworkError
from rebind.sandbox.flows import Streams, exchange, tunnel
from rebind.sandbox.messages import HEAD_LIMIT, BadMessage, Request, read_request, refusal
from rebind.sandbox.policy import EgressPolicy, Refused

MOST = 2000
"""Connections at once."""
HEAD_SECONDS, CONNECT_SECONDS = 30.0, 10.0
REMEMBERED = 10_000
"""Requests that `requests` tells of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came to the proxy, let through or not."""

    host: str
    port: int
    path: str | None
    """Without its query, which may hold secrets; None for a tunnel."""
    refused: bool = False


class Egress:
    """An HTTP proxy (CONNECT and absolute addresses) on a Unix socket and on a free port of 127.0.0.1.

    `virtual` names hosts that exist only here, each a Unix socket that speaks HTTP. The socket's folder is made; as it
    is what sandboxes are connected to, nothing else belongs in it.
    """

    def __init__(self, policy: EgressPolicy, socket: Path, virtual: Mapping[str, Path] | None = None) -> None:
        self.policy = policy
        self.socket = socket
        self.virtual = dict(virtual or {})
        self._requests: deque[Asked] = deque(maxlen=REMEMBERED)
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._resolvers: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Event | None = None

    @property
    def proxy_url(self) -> str:
        """For programs of the host, once started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[Asked, ...]:
        """The last requests, oldest first."""
        return tuple(self._requests)

    @property
    def connections(self) -> int:
        return len(self._tasks)

    def start(self) -> None:
        """Listens from now on, in a thread of its own. Raises NetworkError if it cannot."""
        ready: list[BaseException | None] = []
        done = threading.Event()

        def told(error: BaseException | None) -> None:
            ready.append(error)
            done.set()

        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(told)), name="egress", daemon=True)
        self._thread.start()
        done.wait()
        if ready[0] is not None:
            self._thread.join()
            raise NetworkError(f"The egress proxy cannot listen on {self.socket}: {ready[0]}.") from ready[0]

    def stop(self) -> None:
        """Ends all connections. Does nothing if it is not running."""
        if self._loop is not None and self._ending is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread is not None:
            self._thread.join()
        self._loop = self._thread = None

    def __enter__(self) -> Egress:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _live(self, told: Callable[[BaseException | None], None]) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._resolvers = ThreadPoolExecutor(16, "egress-names")
        try:
            self.socket.parent.mkdir(parents=True, exist_ok=True)
            self.socket.unlink(missing_ok=True)
            inner = await asyncio.start_unix_server(self._accept, str(self.socket), limit=HEAD_LIMIT, backlog=512)
            self.socket.chmod(0o666)  # sandboxes connect as another user; the folder's own mode keeps others out
            outer = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=512)
            self._port = outer.sockets[0].getsockname()[1]
        except OSError as error:
            told(error)
            return
        told(None)
        await self._ending.wait()
        inner.close()
        outer.close()
        self.socket.unlink(missing_ok=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST:
            writer.write(refusal("503 Service Unavailable", "too many connections at once"))
            writer.close()
            return
        task = asyncio.ensure_future(self._serve((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: Streams) -> None:
        try:
            answer = await self._answer(client)
            if answer:
                client[1].write(answer)
                await asyncio.wait_for(client[1].drain(), HEAD_SECONDS)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.LimitOverrunError):
            pass
        finally:
            await _close(client[1])

    async def _answer(self, client: Streams) -> bytes:
        """Serves one request; returns the proxy's own answer if it came to nothing."""
        try:
            request = read_request(await asyncio.wait_for(client[0].readuntil(b"\r\n\r\n"), HEAD_SECONDS))
        except asyncio.LimitOverrunError:
            return refusal("431 Request Header Fields Too Large", "the request's head is too long")
        except BadMessage as error:
            return refusal("400 Bad Request", str(error))
        try:
            async with self._connected(request) as server:
                await (tunnel if request.method == "CONNECT" else exchange)(request, client, server)
        except Refused as error:
            return refusal("403 Forbidden", str(error))
        except (_Unreachable, BadMessage) as error:
            return refusal("502 Bad Gateway", str(error))
        return b""

    @contextlib.asynccontextmanager
    async def _connected(self, request: Request) -> AsyncIterator[Streams]:
        try:
            streams = await self._connect(request)
        except Refused:
            self._note(request, refused=True)
            raise
        except (OSError, TimeoutError) as error:
            self._note(request)
            raise _Unreachable(f"{request.host} cannot be reached: {error or 'no answer in time'}") from error
        self._note(request)
        try:
            yield streams
        finally:
            await _close(streams[1])

    def _note(self, request: Request, *, refused: bool = False) -> None:
        path = None if request.path is None else request.path.partition("?")[0]
        self._requests.append(Asked(request.host, request.port, path, refused))

    async def _connect(self, request: Request) -> Streams:
        if request.host in self.virtual:
            return await _open(asyncio.open_unix_connection(str(self.virtual[request.host]), limit=HEAD_LIMIT))
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._resolvers, self.policy.resolve, request.host, request.port)
        addresses = await asyncio.wait_for(looking, CONNECT_SECONDS)
        last: Exception = OSError("no address")
        for address in addresses[:4]:
            try:
                return await _open(asyncio.open_connection(address, request.port, limit=HEAD_LIMIT))
            except (OSError, TimeoutError) as error:
                last = error
        raise last


class _Unreachable(Exception):
    pass


async def _open(opening: Coroutine[object, object, Streams]) -> Streams:
    return await asyncio.wait_for(opening, CONNECT_SECONDS)


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, RuntimeError):
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 5)
