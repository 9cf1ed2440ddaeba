"""The store: first looks, decided parents, the last look of every source (which is the header cache);
credentials, and what was declared through the API.

Looks are what agents would say again, so a lost transaction of theirs costs a reread, never the truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event
from typing import TypeVar
from uuid import uuid4

import msgspec
import psycopg
from msgspec.structs import asdict
from sqlalchemy import Connection, Engine, Table, delete, extract, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storekeeper.credentials import Credential
from storekeeper.database.listening import Subject, Told, listen, notify
from storekeeper.database.looks import views, write_steps
from storekeeper.database.revision import check
from storekeeper.database.rows import put
from storekeeper.database.sharing import (
    log,
    other_memory,
    prune,
    put_marks,
    put_memory,
    read_marks,
    read_memory,
    since,
)
from storekeeper.database.steps import HostWrite, Kept, Logged, Mark, MemoryWrite, Refused, Stored
from storekeeper.database.tables import CREDENTIALS, HOSTS, IMAGE_STORAGES
from storekeeper.declaration import Declared, Host, ImageStorage
from storekeeper.errors import StoreError
from storekeeper.merge.truth import HostView

# Execution option of a writing transaction: whether it must survive a power cut. In PostgreSQL each does:
# were a step lost, so would be all that managers wrote after it, each of which has to notice.
DURABLE = "storekeeper_durable"
# Held by whoever changes what is declared; any number that nobody else uses.
DECLARING_LOCK = 0x53746F72_00000002
# How often one manager shortens the log.
PRUNED_EVERY_S = 10.0
# For how long after its end a credential is still listed.
EXPIRED_KEPT_S = 86_400.0

One = TypeVar("One", ImageStorage, Host)


class Store:
    """The tables of one database. Its methods may be called from any thread; several processes may share
    the database.

    Every method raises `StoreError` where the database does not answer or cannot be written; what it was to
    do is then not done, and may be tried again. So it does `Outdated`, for good, once the tables are another
    version's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # What one method reads is of one moment; SQLite reads so anyway.
        self._snapshot = (
            engine.execution_options(isolation_level="REPEATABLE READ") if self.shared else engine
        )
        self._sender = uuid4().hex
        self._closed = Event()
        self._pruned_at = -PRUNED_EVERY_S

    @property
    def shared(self) -> bool:
        """Whether other managers may write to the same database."""
        return self._engine.dialect.name == "postgresql"

    def close(self) -> None:
        """Ends the connections and `changes`; the database is whole."""
        self._closed.set()
        self._engine.dispose()

    # --- what managers saw ----------------------------------------------------------------------

    def stored(self) -> Stored:
        """All that managers wrote, as of one moment."""
        with self._reading() as connection:
            return Stored(
                views=views(connection), marks=read_marks(connection), memory=read_memory(connection)
            )

    def host(self, host_id: str) -> tuple[HostView | None, Mark | None]:
        """What was written of one host, as of one moment."""
        with self._reading() as connection:
            return views(connection, host_id).get(host_id), read_marks(connection, [host_id]).get(host_id)

    def other_memory(self, steps: Mapping[str, int]) -> dict[str, Kept | None]:
        """What is remembered of those volumes that are not at this step (0: nothing); None: nothing."""
        with self._reading() as connection:
            return other_memory(connection, steps)

    def since(self, steps: Mapping[str, int]) -> dict[str, list[Logged]]:
        """What was written of each of these hosts after that step of it, in order; hosts with nothing new are
        absent. Where the log does not tell everything, the last one has no steps and the mark that is there;
        an empty list: there is none any more.
        """
        with self._reading() as connection:
            return since(connection, steps)

    def put(self, hosts: Sequence[HostWrite], memory: Mapping[str, MemoryWrite]) -> Refused:
        """Writes what follows on what is there, of each host and volume on its own, in one transaction.

        `hosts`: each host once. Returns what is there instead of the others, of which nothing is written.
        """
        with self._writing(durable=False) as connection:
            refused_hosts = put_marks(connection, hosts)
            written = [each for each in hosts if each.mark.host_id not in refused_hosts]
            write_steps(connection, (step for each in written for step in each.steps))
            refused = Refused(hosts=refused_hosts, memory=put_memory(connection, memory))
            if self.shared:
                self._tell(connection, written, sorted(memory.keys() - refused.memory.keys()))
        return refused

    def _tell(self, connection: Connection, written: Sequence[HostWrite], volume_keys: Sequence[str]) -> None:
        log(connection, written)
        now = time.monotonic()
        if now - self._pruned_at >= PRUNED_EVERY_S:
            self._pruned_at = now
            prune(connection)
        if written:
            self._notify(connection, "hosts", [each.mark.host_id for each in written])
        if volume_keys:
            self._notify(connection, "memory", volume_keys)

    def time_s(self) -> float:
        """Epoch seconds by the clock of PostgreSQL, which is the same for all managers on it."""
        with self._reading() as connection:
            return float(connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())

    # --- who may ask ----------------------------------------------------------------------------

    def credentials(self) -> list[Credential]:
        """Every credential, expired ones too, the oldest first."""
        order = (CREDENTIALS.c.created_at, CREDENTIALS.c.credential_id)
        with self._reading() as connection:
            rows = connection.execute(select(CREDENTIALS).order_by(*order)).mappings().all()
        return [Credential(**row) for row in rows]

    def put_credential(self, credential: Credential, now: float) -> None:
        """Keeps a credential, instead of an earlier one of the same id. On disk when this returns.

        Forgets those that had expired well before `now`.
        """
        ends = CREDENTIALS.c.expires_at
        with self._writing(durable=True) as connection:
            connection.execute(delete(CREDENTIALS).where(ends > 0, ends < now - EXPIRED_KEPT_S))
            put(connection, CREDENTIALS, [asdict(credential)])
            self._notify(connection, "credentials")

    def delete_credential(self, credential_id: str) -> bool:
        """Forgets a credential; whether it was there. Of several callers one is told so."""
        with self._writing(durable=True) as connection:
            gone = connection.execute(delete(CREDENTIALS).where(CREDENTIALS.c.credential_id == credential_id))
            self._notify(connection, "credentials")
            return gone.rowcount > 0

    # --- what is declared -----------------------------------------------------------------------

    def declared(self) -> Declared:
        """What was declared through the API."""
        with self._reading() as connection:
            return _declared(connection)

    def declare(self, change: Callable[[Declared], Declared]) -> Declared:
        """Replaces what is declared by what `change` makes of it, and returns that.

        One at a time over all processes that share the database. What `change` raises leaves everything as
        it was. On disk when this returns.
        """
        with self._writing(durable=True) as connection:
            if self.shared:
                connection.execute(select(func.pg_advisory_xact_lock(DECLARING_LOCK)))
            before = _declared(connection)
            after = change(before)
            self._replace(connection, IMAGE_STORAGES, before.image_storages, after.image_storages)
            self._replace(connection, HOSTS, before.hosts, after.hosts)
            self._notify(connection, "declared")
        return after

    def _replace(
        self, connection: Connection, table: Table, before: Mapping[str, One], after: Mapping[str, One]
    ) -> None:
        (name,) = table.primary_key.columns.keys()
        gone = before.keys() - after.keys()
        if gone:
            connection.execute(delete(table).where(table.c[name].in_(gone)))
        changed = [
            {name: key, "declared": msgspec.json.encode(value).decode()}
            for key, value in after.items()
            if before.get(key) != value
        ]
        put(connection, table, changed)

    # --- what others change ---------------------------------------------------------------------

    def changes(self, told: Told) -> None:
        """Calls `told` with what another manager on the same database changed: hosts and volumes by id; none:
        all. So with everything at first, and whenever the database could not be heard.

        Blocks until the store is closed, so that it wants a thread of its own; returns at once where the
        database serves one manager only.
        """
        if self.shared:
            listen(self._engine, told, self._sender, self._closed)

    def _notify(self, connection: Connection, subject: Subject, ids: Iterable[str] = ()) -> None:
        if self.shared:
            notify(connection, subject, self._sender, ids)

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _told(), self._snapshot.begin() as connection:
            check(connection)
            yield connection

    @contextmanager
    def _writing(self, *, durable: bool) -> Iterator[Connection]:
        with _told(), self._engine.execution_options(**{DURABLE: durable}).begin() as connection:
            check(connection)
            yield connection


def _declared(connection: Connection) -> Declared:
    storages = [
        msgspec.json.decode(text, type=ImageStorage)
        for text in connection.execute(select(IMAGE_STORAGES.c.declared)).scalars()
    ]
    hosts = [
        msgspec.json.decode(text, type=Host)
        for text in connection.execute(select(HOSTS.c.declared)).scalars()
    ]
    return Declared(
        image_storages={each.image_storage_id: each for each in storages},
        hosts={each.host_id: each for each in hosts},
    )


@contextmanager
def _told() -> Iterator[None]:
    """Failures of the database as this project's error, without statements and values."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(
            f"The database does not answer or cannot be written ({str(cause).partition(chr(10))[0]}); "
            "see that it runs and has room, and try again"
        ) from error
