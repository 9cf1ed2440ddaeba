"""Several managers on one PostgreSQL: an agent may report to any of them, and any of them may die."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict

from storekeeper.database import listening, open_store
from storekeeper.database.steps import Mark
from storekeeper.errors import FullReportNeeded, Outdated, StoreError, Superseded
from storekeeper.manager import ledger, receiving
from storekeeper.manager.manager import Manager
from tests.database.postgresql_server import PostgresqlServer, postgresql_server
from tests.manager.agents import Agent
from tests.manager.put_back import back_up, empty, restore
from tests.manager.test_receive import DECLARATION, VOLUMES, looking
from tests.merge.builders import image

pytestmark = pytest.mark.needs("postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as running:
        yield running


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is answered once it is written, however slow this machine's disk is."""
    monkeypatch.setattr(ledger, "WRITTEN_WITHIN_S", 60.0)
    monkeypatch.setattr(receiving, "READ_WITHIN_S", 60.0)


class Managers:
    """Managers that run, all on one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.running: list[tuple[Manager, asyncio.Task[None]]] = []

    async def start(self) -> Manager:
        store = await asyncio.to_thread(open_store, self._url)
        manager = Manager(DECLARATION, store, lambda *_: None, lambda: True)
        self.running.append((manager, asyncio.create_task(manager.run())))
        await until(lambda: manager.ready)
        return manager

    async def kill(self, number: int) -> None:
        """Nothing is written any more."""
        manager, task = self.running.pop(number)
        task.cancel()
        await asyncio.wait([task])
        manager._store.close()

    def written(self, host_id: str) -> Mark | None:
        """How far the database knows a host."""
        return self[0]._store.host(host_id)[1]

    def __getitem__(self, number: int) -> Manager:
        return self.running[number % len(self.running)][0]

    def __iter__(self) -> Iterator[Manager]:
        return iter(manager for manager, _ in self.running)


@asynccontextmanager
async def managers(url: str, count: int = 2) -> AsyncIterator[Managers]:
    several = Managers(url)
    try:
        for _ in range(count):
            await several.start()
        yield several
    finally:
        while several.running:
            await several.kill(0)


async def until(happened: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.005)


def images(manager: Manager, storage_id: str = "s1") -> list[str]:
    published = manager.published(storage_id)
    document: Any = json.loads(published.identity) if published is not None else {}
    return [each["image_id"] for volume in document["external_volumes"] for each in volume["images"]]


def told_as(agent: Agent) -> list[str]:
    return sorted(agent.current["images", VOLUMES[agent.host_id].key].facts)


async def tells_all(agent: Agent, manager: Manager) -> None:
    async with asyncio.timeout(60):
        while not await agent.tells_one_of_several(manager):
            pass


def run(scenario: Callable[[Managers], Any], url: str) -> None:
    async def main() -> None:
        async with managers(url) as several:
            await scenario(several)

    asyncio.run(main())


def test_what_one_manager_is_told_every_manager_serves(server: PostgresqlServer) -> None:
    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await tells_all(agent, several[0])
        await until(lambda: [images(each) for each in several] == [["first"]] * 2)
        one, other = (each.published("s1") for each in several)
        assert one is not None
        assert other is not None
        assert one.identity == other.identity
        assert one.etag == other.etag
        assert several[1].view("h1") == several[0].view("h1")
        assert several[1].host_reports() == several[0].host_reports()

    run(scenario, server.fresh())


@pytest.mark.usefixtures("patient")
def test_an_agent_that_switches_at_every_report_goes_on_with_changes(server: PostgresqlServer) -> None:
    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await tells_all(agent, several[0])
        for number in range(20):
            agent.sees("images", VOLUMES["h1"].key, image(f"image {number}"))
            # Answered at once, so that the other manager may not have heard yet of the report before.
            assert await agent.tells_one_of_several(several[number % 2 + 1])
        assert [report.full for report in agent.history] == [True] + [False] * 20
        await until(lambda: [images(each) for each in several] == [["image 19"]] * 2)

    run(scenario, server.fresh())


@pytest.mark.usefixtures("patient")
def test_a_report_whose_answer_was_lost_is_applied_once_by_whichever_manager(
    server: PostgresqlServer,
) -> None:
    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await agent.tells_one_of_several(several[0], answer_arrives=False)
        step = several.written("h1")
        assert await agent.tells_one_of_several(several[1])
        assert len(agent.history) == 1
        assert several.written("h1") == step

    run(scenario, server.fresh())


@pytest.mark.usefixtures("patient")
def test_a_manager_that_dies_takes_nothing_that_it_acknowledged_with_it(server: PostgresqlServer) -> None:
    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await tells_all(agent, several[0])
        agent.sees("images", VOLUMES["h1"].key, image("last words"))
        assert await agent.tells_one_of_several(several[0])
        await several.kill(0)
        await until(lambda: images(several[0]) == ["last words"])
        third = await several.start()
        assert images(third) == ["last words"]
        agent.sees("images", VOLUMES["h1"].key, image("life goes on"))
        assert await agent.tells_one_of_several(third)
        await until(lambda: images(several[0]) == ["life goes on"])

    run(scenario, server.fresh())


def test_a_machine_that_joins_anew_is_the_host_for_every_manager(server: PostgresqlServer) -> None:
    async def scenario(several: Managers) -> None:
        old, new = looking("h1"), looking("h1")
        old.run, new.run = 9, 3
        await tells_all(old, several[0])
        await several[0].forget_agent("h1")
        new.sees("images", VOLUMES["h1"].key, image("of the new machine"))
        await tells_all(new, several[1])
        await until(lambda: [images(each) for each in several] == [["of the new machine"]] * 2)

    run(scenario, server.fresh())


def test_while_the_database_is_away_each_goes_on_and_then_the_later_report_wins() -> None:
    async def scenario(several: Managers, server: PostgresqlServer) -> None:
        agent = looking("h1")
        await tells_all(agent, several[0])
        await until(lambda: images(several[1]) == ["first"])
        await asyncio.to_thread(server.stop)
        agent.sees("images", VOLUMES["h1"].key, image("told to the first"))
        assert await agent.tells_one_of_several(several[0])
        await until(lambda: images(several[0]) == ["told to the first"])
        agent.full = True
        agent.sees("images", VOLUMES["h1"].key, image("told to the second"))
        assert await agent.tells_one_of_several(several[1])
        await until(lambda: images(several[1]) == ["told to the second"])
        await asyncio.to_thread(server.start)
        await until(lambda: [images(each) for each in several] == [["told to the second"]] * 2)
        third = await several.start()
        assert images(third) == ["told to the second"]

    async def main(server: PostgresqlServer) -> None:
        async with managers(server.fresh()) as several:
            await scenario(several, server)

    with postgresql_server() as own:
        asyncio.run(main(own))


def test_a_new_machine_that_joined_with_one_manager_may_report_to_another_that_has_not_heard_of_it(
    server: PostgresqlServer,
) -> None:
    async def scenario(url: str) -> None:
        one, other = (Manager(DECLARATION, open_store(url), lambda *_: None, lambda: True) for _ in range(2))
        old, new = looking("h1"), looking("h1")
        other.receive(old.report(), old.credential)
        await other.write_behind()
        await one.forget_agent("h1")
        # The first is refused: this one had not heard of the host.
        await one.write_behind()
        await one.write_behind()
        said = replace(new.report(), boot_id="of the new machine")
        answer = await other.hear(said, new.credential)
        assert (answer.run, answer.number) == (1, 1)
        assert other.host_reports()["h1"].boot_id == "of the new machine"
        for each in (one, other):
            await each.close()

    asyncio.run(scenario(server.fresh()))


def test_a_database_that_hangs_keeps_no_manager_from_publishing(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    async def scenario(several: Managers) -> None:
        manager, agent = several[0], looking("h1")
        await tells_all(agent, manager)
        late = replace(agent.history[0], number=9, full=False)
        monkeypatch.setattr(manager._store, "since", lambda _: answers.wait(30) and {})
        asked = [asyncio.create_task(manager.hear(late, agent.credential)) for _ in range(40)]
        agent.sees("images", VOLUMES["h1"].key, image("seen meanwhile"))
        try:
            await asyncio.sleep(0)
            await agent.tells_one_of_several(manager)
            await until(lambda: images(manager) == ["seen meanwhile"], within_s=10)
        finally:
            answers.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(end) for end in ends} == {FullReportNeeded}

    run(scenario, server.fresh())


async def both_serve(several: Managers, agent: Agent, name: str) -> None:
    agent.sees("images", VOLUMES["h1"].key, image(name))
    await tells_all(agent, several[0])
    await until(lambda: all(images(each) == [name] for each in several))


@pytest.mark.usefixtures("patient")
def test_under_managers_that_run_a_backup_is_put_back_and_what_they_know_since_is_written_again(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = server.fresh()

    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await both_serve(several, agent, "first")
        await asyncio.to_thread(server.tool, "pg_dump", "--format=custom", f"--file={tmp_path}/backup", url)
        await both_serve(several, agent, "second")
        restoring = ("--clean", "--single-transaction", f"--dbname={url}", f"{tmp_path}/backup")
        await asyncio.to_thread(server.tool, "pg_restore", *restoring)
        expected = several[0]._ledger.mark("h1").number
        await until(lambda: (mark := several.written("h1")) is not None and mark.number == expected)
        assert images(await several.start()) == ["second"]
        await both_serve(several, agent, "third")

    monkeypatch.setattr(listening, "LOOKED_AT_ALL_S", 0.1)
    run(scenario, url)


@pytest.mark.usefixtures("patient")
def test_to_a_database_that_was_emptied_what_is_known_of_silent_hosts_is_written_again(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.fresh()

    async def scenario(several: Managers) -> None:
        await both_serve(several, looking("h1"), "seen")
        emptied = several.written("h1")
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE reports, steps, looks, facts, memory")
        await until(lambda: several.written("h1") not in {None, emptied})
        await until(lambda: bool(several[0]._store.stored().memory))
        await several.kill(0)
        await several.kill(0)
        assert images(await several.start()) == ["seen"]

    monkeypatch.setattr(listening, "LOOKED_AT_ALL_S", 0.1)
    run(scenario, url)


@pytest.mark.usefixtures("patient")
def test_in_a_database_that_was_made_anew_all_is_written_again_once_a_manager_made_its_tables(
    server: PostgresqlServer,
) -> None:
    url = server.fresh()
    name = conninfo_to_dict(url)["dbname"]

    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await both_serve(several, agent, "seen")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name}".encode())
        # It may be about to be filled from a backup: who runs makes no tables.
        agent.sees("images", VOLUMES["h1"].key, image("seen meanwhile"))
        several[0].receive(agent.report(), agent.credential)
        with pytest.raises(StoreError, match="lost its tables"):
            several.written("h1")
        await several.start()
        await until(lambda: [images(each) for each in several] == [["seen meanwhile"]] * 3)
        await until(lambda: several.written("h1") is not None)

    run(scenario, url)


@pytest.mark.parametrize("noticed", ["as it is told", "by writing"])
def test_a_manager_ends_under_which_a_later_version_changed_the_tables(
    server: PostgresqlServer, noticed: str
) -> None:
    url = server.fresh()

    async def scenario(several: Managers) -> None:
        agent = looking("h1")
        await both_serve(several, agent, "seen")
        written = several.written("h1")
        tasks = [task for _, task in several.running]
        with psycopg.connect(url) as later:
            later.execute("UPDATE alembic_version SET version_num = '999'")
            if noticed == "as it is told":
                # As a version does that changes them.
                later.execute("SELECT pg_notify('storekeeper', '[\"credentials\",\"\",[]]')")
        if noticed == "by writing":
            for manager in several:
                manager.receive(replace(agent.history[0], number=9), agent.credential)
        await asyncio.wait(tasks, timeout=60)
        for task in tasks:
            error = task.exception()
            assert isinstance(error, ExceptionGroup)
            assert error.subgroup(Outdated) is not None
        for manager in several:
            manager.receive(replace(agent.history[0], number=10), agent.credential)
            # Ends as well as it can.
            await manager.close()
        with psycopg.connect(url) as later:
            later.execute("UPDATE alembic_version SET version_num = '2'")
        several.running.clear()
        third = await several.start()
        assert third._store.host("h1")[1] == written

    run(scenario, url)


HOSTS = st.sampled_from(["h1", "h2"])
MANAGERS = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("sees"), HOSTS, st.lists(st.sampled_from("abcdef"), max_size=4, unique=True)),
    st.tuples(st.just("tells"), HOSTS, st.tuples(MANAGERS, st.booleans())),
    st.tuples(st.just("repeats"), HOSTS, st.tuples(MANAGERS, st.integers(0, 20))),
    st.tuples(st.just("starts again"), HOSTS, st.none()),
    st.tuples(st.just("a manager dies"), st.none(), MANAGERS),
)
TO_THE_DATABASE = st.sampled_from([back_up, restore, empty])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=30))
def test_whoever_is_told_and_whoever_dies_all_serve_what_the_hosts_last_saw(
    server: PostgresqlServer, steps: list[Any]
) -> None:
    all_serve_what_the_hosts_last_saw(server.fresh(), steps)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(STEPS, st.tuples(st.just("it"), st.none(), TO_THE_DATABASE)), max_size=30))
def test_however_the_database_is_put_back_or_emptied_all_serve_what_the_hosts_last_saw(
    server: PostgresqlServer, steps: list[Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listening, "LOOKED_AT_ALL_S", 0.1)
        all_serve_what_the_hosts_last_saw(server.fresh(), steps)


def all_serve_what_the_hosts_last_saw(url: str, steps: list[Any]) -> None:
    async def scenario(several: Managers) -> None:
        agents = {host_id: looking(host_id) for host_id in VOLUMES}
        for step, host_id, more in steps:
            if step == "a manager dies":
                await several.kill(more)
                await several.start()
            elif step == "it":
                await asyncio.to_thread(more, url)
            else:
                await _happens(step, several, agents[host_id], more)
        for agent in agents.values():
            agent.looked.update(agent.current)
            await tells_all(agent, several[len(steps)])
        expected = [told_as(agent) for agent in agents.values()]
        await until(lambda: all([images(each, "s1"), images(each, "s2")] == expected for each in several))
        await several.start()
        await until(lambda: all(each.views() == several[0].views() for each in several))
        assert len({published.etag for each in several if (published := each.published("s1"))}) == 1

    open_store(url).close()
    back_up(url)
    run(scenario, url)


async def _happens(step: str, several: Managers, agent: Agent, more: Any) -> None:
    if step == "sees":
        agent.sees("images", VOLUMES[agent.host_id].key, *(image(name) for name in more))
    elif step == "tells":
        await agent.tells_one_of_several(several[more[0]], answer_arrives=more[1])
    elif step == "starts again":
        agent.starts_again()
    elif agent.history:
        late = agent.history[more[1] % len(agent.history)]
        with suppress(FullReportNeeded, Superseded):
            await several[more[0]].hear(late, agent.credential)
