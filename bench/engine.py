"""rebind's process engine with one prepared repository, and its hub, for the benchmarks of sessions."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench import ask, measure
from bench.ask import Place
from bench.ours import REBIND
from rebind import launch, settings
from rebind.engines.process import ProcessEngine
from rebind.launch import Prepared, Wanted
from rebind.plugins import Installation
from rebind.values import Event, Limits, Session, SessionRequest


def silent(event: Event) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True, slots=True)
class Started:
    """One session, and the seconds from the question to HTTP 200 on /lab."""

    session: Session
    wall: float


@dataclass(frozen=True, slots=True)
class Bench:
    """An engine whose warm parent is ready, and what a session needs."""

    installation: Installation
    engine: ProcessEngine
    prepared: Prepared

    def request(self) -> SessionRequest:
        """As the hub makes it, with the hub's default limits."""
        given = self.installation.settings
        name = f"bench-{secrets.token_hex(4)}"
        limits = Limits(memory=given.session_memory, processes=given.session_processes, disk=given.session_disk or None)
        return SessionRequest(
            id=secrets.token_hex(8),
            name=name,
            base_url=f"/user/{name}/",
            token=secrets.token_hex(16),
            environment=self.prepared.environment,
            layers=self.prepared.layers,
            limits=limits,
            bound=True,
        )

    def start(self, request: SessionRequest) -> Started:
        """Starts a session and asks for its /lab through its own socket."""
        started = time.perf_counter()
        session = self.engine.start(request, silent)
        ask.until_ok(Place(session.socket), f"{request.base_url}lab?token={request.token}")
        return Started(session, time.perf_counter() - started)

    def at_once(self, count: int) -> tuple[list[Started], int, float]:
        """`count` sessions at once: those that started, how many failed, the seconds until the last answered."""
        started = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(self.start, self.request()) for _ in range(count)]
        wall = time.perf_counter() - started
        for failure in filter(None, (one.exception() for one in asked)):
            print(f"a session failed: {failure}")
        done = [one.result() for one in asked if one.exception() is None]
        return done, count - len(done), wall

    def stop(self, sessions: list[Started]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.engine.stop, [one.session for one in sessions]))

    def pids(self, sessions: list[Started]) -> list[int]:
        """All processes of these sessions (keepers, first processes, servers) and the warm parent."""
        found = set(measure.tree(self.engine.parent)) if self.engine.parent else set()
        for one in sessions:
            found |= set(measure.tree(measure.parent(one.session.pid)))
        return sorted(found - {os.getpid()})


@contextmanager
def opened(data: Path, repository: Path) -> Iterator[Bench]:
    """An engine on the data directory `data`, the repository's environment built, the warm parent ready."""
    loaded, _ = settings.load({"data": data}, environ={})
    installation = Installation(loaded)
    with installation.opened():
        steps = installation.steps
        wanted = Wanted(launch.find(steps.providers, str(repository)))
        prepared = launch.prepare(steps, wanted, launch.resolve(steps, wanted.spec, silent), silent)
        server = installation.server(silent)
        engine = ProcessEngine(
            installation.run_dir / "bench-sessions", server, installation.egress.socket, installation.owner
        )
        try:
            engine.prepare()
            yield Bench(installation, engine, prepared)
        finally:
            engine.close()


@dataclass(frozen=True, slots=True)
class Clicked:
    """A launch through the hub, in seconds from the request for its event stream."""

    launching: float
    """When the phase `launching` began: the hub's own work on address, commit and environment is done."""
    ready: float
    lab: float
    """HTTP 200 on /lab through the proxy."""


class Hub:
    """`rebind serve` on a data directory; sessions are asked for through its launch API."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def __enter__(self) -> Hub:
        variables = {"REBIND_ALLOW_PRIVATE_ADDRESSES": "1", "REBIND_MAX_SESSIONS": "200"}
        self._process = subprocess.Popen(
            [REBIND, "serve", "--port", "0", "--json", "--data", self._data],
            env=measure.environ(**variables),
            stdout=subprocess.PIPE,
            stderr=(self._data / "bench-hub.log").open("w"),
            text=True,
        )
        assert self._process.stdout is not None
        announced = self._process.stdout.readline()
        if not announced:
            raise measure.Failed((self._data / "bench-hub.log").read_text()[-2000:])
        self._port = urlsplit(json.loads(announced)["url"]).port or 0
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def click(self, repository: Path, ref: str) -> Clicked:
        """Launches through `GET /build/git/...`. Raises Failed if that fails."""
        began: dict[str, float] = {}
        started = time.perf_counter()
        ready: dict[str, str] = {}
        connection = HTTPConnection("127.0.0.1", self._port, timeout=300)
        target = f"/build/git/{quote(f'file://{repository}', safe='')}/{ref}"
        connection.request("GET", target, headers={"Accept": "text/event-stream"})
        with connection.getresponse() as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    ready = json.loads(line[5:])
                    began.setdefault(ready["phase"], time.perf_counter() - started)
                    if ready["phase"] in ("ready", "failed"):
                        break
        connection.close()
        if ready.get("phase") != "ready":
            raise measure.Failed(f"the launch failed: {ready}")
        target = f"{urlsplit(ready['url']).path}lab?token={ready['token']}"
        ask.until_ok(Place(port=self._port), target)
        return Clicked(began.get("launching", began["ready"]), began["ready"], time.perf_counter() - started)
