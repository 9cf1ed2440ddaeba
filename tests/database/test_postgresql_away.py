"""A PostgreSQL that goes and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storekeeper.credentials import Credential
from storekeeper.database import open_store
from storekeeper.database.store import whole
from storekeeper.declaration import Declared, Host
from storekeeper.errors import NotKnown, StoreError
from storekeeper.merge.truth import HostView, Memory, Remembered
from storekeeper.report import changes
from tests.database.looks import pool, seen, told
from tests.database.postgresql_server import PostgresqlServer, postgresql_server

pytestmark = pytest.mark.needs("postgresql")

CREDENTIAL = Credential(credential_id="c1", kind="person", secret_hash=b"x", created_at=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One of its own, since these tests stop it."""
    with postgresql_server() as started:
        yield started


def test_while_it_is_away_everything_says_so_and_afterwards_all_goes_on(server: PostgresqlServer) -> None:
    store = open_store(server.fresh())
    view, first = told(HostView(host_id="h1", looks={}), changes(None, seen(pool("a"))), 1.0)
    store.write([first], Memory(volumes={"s/v": Remembered(filesystem_id="uuid")}))
    declared = store.declare(lambda _: Declared(hosts={"h1": Host(host_id="h1")}))
    server.stop()
    view, second = told(view, changes(seen(pool("a")), seen(pool("a"), pool("b"))), 2.0)
    for ask in (
        lambda: store.write([second], None),
        store.views,
        store.memory,
        store.credentials,
        store.declared,
        lambda: store.put_credential(CREDENTIAL, 1.0),
        lambda: store.delete_credential("c1"),
        lambda: store.declare(lambda _: Declared()),
    ):
        with pytest.raises(StoreError, match="does not answer or cannot be written"):
            ask()
    server.start()
    assert store.declared() == declared
    assert store.memory().of("s/v").filesystem_id == "uuid"
    assert store.credentials() == []
    store.write(whole([second]), None)
    assert store.views() == {"h1": view}
    store.close()


def test_a_connection_that_died_unused_is_replaced_without_an_error(server: PostgresqlServer) -> None:
    store = open_store(server.fresh())
    server.stop()
    server.start()
    store.put_credential(CREDENTIAL, 1.0)
    assert store.credentials() == [CREDENTIAL]
    store.close()


def test_a_server_that_is_not_there_is_told_with_what_to_do(server: PostgresqlServer) -> None:
    url = server.fresh()
    server.stop()
    try:
        with pytest.raises(NotKnown, match=r"cannot be opened.*manager\.database"):
            open_store(url)
    finally:
        server.start()
