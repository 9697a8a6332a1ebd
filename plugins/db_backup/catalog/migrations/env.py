"""Alembic's entry: migrates the connection that ``database.py`` hands over, within its transaction."""

from alembic import context

from db_backup.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
