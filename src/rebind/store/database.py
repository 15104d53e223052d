"""Opens the database and brings its tables to today's form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError

from rebind.errors import DiskError, RebindError

HEAD = "0001"  # the newest revision in migrations/versions; a test compares them


def open_database(path: Path) -> Engine:
    """An engine on the SQLite file `path`, made if it is not there (mode 0600: it names people's repositories).

    Raises DiskError when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DiskError(
            f"The database {path} cannot be opened: {error.strerror}.",
            remedy="Free some space, or choose another directory with --data.",
        ) from error
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    _migrate(engine)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin, not by the driver's guess
    # WAL: readers (the proxy) never wait; NORMAL: a killed process loses nothing, a power cut at most the last moments.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # IMMEDIATE: what a transaction reads (a quota) is still true when it writes. A mere reader waits for nobody.
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        try:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except OperationalError:
            return None


def _migrate(engine: Engine) -> None:
    if _version(engine) == HEAD:
        return  # the usual case: Alembic is not even imported
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise RebindError(
            f"The database {engine.url.database} was made by another version of rebind: {error}.",
            remedy="Use that version or a newer one, or choose another directory with --data.",
        ) from error
