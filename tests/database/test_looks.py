"""What hosts told and the merge remembers, as the database gives it back."""

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
from storekeeper.database.steps import Applied, Forgotten, Kept, Refused, whole
from storekeeper.database.tables import FACTS
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.observation import Fault, Pool, Seen
from storekeeper.report import changes
from tests.database.looks import mark, next_memory, next_of, pool, remembers, seen, told, write
from tests.merge.builders import image

Opened = Callable[[], Store]

EMPTY = HostView(host_id="h1")


def test_looks_marks_and_memory_come_back_as_they_were(opened: Opened) -> None:
    store = opened()
    view, first = told(EMPTY, changes(None, seen(pool("a"), pool("b"))), 10.0)
    fault = Fault(code="timed-out", text="no answer")
    view, second = told(
        view, changes(seen(pool("a"), pool("b")), seen(pool("b", "/y"), faults=(fault,))), 20.0
    )
    remembered = Remembered(filesystem_id="uuid", is_mount_point=True, space=(2, 1))
    memory = {"s/v": Kept(1, remembered)}
    both = next_of("h1", store, first, second)
    heard = next_of("h2", store)
    assert store.put([both, heard], {"s/v": remembers(0, remembered)}) == Refused()
    store.close()
    again = opened()
    stored = again.stored()
    assert stored.views == {"h1": view}
    assert stored.marks == {"h1": both.mark, "h2": heard.mark}
    assert stored.memory == memory
    assert again.host("h1") == (view, both.mark)
    assert again.host("h2") == (None, heard.mark)
    assert again.host("h3") == (None, None)
    assert again.other_memory({"s/v": 0, "s/w": 0}) == memory


def test_headers_that_say_the_same_are_read_once(opened: Opened) -> None:
    store = opened()
    told_of = [image("a"), image("b"), image("c", size_mb=7)]
    facts = {each.key: each for each in told_of}
    view, first = told(EMPTY, changes(None, Seen(source="images", scope="s/v", facts=facts)), 1.0)
    store.put([next_of("h1", store, first)], {})
    read = opened().stored().views["h1"]
    assert read == view
    found = read.looks["images", "s/v"].seen.facts
    assert found["a"].header is found["b"].header is not found["c"].header  # type: ignore[union-attr]


def test_a_fresh_store_remembers_nothing(opened: Opened) -> None:
    stored = opened().stored()
    assert (stored.views, stored.marks, stored.memory) == ({}, {}, {})


LOOKS = st.lists(st.frozensets(st.tuples(st.sampled_from("abc"), st.sampled_from(["/1", "/2"]))), min_size=1)


@given(looks=LOOKS, fulls=st.sets(st.integers(0, 9)), cuts=st.sets(st.integers(0, 9)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
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
            write(store, *batch)
            batch = []
    store.put([next_of("h1", store, *batch)], {})
    assert store.stored().views == {"h1": view}
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
    write(store, *whole(lost))
    assert store.stored().views == {"h1": view}


def test_a_full_look_replaces_every_fact_of_the_one_before(opened: Opened) -> None:
    store = opened()
    view, first = told(EMPTY, changes(None, seen(pool("same"), pool("other"), pool("gone"))), 1.0)
    write(store, first)
    view, second = told(view, changes(None, seen(pool("same"), pool("other", "/y"), pool("new"))), 2.0)
    write(store, second)
    assert store.stored().views == {"h1": view}


def test_what_is_said_to_be_gone_but_hidden_by_a_fault_stays_in_the_look_and_in_the_database(
    opened: Opened,
) -> None:
    store = opened()
    view, first = told(EMPTY, changes(None, seen(pool("a"), pool("b"))), 1.0)
    hidden = Fault(code="io-error", text="unreadable", hides="a")
    view, second = told(view, changes(seen(pool("a"), pool("b")), seen(faults=(hidden,))), 2.0)
    write(store, first)
    write(store, second)
    assert view.looks["guests", ""].seen.facts.keys() == {"a"}
    assert store.stored().views == {"h1": view}


def test_what_is_forgotten_is_gone_and_what_comes_after_it_is_kept(opened: Opened) -> None:
    store = opened()
    view, kept = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    _, gone = told(EMPTY, changes(None, seen(pool("a"), pool("b"), scope="s/v")), 1.0)
    forgotten = Forgotten(host_id="h1", source="guests", scope="s/v")
    write(store, kept, gone)
    write(store, forgotten)
    assert store.stored().views == {"h1": view}
    view, again = told(view, changes(None, seen(pool("c"), scope="s/v")), 2.0)
    write(store, gone, forgotten, again)
    assert store.stored().views == {"h1": view}
    assert whole([gone, forgotten]) == [forgotten]


def test_a_look_that_holds_what_a_later_version_wrote_is_asked_anew(url: str, opened: Opened) -> None:
    store = opened()
    view, known = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    _, unknown = told(EMPTY, changes(None, seen(pool("a"), pool("b"), scope="s/v")), 1.0)
    write(store, known, unknown)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            update(FACTS)
            .where(FACTS.c.scope == "s/v", FACTS.c.key_digest == blake2b(b"b", digest_size=16).digest())
            .values(fact=msgspec.msgpack.encode({"type": "of-later"}))
        )
    engine.dispose()
    assert store.stored().views == {"h1": view}


@pytest.mark.parametrize("key", ["nul\0here", "x" * 5000, "ünïcode", ""])
def test_any_key_is_kept_whatever_a_database_takes_for_text(opened: Opened, key: str) -> None:
    view, applied = told(EMPTY, changes(None, seen(pool("a"), pool(key))), 1.0)
    store = opened()
    write(store, applied)
    assert store.stored().views == {"h1": view}
    before = seen(pool("a"), pool(key))
    view, applied = told(view, changes(before, seen(pool("a"), pool(key, "/\0"))), 2.0)
    write(store, applied)
    assert store.stored().views == {"h1": view}
    view, applied = told(view, changes(before, seen(pool("a"))), 3.0)
    write(store, applied)
    assert store.stored().views == {"h1": view}


def test_a_write_that_fails_half_way_leaves_what_was_there(opened: Opened) -> None:
    store = opened()
    view, good = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    write(store, good)
    _, more = told(view, changes(seen(pool("a")), seen(pool("b"))), 2.0)
    unwritable = next_memory("s/v", store, Remembered(since={"\ud800": 1.0}))
    with pytest.raises(UnicodeEncodeError):
        store.put([next_of("h1", store, more)], unwritable)
    assert store.host("h1") == (view, mark("h1", 1))
    assert store.stored().memory == {}


def test_what_is_read_while_another_manager_writes_is_of_one_moment(opened: Opened) -> None:
    reader, writer, ended = opened(), opened(), Event()

    def rewrite() -> None:
        view, number = EMPTY, 0
        while not ended.is_set():
            number += 1
            look = seen(*(pool(str(name), str(number)) for name in range(50)))
            view, applied = told(view, changes(None, look), float(number))
            write(writer, applied)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(rewrite)
        try:
            for _ in range(60):
                stored = reader.stored()
                for look in stored.views.get("h1", EMPTY).looks.values():
                    (target,) = {fact.target for fact in look.seen.facts.values() if isinstance(fact, Pool)}
                    assert float(target) == look.at == stored.marks["h1"].step
        finally:
            ended.set()
        writing.result()


def test_threads_share_a_store_even_one_in_memory() -> None:
    store = open_store("sqlite://")
    _, applied = told(EMPTY, changes(None, seen(*(pool(str(number)) for number in range(500)))), 1.0)

    def busy(number: int) -> None:
        host_id = f"h{number}"
        write(store, replace(applied, host_id=host_id))
        credential = Credential(credential_id=host_id, kind="person", secret_hash=b"x", created_at=1.0)
        store.put_credential(credential, 1.0)
        assert len(store.stored().views[host_id].looks["guests", ""].seen.facts) == 500

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(busy, range(24)))
    assert len(store.credentials()) == 24
    store.close()
