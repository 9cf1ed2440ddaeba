"""What somebody does to a database by hand: to the tables of what managers saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

TABLES = ("reports", "steps", "looks", "facts", "memory")


def back_up(url: str) -> None:
    """Instead of an earlier backup."""
    with _alone(url) as connection:
        for table in TABLES:
            connection.execute(f"DROP TABLE IF EXISTS backup_{table}".encode())
            connection.execute(f"CREATE TABLE backup_{table} AS SELECT * FROM {table}".encode())


def restore(url: str) -> None:
    """All is as it was backed up."""
    with _alone(url) as connection:
        for table in TABLES:
            connection.execute(f"TRUNCATE {table}".encode())
            connection.execute(f"INSERT INTO {table} SELECT * FROM backup_{table}".encode())


def empty(url: str, tables: tuple[str, ...] = TABLES) -> None:
    """Nothing is left in these."""
    with _alone(url) as connection:
        connection.execute(f"TRUNCATE {', '.join(tables)}".encode())


@contextmanager
def _alone(url: str) -> Iterator[psycopg.Connection]:
    """In one transaction, while nobody is in another."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE alembic_version")
        yield connection
