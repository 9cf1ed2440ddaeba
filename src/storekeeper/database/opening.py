"""Opens the database that a URL names, and brings its tables to this version's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storekeeper.database.listening import notify
from storekeeper.database.revision import LOST, REVISION, hold
from storekeeper.database.rows import is_shared
from storekeeper.database.store import DURABLE, Store
from storekeeper.database.tables import REPORTS
from storekeeper.errors import DeclarationError, NotKnown

# How long a writer waits for another one, of this process or not.
BUSY_S = 30.0
# A server that is cut off is given up after these, so that the next try starts anew.
CONNECT_S = 5
UNANSWERED_MS = 10_000
STATEMENT_MS = 60_000
# Held while tables are changed; any number that nobody else uses.
MIGRATING_LOCK = 0x53746F72_00000001

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def open_store(url: str) -> Store:
    """The store that `manager.database` names: `sqlite:///PATH`, `sqlite://` for one in memory, or
    `postgresql://USER@HOST/DATABASE`.

    A file that is no database is moved aside, never overwritten: all but first looks and what was declared
    will be seen again.

    Raises:
        DeclarationError: another kind of database, or a relative path.
        NotKnown: it cannot be opened or made, or its tables are a later version's, or nobody knows whose.
    """
    parts = urlsplit(url)
    if parts.scheme == "postgresql" and len(parts.path) > 1:
        return _migrated(_postgresql(make_url(url)), f"database {parts.path[1:]}")
    if parts.scheme != "sqlite" or parts.netloc or not (parts.path == "" or parts.path.startswith("/")):
        raise DeclarationError(
            "manager.database",
            f"{url!r} is not served; write sqlite:///PATH or postgresql://USER@HOST/DATABASE",
        )
    if not parts.path:
        return _migrated(_sqlite(":memory:"), "database in memory")
    # urlsplit leaves `//var/lib/x` of `sqlite:////var/lib/x`, which is the same place.
    path = Path("/" + parts.path.lstrip("/"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _set_aside_if_broken(path)
        # What it holds takes a token to read elsewhere. SQLite gives its other files the rights of this one.
        path.touch(mode=0o600)
    except (OSError, sqlite3.Error) as error:
        raise _unopened(f"database {path}", str(error)) from error
    return _migrated(_sqlite(str(path)), f"database {path}")


def _sqlite(path: str) -> Engine:
    """WAL: consistent after a kill at any moment, and readers wait for nobody."""
    # In memory a database is its one connection: whoever comes second waits for it.
    one: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if path == ":memory:" else {}
    engine = create_engine(
        URL.create("sqlite", database=path),
        poolclass=QueuePool,
        connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None},
        hide_parameters=True,
        **one,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")

    # The driver's own transactions leave out changes of tables, and take the lock too late to wait for it.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # What was promised to somebody survives a power cut; what agents say again need not.
        durable = connection.get_execution_options().get(DURABLE)
        connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if durable is False else 'FULL'}")
        connection.exec_driver_sql("BEGIN" if durable is None else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "application_name": "storekeeper",
            "connect_timeout": CONNECT_S,
            "tcp_user_timeout": UNANSWERED_MS,
            "keepalives_idle": CONNECT_S,
            "keepalives_interval": 1,
            "keepalives_count": CONNECT_S,
            "options": f"-c statement_timeout={STATEMENT_MS}",
        },
        hide_parameters=True,
    )


def _migrated(engine: Engine, name: str) -> Store:
    """The store on `engine`, its tables this version's: changed whole or not at all, by one at a time."""
    try:
        with _disposed_on_failure(engine), engine.execution_options(**{DURABLE: True}).begin() as connection:
            _migrate(connection, name)
    except CommandError as error:
        raise NotKnown(
            f"The {name} has the tables of a later version of Storekeeper; install that version here too, "
            "or set manager.database to another place"
        ) from error
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _unopened(name, str(cause)) from error
    return Store(engine)


def _migrate(connection: Connection, name: str) -> None:
    if is_shared(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATING_LOCK})
    found = MigrationContext.configure(connection).get_current_revision()
    if found == REVISION:
        return
    if found is not None:
        hold(connection)
    elif inspect(connection).has_table(REPORTS.name):
        raise NotKnown(f"The {name} says no more which version's tables it has; {LOST}")
    config = Config()
    config.set_main_option("script_location", f"{Path(__file__).parent / 'migrations'}".replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if is_shared(connection):
        # Whoever hears it reads, and so notices.
        notify(connection, "credentials", sender="")


@contextmanager
def _disposed_on_failure(engine: Engine) -> Iterator[None]:
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _unopened(name: str, why: str) -> NotKnown:
    why = why.partition("\n")[0]
    return NotKnown(
        f"The {name} cannot be opened ({why}); set manager.database to one that this user may write"
    )


def _set_aside_if_broken(path: Path) -> None:
    if not path.exists():
        return
    try:
        # Reads the whole file, as is done next anyway; beside that it takes 0.3 s for a million images.
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            sound = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        # Anything else, such as a lock that is held, says nothing of the file.
        if error.sqlite_errorcode & 0xFF not in _BROKEN:
            raise
        sound = False
    if not sound:
        aside = path.with_suffix(".broken")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_suffix(f".broken{number}")
        for extra in ("-wal", "-shm", ""):
            if Path(f"{path}{extra}").exists():
                Path(f"{path}{extra}").replace(f"{aside}{extra}")
