"""Many hosts report at once, over a network that loses and repeats: the truth is what they saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.credentials import Credential
from storekeeper.database import Store, open_store
from storekeeper.database.listening import Subject
from storekeeper.declaration import Declaration, Declared, Host, ImageStorage
from storekeeper.errors import FullReportNeeded, Incompatible, Refused, StorekeeperError, Superseded
from storekeeper.manager.access import Access
from storekeeper.manager.manager import Manager
from storekeeper.manager.reports import Greeting
from storekeeper.report import PROTOCOL
from storekeeper.sources.contract import Scope
from tests.manager.agents import Agent, credential, report, saw
from tests.merge.builders import external, image, space

HOST_SOURCES = ("disks", "mounts", "guests", "gluster", "gluster_heals", "ocfs2")
VOLUMES = {
    "h1": replace(external("v"), image_storage_id="s1"),
    "h2": replace(external("v"), image_storage_id="s2"),
}
DECLARATION = Declaration(
    host_id="manager",
    image_storages={
        volume.image_storage_id: ImageStorage(
            image_storage_id=volume.image_storage_id, hosts=(host_id,), volumes=(volume,)
        )
        for host_id, volume in VOLUMES.items()
    },
)


@dataclass
class Desk:
    """A manager that is on no linked host, with a clock that a test turns."""

    store: Store = field(default_factory=lambda: open_store("sqlite://"))
    declaration: Declaration = DECLARATION
    now: float = 1_800_000_000.0
    own_scopes: list[tuple[str, Scope]] | None = None
    manager: Manager = field(init=False)

    def __post_init__(self) -> None:
        self.manager = Manager(
            self.declaration, self.store, self._rescope, lambda: False, clock=lambda: self.now
        )

    def _rescope(self, host_id: str, scopes: list[tuple[str, Scope]]) -> None:
        assert host_id == "manager"
        self.own_scopes = scopes

    def document(self, storage_id: str = "s1") -> Any:
        published = self.manager.published(storage_id)
        assert published is not None
        return json.loads(published.identity)

    def images(self, storage_id: str = "s1") -> list[str]:
        volume = self.document(storage_id)["external_volumes"][0]
        return [each["image_id"] for each in volume["images"]]


def looking(host_id: str) -> Agent:
    """An agent that has looked at everything once, and seen one image."""
    agent = Agent(host_id)
    volume = VOLUMES[host_id]
    for source in HOST_SOURCES:
        agent.sees(source, "")
    agent.sees("space", volume.key, space(volume))
    agent.sees("images", volume.key, image("first"))
    return agent


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scenario())


def test_what_an_agent_reports_becomes_a_document() -> None:
    async def scenario() -> None:
        desk, agent = Desk(), looking("h1")
        assert agent.tells(desk.manager)
        await desk.manager.publish()
        assert desk.images() == ["first"]
        agent.sees("images", VOLUMES["h1"].key, image("second"))
        assert agent.tells(desk.manager)
        await desk.manager.publish()
        assert desk.images() == ["second"]

    run(scenario)


def test_a_report_that_came_twice_is_acknowledged_twice_and_applied_once() -> None:
    async def scenario() -> None:
        desk, agent = Desk(), looking("h1")
        first = agent.report()
        answer = desk.manager.receive(first, agent.credential)
        view = desk.manager.view("h1")
        assert desk.manager.receive(first, agent.credential) == answer
        assert desk.manager.view("h1") is view

    run(scenario)


def test_after_a_kill_the_next_change_is_answered_with_the_wish_for_a_full_report(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite://{tmp_path}/s.db"
        killed, agent = Desk(store=open_store(url)), looking("h1")
        assert agent.tells(killed.manager)
        await killed.manager.publish()
        await killed.manager.write_behind()
        agent.sees("images", VOLUMES["h1"].key, image("never written"))
        assert agent.tells(killed.manager)

        again = Desk(store=open_store(url))
        await again.manager.publish()
        assert again.manager.ready
        assert again.images() == ["first"]
        agent.sees("images", VOLUMES["h1"].key, image("never written"), image("third"))
        with pytest.raises(FullReportNeeded):
            again.manager.receive(agent.report(), agent.credential)
        assert not agent.tells(again.manager)
        assert agent.tells(again.manager)
        await again.manager.publish()
        assert again.images() == ["never written", "third"]
        await again.manager.close()

    run(scenario)


def test_a_manager_that_was_killed_before_it_wrote_anything_is_told_all_at_once() -> None:
    async def scenario() -> None:
        agent = looking("h1")
        assert agent.tells(Desk().manager)
        desk = Desk()
        await desk.manager.publish()
        assert not desk.manager.ready
        agent.sees("disks", "")
        assert not agent.tells(desk.manager)
        assert agent.tells(desk.manager)
        await desk.manager.publish()
        assert desk.images() == ["first"]

    run(scenario)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "sender", "error"),
    [
        (report(host_id="h2"), credential("h1"), Refused),
        (report(machine_id="another"), credential("h1"), Refused),
        (report(saw("disks", ""), saw("space", VOLUMES["h2"].key), number=2), credential("h1"), Refused),
        (report(full=False, number=3), credential("h1"), FullReportNeeded),
        (report(run=0), credential("h1"), Superseded),
        (report(replace(saw("images", VOLUMES["h1"].key), full=False), full=False, number=2),
         credential("h1"), FullReportNeeded),
        (Greeting(host_id="h1", version="99", protocol=PROTOCOL + 1), credential("h1"), Incompatible),
        (Greeting(host_id="h2", version="99", protocol=PROTOCOL + 1), credential("h1"), Refused),
    ],
)  # fmt: skip
def test_a_report_that_is_not_applied_changes_nothing(
    sent: Any, sender: Credential, error: type[StorekeeperError]
) -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.manager.receive(report(saw("mounts", "")), credential("h1"))
        await desk.manager.publish()
        before = desk.manager.views()
        with pytest.raises(error):
            desk.manager.receive(sent, sender)
        assert desk.manager.views() is before

    run(scenario)


def test_a_host_tells_that_another_machine_claims_its_id_for_a_while() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.manager.receive(report(), credential("h1"), "192.0.2.1")
        with pytest.raises(Refused):
            desk.manager.receive(report(machine_id="copy"), credential("h1"), "192.0.2.2")
        told = desk.manager.host_reports()["h1"]
        assert "Another machine (192.0.2.2) claims to be h1" in told.error_msg
        assert (told.machine_id, told.address) == ("machine-of-h1", "192.0.2.1")
        desk.now += DECLARATION.host_timeout_s
        assert desk.manager.host_reports()["h1"].error_msg == ""

    run(scenario)


def test_an_agent_of_another_protocol_is_told_so_until_it_speaks_this_one() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.manager.receive(report(), credential("h1"))
        with pytest.raises(Incompatible, match="99"):
            desk.manager.receive(Greeting(host_id="h1", version="99", protocol=9), credential("h1"))
        told = desk.manager.host_reports()["h1"]
        assert (told.incompatible, told.version, told.reported_at) == (True, "99", desk.now)
        desk.manager.receive(report(number=2, full=False), credential("h1"))
        assert not desk.manager.host_reports()["h1"].incompatible

    run(scenario)


def test_a_host_that_another_machine_becomes_begins_anew() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.manager.receive(report(run=9), credential("h1"))
        await desk.manager.forget_agent("h1")
        desk.manager.receive(report(run=1, machine_id="new"), credential("h1", "new"))
        assert desk.manager.host_reports()["h1"].machine_id == "new"

    run(scenario)


def test_a_host_that_is_declared_no_more_is_heard_no_more() -> None:
    async def scenario() -> None:
        desk = Desk()
        with pytest.raises(Refused, match="declared no more"):
            desk.manager.receive(report(host_id="h9"), credential("h9", "machine-of-h9"))

    run(scenario)


# --- scopes -------------------------------------------------------------------------------------


def test_where_to_look_is_told_to_each_host_and_not_before_it_is_known() -> None:
    async def scenario() -> None:
        desk = Desk()
        assert desk.manager.scopes_of("h1") is None
        assert await desk.manager.scopes_after("h1", "", 0.0) is None
        await desk.manager.publish()
        first = desk.manager.scopes_of("h1")
        assert first is not None
        assert {scope.key for _, scope in first.scopes} == {"", VOLUMES["h1"].key}
        assert await desk.manager.scopes_after("h1", "", 0.0) == first
        assert await desk.manager.scopes_after("h1", first.version, 0.0) is None

    run(scenario)


def test_who_waits_for_other_scopes_is_woken_when_there_are() -> None:
    async def scenario() -> None:
        desk, agent = Desk(), looking("h1")
        await desk.manager.publish()
        first = desk.manager.scopes_of("h1")
        assert first is not None
        waiting = asyncio.create_task(desk.manager.scopes_after("h1", first.version, 60.0))
        others = asyncio.create_task(desk.manager.scopes_after("h2", "", 60.0))
        await others
        assert agent.tells(desk.manager)
        await desk.manager.publish()
        woken = await waiting
        assert woken is not None
        assert "images" in {name for name, _ in woken.scopes}
        assert woken.version != first.version

    run(scenario)


def test_two_managers_name_the_same_scopes_alike() -> None:
    async def scenario() -> None:
        versions = set()
        for _ in range(2):
            desk, agent = Desk(), looking("h1")
            agent.tells(desk.manager)
            await desk.manager.publish()
            scopes = desk.manager.scopes_of("h1")
            assert scopes is not None
            versions.add(scopes.version)
        assert len(versions) == 1

    run(scenario)


def test_a_host_that_is_linked_to_nothing_looks_at_nothing() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.manager.publish()
        assert desk.own_scopes == []
        unlinked = desk.manager.scopes_of("h9")
        assert unlinked is not None
        assert unlinked.scopes == []

    run(scenario)


def test_what_is_declared_later_is_looked_at_and_what_no_more_is_forgotten() -> None:
    async def scenario() -> None:
        hosts = {host_id: Host(host_id=host_id) for host_id in VOLUMES}
        desk = Desk(declaration=Declaration(host_id="manager", image_storages={}, hosts=hosts))
        storages = DECLARATION.image_storages
        desk.store.declare(lambda _: Declared(image_storages=storages))
        await desk.manager.redeclare()
        assert desk.manager.declaration.image_storages == storages
        agents = [looking("h1"), looking("h2")]
        assert all(agent.tells(desk.manager) for agent in agents)
        await desk.manager.publish()
        assert desk.images("s2") == ["first"]
        await desk.manager.write_behind()
        assert VOLUMES["h2"].key in {scope for _, scope in desk.store.stored().views["h2"].looks}

        desk.store.declare(lambda _: Declared(image_storages={"s1": storages["s1"]}))
        await desk.manager.redeclare()
        assert desk.manager.storages() == ("s1",)
        assert {scope for _, scope in desk.manager.view("h2").looks} == {""}
        await desk.manager.write_behind()
        assert {scope for _, scope in desk.store.stored().views["h2"].looks} == {""}
        # Its agent may not have heard yet: what it tells of the former volume is left out.
        agents[1].sees("images", VOLUMES["h2"].key, image("second"))
        assert agents[1].tells(desk.manager)
        assert {scope for _, scope in desk.manager.view("h2").looks} == {""}

        desk.store.declare(lambda _: Declared(image_storages=storages))
        await desk.manager.redeclare()
        agents[1].sees("images", VOLUMES["h2"].key, image("second"), image("third"))
        assert not agents[1].tells(desk.manager)
        assert agents[1].tells(desk.manager)
        await desk.manager.publish()
        assert desk.images("s2") == ["second", "third"]

    run(scenario)


def test_what_another_manager_declares_and_makes_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        store = open_store("sqlite://")
        told: Queue[Callable[[Subject, tuple[str, ...]], None]] = Queue()
        monkeypatch.setattr(store, "changes", told.put)
        desk = Desk(store=store, declaration=Declaration(host_id="manager", image_storages={}))
        running = asyncio.create_task(desk.manager.run())
        tell = await asyncio.to_thread(told.get)
        _, token = Access(store, lambda: desk.now).make("person")
        store.declare(lambda _: Declared(image_storages=DECLARATION.image_storages))
        tell("credentials", ())
        tell("declared", ())
        async with asyncio.timeout(30):
            while desk.manager.storages() != ("s1", "s2"):
                await asyncio.sleep(0)
        assert desk.manager.access.principal(token).kind == "person"
        running.cancel()

    run(scenario)


def test_a_volume_that_two_hosts_see_is_walked_by_another_when_the_first_falls_silent() -> None:
    async def scenario() -> None:
        storage = ImageStorage(image_storage_id="s", hosts=("h1", "h2"), volumes=(external("v"),))
        desk = Desk(declaration=Declaration(host_id="manager", image_storages={"s": storage}))
        agents = [Agent("h1"), Agent("h2")]

        def look(agent: Agent, *names: str) -> None:
            for source in HOST_SOURCES:
                agent.sees(source, "")
            agent.sees("space", "s/v", space(external("v")))
            if names:
                agent.sees("images", "s/v", *(image(name) for name in names))

        def walkers() -> list[str]:
            told = {agent.host_id: desk.manager.scopes_of(agent.host_id) for agent in agents}
            return [
                host_id
                for host_id, scopes in told.items()
                if scopes is not None and "images" in {name for name, _ in scopes.scopes}
            ]

        for agent in agents:
            look(agent)
            assert agent.tells(desk.manager)
        await desk.manager.publish()
        assert walkers() == ["h1"]
        look(agents[0], "first")
        assert agents[0].tells(desk.manager)
        await desk.manager.publish()

        desk.now += DECLARATION.host_timeout_s
        look(agents[1])
        assert agents[1].tells(desk.manager)
        await desk.manager.publish()
        assert walkers() == ["h2"]
        assert desk.images("s") == ["first"]
        look(agents[1], "first", "second")
        assert agents[1].tells(desk.manager)
        await desk.manager.publish()
        assert desk.images("s") == ["first", "second"]
        assert ("images", "s/v") not in desk.manager.view("h1").looks

        # The first one is back, and has not heard yet that it is to walk no more.
        look(agents[0], "old")
        assert agents[0].tells(desk.manager)
        await desk.manager.publish()
        assert walkers() == ["h2"]
        assert desk.images("s") == ["first", "second"]

    run(scenario)


# --- any order ----------------------------------------------------------------------------------

HOSTS = st.sampled_from(["h1", "h2"])
NAMES = st.lists(st.sampled_from("abcdef"), max_size=4, unique=True)
STEPS = st.one_of(
    st.tuples(st.just("sees"), HOSTS, NAMES),
    st.tuples(st.just("tells"), HOSTS, st.booleans()),
    st.tuples(st.just("repeats"), HOSTS, st.integers(0, 20)),
    st.tuples(st.just("starts again"), HOSTS, st.none()),
    st.tuples(st.just("the manager restarts"), st.none(), st.booleans()),
    st.tuples(st.just("publishes"), st.none(), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_the_network_does_the_truth_is_what_the_hosts_last_saw(steps: list[Any]) -> None:
    async def scenario() -> None:
        desk = Desk()
        agents = {host_id: looking(host_id) for host_id in VOLUMES}
        for step, host_id, more in steps:
            await _happens(step, desk, agents.get(host_id), more)
            if step == "the manager restarts":
                if more:
                    await desk.manager.write_behind()
                desk = Desk(store=desk.store)
        for agent in agents.values():
            # Every agent looks at everything again before long.
            agent.looked.update(agent.current)
            for _ in range(3):
                agent.tells(desk.manager)
        await desk.manager.publish()

        calm = Desk()
        for host_id, agent in agents.items():
            calm.manager.receive(
                report(*(saw(*key, *seen.facts.values()) for key, seen in agent.current.items()),
                       host_id=host_id), agent.credential,
            )  # fmt: skip
        await calm.manager.publish()
        for storage_id in DECLARATION.image_storages:
            assert desk.document(storage_id) == calm.document(storage_id)

    run(scenario)


async def _happens(step: str, desk: Desk, agent: Agent | None, more: Any) -> None:
    if step == "publishes":
        await desk.manager.publish()
    if agent is None:
        return
    if step == "sees":
        agent.sees("images", VOLUMES[agent.host_id].key, *(image(name) for name in more))
    elif step == "tells":
        agent.tells(desk.manager, answer_arrives=more)
    elif step == "repeats" and agent.history:
        # Late, for the second time, whoever sent it is gone: no answer is heard.
        with suppress(FullReportNeeded, Superseded):
            desk.manager.receive(agent.history[more % len(agent.history)], agent.credential)
    elif step == "starts again":
        agent.starts_again()
