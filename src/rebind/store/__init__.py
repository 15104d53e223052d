"""What must survive: launches, their events, sessions, routes. A record is written before the thing is started."""

from __future__ import annotations

from rebind.store.records import LaunchRecord, LaunchState, SessionRecord, SessionState
from rebind.store.store import Store

__all__ = ["LaunchRecord", "LaunchState", "SessionRecord", "SessionState", "Store"]
