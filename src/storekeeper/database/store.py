"""The store: first looks, decided parents, the last look of every source (which is the header cache);
credentials, and what was declared through the API.

Looks are what agents would say again, so a lost transaction of theirs costs a reread, never the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from threading import Event
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, Engine, Table, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storekeeper.credentials import Credential
from storekeeper.database.listening import Subject, listen, notify
from storekeeper.database.steps import Applied, Forgotten, scope_of, whole
from storekeeper.database.tables import CREDENTIALS, FACTS, HOSTS, IMAGE_STORAGES, LOOKS, MEMORY
from storekeeper.declaration import Declared, Host, ImageStorage
from storekeeper.errors import StoreError
from storekeeper.merge.truth import HostView, Look, Memory
from storekeeper.observation import Fact, Fault, Seen

# Execution option of a writing transaction: whether it must survive a power cut.
DURABLE = "storekeeper_durable"
# Held by whoever changes what is declared; any number that nobody else uses.
DECLARING_LOCK = 0x53746F72_00000002
READ_AT_ONCE = 5_000

__all__ = ["Applied", "Forgotten", "Store", "whole"]

_encode = msgspec.msgpack.Encoder().encode
_decode_fact = msgspec.msgpack.Decoder(Fact).decode
_decode_faults = msgspec.msgpack.Decoder(tuple[Fault, ...]).decode
_decode_memory = msgspec.msgpack.Decoder(Memory).decode

Row = dict[str, Any]
ScopeKey = tuple[str, str, str]
One = TypeVar("One", ImageStorage, Host)


class Store:
    """The tables of one database. Its methods may be called from any thread; several processes may share
    the database.

    Every method raises `StoreError` where the database does not answer or cannot be written; what it was to
    do is then not done, and may be tried again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shared = engine.dialect.name == "postgresql"
        # What one method reads is of one moment; SQLite reads so anyway.
        self._snapshot = (
            engine.execution_options(isolation_level="REPEATABLE READ") if self._shared else engine
        )
        self._sender = uuid4().hex
        self._closed = Event()
        insert = postgresql.insert if self._shared else sqlite.insert
        self._put = {table: _upsert(insert(table)) for table in (MEMORY, LOOKS, FACTS, CREDENTIALS)}
        self._put |= {table: _upsert(insert(table)) for table in (IMAGE_STORAGES, HOSTS)}

    def close(self) -> None:
        """Ends the connections and `changes`; the database is whole."""
        self._closed.set()
        self._engine.dispose()

    # --- what the manager saw -------------------------------------------------------------------

    def memory(self) -> Memory:
        """What the merge remembered last, or nothing."""
        with self._reading() as connection:
            value = connection.execute(select(MEMORY.c.value)).scalar()
        return _decode_memory(value) if value else Memory()

    def views(self) -> dict[str, HostView]:
        """The last looks of every host, as they were written; without those that hold what a later version
        of Storekeeper wrote, which are asked anew.
        """
        looks: dict[str, dict[tuple[str, str], Look]] = {}
        facts: dict[ScopeKey, dict[str, Fact]] = {}
        unread: set[ScopeKey] = set()
        with self._reading() as connection:
            rows = connection.execution_options(yield_per=READ_AT_ONCE).execute(
                select(FACTS.c.host_id, FACTS.c.source, FACTS.c.scope, FACTS.c.fact)
            )
            for host_id, source, scope, blob in rows:
                try:
                    fact = _decode_fact(blob)
                except msgspec.DecodeError:
                    unread.add((host_id, source, scope))
                    continue
                facts.setdefault((host_id, source, scope), {})[fact.key] = fact
            for host_id, source, scope, faults, at, good_at in connection.execute(select(LOOKS)):
                if (host_id, source, scope) in unread:
                    continue
                seen = Seen(
                    source=source,
                    scope=scope,
                    facts=facts.get((host_id, source, scope), {}),
                    faults=_decode_faults(faults),
                )
                looks.setdefault(host_id, {})[source, scope] = Look(seen=seen, at=at, good_at=good_at)
        return {
            host_id: HostView(
                host_id=host_id, looks=those, reported_at=max(look.at for look in those.values())
            )
            for host_id, those in looks.items()
        }

    def write(self, steps: Iterable[Applied | Forgotten], memory: Memory | None) -> None:
        """Writes reports, in order, and the memory if it is given: all of it or nothing."""
        batch = _Batch()
        for each in steps:
            batch.add(each)
        with self._writing(durable=False) as connection:
            # First, and in one order everywhere: whoever holds a look's row holds its facts, so that two
            # managers never wait for each other.
            self._put_all(connection, LOOKS, [batch.looks[scope] for scope in sorted(batch.looks)])
            if batch.forgotten:
                connection.execute(_DELETE_LOOK, [_scope_row(scope) for scope in sorted(batch.forgotten)])
            kept = {scope: _kept(connection, scope) for scope in batch.cleared}
            changed, gone = batch.facts(kept)
            self._put_all(connection, FACTS, changed)
            if gone:
                connection.execute(_DELETE_FACT, gone)
            if memory is not None:
                self._put_all(connection, MEMORY, [{"id": 1, "value": _encode(memory)}])

    # --- who may ask ----------------------------------------------------------------------------

    def credentials(self) -> list[Credential]:
        """Every credential, expired ones too, the oldest first."""
        order = (CREDENTIALS.c.created_at, CREDENTIALS.c.credential_id)
        with self._reading() as connection:
            rows = connection.execute(select(CREDENTIALS).order_by(*order)).mappings().all()
        return [Credential(**row) for row in rows]

    def put_credential(self, credential: Credential) -> None:
        """Keeps a credential, instead of an earlier one of the same id. On disk when this returns."""
        with self._writing(durable=True) as connection:
            self._put_all(connection, CREDENTIALS, [asdict(credential)])
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
            if self._shared:
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
        self._put_all(connection, table, changed)

    # --- what others change ---------------------------------------------------------------------

    def changes(self, told: Callable[[Subject], None]) -> None:
        """Calls `told` with what another manager on the same database changed, and with everything at first.

        Blocks until the store is closed, so that it wants a thread of its own; returns at once where the
        database serves one manager only.
        """
        if self._shared:
            listen(self._engine, told, self._sender, self._closed)

    def _notify(self, connection: Connection, subject: Subject) -> None:
        if self._shared:
            notify(connection, subject, self._sender)

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _told(), self._snapshot.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self, *, durable: bool) -> Iterator[Connection]:
        with _told(), self._engine.execution_options(**{DURABLE: durable}).begin() as connection:
            yield connection

    def _put_all(self, connection: Connection, table: Table, rows: list[Row]) -> None:
        if rows:
            connection.execute(self._put[table], rows)


class _Batch:
    """What several reports in order come to, so that each table is written once."""

    def __init__(self) -> None:
        self.looks: dict[ScopeKey, Row] = {}
        self.forgotten: set[ScopeKey] = set()
        self.cleared: set[ScopeKey] = set()
        self._facts: dict[ScopeKey, dict[str, Fact | None]] = {}

    def add(self, step: Applied | Forgotten) -> None:
        scope = scope_of(step)
        if isinstance(step, Forgotten):
            self.looks.pop(scope, None)
            self.forgotten.add(scope)
            self.cleared.add(scope)
            self._facts[scope] = {}
            return
        change, look = step.changes, step.look
        self.forgotten.discard(scope)
        self.looks[scope] = {
            **_scope_row(scope),
            "faults": _encode(look.seen.faults),
            "at": look.at,
            "good_at": look.good_at,
        }
        if change.full:
            self.cleared.add(scope)
            self._facts[scope] = dict(look.seen.facts)
            return
        facts = self._facts.setdefault(scope, {})
        facts.update(dict.fromkeys(change.gone))
        facts.update((fact.key, fact) for fact in change.facts)

    def facts(self, kept: Mapping[ScopeKey, dict[bytes, bytes]]) -> tuple[list[Row], list[Row]]:
        """The rows to write and those to delete. `kept`: what there is of each cleared scope; a full report
        that tells what is known already, as after a restart, writes nothing.
        """
        changed, gone = [], []
        for scope, facts in self._facts.items():
            former = kept.get(scope, {})
            base = _scope_row(scope)
            for key, fact in facts.items():
                digest = _digest(key)
                if fact is None:
                    gone.append({**base, "key_digest": digest})
                    continue
                blob = _encode(fact)
                if former.pop(digest, None) != blob:
                    changed.append({**base, "key_digest": digest, "fact": blob})
            gone += [{**base, "key_digest": digest} for digest in former]
        return changed, gone


def _in_scope(table: Table) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(name) for name in ("host_id", "source", "scope")]


_KEPT = select(FACTS.c.key_digest, FACTS.c.fact).where(*_in_scope(FACTS))
_DELETE_LOOK = delete(LOOKS).where(*_in_scope(LOOKS))
_DELETE_FACT = delete(FACTS).where(*_in_scope(FACTS), FACTS.c.key_digest == bindparam("key_digest"))


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()


def _scope_row(scope: ScopeKey) -> Row:
    return dict(zip(("host_id", "source", "scope"), scope, strict=True))


def _upsert(insert: Any) -> Any:
    """An insert that replaces the row of the same primary key. Both dialects have it, with no common type."""
    table = insert.table
    keys = list(table.primary_key.columns)
    rest = {column.name: insert.excluded[column.name] for column in table.c if column not in set(keys)}
    return insert.on_conflict_do_update(index_elements=keys, set_=rest)


def _kept(connection: Connection, scope: ScopeKey) -> dict[bytes, bytes]:
    """The facts of one scope as they are stored."""
    rows = connection.execute(_KEPT, _scope_row(scope))
    return dict(rows.all())


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
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(
            f"The database does not answer or cannot be written ({str(cause).partition(chr(10))[0]}); "
            "see that it runs and has room, and try again"
        ) from error
