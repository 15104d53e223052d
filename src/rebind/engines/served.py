"""An engine whose notebook server is installed and warmed up beside the first launch's own build."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rebind.engines import Engine
from rebind.values import Event, Phase, Report, Session, SessionRequest


class Preparing(Engine, Protocol):
    """An engine with something to do ahead of its first session."""

    def prepare(self) -> None: ...
    def close(self) -> None: ...


class ServedEngine:
    """Wraps an engine that needs the notebook server. `install` makes the server; `engine` an engine that uses it."""

    def __init__(self, install: Callable[[Report], Path], engine: Callable[[Path], Preparing]) -> None:
        self._install = install
        self._make = engine
        # Watching and ending sessions of an earlier process needs no server.
        self._keeper = engine(Path("/nonexistent"))
        self.name = self._keeper.name
        self._lock = threading.Lock()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._engine: Preparing | None = None
        self._failure: BaseException | None = None

    def prepare(self) -> None:
        """Begins to install and warm up the server; returns at once."""
        with self._lock:
            if self._engine is None and (self._thread is None or not self._thread.is_alive()):
                self._failure = None
                self._thread = threading.Thread(target=self._prepare, name="server", daemon=True)
                self._thread.start()

    def _prepare(self) -> None:
        try:
            engine = self._make(self._install(lambda event: self._lines.put(event.message)))
            engine.prepare()
            self._engine = engine
        except BaseException as error:  # told to whoever starts a session
            self._failure = error

    def _wait(self, report: Report) -> Preparing:
        self.prepare()
        assert self._thread is not None
        while self._thread.is_alive():
            self._thread.join(0.2)
            while not self._lines.empty():
                report(Event(Phase.LAUNCHING, self._lines.get()))
        if self._engine is None:
            assert self._failure is not None
            raise self._failure
        return self._engine

    def start(self, request: SessionRequest, report: Report) -> Session:
        """As the wrapped engine's, once the server is there."""
        return (self._engine or self._wait(report)).start(request, report)

    def stop(self, session: Session) -> None:
        self._keeper.stop(session)

    def poll(self, session: Session) -> bool:
        return self._keeper.poll(session)

    def list(self) -> tuple[Session, ...]:
        return self._keeper.list()

    def close(self) -> None:
        """Ends what prepare() started."""
        if self._engine is not None:
            self._engine.close()
