"""A manager learns what another one on the same PostgreSQL changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread

import pytest

from storekeeper.credentials import Credential
from storekeeper.database import Store, open_store
from storekeeper.declaration import Declared, Host
from storekeeper.errors import Conflict
from tests.database.postgresql_server import PostgresqlServer, postgresql_server

CREDENTIAL = Credential(credential_id="c1", kind="person", secret_hash=b"x", created_at=1.0)
WITHIN_S = 20
NOW_KNOWN = Declared(hosts={"h1": Host(host_id="h1")})


@contextmanager
def listening(store: Store) -> Iterator[Queue[str]]:
    """What a store is told, from when it began to listen."""
    told: Queue[str] = Queue()
    thread = Thread(target=store.changes, args=(told.put,))
    thread.start()
    try:
        yield told
    finally:
        store.close()
        thread.join(WITHIN_S)
        assert not thread.is_alive()


def heard(told: Queue[str], count: int) -> list[str]:
    return [told.get(timeout=WITHIN_S) for _ in range(count)]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (lambda store: store.declare(lambda _: NOW_KNOWN), "declared"),
        (lambda store: store.put_credential(CREDENTIAL), "credentials"),
        (lambda store: store.delete_credential("c1"), "credentials"),
    ],
)
def test_what_another_manager_changes_is_told_and_what_one_changes_oneself_is_not(
    postgresql: PostgresqlServer, change: Callable[[Store], object], subject: str
) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)
    with listening(own) as told:
        assert sorted(heard(told, 2)) == ["credentials", "declared"]
        change(own)
        change(other)
        assert heard(told, 1) == [subject]
        other.close()
    with pytest.raises(Empty):
        told.get_nowait()


@pytest.mark.needs("postgresql")
def test_a_change_that_is_refused_is_not_told(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)

    def refuse(_: Declared) -> Declared:
        raise Conflict("taken")

    with listening(own) as told:
        heard(told, 2)
        with pytest.raises(Conflict):
            other.declare(refuse)
        other.put_credential(CREDENTIAL)
        assert heard(told, 1) == ["credentials"]
        other.close()


@pytest.mark.needs("postgresql")
def test_what_changed_while_the_server_could_not_be_heard_is_told_once_it_can() -> None:
    with postgresql_server() as server:
        store = open_store(server.fresh())
        with listening(store) as told:
            heard(told, 2)
            server.stop()
            server.start()
            assert sorted(heard(told, 2)) == ["credentials", "declared"]


def test_where_one_manager_only_has_the_database_there_is_nothing_to_wait_for() -> None:
    store = open_store("sqlite://")
    with listening(store) as told:
        store.put_credential(CREDENTIAL)
    assert told.empty()
