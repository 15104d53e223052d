"""Wakes the watchers of a launch when it has a new event. The events themselves are in the store."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict


class Watchers:
    """Watchers of launches in this process; `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)

    def wake(self, launch: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(launch, set())
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def waiter(self, launch: str) -> asyncio.Event:
        """An event that is set at the next `wake`. Ask for it before reading the store, so that nothing is missed."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[launch].add((asyncio.get_running_loop(), event))
        return event

    def forget(self, launch: str, event: asyncio.Event) -> None:
        with self._lock:
            waiting = self._waiting.get(launch)
            if waiting is not None:
                waiting.discard((asyncio.get_running_loop(), event))
                if not waiting:
                    del self._waiting[launch]
