"""The tables of the store. Times are seconds since the epoch (UTC) as floats."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

launches = Table(
    "launches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("provider", String(40), nullable=False),
    Column("link", Text, nullable=False),  # `v2/<provider>/<spec>` as asked for; '' from the command line
    Column("repository", Text, nullable=False),
    Column("ref", Text),
    Column("subdir", Text, nullable=False),
    Column("as_of", String(40)),
    Column("client", String(100), nullable=False),
    Column("base_url", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("owner", String(100), nullable=False),
    Column("commit_id", String(80)),
    Column("environment", String(64)),
    Column("session", String(32)),
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Index("launches_by_state", "state", "created"),
)

events = Table(
    "events",
    metadata,
    Column("launch", ForeignKey("launches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("phase", String(12), nullable=False),
    Column("message", Text, nullable=False),
    Column("extra", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("launch", ForeignKey("launches.id"), nullable=False),
    Column("name", String(80), nullable=False, unique=True),
    Column("owner", String(100), nullable=False),
    Column("engine", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("socket", Text),
    Column("pid", Integer),
    Column("born", Integer),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("reason", Text),
    Index("sessions_by_state", "state"),
)

# The proxy reads the three below with plain SQL: see rebind.routes.table.
routes = Table(
    "routes",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("socket", Text, nullable=False),
    Column("session", Text, nullable=False),
)

route_revision = Table(
    "route_revision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
)

activity = Table(
    "activity",
    metadata,
    Column("session", Text, primary_key=True),
    Column("last", Float, nullable=False),
    Column("connections", Integer, nullable=False),
)
