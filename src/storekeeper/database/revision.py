"""Which version's tables a database has: looked at in every transaction, so that none takes another's for its
own.

Who looked holds them as they are until his transaction ends, in PostgreSQL by the lock that reading takes.
Who changes them waits for him; one who looks meanwhile waits too, and is told what they are then.
"""

from __future__ import annotations

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from storekeeper.database.rows import is_shared
from storekeeper.errors import Outdated, StoreError

# That of the newest migration.
REVISION = "2"

LOST = "put a backup back, or make the database anew, empty, and start one manager again"

_FOUND = text("SELECT version_num FROM alembic_version")
_HOLD = text("LOCK TABLE alembic_version")


def check(connection: Connection) -> None:
    """Raises:
    Outdated: the tables are another version's.
    StoreError: there are none any more.
    """
    try:
        found = connection.execute(_FOUND).scalar()
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.UndefinedTable):
            raise
        found = None
    if found is None:
        raise StoreError(f"The database has lost its tables; {LOST}.")
    if found != REVISION:
        raise Outdated(
            f"The database has no more the tables of this version: revision {found}, not {REVISION}. Another "
            "manager is of a later version, or an earlier one's backup was put back; install the same "
            "version for all managers on this database, and start this one again."
        )


def hold(connection: Connection) -> None:
    """Waits for all who looked, and lets nobody look, until the transaction ends."""
    if is_shared(connection):
        connection.execute(_HOLD)
