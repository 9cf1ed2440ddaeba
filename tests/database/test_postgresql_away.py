"""A PostgreSQL that goes and comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from storekeeper.database import open_store
from storekeeper.database.steps import Refused, whole
from storekeeper.declaration import Declared, Host
from storekeeper.errors import NotKnown, StoreError
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.observation import Pool
from storekeeper.report import changes
from tests.database.asks import CREDENTIAL, every_ask
from tests.database.looks import follows, next_memory, next_of, pool, remembers, seen, told
from tests.database.postgresql_server import PostgresqlServer, postgresql_server

pytestmark = pytest.mark.needs("postgresql")

EMPTY = HostView(host_id="h1")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One of its own, since these tests stop it."""
    with postgresql_server() as started:
        yield started


def test_while_it_is_away_everything_says_so_and_afterwards_all_goes_on(server: PostgresqlServer) -> None:
    store = open_store(server.fresh())
    view, first = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    memory = next_memory("s/v", store, Remembered(filesystem_id="uuid"))
    store.put([next_of("h1", store, first)], memory)
    declared = store.declare(lambda _: Declared(hosts={"h1": Host(host_id="h1")}))
    view, second = told(view, changes(seen(pool("a")), seen(pool("a"), pool("b"))), 2.0)
    following = next_of("h1", store, *whole([second]))
    server.stop()
    for ask in every_ask(store, following, {}):
        with pytest.raises(StoreError, match="does not answer or cannot be written"):
            ask()
    server.start()
    assert store.declared() == declared
    assert store.other_memory({"s/v": 0}) == {"s/v": memory["s/v"].kept}
    assert store.credentials() == []
    assert store.put([following], {}) == Refused()
    assert store.host("h1") == (view, following.mark)
    store.close()


@pytest.mark.parametrize("count", [3, 3_000])
def test_a_write_in_which_it_goes_away_is_written_whole_or_not_at_all(
    server: PostgresqlServer, count: int
) -> None:
    store = open_store(server.fresh())
    begun = Event()

    def write() -> None:
        view = EMPTY
        for after in itertools.count():
            number = after + 1
            view, applied = told(
                view, changes(None, seen(*(pool(f"{n}", f"{number}") for n in range(count)))), float(number)
            )
            store.put(
                [follows(after, applied)], {"s/v": remembers(after, Remembered(filesystem_id=f"{number}"))}
            )
            begun.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        assert begun.wait(60)
        server.stop()
        with pytest.raises(StoreError, match="does not answer or cannot be written"):
            writing.result()
    server.start()
    stored = store.stored()
    (look,) = stored.views["h1"].looks.values()
    facts = look.seen.facts.values()
    assert len(facts) == count
    assert {fact.target for fact in facts if isinstance(fact, Pool)} == {f"{stored.marks['h1'].step}"}
    assert stored.memory["s/v"].step == stored.marks["h1"].step
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
