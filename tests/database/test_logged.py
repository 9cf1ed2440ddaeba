"""What one manager wrote, another one comes to know: from the log, or from the tables where that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Executable, create_engine, delete, update

from storekeeper.database import Store, open_store
from storekeeper.database.sharing import LOGGED_BYTES
from storekeeper.database.steps import (
    Applied,
    Dropped,
    Forgotten,
    Logged,
    Mark,
    look_after,
    whole,
)
from storekeeper.database.tables import REPORTS, STEPS
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Fault
from storekeeper.report import changes
from tests.database.looks import follows, mark, next_of, pool, seen, told, write
from tests.database.postgresql_server import PostgresqlServer

Opened = Callable[[], Store]
ByHand = tuple[Store, Callable[[Executable], None]]
Looks = dict[tuple[str, str], Look]

EMPTY = HostView(host_id="h1")


class Manager:
    """What a manager makes of what it is told itself, and of what it finds others were told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.looks: dict[str, Looks] = {}
        self.marks: dict[str, Mark] = {}
        self.unwritten: dict[str, list[Applied | Forgotten]] = {}

    def hear(self, host_id: str, step: Applied | Forgotten) -> None:
        self.unwritten.setdefault(host_id, []).append(step)

    def write(self, host_id: str) -> bool:
        """Whether what was heard came first. Else it is dropped."""
        known = self.marks.get(host_id)
        steps = self.unwritten.pop(host_id, [])
        now = follows(known.step if known is not None else 0, *steps, host_id=host_id)
        refused = self.store.put([now], {})
        if not refused.hosts:
            self.marks[host_id] = now.mark
        return not refused.hosts

    def catch_up(self, host_id: str) -> None:
        known = self.marks.get(host_id)
        step = known.step if known is not None else 0
        for logged in self.store.since({host_id: step}).get(host_id, []):
            assert logged.after == step or logged.steps is None
            step = logged.mark.step
            self.marks[host_id] = logged.mark
            if logged.steps is None:
                stored, there = self.store.host(host_id)
                assert there == logged.mark
                self.looks[host_id] = dict(stored.looks) if stored is not None else {}
            else:
                self.looks[host_id] = replayed(self.looks.get(host_id, {}), logged)


def replayed(looks: Looks, logged: Logged) -> Looks:
    after = dict(looks)
    for each in logged.steps or ():
        if isinstance(each, Dropped):
            after.pop((each.source, each.scope), None)
        else:
            key = (each.changes.source, each.changes.scope)
            after[key] = look_after(after.get(key), each)
    return after


POOLS = st.frozensets(st.tuples(st.sampled_from("abc"), st.sampled_from(["/1", "/2"])))
HIDDEN = st.sampled_from(["", "a", "*"])
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["hear", "hear all"]), st.sampled_from(["", "s/v"]), POOLS, HIDDEN),
    st.tuples(st.sampled_from(["forget"]), st.sampled_from(["", "s/v"])),
    st.tuples(st.sampled_from(["write", "fail", "catch up"])),
)
_examples = count()


@given(actions=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), ACTIONS), max_size=30))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_what_one_manager_applies_the_other_comes_to_know_exactly_and_so_does_one_that_reads_it_all(
    shared_by_two: list[Store], actions: list[tuple[int, int, tuple[object, ...]]]
) -> None:
    managers = [Manager(store) for store in shared_by_two]
    names = [f"h{next(_examples)}" for _ in range(2)]
    truth: dict[str, Looks] = {name: {} for name in names}
    for number, (who, which, action) in enumerate(actions):
        manager, host_id = managers[who], names[which]
        looks = manager.looks.setdefault(host_id, {})
        match action:
            case ("hear" | "hear all" as how, str(scope), frozenset() as pools, str(hides)):
                faults = (Fault(code="io-error", text="unreadable", hides=hides),) if hides else ()
                new = seen(*(pool(*each) for each in sorted(pools)), faults=faults, scope=scope)
                former = looks.get(("guests", scope))
                change = changes(former.seen if former is not None and how == "hear" else None, new)
                view, applied = told(HostView(host_id=host_id, looks=looks), change, float(number + 1))
                manager.looks[host_id] = view.looks
                manager.hear(host_id, applied)
            case ("forget", str(scope)):
                looks.pop(("guests", scope), None)
                manager.hear(host_id, Forgotten(host_id=host_id, source="guests", scope=scope))
            case ("fail",):
                manager.unwritten[host_id] = whole(manager.unwritten.get(host_id, []))
            case ("write",):
                if manager.write(host_id):
                    truth[host_id] = dict(manager.looks[host_id])
                else:
                    # Back to what it knew, and on from there.
                    manager.looks[host_id], manager.marks[host_id] = {}, mark(host_id, 0)
                    manager.catch_up(host_id)
                    assert manager.looks[host_id] == truth[host_id]
            case ("catch up",) if not manager.unwritten.get(host_id):
                manager.catch_up(host_id)
                assert manager.looks[host_id] == truth[host_id]
    for name in names:
        stored, there = managers[0].store.host(name)
        assert (stored.looks if stored is not None else {}) == truth[name]
        for manager in managers:
            if not manager.unwritten.get(name):
                manager.catch_up(name)
                assert manager.looks.get(name, {}) == truth[name]
                assert manager.marks.get(name) == there


@pytest.mark.parametrize("hides", ["a", "*"])
def test_what_is_written_after_a_write_that_failed_the_other_comes_to_know_as_it_is(
    shared_by_two: list[Store], hides: str
) -> None:
    """What a fault hides is kept as it was last seen, which here the other one did not hear of."""
    first, second = (Manager(store) for store in shared_by_two)
    view, applied = told(EMPTY, changes(None, seen(pool("a"), pool("b"))), 1.0)
    write(first.store, applied)
    second.catch_up("h1")
    view, unheard = told(view, changes(seen(pool("a"), pool("b")), seen(pool("b"))), 2.0)
    fault = Fault(code="io-error", text="unreadable", hides=hides)
    view, hidden = told(view, changes(seen(pool("b")), seen(pool("b"), faults=(fault,))), 3.0)
    write(first.store, *whole([unheard, hidden]))
    second.catch_up("h1")
    assert second.looks["h1"] == view.looks


@pytest.fixture
def shared_by_two(opened: Opened) -> list[Store]:
    return [opened(), opened()]


def test_of_hosts_with_nothing_new_nothing_is_told(opened: Opened) -> None:
    store = opened()
    store.put([next_of("h1", store), next_of("h2", store)], {})
    assert store.since({"h1": 1, "h2": 1, "h3": 0}) == {}
    assert store.since({"h1": 1, "h2": 0}).keys() == {"h2"}


def test_that_nothing_is_there_any_more_of_a_host_is_told(opened: Opened) -> None:
    store = opened()
    store.put([next_of("h1", store)], {})
    assert store.since({"h1": 1, "h3": 4}) == {"h3": []}


def test_where_one_manager_only_has_the_database_the_tables_tell() -> None:
    store = open_store("sqlite://")
    store.put([next_of("h1", store)], {})
    assert not store.shared
    assert store.since({"h1": 0}) == {"h1": [Logged(mark=mark("h1", 1), after=0, steps=None)]}
    store.close()


# --- where the log ends -------------------------------------------------------------------------


@pytest.fixture
def by_hand(postgresql: PostgresqlServer) -> Iterator[ByHand]:
    """A store that others may share, on which h1 has changed four times; and what changes its tables."""
    url = postgresql.fresh()
    store = open_store(url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    for _ in range(4):
        store.put([next_of("h1", store)], {})

    def change(statement: Executable) -> None:
        with engine.begin() as connection:
            connection.execute(statement)

    yield store, change
    engine.dispose()
    store.close()


def steps_since(store: Store, step: int) -> list[tuple[int, bool]]:
    """The steps that are told, and whether with what they did."""
    logged = store.since({"h1": step}).get("h1", [])
    return [(each.mark.step, each.steps is not None) for each in logged]


@pytest.mark.needs("postgresql")
def test_the_log_tells_every_step_after_the_one_that_is_known(by_hand: ByHand) -> None:
    store, _ = by_hand
    assert store.shared
    assert steps_since(store, 0) == [(1, True), (2, True), (3, True), (4, True)]
    assert steps_since(store, 3) == [(4, True)]
    assert steps_since(store, 4) == []


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "statement",
    [
        delete(STEPS).where(STEPS.c.step == 3),
        update(STEPS).where(STEPS.c.step == 3).values(steps=None),
        update(STEPS).where(STEPS.c.step == 3).values(steps=msgspec.msgpack.encode([{"type": "of-later"}])),
    ],
    ids=["a hole", "too much to be told twice", "of a later version"],
)
def test_where_the_log_breaks_off_the_mark_in_the_tables_follows(
    by_hand: ByHand, statement: Executable
) -> None:
    store, change = by_hand
    change(statement)
    assert steps_since(store, 0) == [(1, True), (2, True), (4, False)]
    assert steps_since(store, 2) == [(4, False)]
    assert steps_since(store, 3) == [(4, True)]
    assert store.since({"h1": 2})["h1"][-1].mark == mark("h1", 4)


@pytest.mark.needs("postgresql")
def test_a_database_that_was_put_back_to_an_earlier_step_is_to_be_read_anew(by_hand: ByHand) -> None:
    store, change = by_hand
    change(update(REPORTS).values(step=2, value=msgspec.msgpack.encode(mark("h1", 2))))
    change(delete(STEPS).where(STEPS.c.step > 2))
    assert steps_since(store, 4) == [(2, False)]


@pytest.mark.needs("postgresql")
def test_what_was_logged_over_a_minute_ago_by_the_clock_of_the_database_is_forgotten(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, change = by_hand
    change(update(STEPS).where(STEPS.c.step <= 2).values(at=STEPS.c.at - 61))
    change(update(STEPS).where(STEPS.c.step == 3).values(at=STEPS.c.at - 30))
    # Not with every write.
    store.put([next_of("h2", store)], {})
    assert len(steps_since(store, 0)) == 4
    monkeypatch.setattr("storekeeper.database.store.PRUNED_EVERY_S", 0.0)
    store.put([next_of("h2", store)], {})
    assert steps_since(store, 0) == [(4, False)]
    assert steps_since(store, 2) == [(3, True), (4, True)]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("count", [1, 100_000])
def test_what_is_too_much_to_be_told_twice_is_only_in_the_tables(by_hand: ByHand, count: int) -> None:
    store, _ = by_hand
    big = "x" * (LOGGED_BYTES // count + 1)
    view, applied = told(EMPTY, changes(None, seen(*(pool(f"{n}", big) for n in range(count)))), 1.0)
    write(store, applied)
    view, applied = told(view, changes(seen(pool("0", big)), seen(pool("0", big), pool("more"))), 2.0)
    write(store, applied)
    assert steps_since(store, 4) == [(6, False)]
    assert steps_since(store, 5) == [(6, True)]
    assert store.host("h1")[0] == view
