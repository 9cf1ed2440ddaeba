"""Run by Alembic for each migration: all of it in the transaction that the caller began."""

from __future__ import annotations

from alembic import context

# SQLite rolls back changes of tables as PostgreSQL does; Alembic does not count on it unless told.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
