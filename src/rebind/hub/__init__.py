"""Who, how many, how long: keeps launches and sessions, and what connects them to the store."""

from __future__ import annotations

from rebind.hub.hub import Hub

__all__ = ["Hub"]
