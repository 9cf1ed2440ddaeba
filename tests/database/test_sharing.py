"""Managers that write one database: every change follows on another one, and is written by one of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from storekeeper.database import Store
from storekeeper.database.steps import Forgotten, Kept, Refused
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.report import changes
from tests.database.looks import follows, mark, next_of, pool, remembers, seen, told, write

Opened = Callable[[], Store]

EMPTY = HostView(host_id="h1")


def test_of_two_who_write_on_the_same_step_the_second_is_told_what_is_there(opened: Opened) -> None:
    first, second = opened(), opened()
    view, mine = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    _, theirs = told(EMPTY, changes(None, seen(pool("b"))), 2.0)
    there = mark("h1", 1, number=7)
    assert first.put([follows(0, mine, number=7)], {}) == Refused()
    refused = second.put([follows(0, theirs, number=8)], {})
    assert refused == Refused(hosts={"h1": there})
    assert second.host("h1") == (view, there)


@pytest.mark.parametrize("after", [0, 1, 3, 8])
def test_what_does_not_follow_on_the_step_that_is_there_changes_nothing(opened: Opened, after: int) -> None:
    store = opened()
    view, applied = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    write(store, applied)
    write(store, applied)
    remembered = Remembered(filesystem_id="first")
    store.put([], {"s/v": remembers(0, remembered)})
    store.put([], {"s/v": remembers(1, remembered)})
    late = follows(after, Forgotten(host_id="h1", source="guests", scope=""))
    refused = store.put([late], {"s/v": remembers(after, Remembered(filesystem_id="second"))})
    assert refused == Refused(hosts={"h1": mark("h1", 2)}, memory={"s/v": Kept(2, remembered)})
    assert store.host("h1") == (view, mark("h1", 2))
    assert store.stored().memory == {"s/v": Kept(2, remembered)}


def test_of_memory_what_is_at_another_step_is_told_and_what_is_there_no_more(opened: Opened) -> None:
    store = opened()
    store.put([], {key: remembers(0) for key in ("same", "later", "new")})
    store.put([], {"later": remembers(1)})
    assert store.other_memory({"same": 1, "later": 1, "new": 0, "gone": 4, "never": 0}) == {
        "later": Kept(2, Remembered()),
        "new": Kept(1, Remembered()),
        "gone": None,
    }


def test_what_would_follow_on_something_that_is_not_there_is_refused(opened: Opened) -> None:
    store = opened()
    refused = store.put([follows(1)], {"s/v": remembers(1)})
    assert refused == Refused(hosts={"h1": None}, memory={"s/v": None})
    stored = store.stored()
    assert (stored.marks, stored.memory) == ({}, {})


def test_of_a_write_each_host_and_volume_is_refused_or_written_on_its_own(opened: Opened) -> None:
    store = opened()
    view, applied = told(EMPTY, changes(None, seen(pool("a"))), 1.0)
    late = follows(4, replace(applied, host_id="h2"), host_id="h2")
    refused = store.put([late, next_of("h1", store, applied)], {"s/v": remembers(0), "s/w": remembers(2)})
    assert refused == Refused(hosts={"h2": None}, memory={"s/w": None})
    stored = store.stored()
    assert stored.views == {"h1": view}
    assert stored.marks.keys() == {"h1"}
    assert stored.memory.keys() == {"s/v"}


def test_many_threads_of_two_managers_write_many_hosts_and_volumes_in_any_order_and_none_waits_for_ever(
    opened: Opened,
) -> None:
    stores = [opened(), opened()]
    names = [f"h{number}" for number in range(12)]
    written: Counter[str] = Counter()

    def busy(seed: int) -> Counter[str]:
        chance, store, mine = random.Random(seed), stores[seed % 2], Counter[str]()
        known: Counter[str] = Counter()
        for _ in range(25):
            some = chance.sample(names, 6)
            looks = [told(HostView(host_id=name), changes(None, seen(pool("a", str(seed)))), 1.0)
                     for name in some]  # fmt: skip
            refused = store.put(
                [follows(known[name], applied, host_id=name)
                 for name, (_, applied) in zip(some, looks, strict=True)],
                {f"volume of {name}": remembers(known[name]) for name in some},
            )  # fmt: skip
            mine.update(name for name in some if name not in refused.hosts)
            mine.update(key for name in some if (key := f"volume of {name}") not in refused.memory)
            for name in some:
                there = refused.hosts.get(name)
                known[name] = there.step if there is not None else known[name] + 1
        return mine

    with ThreadPoolExecutor(6) as threads:
        for mine in threads.map(busy, range(6)):
            written += mine
    stored = stores[0].stored()
    steps = {name: there.step for name, there in stored.marks.items()}
    assert steps | {key: kept.step for key, kept in stored.memory.items()} == written
