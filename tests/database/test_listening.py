"""A manager learns what another one on the same PostgreSQL changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread

import psycopg
import pytest

from storekeeper.credentials import Credential
from storekeeper.database import Store, open_store
from storekeeper.database import listening as database_listening
from storekeeper.database.listening import CHANNEL, Subject
from storekeeper.declaration import Declared, Host
from storekeeper.errors import Conflict
from tests.database.looks import next_memory, next_of
from tests.database.postgresql_server import PostgresqlServer, postgresql_server

CREDENTIAL = Credential(credential_id="c1", kind="person", secret_hash=b"x", created_at=1.0)
WITHIN_S = 20
Told = Queue[tuple[Subject, tuple[str, ...]]]
EVERYTHING = [(subject, ()) for subject in ("credentials", "declared", "hosts", "memory")]
NOW_KNOWN = Declared(hosts={"h1": Host(host_id="h1")})


@contextmanager
def listening(store: Store) -> Iterator[Told]:
    """What a store is told, from when it began to listen."""
    told: Told = Queue()
    thread = Thread(target=store.changes, args=(lambda subject, ids: told.put((subject, ids)),))
    thread.start()
    try:
        yield told
    finally:
        store.close()
        thread.join(WITHIN_S)
        assert not thread.is_alive()


def heard(told: Told, count: int) -> list[tuple[Subject, tuple[str, ...]]]:
    return [told.get(timeout=WITHIN_S) for _ in range(count)]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda store: store.declare(lambda _: NOW_KNOWN), ("declared", ())),
        (lambda store: store.put_credential(CREDENTIAL, 1.0), ("credentials", ())),
        (lambda store: store.delete_credential("c1"), ("credentials", ())),
        (lambda store: store.put([next_of("h1", store), next_of("h2", store)], {}), ("hosts", ("h1", "h2"))),
        (lambda store: store.put([], next_memory("s/v", store)), ("memory", ("s/v",))),
    ],
)
def test_what_another_manager_changes_is_told_and_what_one_changes_oneself_is_not(
    postgresql: PostgresqlServer, change: Callable[[Store], object], said: tuple[Subject, tuple[str, ...]]
) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)
    with listening(own) as told:
        assert sorted(heard(told, 4)) == EVERYTHING
        change(own)
        change(other)
        assert heard(told, 1) == [said]
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
        heard(told, 4)
        with pytest.raises(Conflict):
            other.declare(refuse)
        other.put_credential(CREDENTIAL, 1.0)
        assert heard(told, 1) == [("credentials", ())]
        other.close()


@pytest.mark.needs("postgresql")
def test_of_a_write_only_what_was_written_is_told_and_nothing_where_nothing_was(
    postgresql: PostgresqlServer,
) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)
    late, early = next_of("h1", other), next_of("h2", other)
    other.put([late], {})
    with listening(own) as told:
        heard(told, 4)
        other.put([late], {})
        other.put([late, early], {})
        other.put_credential(CREDENTIAL, 1.0)
        assert heard(told, 2) == [("hosts", ("h2",)), ("credentials", ())]
        other.close()


@pytest.mark.needs("postgresql")
def test_any_number_of_ids_is_told(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)
    names = [f"{number:04}".ljust(60, "h") for number in range(1000)]
    with listening(own) as told:
        heard(told, 4)
        other.put([next_of(name, other) for name in names], {})
        ids: list[str] = []
        while len(ids) < len(names):
            ((subject, some),) = heard(told, 1)
            assert subject == "hosts"
            assert some
            ids += some
        assert ids == names
        other.close()


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("payload", ["", "hosts", '["guests","x",[]]', '{"subject":"hosts"}', "[" * 7000])
def test_what_somebody_else_says_on_the_same_channel_is_not_heeded(
    postgresql: PostgresqlServer, payload: str
) -> None:
    url = postgresql.fresh()
    own, other = open_store(url), open_store(url)
    with listening(own) as told:
        heard(told, 4)
        with psycopg.connect(url) as connection:
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        other.put_credential(CREDENTIAL, 1.0)
        assert heard(told, 1) == [("credentials", ())]
        other.close()


@pytest.mark.needs("postgresql")
def test_what_changed_while_the_server_could_not_be_heard_is_told_once_it_can() -> None:
    with postgresql_server() as server:
        store = open_store(server.fresh())
        with listening(store) as told:
            heard(told, 4)
            server.stop()
            server.start()
            assert sorted(heard(told, 4)) == EVERYTHING


@pytest.mark.needs("postgresql")
def test_now_and_then_everything_is_told_for_what_nobody_told(
    postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_listening, "LOOKED_AT_ALL_S", 0.0)
    store = open_store(postgresql.fresh())
    with listening(store) as told:
        assert heard(told, 8) == EVERYTHING * 2


@pytest.mark.needs("postgresql")
def test_that_somebody_made_the_tables_or_changed_them_is_told(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    own = open_store(url)
    with listening(own) as told:
        heard(told, 4)
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        open_store(url).close()
        assert heard(told, 1) == [("credentials", ())]
        other = open_store(url)
        other.declare(lambda _: NOW_KNOWN)
        assert heard(told, 1) == [("declared", ())]
        other.close()


def test_where_one_manager_only_has_the_database_there_is_nothing_to_wait_for() -> None:
    store = open_store("sqlite://")
    with listening(store) as told:
        store.put_credential(CREDENTIAL, 1.0)
    assert told.empty()
