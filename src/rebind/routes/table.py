"""Reads the route table from the hub's SQLite database, as it changes.

`PRAGMA data_version` tells without reading a page whether any other connection wrote to the database since; only then
is the table's own revision looked at, and only when that moved are the routes read again. So a request costs a few
microseconds, a new route is live with the next request, and nobody has to tell the proxy.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from rebind.values import Route

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Loaded:
    revision: int = -1
    routes: dict[bytes, Route] | None = None
    depth: int = 0  # most slashes in a prefix: no deeper part of a path is ever looked at


class RouteReader:
    """The routes of one database, looked up by longest prefix. Keeps the last good table if the database is away."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._seen = -1
        self._loaded = _Loaded()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, path: bytes) -> Route | None:
        """The route with the longest prefix of the raw request path; the path is taken literally, never normalised."""
        self._refresh()
        routes = self._loaded.routes
        if not routes:
            return None
        found = None
        end = path.find(b"/")
        for _ in range(self._loaded.depth):
            if end < 0:
                break
            found = routes.get(path[: end + 1]) or found
            end = path.find(b"/", end + 1)
        return found

    def _refresh(self) -> None:
        try:
            connection = self._connection or self._open()
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version != self._seen:
                self._read(connection)
                self._seen = version
        except sqlite3.Error as error:  # not made yet, or locked for a moment: the next request asks again
            log.debug("route table not read: %s", error)
            self.close()
            self._seen = -1

    def _open(self) -> sqlite3.Connection:
        uri = f"{self._database.absolute().as_uri()}?mode=rw"
        self._connection = sqlite3.connect(uri, uri=True, timeout=0.05, isolation_level=None)
        return self._connection

    def _read(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # one snapshot, so that revision and routes belong together
        try:
            row = connection.execute("SELECT revision FROM route_revision").fetchone()
            revision = int(row[0]) if row else 0
            if self._loaded.routes is None or revision != self._loaded.revision:
                rows = connection.execute("SELECT prefix, socket, session FROM routes").fetchall()
                routes = {p.encode(): Route(p, Path(socket), session) for p, socket, session in rows}
                depth = max((prefix.count(b"/") for prefix in routes), default=0)
                self._loaded = _Loaded(revision, routes, depth)
        finally:
            connection.execute("COMMIT")
