"""The store: one small method for each thing that must be remembered. Safe to use from any thread."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from rebind.store import tables
from rebind.store.database import open_database
from rebind.store.records import LaunchRecord, LaunchState, SessionRecord, SessionState
from rebind.values import Event, Phase, Route, Session, Spec

ALIVE = (SessionState.STARTING, SessionState.RUNNING)


class Store:
    """Launches, events, sessions and routes in one database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: Engine | None = None

    def open(self) -> Store:
        """Opens the database and brings it up to date. Raises DiskError or RebindError."""
        self._engine = open_database(self.path)
        return self

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the store is not open"
        return self._engine

    def _reading(self) -> Connection:
        return self.engine.execution_options(reads=True).connect()

    # Launches

    def add_launch(self, record: LaunchRecord) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(tables.launches).values(**_launch_row(record)))

    def launch(self, id: str) -> LaunchRecord | None:
        with self._reading() as connection:
            row = connection.execute(select(tables.launches).where(tables.launches.c.id == id)).first()
        return _launch(row) if row else None

    def launches(self, *states: LaunchState) -> tuple[LaunchRecord, ...]:
        """Those in one of `states`, oldest first."""
        query = select(tables.launches).order_by(tables.launches.c.created)
        if states:
            query = query.where(tables.launches.c.state.in_(states))
        with self._reading() as connection:
            return tuple(_launch(row) for row in connection.execute(query))

    def take_launch(self, id: str, owner: str, previous: str) -> bool:
        """Makes `owner` the one that moves the launch on; False if somebody else was quicker or it has ended."""
        table = tables.launches
        query = (
            update(table)
            .where(table.c.id == id, table.c.owner == previous)
            .where(table.c.state.in_([LaunchState.QUEUED, LaunchState.RUNNING]))
            .values(owner=owner, state=LaunchState.RUNNING, updated=time.time())
        )
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount == 1

    def update_launch(self, id: str, **values: Any) -> bool:
        """Sets columns of a launch that has not ended; False if it has."""
        table = tables.launches
        query = (
            update(table)
            .where(table.c.id == id, table.c.state.in_([LaunchState.QUEUED, LaunchState.RUNNING]))
            .values(updated=time.time(), **values)
        )
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount == 1

    # Events

    def add_event(self, launch: str, event: Event) -> int:
        """Appends an event; gives its number, counted from 1 within the launch."""
        table = tables.events
        number = select(func.coalesce(func.max(table.c.number), 0) + 1).where(table.c.launch == launch)
        values = {
            "launch": launch,
            "number": number.scalar_subquery(),
            "time": time.time(),
            "phase": str(event.phase),
            "message": event.message,
            "extra": json.dumps(event.extra),
        }
        with self.engine.begin() as connection:
            return int(connection.execute(insert(table).values(**values).returning(table.c.number)).scalar_one())

    def events(self, launch: str, after: int = 0) -> list[tuple[int, Event]]:
        table = tables.events
        query = select(table).where(table.c.launch == launch, table.c.number > after).order_by(table.c.number)
        with self._reading() as connection:
            return [
                (row.number, Event(Phase(row.phase), row.message, tuple((k, v) for k, v in json.loads(row.extra))))
                for row in connection.execute(query)
            ]

    # Sessions

    def reserve_session(self, record: SessionRecord, limit: int) -> bool:
        """Writes the record of a session that is about to start, unless `limit` are alive already (0: no limit)."""
        table = tables.sessions
        alive = select(func.count()).select_from(table).where(table.c.state.in_(ALIVE))
        with self.engine.begin() as connection:
            if limit and connection.execute(alive).scalar_one() >= limit:
                return False
            row = {name: getattr(record, name) for name in record.__slots__}
            connection.execute(insert(table).values(**row))
        return True

    def session_started(self, session: Session, route: Route | None) -> None:
        """Records the running session and its route in one transaction."""
        table = tables.sessions
        now = time.time()
        with self.engine.begin() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == session.id)
                .values(
                    state=SessionState.RUNNING,
                    socket=str(session.socket),
                    pid=session.pid,
                    born=session.born,
                    started=now,
                )
            )
            if route is not None:
                row = {"prefix": route.prefix, "socket": str(route.socket), "session": route.session}
                connection.execute(upsert(tables.routes).values(row).on_conflict_do_update(["prefix"], set_=row))
                connection.execute(text("UPDATE route_revision SET revision = revision + 1"))
                first = {"session": session.id, "last": now, "connections": 0}
                connection.execute(upsert(tables.activity).values(first).on_conflict_do_nothing())

    def session_ended(self, id: str, reason: str) -> bool:
        """Records the end of a session and takes its route away; False if that was done before."""
        table = tables.sessions
        with self.engine.begin() as connection:
            ended = connection.execute(
                update(table)
                .where(table.c.id == id, table.c.state != SessionState.ENDED)
                .values(state=SessionState.ENDED, ended=time.time(), reason=reason)
            )
            gone = connection.execute(delete(tables.routes).where(tables.routes.c.session == id))
            if gone.rowcount:
                connection.execute(text("UPDATE route_revision SET revision = revision + 1"))
            connection.execute(delete(tables.activity).where(tables.activity.c.session == id))
            return ended.rowcount == 1

    def session(self, id: str) -> SessionRecord | None:
        with self._reading() as connection:
            row = connection.execute(select(tables.sessions).where(tables.sessions.c.id == id)).first()
        return _session(row) if row else None

    def sessions_alive(self) -> tuple[SessionRecord, ...]:
        """Those that are starting or running, oldest first."""
        table = tables.sessions
        query = select(table).where(table.c.state.in_(ALIVE)).order_by(table.c.created)
        with self._reading() as connection:
            return tuple(_session(row) for row in connection.execute(query))

    def activity(self) -> dict[str, tuple[float, int]]:
        """Per session: time of its last traffic, and connections that are open now."""
        with self._reading() as connection:
            rows = connection.execute(select(tables.activity))
            return {row.session: (row.last, row.connections) for row in rows}

    def forget(self, before: float) -> int:
        """Deletes launches (with events and sessions) that ended before that time; gives how many."""
        launches, sessions = tables.launches, tables.sessions
        alive = select(sessions.c.launch).where(sessions.c.state.in_(ALIVE))
        old = select(launches.c.id).where(
            launches.c.updated < before,
            launches.c.state.in_([LaunchState.READY, LaunchState.FAILED, LaunchState.CANCELLED]),
            or_(launches.c.session.is_(None), launches.c.id.not_in(alive)),
        )
        with self.engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.launch.in_(old)))
            return connection.execute(delete(launches).where(launches.c.id.in_(old))).rowcount


def _launch_row(record: LaunchRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in record.__slots__ if name != "spec"}
    spec = record.spec
    return row | {"provider": spec.provider, "repository": spec.repository, "ref": spec.ref, "subdir": spec.subdir}


def _launch(row: Any) -> LaunchRecord:
    values = dict(row._mapping)
    spec = Spec(values.pop("provider"), values.pop("repository"), values.pop("ref"), values.pop("subdir"))
    return LaunchRecord(**{**values, "spec": spec, "state": LaunchState(values["state"])})


def _session(row: Any) -> SessionRecord:
    values = dict(row._mapping)
    return SessionRecord(**{**values, "state": SessionState(values["state"])})
