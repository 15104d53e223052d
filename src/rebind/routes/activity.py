"""Remembers when each session last had traffic, and writes it to the store every few seconds, for culling."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)

# Only for sessions that have a route: a late write must not bring back the row of one that ended.
_WRITE = """
INSERT INTO activity (session, last, connections)
SELECT :session, :last, :connections WHERE EXISTS (SELECT 1 FROM routes WHERE session = :session)
ON CONFLICT (session) DO UPDATE SET last = max(last, excluded.last), connections = excluded.connections
"""


class Activity:
    """Last traffic and open connections (running requests, websockets) of every session."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._last: dict[str, float] = {}
        self._connections: dict[str, int] = {}
        self._changed: set[str] = set()

    def touch(self, session: str) -> None:
        """Bytes went through, in either direction."""
        self._last[session] = time.time()
        self._changed.add(session)

    def opened(self, session: str) -> None:
        self._connections[session] = self._connections.get(session, 0) + 1
        self.touch(session)

    def closed(self, session: str) -> None:
        self._connections[session] -= 1
        self.touch(session)

    def take(self) -> list[dict[str, str | float | int]]:
        """The rows that changed since the last call. Sessions without connections are forgotten with it."""
        rows: list[dict[str, str | float | int]] = []
        for session in self._changed:
            connections = self._connections.get(session, 0)
            rows.append({"session": session, "last": self._last[session], "connections": connections})
            if not connections:
                self._connections.pop(session, None)
                del self._last[session]
        self._changed.clear()
        return rows

    def put_back(self, rows: list[dict[str, str | float | int]]) -> None:
        """After a write that failed: newer traffic stays, the rest is written with the next."""
        for row in rows:
            session = str(row["session"])
            self._last[session] = max(self._last.get(session, 0.0), float(row["last"]))
            self._changed.add(session)

    def write(self, rows: list[dict[str, str | float | int]], *, fresh: bool = False) -> bool:
        """Writes rows in one transaction; blocks, so call it in a thread. False if the database did not take them.

        `fresh`: nothing is connected yet, whatever a proxy that was killed left in the table.
        """
        uri = f"{self._database.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=2)) as connection, connection:
                if fresh:
                    connection.execute("UPDATE activity SET connections = 0 WHERE connections != 0")
                connection.executemany(_WRITE, rows)
        except sqlite3.Error as error:
            log.warning("activity not written: %s", error)
            return False
        return True
