"""Runs Alembic's migrations on the connection that rebind.store.database gives."""

from alembic import context

from rebind.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
