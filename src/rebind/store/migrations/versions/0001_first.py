"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "launches",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("ref", sa.Text),
        sa.Column("subdir", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(40)),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("commit_id", sa.String(80)),
        sa.Column("environment", sa.String(64)),
        sa.Column("session", sa.String(32)),
        sa.Column("error", sa.Text),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
    )
    op.create_index("launches_by_state", "launches", ["state", "created"])
    op.create_table(
        "events",
        sa.Column("launch", sa.String(32), sa.ForeignKey("launches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("phase", sa.String(12), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("launch", sa.String(32), sa.ForeignKey("launches.id"), nullable=False),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("engine", sa.String(20), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("socket", sa.Text),
        sa.Column("pid", sa.Integer),
        sa.Column("born", sa.Integer),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("ended", sa.Float),
        sa.Column("reason", sa.Text),
    )
    op.create_index("sessions_by_state", "sessions", ["state"])
    op.create_table(
        "routes",
        sa.Column("prefix", sa.Text, primary_key=True),
        sa.Column("socket", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
    )
    revision_table = op.create_table(
        "route_revision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.bulk_insert(revision_table, [{"id": 1, "revision": 0}])
    op.create_table(
        "activity",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("last", sa.Float, nullable=False),
        sa.Column("connections", sa.Integer, nullable=False),
    )
