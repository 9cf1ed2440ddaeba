"""A database that was put back to an earlier time, or emptied, while managers know more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storekeeper.manager.replaying import adopting
from storekeeper.merge.truth import Memory, Remembered
from tests.database.postgresql_server import PostgresqlServer, postgresql_server
from tests.manager.put_back import TABLES, back_up, empty, restore
from tests.manager.test_ledger import Desk, both_know, run

pytestmark = pytest.mark.needs("postgresql")

OTHER_KEY = ("images", "s1/w")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


# --- put back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_database_that_was_put_back_is_brought_to_what_managers_know(
    server: PostgresqlServer, more: int
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("image 1", 1)
        await one.writes()
        back_up(url)
        for number in range(2, 5):
            one.is_told(f"image {number}", number)
            await one.writes()
            await other.hears()
        restore(url)
        for number in range(5, 5 + more):
            one.is_told(f"image {number}", number)
            await one.writes()
            await one.writes()
            await other.hears()
            assert other.images == [f"image {number}"]
        await other.hears()
        await both_know(one, other, f"image {4 + more}")

    run(scenario, url)


async def loses(url: str, one: Desk, cut_off: Desk) -> None:
    """The last that both know is put back; a manager that starts then is told something else."""
    one.is_told("first", 1)
    await one.writes()
    back_up(url)
    one.is_told("lost", 2)
    await one.writes()
    await cut_off.hears()
    restore(url)


@pytest.mark.parametrize("more", [0, 1, 5])
def test_who_was_cut_off_does_not_take_what_was_written_since_for_what_follows_on_what_he_knows(
    server: PostgresqlServer, more: int
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, cut_off: Desk) -> None:
        await loses(url, one, cut_off)
        later = Desk(url)
        later.is_told("found", 3)
        await later.writes()
        for number in range(more):
            later.is_told(f"image {number}", 4 + number, key=OTHER_KEY)
            await later.writes()
        await cut_off.hears()
        assert cut_off.ledger.view("h1") == later.ledger.view("h1")
        assert cut_off.ledger.mark("h1") == later.ledger.mark("h1")
        later.store.close()

    run(scenario, url)


@pytest.mark.parametrize("more", [0, 1, 5])
def test_who_was_cut_off_writes_all_that_he_knows_not_only_what_is_new_to_him(
    server: PostgresqlServer, more: int
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, cut_off: Desk) -> None:
        await loses(url, one, cut_off)
        later = Desk(url)
        for number in range(more):
            later.is_told(f"image {number}", 3 + number)
            await later.writes()
        cut_off.is_told("something else", 9, key=OTHER_KEY)
        await cut_off.writes()
        await both_know(cut_off, later, "lost")
        view, _ = cut_off.store.host("h1")
        assert view == cut_off.ledger.view("h1") == later.ledger.view("h1")
        assert OTHER_KEY in view.looks
        later.store.close()

    run(scenario, url)


def test_what_the_agent_inside_a_manager_that_is_gone_told_last_is_not_given_up_for_what_it_told_before(
    server: PostgresqlServer,
) -> None:
    url = server.fresh()

    async def scenario(gone: Desk, other: Desk) -> None:
        gone.is_told("first", 0, run=0, at=101.0, inside=1.0)
        await gone.writes()
        back_up(url)
        gone.is_told("second", 0, run=0, at=102.0, inside=1.0)
        await gone.writes()
        await other.hears()
        restore(url)
        third = Desk(url)
        await both_know(other, third, "second")
        third.store.close()

    run(scenario, url, own_host_id="h1")


@pytest.mark.parametrize("logged", [True, False])
def test_what_the_agent_inside_tells_next_is_the_later_though_the_clock_was_put_back(
    server: PostgresqlServer, logged: bool
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 0, run=0, at=200.0, inside=1.0)
        await one.writes()
        await other.hears()
        one.is_told("second", 0, run=0, at=100.0, inside=1.0)
        await one.writes()
        if not logged:
            empty(url, ("steps",))
        written = one.ledger.mark("h1")
        await both_know(other, one, "second")
        assert one.ledger.mark("h1") == written

    run(scenario, url, own_host_id="h1")


def test_what_the_agent_inside_told_last_holds_before_what_another_manager_drops_of_what_it_told_before(
    server: PostgresqlServer,
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 0, run=0, at=101.0, inside=1.0)
        one.is_told("something else", 0, run=0, at=101.0, inside=1.0, key=OTHER_KEY)
        await one.writes()
        await other.hears()
        back_up(url)
        one.is_told("second", 0, run=0, at=102.0, inside=1.0)
        await one.writes()
        restore(url)
        other.drops(OTHER_KEY)
        await other.writes()
        await both_know(one, other, "second")

    run(scenario, url, own_host_id="h1")


# --- emptied ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tables", [TABLES, ("reports",), ("reports", "steps"), ("reports", "looks", "facts")]
)
@pytest.mark.parametrize("first", [0, 1], ids=["who was told", "who heard of it"])
def test_of_a_host_that_is_silent_all_is_written_again(
    server: PostgresqlServer, tables: tuple[str, ...], first: int
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 1)
        one.is_told("second", 2, key=OTHER_KEY)
        await one.writes()
        await other.hears()
        known = one.ledger.view("h1")
        empty(url, tables)
        noticing = (one, other)[first]
        await noticing.hears()
        await noticing.writes()
        third = Desk(url)
        assert third.ledger.view("h1") == known
        assert third.place == (1, 2)
        await both_know(one, other, "first")
        third.store.close()

    run(scenario, url)


def test_of_a_host_that_reports_to_another_manager_meanwhile_the_later_report_is_kept(
    server: PostgresqlServer,
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, other: Desk) -> None:
        one.is_told("first", 1)
        await one.writes()
        await other.hears()
        empty(url)
        other.is_told("second", 2)
        await other.writes()
        await both_know(one, other, "second")

    run(scenario, url)


# --- what is remembered -------------------------------------------------------------------------

FORMER = Memory(volumes={"s1/v": Remembered(filesystem_id="uuid")})
LATER = Memory(volumes={"s1/v": Remembered(filesystem_id="uuid", first_seen={"image": 5.0})})
LAST = Memory(volumes={"s1/v": Remembered(filesystem_id="uuid", first_seen={"image": 5.0}, space=(2, 1))})


async def merges(desk: Desk, memory: Memory) -> Memory:
    """The next merge, and what it comes to is written."""
    others = desk.ledger.others
    memory = adopting(memory, others, ["s1/v"])
    desk.ledger.taken_up(others)
    await desk.ledger.write(memory)
    return memory


async def loses_memory(url: str, desk: Desk, spoil: Callable[[str], None]) -> None:
    """What was remembered last is lost to the database."""
    await merges(desk, FORMER)
    back_up(url)
    await merges(desk, LATER)
    spoil(url)


@pytest.mark.parametrize("spoil", [restore, empty])
def test_what_is_remembered_of_a_volume_is_written_again(
    server: PostgresqlServer, spoil: Callable[[str], None]
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, _: Desk) -> None:
        await loses_memory(url, one, spoil)
        await one.ledger.remember(["s1/v"])
        assert await merges(one, LATER) == LATER
        assert one.store.stored().memory["s1/v"].value == LATER.volumes["s1/v"]

    run(scenario, url)


@pytest.mark.parametrize("spoil", [restore, empty])
def test_what_is_remembered_anew_is_not_refused_for_ever(
    server: PostgresqlServer, spoil: Callable[[str], None]
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, _: Desk) -> None:
        await loses_memory(url, one, spoil)
        await merges(one, LAST)
        await merges(one, LAST)
        assert one.store.stored().memory["s1/v"].value == LAST.volumes["s1/v"]

    run(scenario, url)


def test_what_another_manager_remembered_since_it_was_put_back_is_adopted_though_it_has_changed_as_often(
    server: PostgresqlServer,
) -> None:
    url = server.fresh()

    async def scenario(one: Desk, _: Desk) -> None:
        await loses_memory(url, one, restore)
        third = Desk(url)
        await merges(third, Memory(volumes={"s1/v": Remembered(filesystem_id="uuid", parents={"a": "b"})}))
        await one.ledger.remember(["s1/v"])
        both = Remembered(filesystem_id="uuid", parents={"a": "b"}, first_seen={"image": 5.0})
        assert (await merges(one, LATER)).of("s1/v") == both
        assert third.store.stored().memory["s1/v"].value == both
        third.store.close()

    run(scenario, url)
