import sqlite3
import threading
import time
from pathlib import Path

import pytest

from rebind.errors import DiskError
from rebind.store import LaunchRecord, LaunchState, SessionRecord, SessionState, Store
from rebind.values import Event, Phase, Route, Session, Spec


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "data" / "rebind.db").open()
    yield store
    store.close()


def launch(id: str = "l1", **changes: object) -> LaunchRecord:
    now = time.time()
    values: dict[str, object] = {
        "id": id,
        "spec": Spec("git", "https://example.org/a/b", "main"),
        "link": "v2/git/x/main",
        "as_of": None,
        "client": "203.0.113.9",
        "base_url": "/",
        "state": LaunchState.QUEUED,
        "owner": "",
        "commit_id": None,
        "environment": None,
        "session": None,
        "error": None,
        "created": now,
        "updated": now,
    }
    return LaunchRecord(**(values | changes))  # type: ignore[arg-type]


def session(id: str, launch: str = "l1") -> SessionRecord:
    return SessionRecord(
        id, launch, f"name-{id}", "", "process", SessionState.STARTING, None, None, None, time.time(), None, None, None
    )


def test_a_launch_comes_back_as_it_was_written(store: Store) -> None:
    record = launch()
    store.add_launch(record)
    assert store.launch("l1") == record
    assert store.launches(LaunchState.QUEUED) == (record,)
    assert store.launches(LaunchState.FAILED) == ()


def test_only_one_takes_a_launch(store: Store) -> None:
    store.add_launch(launch())
    won = [owner for owner in ("1:1", "2:2", "3:3") if store.take_launch("l1", owner, "")]
    assert won == ["1:1"]
    assert store.take_launch("l1", "4:4", "1:1")


def test_an_ended_launch_does_not_move(store: Store) -> None:
    store.add_launch(launch())
    assert store.update_launch("l1", state=LaunchState.CANCELLED)
    assert not store.update_launch("l1", state=LaunchState.READY)
    assert not store.take_launch("l1", "1:1", "")


def test_events_are_numbered_and_resumed(store: Store) -> None:
    store.add_launch(launch())
    events = [Event(Phase.BUILDING, f"line {n}\n", (("a", n),)) for n in range(5)]
    assert [store.add_event("l1", event) for event in events] == [1, 2, 3, 4, 5]
    assert store.events("l1", after=3) == [(4, events[3]), (5, events[4])]


def test_events_from_many_threads_lose_nothing(store: Store) -> None:
    store.add_launch(launch())

    def write(n: int) -> None:
        for k in range(20):
            store.add_event("l1", Event(Phase.BUILDING, f"{n}.{k}"))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [number for number, _ in store.events("l1")]
    assert numbers == list(range(1, 121))


def test_places_are_reserved_without_a_race(store: Store) -> None:
    store.add_launch(launch())
    got: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(store.reserve_session(session(str(n)), 3))) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 9 + [True] * 3
    store.session_ended(store.sessions_alive()[0].id, "test")
    assert store.reserve_session(session("again"), 3)


def test_a_route_lives_and_dies_with_its_session(store: Store) -> None:
    store.add_launch(launch())
    store.reserve_session(session("s"), 0)
    running = Session("s", "name-s", "process", Path("/x/s"), 42, 7)
    store.session_started(running, Route("/user/name-s/", Path("/x/s"), "s"))
    plain = sqlite3.connect(store.path)  # as the proxy reads it
    assert plain.execute("SELECT prefix, socket, session FROM routes").fetchall() == [("/user/name-s/", "/x/s", "s")]
    assert plain.execute("SELECT revision FROM route_revision").fetchone() == (1,)
    assert store.session("s").state is SessionState.RUNNING  # type: ignore[union-attr]
    assert "s" in store.activity()
    assert store.session_ended("s", "idle")
    assert not store.session_ended("s", "again")
    assert plain.execute("SELECT count(*) FROM routes").fetchone() == (0,)
    assert plain.execute("SELECT revision FROM route_revision").fetchone() == (2,)


def test_what_ended_long_ago_is_forgotten_and_what_lives_is_kept(store: Store) -> None:
    for id, state in (("old", LaunchState.FAILED), ("live", LaunchState.READY), ("new", LaunchState.QUEUED)):
        store.add_launch(launch(id, state=state, updated=1.0, session="s" if id == "live" else None))
    store.add_event("old", Event(Phase.FAILED, "x"))
    store.reserve_session(session("s", "live"), 0)
    assert store.forget(before=2.0) == 1
    assert {record.id for record in store.launches()} == {"live", "new"}
    assert store.events("old") == []


def test_the_database_is_nobody_elses_to_read(store: Store) -> None:
    assert store.path.stat().st_mode & 0o077 == 0


def test_reopening_keeps_everything(store: Store) -> None:
    store.add_launch(launch())
    again = Store(store.path).open()
    assert again.launch("l1") is not None
    again.close()


def test_values_with_sql_in_them_are_just_values(store: Store) -> None:
    evil = "x'); DROP TABLE launches; --"
    store.add_launch(launch(evil, spec=Spec("git", evil, evil, evil)))
    assert store.launch(evil).spec.ref == evil  # type: ignore[union-attr]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"rebind\.db"):
        Store(tmp_path / "file" / "rebind.db").open()


def test_the_migrations_give_the_tables_that_the_code_declares(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from rebind.store.database import HEAD
    from rebind.store.tables import metadata

    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    store.add_launch(launch())
    with store.engine.begin():
        assert store.launch("l1") is not None  # would time out after 30 s otherwise
