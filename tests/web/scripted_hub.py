"""A hub whose launches follow a script, for tests of the fronts; and a real uvicorn that serves them."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from rebind.errors import AddressError, RebindError
from rebind.values import Event, Phase
from rebind.web import WebSettings
from rebind.web.app import create_app

GIT = {
    "displayName": "Git repository", "id": "git", "spec": {"validateRegex": "[^/]+/.+"},
    "repo": {"label": "Arbitrary git repository URL", "placeholder": "https://example.org/repo.git", "urlEncode": True},
    "ref": {"enabled": True, "default": "HEAD"},
}  # fmt: skip
GH = {
    "displayName": "GitHub", "id": "gh", "spec": {"validateRegex": "[^/]+/[^/]+/.+"},
    "detect": {"regex": "^(https?://github.com/)(?<repo>[^/]+/[^/]+?)(\\.git)?/?$"},
    "repo": {"label": "GitHub repository name or URL", "placeholder": "yuvipanda/requirements", "urlEncode": False},
    "ref": {"enabled": True, "default": "HEAD"},
}  # fmt: skip
ZENODO = {
    "displayName": "Zenodo DOI", "id": "zenodo", "spec": {"validateRegex": "10\\.\\d+\\/(.)+"},
    "repo": {"label": "Zenodo DOI", "placeholder": "10.5281/zenodo.3242074", "urlEncode": False},
    "ref": {"enabled": False},
}  # fmt: skip


def ready(session: str = "http://hub.example/user/ada-lab-1/") -> Event:
    facts = {
        "url": session, "token": "T0KEN", "image": "rebind/abc:1", "repo_url": "https://example.org/lab.git",
        "binder_ref_url": "https://example.org/lab.git", "binder_launch_host": "http://hub.example/",
        "binder_request": "v2/git/x/HEAD", "binder_persistent_request": "v2/git/x/4f00",
        "binder_client_ip": "203.0.113.9",
    }  # fmt: skip
    return Event(Phase.READY, f"server running at {session}\n", tuple(facts.items()))


CACHED = (
    Event(Phase.BUILT, "Built image, launching...\n", (("imageName", "rebind/abc:1"),)),
    Event(Phase.LAUNCHING, "Launching server...\n"),
    ready(),
)
BUILT = (
    Event(Phase.WAITING, "Waiting for build to start...\n"),
    Event(Phase.FETCHING, "Cloning into '/tmp/x'...\n"),
    Event(Phase.BUILDING, "Resolving 7 requirements\n"),
    *CACHED,
)


@dataclass
class Record:
    id: str
    link: str
    events: list[Event]
    state: str = "running"
    error: str | None = None
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)


@dataclass
class ScriptedHub:
    """Plays `script` in each launch, `pause` seconds an event; an endless wait where the script has None."""

    script: Sequence[Event | None] = BUILT
    pause: float = 0.0
    displays: Sequence[dict[str, Any]] = (GIT, GH, ZENODO)
    refuse: RebindError | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    launches: dict[str, Record] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    watching: int = 0
    checks: list[dict[str, Any]] = field(default_factory=lambda: [{"service": "JupyterHub API", "ok": True}])

    def create_launch(self, provider: str, raw_spec: str, *, origin: str, client: str, as_of: str | None) -> str:
        self.asked.append({"provider": provider, "spec": raw_spec, "origin": origin, "client": client, "as_of": as_of})
        if self.refuse is not None:
            raise self.refuse
        id = secrets.token_hex(13)
        self.launches[id] = Record(id, f"v2/{provider}/{raw_spec}", [])
        return id

    def launch(self, id: str) -> Record:
        if id not in self.launches:
            raise AddressError(f"There is no launch {id!r}.")
        return self.launches[id]

    async def events(self, id: str, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        record = self.launch(id)
        self.watching += 1
        try:
            for number, event in enumerate(self.script, 1):
                if number <= after:
                    continue
                if event is None:
                    await asyncio.sleep(3600)
                    continue
                await asyncio.sleep(self.pause)
                if event.phase in (Phase.READY, Phase.FAILED):
                    record.state = str(event.phase)
                yield number, event
        finally:
            self.watching -= 1

    def cancel(self, id: str) -> None:
        self.cancelled.append(id)

    def health(self) -> dict[str, object]:
        return {"ok": all(c["ok"] or c.get("_ignore_failure") for c in self.checks), "checks": self.checks}

    def versions(self) -> dict[str, object]:
        return {"builder_info": {"rebind-version": "1"}, "binderhub": "1", "rebind": "1"}

    def providers(self) -> Sequence[dict[str, Any]]:
        return self.displays


class Served:
    """The real application under a real uvicorn, on a Unix socket or a port."""

    def __init__(self, hub: ScriptedHub, settings: WebSettings, uds: Path | None = None) -> None:
        self.hub = hub
        self.uds = uds
        self.port = 0
        listening = None
        if uds is None:
            listening = socket.create_server(("127.0.0.1", 0))
            self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            create_app(hub, settings), uds=str(uds) if uds else None, log_level="warning", lifespan="off",
            access_log=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        sockets = [listening] if listening else None
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": sockets}, daemon=True)

    def start(self) -> Served:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        # Nobody waits for the thread: uvicorn looks for the wish ten times a second, and there are hundreds of tests.
        self._server.should_exit = self._server.force_exit = True

    def connect(self) -> socket.socket:
        if self.uds is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.uds))
        return connection

    def ask(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """One raw request, byte for byte as given, read to its end."""
        with self.connect() as connection:
            connection.sendall(raw_request(path, *headers, method=method, body=body))
            data = b""
            while piece := connection.recv(65536):
                data += piece
        return Answer(data)

    def stream(self, path: str, *headers: str, until: Callable[[bytes], bool]) -> Answer:
        """Like `curl -N`: reads until enough came, then hangs up."""
        with self.connect() as connection:
            connection.sendall(raw_request(path, *headers))
            data = b""
            while not until(data):
                piece = connection.recv(65536)
                if not piece:
                    break
                data += piece
        return Answer(data)


def raw_request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    given = {header.partition(":")[0].lower() for header in headers}
    lines = [*headers, "Connection: close"]
    lines += [] if "host" in given else ["Host: hub.example"]
    lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    return f"{method} {path} HTTP/1.1\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode() + body


class Answer:
    """A raw answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.body = unchunk(body) if self.headers.get("transfer-encoding") == "chunked" else body

    @property
    def text(self) -> str:
        return self.body.decode()


def unchunk(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size, 16)
        out, body = out + rest[:count], rest[count + 2 :]
        if not count:
            break
    return out


SETTINGS = WebSettings(version="1.2.3", linger=0.0, keepalive=25.0)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """A function that serves a hub, on a Unix socket (as behind the proxy) or with `port=True` on a port."""
    running = []

    def start(hub: ScriptedHub | None = None, *, port: bool = False, **changes: object) -> Served:
        uds = None if port else tmp_path / f"web{len(running)}.sock"
        served = Served(hub or ScriptedHub(), replace(SETTINGS, **changes), uds)  # type: ignore[arg-type]
        running.append(served)
        return served.start()

    yield start
    for served in running:
        served.stop()
