"""Sessions: started, watched, stopped. The record comes first, the process after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rebind.engines import Engine
from rebind.errors import RebindError, SessionError
from rebind.hub.owner import alive
from rebind.hub.secrets import Secret, session_name
from rebind.launch import Prepared
from rebind.settings import Settings
from rebind.store import LaunchRecord, SessionRecord, SessionState, Store
from rebind.values import Limits, Report, Route, Session, SessionRequest


@dataclass(frozen=True, slots=True)
class Sessions:
    """All sessions of one engine."""

    settings: Settings
    store: Store
    engine: Engine
    secret: Secret
    owner: str
    """'' for a hub, whose sessions outlive it; else the process that they end with."""

    def reserve(self, launch: LaunchRecord, id: str) -> bool:
        """Takes a place for a session; False when the hub is full."""
        name = session_name(launch.spec.repository)
        record = SessionRecord(
            id, launch.id, name, self.owner, self.engine.name, SessionState.STARTING,
            None, None, None, time.time(), None, None, None,
        )  # fmt: skip
        return self.store.reserve_session(record, self.settings.max_sessions)

    def start(self, record: SessionRecord, launch: LaunchRecord, prepared: Prepared, report: Report) -> Session:
        """Starts the session of a reserved record and routes to it. Raises SessionError; the place is freed then."""
        request = self._request(record, launch, prepared)
        try:
            session = self.engine.start(request, report)
        except RebindError as error:
            self.store.session_ended(record.id, str(error))
            raise
        except BaseException:
            self.store.session_ended(record.id, "the start was interrupted")
            raise
        self.store.session_started(session, Route(request.base_url, session.socket, session.id))
        return session

    def _request(self, record: SessionRecord, launch: LaunchRecord, prepared: Prepared) -> SessionRequest:
        settings = self.settings
        return SessionRequest(
            id=record.id,
            name=record.name,
            base_url=f"/user/{record.name}/",
            token=self.secret.token(record.id),
            environment=prepared.environment,
            layers=prepared.layers,
            limits=Limits(
                settings.session_memory or None,
                settings.session_cpus or None,
                settings.session_processes or None,
                settings.session_disk or None,
            ),
            start=prepared.start,
            variables=tuple(binder_variables(launch, prepared).items()),
            allow_origin=settings.cors_allow_origin,
            bound=bool(self.owner),
        )

    def stop(self, id: str, reason: str) -> bool:
        """Ends a session; False if there was none alive of that id."""
        record = self.store.session(id)
        if record is None or record.state is SessionState.ENDED:
            return False
        if record.pid is not None:
            self.engine.stop(as_session(record))
        return self.store.session_ended(id, reason)

    def stop_all(self, reason: str) -> None:
        """Ends all sessions of this owner."""
        for record in self.store.sessions_alive():
            if record.owner == self.owner:
                self.stop(record.id, reason)

    def cull(self, now: float) -> list[str]:
        """Stops what was idle for too long or is too old; gives the ids."""
        seen = self.store.activity()
        culled = []
        for record in self.store.sessions_alive():
            if record.owner != self.owner or record.state is not SessionState.RUNNING:
                continue
            reason = self._overdue(record, seen.get(record.id, (0.0, 0))[0], now)
            if reason and self.stop(record.id, reason):
                culled.append(record.id)
        return culled

    def _overdue(self, record: SessionRecord, last: float, now: float) -> str:
        started = record.started or record.created
        if self.settings.session_max_age and now - started > self.settings.session_max_age:
            return "it had reached its greatest age"
        if self.settings.idle_timeout and now - max(last, started) > self.settings.idle_timeout:
            return "it was idle"
        return ""

    def reconcile(self, starting: Callable[[str], bool]) -> list[str]:
        """Compares the records with what really runs, both ways; gives the ids of records that were ended.

        `starting(id)` tells whether this process is starting that session just now.
        """
        real = {session.id: session for session in self.engine.list()}
        lost = []
        records = {record.id: record for record in self.store.sessions_alive()}
        for record in records.values():
            foreign = record.owner != self.owner
            if record.id in real or starting(record.id) or (foreign and record.owner and alive(record.owner)):
                continue
            if foreign and not record.owner:
                continue  # a hub's own; this is a launch from the command line
            if self.store.session_ended(record.id, "its process ended"):
                lost.append(record.id)
        for id, session in real.items():
            orphan = id not in records and not starting(id)
            if orphan or (id in records and records[id].owner == self.owner and not self._adopt(records[id], session)):
                self.engine.stop(session)
        return lost

    def _adopt(self, record: SessionRecord, session: Session) -> bool:
        """Routes a session whose hub was killed between its start and the record of it; False if it is not wanted."""
        if record.state is SessionState.STARTING and not self.owner:
            self.store.session_started(session, Route(f"/user/{record.name}/", session.socket, session.id))
        return True

    def require(self, id: str) -> SessionRecord:
        record = self.store.session(id)
        if record is None:
            raise SessionError(f"There is no session {id}.")
        return record


def as_session(record: SessionRecord) -> Session:
    """The engine's view of a record that has a process."""
    return Session(record.id, record.name, record.engine, Path(record.socket or ""), record.pid or 0, record.born or 0)


def binder_variables(launch: LaunchRecord, prepared: Prepared) -> dict[str, str]:
    """The `BINDER_*` variables (launch-api 1.5)."""
    facts = ready_facts(launch, prepared)
    names = ("repo_url", "ref_url", "launch_host", "request", "persistent_request", "client_ip")
    keys = ("repo_url", "binder_ref_url", *(f"binder_{name}" for name in names[2:]))
    return {f"BINDER_{name.upper()}": facts[key] for name, key in zip(names, keys, strict=True)}


def ready_facts(launch: LaunchRecord, prepared: Prepared) -> dict[str, str]:
    """What the `ready` event says of where the session comes from (launch-api 1.5)."""
    commit = prepared.commit
    request = launch.link.lstrip("/")
    stem, _, ref = request.rpartition("/")
    persistent = f"{stem}/{commit.id}" if ref and stem.count("/") >= 2 else request
    if commit.link and request.count("/") >= 2:
        persistent = "/".join([*request.split("/")[:2], commit.link])
    return {
        "image": f"{commit.identity}:{commit.id}",
        "repo_url": commit.spec.repository,
        "binder_ref_url": commit.page or commit.spec.repository,
        "binder_launch_host": launch.base_url,
        "binder_request": request,
        "binder_persistent_request": persistent,
        "binder_client_ip": launch.client,
    }
