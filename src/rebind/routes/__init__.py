"""Step 7, session -> URL: the proxy and its table.

The table lies in the store. The proxy (`python -m rebind.routes.proxy`) is a process of its own that reads it there, so
that a route is live within milliseconds and a hub that restarts cuts nobody off. `ProxyProcess` starts it, or finds the
one that still runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rebind.values import Route


class RouteTable(Protocol):
    """Path prefixes and the sessions that answer below them. A prefix begins and ends with a slash."""

    def add(self, route: Route) -> None:
        """Makes the route live; replaces one of the same prefix."""

    def delete(self, prefix: str) -> None:
        """Takes the route away; a prefix that is not there is no error."""

    def routes(self) -> Iterable[Route]:
        """All routes."""
