"""What the manager remembers over a restart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from threading import Event

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import create_engine, update

from storekeeper.credentials import Credential
from storekeeper.database import Store, open_store
from storekeeper.database.store import Applied, Forgotten, whole
from storekeeper.database.tables import FACTS
from storekeeper.declaration import Declared, Host, ImageStorage, Volume
from storekeeper.errors import Conflict
from storekeeper.merge.truth import HostView, Memory, Remembered
from storekeeper.observation import Fault, Pool
from storekeeper.report import changes
from tests.database.looks import pool, seen, told

Opened = Callable[[], Store]

EMPTY = HostView(host_id="h1", looks={})
VOLUME = Volume(volume_id="v", image_storage_id="s", kind="external", mount_point="/x")
STORAGE = ImageStorage(image_storage_id="s", hosts=("h1",), volumes=(VOLUME,))
CREDENTIAL = Credential(
    credential_id="c1", kind="agent", secret_hash=b"\x00\xff", created_at=1.5, expires_at=2.5,
    name="Ünï", role="administrator", host_id="h1", machine_id="m",
)  # fmt: skip


def test_looks_and_memory_come_back_as_they_were(opened: Opened) -> None:
    store = opened()
    view, first = told(EMPTY, changes(None, seen(pool("a"), pool("b"))), 10.0)
    fault = Fault(code="timed-out", text="no answer")
    view, second = told(
        view, changes(seen(pool("a"), pool("b")), seen(pool("b", "/y"), faults=(fault,))), 20.0
    )
    memory = Memory(volumes={"s/v": Remembered(filesystem_id="uuid", is_mount_point=True)})
    store.write([first, second], memory)
    store.close()
    again = opened()
    assert again.views() == {"h1": view}
    assert again.memory() == memory


def test_a_fresh_store_remembers_nothing(opened: Opened) -> None:
    store = opened()
    assert store.views() == {}
    assert store.memory() == Memory()
    assert store.credentials() == []
    assert store.declared() == Declared()


LOOKS = st.lists(st.frozensets(st.tuples(st.sampled_from("abc"), st.sampled_from(["/1", "/2"]))), min_size=1)


@given(looks=LOOKS, fulls=st.sets(st.integers(0, 9)), cuts=st.sets(st.integers(0, 9)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_reports_written_at_once_come_to_what_they_come_to_one_by_one(
    looks: list[frozenset[tuple[str, str]]], fulls: set[int], cuts: set[int]
) -> None:
    store = open_store("sqlite://")
    view, last = EMPTY, None
    batch: list[Applied | Forgotten] = []
    for number, look in enumerate(looks):
        now = seen(*(pool(name, target) for name, target in sorted(look)))
        view, applied = told(view, changes(None if number in fulls else last, now), float(number))
        last = now
        batch.append(applied)
        if number in cuts:
            store.write(batch, None)
            batch = []
    store.write(batch, None)
    assert store.views() == {"h1": view}
    store.close()


def test_after_failed_writes_the_last_look_of_each_scope_is_all_that_is_needed(opened: Opened) -> None:
    store = opened()
    view, _ = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    lost = []
    for scope in ("", "s/v"):
        view, applied = told(view, changes(None, seen(pool("a"), pool("b"), scope=scope)), 2.0)
        lost.append(applied)
        view, applied = told(
            view, changes(seen(pool("a"), pool("b"), scope=scope), seen(pool("b"), scope=scope)), 3.0
        )
        lost.append(applied)
    assert len(whole(lost)) == 2
    store.write(whole(lost), None)
    assert store.views() == {"h1": view}


def test_what_is_forgotten_is_gone_and_what_comes_after_it_is_kept(opened: Opened) -> None:
    store = opened()
    view, kept = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    _, gone = told(EMPTY, changes(None, seen(pool("a"), pool("b"), scope="s/v")), 1.0)
    forgotten = Forgotten(host_id="h1", source="guests", scope="s/v")
    store.write([kept, gone], None)
    store.write([forgotten], None)
    assert store.views() == {"h1": view}
    view, again = told(view, changes(None, seen(pool("c"), scope="s/v")), 2.0)
    store.write([gone, forgotten, again], None)
    assert store.views() == {"h1": view}
    assert whole([gone, forgotten]) == [forgotten]


def test_a_look_that_holds_what_a_later_version_wrote_is_asked_anew(url: str, opened: Opened) -> None:
    store = opened()
    view, known = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    _, unknown = told(EMPTY, changes(None, seen(pool("a"), pool("b"), scope="s/v")), 1.0)
    store.write([known, unknown], None)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            update(FACTS)
            .where(FACTS.c.scope == "s/v", FACTS.c.key_digest == blake2b(b"b", digest_size=16).digest())
            .values(fact=msgspec.msgpack.encode({"type": "of-later"}))
        )
    engine.dispose()
    assert store.views() == {"h1": view}


@pytest.mark.parametrize("key", ["nul\0here", "x" * 5000, "ünïcode", ""])
def test_any_key_is_kept_whatever_a_database_takes_for_text(opened: Opened, key: str) -> None:
    view, applied = told(EMPTY, changes(None, seen(pool("a"), pool(key))), 1.0)
    store = opened()
    store.write([applied], None)
    assert store.views() == {"h1": view}
    view, applied = told(view, changes(seen(pool("a"), pool(key)), seen(pool("a"))), 1.0)
    store.write([applied], None)
    assert store.views() == {"h1": view}


def test_a_write_that_fails_half_way_leaves_what_was_there(opened: Opened) -> None:
    store = opened()
    view, good = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    store.write([good], None)
    _, more = told(view, changes(seen(pool("a")), seen(pool("b"))), 2.0)
    unwritable = Memory(volumes={"s/v": Remembered(since={"\ud800": 1.0})})
    with pytest.raises(UnicodeEncodeError):
        store.write([more], unwritable)
    assert store.views() == {"h1": view}


def test_credentials_come_back_as_they_were_the_oldest_first(opened: Opened) -> None:
    older = replace(CREDENTIAL, credential_id="c2", created_at=1.0)
    store = opened()
    store.put_credential(CREDENTIAL)
    store.put_credential(older)
    assert opened().credentials() == [older, CREDENTIAL]


def test_a_credential_of_the_same_id_replaces_the_former(opened: Opened) -> None:
    store = opened()
    store.put_credential(CREDENTIAL)
    later = replace(CREDENTIAL, expires_at=99.0)
    store.put_credential(later)
    assert store.credentials() == [later]


def test_of_many_who_use_up_a_credential_at_once_one_is_told_that_it_was_there(opened: Opened) -> None:
    stores = [opened(), opened()]
    stores[0].put_credential(CREDENTIAL)
    with ThreadPoolExecutor(8) as threads:
        told_so = list(threads.map(lambda n: stores[n % 2].delete_credential("c1"), range(16)))
    assert sum(told_so) == 1
    assert stores[1].credentials() == []


def test_what_is_declared_comes_back_as_it_was(opened: Opened) -> None:
    declared = Declared(image_storages={"s": STORAGE}, hosts={"h9": Host(host_id="h9", description="Ü")})
    assert opened().declare(lambda _: declared) == declared
    assert opened().declared() == declared


def test_what_is_declared_is_replaced_by_what_the_change_makes_of_it(opened: Opened) -> None:
    store = opened()
    other = replace(STORAGE, image_storage_id="t")
    store.declare(lambda _: Declared(image_storages={"s": STORAGE, "t": other}))
    wider = replace(STORAGE, hosts=("h1", "h2"))
    after = store.declare(lambda before: replace(before, image_storages={"s": wider}))
    assert store.declared() == after == Declared(image_storages={"s": wider})


def test_a_change_that_is_refused_leaves_everything_as_it_was(opened: Opened) -> None:
    store = opened()
    before = store.declare(lambda _: Declared(image_storages={"s": STORAGE}))

    def refuse(_: Declared) -> Declared:
        raise Conflict("taken")

    with pytest.raises(Conflict, match="taken"):
        store.declare(refuse)
    assert store.declared() == before


def test_declarations_of_several_managers_follow_one_another_and_none_is_lost(opened: Opened) -> None:
    stores = [opened(), opened()]

    def add(number: int) -> None:
        host = Host(host_id=f"h{number}")
        stores[number % 2].declare(lambda before: Declared(hosts={**before.hosts, host.host_id: host}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(24)))
    assert len(stores[0].declared().hosts) == 24


def test_what_is_read_while_another_manager_writes_is_of_one_moment(opened: Opened) -> None:
    reader, writer, ended = opened(), opened(), Event()

    def write() -> None:
        view, number = EMPTY, 0
        while not ended.is_set():
            number += 1
            look = seen(*(pool(str(name), str(number)) for name in range(50)))
            view, applied = told(view, changes(None, look), float(number))
            writer.write([applied], None)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            for _ in range(60):
                for look in reader.views().get("h1", EMPTY).looks.values():
                    (target,) = {fact.target for fact in look.seen.facts.values() if isinstance(fact, Pool)}
                    assert float(target) == look.at
        finally:
            ended.set()
        writing.result()


def test_threads_share_a_store_even_one_in_memory() -> None:
    store = open_store("sqlite://")
    _, applied = told(EMPTY, changes(None, seen(*(pool(str(number)) for number in range(500)))), 1.0)

    def busy(number: int) -> None:
        store.write([applied], Memory())
        store.put_credential(replace(CREDENTIAL, credential_id=f"c{number}"))
        assert len(store.views()["h1"].looks["guests", ""].seen.facts) == 500

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(busy, range(24)))
    assert len(store.credentials()) == 24
    store.close()
