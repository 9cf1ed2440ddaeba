"""Rows written, each in the quickest way that its database has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from storekeeper.database.tables import FACTS

AT_ONCE = 5_000

Row = dict[str, Any]
# The columns of FACTS, in order.
FactRow = tuple[str, str, str, bytes, bytes]

_COLUMNS = ", ".join(FACTS.c.keys())
_OR_REPLACE = "ON CONFLICT (host_id, source, scope, key_digest) DO UPDATE SET fact = excluded.fact"
_PUT_SQLITE = f"INSERT INTO facts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?) {_OR_REPLACE}"  # noqa: S608
_PUT_POSTGRESQL = (
    f"INSERT INTO facts ({_COLUMNS}) "  # noqa: S608
    f"SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[]) {_OR_REPLACE}"
).encode()
_COPY_POSTGRESQL = f"COPY facts ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()


def put(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Writes rows, each instead of the one of the same primary key, in the order given."""
    if rows:
        connection.execute(_upsert(table, connection.dialect.name), rows)


def put_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Writes those rows of whose primary key none is there, in the order given."""
    if rows:
        connection.execute(_insert(table, connection.dialect.name).on_conflict_do_nothing(), rows)


def put_facts(connection: Connection, rows: Iterable[FactRow]) -> None:
    """Writes facts, each instead of the one of the same key."""
    remaining = iter(rows)
    while some := list(islice(remaining, AT_ONCE)):
        if is_shared(connection):
            _driver(connection).execute(_PUT_POSTGRESQL, [list(column) for column in zip(*some, strict=True)])
        else:
            connection.exec_driver_sql(_PUT_SQLITE, some)


def add_facts(connection: Connection, rows: Iterable[FactRow]) -> None:
    """Writes facts of which none is there, in the order of their digests at best."""
    if not is_shared(connection):
        put_facts(connection, rows)
        return
    # Four times as fast as any INSERT.
    with _driver(connection).cursor() as cursor, cursor.copy(_COPY_POSTGRESQL) as copy:
        for row in rows:
            copy.write_row(row)


def is_shared(connection: Connection) -> bool:
    """Whether other managers may write to the same database."""
    return connection.dialect.name == "postgresql"


def _driver(connection: Connection) -> psycopg.Connection:
    return cast("psycopg.Connection", connection.connection.driver_connection)


@cache
def _upsert(table: Table, dialect: str) -> Any:
    insert = _insert(table, dialect)
    keys = list(table.primary_key.columns)
    rest = {column.name: insert.excluded[column.name] for column in table.c if column not in set(keys)}
    return insert.on_conflict_do_update(index_elements=keys, set_=rest)


def _insert(table: Table, dialect: str) -> Any:
    """Both dialects know of conflicts, with no common type."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
