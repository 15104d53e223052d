"""The records that the store gives back: frozen, one class a table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rebind.values import Spec


class LaunchState(StrEnum):
    """`queued -> running -> ready | failed | cancelled`; `running` goes back to `queued` when its process died."""

    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (LaunchState.QUEUED, LaunchState.RUNNING)


class SessionState(StrEnum):
    """`starting -> running -> ended`."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One launch, as durable as the store."""

    id: str
    spec: Spec
    link: str
    as_of: str | None
    client: str
    base_url: str
    state: LaunchState
    owner: str
    """The process that moves it on (`pid:born`), '' if none does."""
    commit_id: str | None
    environment: str | None
    session: str | None
    error: str | None
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session, from before it is started until long after it ended."""

    id: str
    launch: str
    name: str
    owner: str
    """'' for a hub's session, which outlives processes; else the process (`pid:born`) it ends with."""
    engine: str
    state: SessionState
    socket: str | None
    pid: int | None
    born: int | None
    created: float
    started: float | None
    ended: float | None
    reason: str | None
