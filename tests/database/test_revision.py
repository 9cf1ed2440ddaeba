"""Tables that are another version's, or nobody's: neither read nor written, whenever that comes about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from storekeeper import database
from storekeeper.database import open_store
from storekeeper.database.revision import REVISION
from storekeeper.declaration import Declared, Host
from storekeeper.errors import NotKnown, Outdated, StoreError
from tests.database.asks import every_ask
from tests.database.looks import next_memory, next_of
from tests.database.postgresql_server import PostgresqlServer

NOW_KNOWN = Declared(hosts={"h1": Host(host_id="h1")})
WITHIN_S = 30
LATER = "UPDATE alembic_version SET version_num = '999'"

postgresql_only = pytest.mark.needs("postgresql")


def change(url: str, *statements: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_the_revision_is_that_of_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    assert scripts.get_current_head() == REVISION


@pytest.mark.parametrize("found", ["999", "1"], ids=["later", "earlier"])
def test_on_the_tables_of_another_version_nothing_is_read_or_written(url: str, found: str) -> None:
    store = open_store(url)
    store.put([next_of("h1", store)], {})
    before = store.stored()
    write, memory = next_of("h1", store), next_memory("s/v", store)
    change(url, f"UPDATE alembic_version SET version_num = '{found}'")
    for ask in every_ask(store, write, memory):
        with pytest.raises(Outdated, match=f"revision {found}, not {REVISION}.*install the same version"):
            ask()
    change(url, f"UPDATE alembic_version SET version_num = '{REVISION}'")
    assert store.stored() == before
    assert store.credentials() == []
    assert store.declared() == Declared()
    store.close()


@postgresql_only
@pytest.mark.parametrize("lose", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_tables_of_which_nobody_knows_the_version_are_left_alone_until_it_is_known(
    postgresql: PostgresqlServer, lose: str
) -> None:
    url = postgresql.fresh()
    store = open_store(url)
    store.put([next_of("h1", store)], {})
    write = next_of("h1", store)
    change(url, "CREATE TABLE kept AS SELECT * FROM alembic_version", lose)
    with pytest.raises(StoreError, match="lost its tables; put a backup back"):
        store.put([write], {})
    with pytest.raises(NotKnown, match=r"says no more which version.*put a backup back"):
        open_store(url)
    change(url, "DROP TABLE IF EXISTS alembic_version", "ALTER TABLE kept RENAME TO alembic_version")
    store.put([write], {})
    assert store.host("h1")[1] == write.mark
    store.close()


@contextmanager
def waiting_for_the_tables(url: str, call: Callable[[], object]) -> Iterator[Future[object]]:
    """While the block runs, `call` waits for somebody who holds them."""
    with ThreadPoolExecutor(1) as threads, psycopg.connect(url, autocommit=True) as looking:
        future = threads.submit(call)
        until = monotonic() + WITHIN_S
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass"
        while looking.execute(waiting).fetchone() is None:
            assert not future.done()
            assert monotonic() < until
        yield future


@postgresql_only
def test_who_writes_while_a_later_version_changes_the_tables_waits_and_writes_nothing(
    postgresql: PostgresqlServer,
) -> None:
    url = postgresql.fresh()
    store = open_store(url)
    for _ in range(9):
        # Often enough for the driver to have the server prepare its statements.
        store.put([next_of("h1", store)], {})
    write = next_of("h1", store)
    with psycopg.connect(url) as later:
        later.execute("LOCK TABLE alembic_version")
        later.execute(LATER.encode())
        with waiting_for_the_tables(url, lambda: store.put([write], {})) as writing:
            later.commit()
            assert isinstance(writing.exception(WITHIN_S), Outdated)
    change(url, f"UPDATE alembic_version SET version_num = '{REVISION}'")
    assert store.host("h1")[1] != write.mark
    store.close()


@postgresql_only
def test_who_changes_the_tables_waits_for_those_who_write(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    store = open_store(url)
    declaring, go_on = Event(), Event()

    def declared(_: Declared) -> Declared:
        declaring.set()
        assert go_on.wait(WITHIN_S)
        return NOW_KNOWN

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(store.declare, declared)
        assert declaring.wait(WITHIN_S)
        try:
            change(url, "UPDATE alembic_version SET version_num = '1'")
            with waiting_for_the_tables(url, lambda: open_store(url)) as opening:
                go_on.set()
                assert writing.result(WITHIN_S) == NOW_KNOWN
                # They were changed already.
                assert isinstance(opening.exception(WITHIN_S), NotKnown)
        finally:
            go_on.set()
    change(url, f"UPDATE alembic_version SET version_num = '{REVISION}'")
    assert store.declared() == NOW_KNOWN
    store.close()


@postgresql_only
def test_who_opens_tables_that_are_right_waits_for_nobody(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    store = open_store(url)

    def meanwhile(_: Declared) -> Declared:
        open_store(url).close()
        return NOW_KNOWN

    assert store.declare(meanwhile) == NOW_KNOWN
    store.close()
