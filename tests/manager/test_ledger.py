"""What managers on one database know when their writes and reads cross, step by step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from storekeeper.database import Store, open_store
from storekeeper.database.steps import Mark
from storekeeper.errors import StoreError
from storekeeper.manager import ledger
from storekeeper.manager.ledger import Ledger
from storekeeper.manager.receiving import applied, forgotten
from storekeeper.manager.replaying import adopting
from storekeeper.manager.reports import Key, after, without
from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import Memory, Remembered
from tests.database.postgresql_server import PostgresqlServer, postgresql_server
from tests.manager.agents import saw
from tests.merge.builders import image

KEY = ("images", "s1/v")
NOTHING = Memory()

postgresql_only = pytest.mark.needs("postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


class Desk:
    """One manager's ledger, written and read when a test says so."""

    def __init__(self, url: str, own_host_id: str = "manager", started_at: float = 1.0) -> None:
        self.store: Store = open_store(url)
        self.ledger = Ledger(self.store, own_host_id, started_at, lambda *_: None)

    def is_told(
        self,
        name: str,
        number: int,
        *,
        run: int = 1,
        at: float = 0.0,
        key: tuple[str, str] = KEY,
        **more: Any,
    ) -> None:
        """By a report of h1 that tells all of one look."""
        told = [saw(*key, image(name))]
        view = after(self.ledger.view("h1"), told, at or 100.0 + number, {})
        report = HostReport(host_id="h1", boot_id="b", reported_at=view.reported_at)
        mark = replace(self.ledger.mark("h1"), run=run, number=number, report=report, **more)
        self.ledger.keep(view, mark, [applied(view, told[0])])

    def drops(self, key: Key = KEY) -> None:
        view = without(self.ledger.view("h1"), [key])
        self.ledger.keep(view, self.ledger.mark("h1"), forgotten("h1", [key]))

    async def writes(self) -> bool:
        return await self.ledger.write(NOTHING)

    async def hears(self) -> None:
        await self.ledger.catch_up(["h1"])

    @property
    def images(self) -> list[str]:
        look = self.ledger.view("h1").looks.get(KEY)
        return sorted(look.seen.facts) if look is not None else []

    @property
    def place(self) -> tuple[int, int]:
        mark: Mark = self.ledger.mark("h1")
        return mark.run, mark.number


def run(scenario: Callable[[Desk, Desk], Coroutine[Any, Any, None]], url: str, **more: Any) -> None:
    async def main() -> None:
        desks = Desk(url, **more), Desk(url)
        try:
            await scenario(*desks)
        finally:
            for desk in desks:
                desk.store.close()

    asyncio.run(main())


@postgresql_only
def test_a_claim_that_one_manager_met_outlives_the_report_that_another_was_told(
    server: PostgresqlServer,
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 1)
        await one.writes()
        await other.hears()
        one.is_told("second", 2)
        other.ledger.keep(
            other.ledger.view("h1"), replace(other.ledger.mark("h1"), claim="another", claimed_at=5.0), []
        )
        await one.writes()
        await both_know(one, other, "second")
        assert one.ledger.mark("h1").claim == "another"

    run(scenario, server.fresh())


def test_what_is_too_much_for_one_transaction_is_written_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(desk: Desk, _: Desk) -> None:
        for host_id in ("h1", "h2", "h3"):
            told = saw(*KEY, image("first"))
            view = after(desk.ledger.view(host_id), [told], 1.0, {})
            desk.ledger.keep(view, desk.ledger.mark(host_id), [applied(view, told)])
        assert await desk.writes()
        assert desk.store.stored().views.keys() == {"h1", "h2"}
        await desk.ledger.finish(NOTHING)
        assert desk.store.stored().views.keys() == {"h1", "h2", "h3"}

    monkeypatch.setattr(ledger, "FACTS_AT_ONCE", 2)
    run(scenario, f"sqlite://{tmp_path}/s.db")


async def both_know(one: Desk, other: Desk, name: str) -> None:
    """What both serve, and the database has."""
    for desk in (one, other) * 3:
        await desk.writes()
        await desk.hears()
    assert (one.images, other.images) == ([name], [name])
    assert one.ledger.mark("h1") == other.ledger.mark("h1")
    view, mark = one.store.host("h1")
    assert view is not None
    assert sorted(view.looks[KEY].seen.facts) == [name]
    assert mark == one.ledger.mark("h1")


async def cross(one: Desk, other: Desk) -> None:
    """One wrote what it was told first, the other was told something later and is to write it."""
    one.is_told("first", 1)
    await one.writes()
    await other.hears()
    one.is_told("second", 2)
    other.is_told("third", 3)
    await one.writes()


@postgresql_only
def test_a_later_report_is_not_lost_when_the_database_goes_away_after_it_refused_it(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        await cross(one, other)

        def away(_: str) -> Any:
            raise StoreError("away")

        with monkeypatch.context() as patch:
            patch.setattr(other.store, "host", away)
            assert not await other.writes()
        await both_know(one, other, "third")

    run(scenario, server.fresh())


def interrupted(
    desk: Desk, meanwhile: Callable[[], Coroutine[Any, Any, Any]], patch: pytest.MonkeyPatch
) -> None:
    """The next reading of one host waits for something else to happen first."""
    loop, really = asyncio.get_running_loop(), desk.store.host

    def host(host_id: str) -> Any:
        patch.undo()
        asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(30)
        return really(host_id)

    patch.setattr(desk.store, "host", host)


@postgresql_only
def test_news_of_an_earlier_report_does_not_replace_a_later_one_that_was_refused(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        await cross(one, other)
        interrupted(other, other.hears, monkeypatch)
        await other.writes()
        assert other.images == ["third"]
        await both_know(one, other, "third")

    run(scenario, server.fresh())


@postgresql_only
def test_a_refused_report_is_not_written_over_one_that_became_the_later_meanwhile(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        async def told_more() -> None:
            one.is_told("fourth", 4)
            await one.writes()

        await cross(one, other)
        interrupted(other, told_more, monkeypatch)
        await other.writes()
        await both_know(one, other, "fourth")

    run(scenario, server.fresh())


@postgresql_only
def test_what_was_read_before_a_write_does_not_replace_what_was_written(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 1)
        await one.writes()
        really, loop = other.store.host, asyncio.get_running_loop()

        async def told_more() -> None:
            other.is_told("second", 2)
            await other.writes()

        def host(host_id: str) -> Any:
            monkeypatch.undo()
            read = really(host_id)
            asyncio.run_coroutine_threadsafe(told_more(), loop).result(30)
            return read

        monkeypatch.setattr(other.store, "host", host)
        other.ledger._behind.add("h1")
        await other.hears()
        assert other.images == ["second"]
        await both_know(one, other, "second")

    run(scenario, server.fresh())


@postgresql_only
def test_a_report_of_the_old_machine_that_crosses_a_new_one_joining_is_not_the_later(
    server: PostgresqlServer,
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("old", 5, run=9)
        await one.writes()
        await other.hears()
        other.is_told("older", 6, run=9)
        one.ledger.begin_anew("h1")
        await one.writes()
        await other.writes()
        assert [one.place, other.place] == [(0, 0), (0, 0)]
        other.is_told("of the new machine", 1)
        await both_know(one, other, "of the new machine")

    run(scenario, server.fresh())


@postgresql_only
def test_who_joins_anew_is_the_later_whatever_this_manager_had_not_heard(server: PostgresqlServer) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        one.ledger.begin_anew("h1")
        await one.writes()
        one.is_told("of the second machine", 5, run=9)
        await one.writes()
        other.ledger.begin_anew("h1")
        await other.writes()
        one.is_told("of the second machine still", 6, run=9)
        await other.writes()
        await one.writes()
        assert [one.place, other.place] == [(0, 0), (0, 0)]

    run(scenario, server.fresh())


@postgresql_only
def test_what_the_agent_inside_tells_holds_before_what_another_manager_drops_meanwhile(
    server: PostgresqlServer,
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("own", 0, run=0, inside=1.0)
        await one.writes()
        await other.hears()
        other.drops()
        await other.writes()
        one.is_told("own still", 0, run=0, inside=1.0)
        await both_know(one, other, "own still")
        other.drops()
        await other.writes()
        await one.hears()
        assert one.images == []

    run(scenario, server.fresh(), own_host_id="h1")


def test_a_manager_that_starts_by_a_clock_that_was_put_back_tells_of_its_own_host(tmp_path: Any) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/db"
        one = Desk(url, "h1", 2_000_000_000.0)
        one.is_told("own", 0, run=0, inside=one.ledger.inside)
        await one.writes()
        one.store.close()
        again = Desk(url, "h1", 1_800_000_000.0)
        assert not again.ledger.superseded
        again.store.close()

    asyncio.run(scenario())


@postgresql_only
def test_of_two_managers_on_one_host_the_former_tells_again_when_the_later_is_silent(
    server: PostgresqlServer,
) -> None:
    async def scenario(one: Desk, later: Desk) -> None:
        one.is_told("by one", 0, run=0, inside=one.ledger.inside)
        await one.writes()
        await later.hears()
        later.is_told("by the later", 0, run=0, at=110.0, inside=2.0)
        await later.writes()
        await one.hears()
        assert one.ledger.superseded
        one.ledger.take_over(now=111.0, silent_after_s=60.0)
        assert one.ledger.superseded
        one.ledger.take_over(now=170.0, silent_after_s=60.0)
        assert not one.ledger.superseded
        one.is_told("by one again", 0, run=0, inside=one.ledger.inside)
        await both_know(one, later, "by one again")

    run(scenario, server.fresh(), own_host_id="h1")


def test_what_is_told_while_the_last_write_is_under_way_is_written_at_the_end(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, writing, go_on = f"sqlite:///{tmp_path}/db", threading.Event(), threading.Event()

    async def scenario() -> None:
        desk = Desk(url)
        really = desk.store.put

        def put(*args: Any) -> Any:
            writing.set()
            assert go_on.wait(30)
            return really(*args)

        monkeypatch.setattr(desk.store, "put", put)
        desk.is_told("first", 1)
        task = asyncio.create_task(desk.ledger.run(lambda: NOTHING))
        assert await asyncio.to_thread(writing.wait, 30)
        desk.is_told("second", 2)
        task.cancel()
        go_on.set()
        await asyncio.wait([task])
        await desk.writes()
        desk.store.close()
        again = Desk(url)
        assert again.images == ["second"]
        again.store.close()

    asyncio.run(scenario())


def test_a_host_that_reported_but_told_nothing_has_reported_after_a_restart_too(tmp_path: Any) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/db"
        one = Desk(url)
        one.is_told("first", 1)
        one.drops()
        await one.writes()
        one.store.close()
        again = Desk(url)
        assert again.ledger.view("h1") == one.ledger.view("h1")
        again.store.close()

    asyncio.run(scenario())


@postgresql_only
@pytest.mark.parametrize("declared", [(("s1/v",), ("s1/v",)), ((), ("s1/v",)), ((), ())])
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (Remembered(space=(9, 1)), Remembered(space=(9, 2))),
        (Remembered(since={"read-only h1": 1.0}), Remembered()),
        (Remembered(parents={"a": "b"}), Remembered(parents={"b": "a"})),
    ],
)
def test_what_managers_remember_differently_is_written_until_it_is_the_same_and_no_more(
    server: PostgresqlServer, mine: Remembered, theirs: Remembered, declared: tuple[tuple[str, ...], ...]
) -> None:
    async def scenario(one: Desk, other: Desk) -> None:
        memories = [Memory(volumes={"s1/v": mine}), Memory(volumes={"s1/v": theirs})]

        async def goes_round() -> None:
            for number, desk in enumerate((one, other)):
                await desk.ledger.remember(["s1/v"])
                others = desk.ledger.others
                memory = adopting(memories[number], others, declared[number])
                if "s1/v" in declared[number] and memory.of("s1/v").since:
                    # Its trouble is over, which is seen wherever it is declared.
                    memory = Memory(volumes={"s1/v": replace(memory.of("s1/v"), since={})})
                memories[number] = memory
                desk.ledger.taken_up(others)
                await desk.ledger.write(memory)

        for _ in range(4):
            await goes_round()
        settled = one.store.stored().memory
        await goes_round()
        assert one.store.stored().memory == settled
        assert memories[0] == memories[1] == Memory(volumes={"s1/v": settled["s1/v"].value})

    run(scenario, server.fresh())
