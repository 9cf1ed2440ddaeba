"""The agent looks at what it has a scope for, in order, and delivers what changed.

The asker here is a stand-in that answers at once: workers have tests of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from storekeeper.agent.agent import Agent
from storekeeper.observation import Pool, Seen
from storekeeper.report import Changes
from storekeeper.sources.contract import Host, Scope, Source


def unasked(host: Host, scope: Scope, last: Seen | None) -> Seen:
    raise AssertionError("the stand-in answers instead")


SOURCES = {
    "mounts": Source("mounts", "host", unasked, every_s=1000, deadline_s=1, wakes=("space",)),
    "space": Source("space", "volume", unasked, every_s=1000, deadline_s=1),
    "images": Source("images", "volume", unasked, every_s=1000, deadline_s=1),
}
A = Scope(key="s/a", root="/a")
B = Scope(key="s/b", root="/b")


@dataclass
class Asked:
    """Answers with one fact more each time; remembers what was asked, and may be made to wait."""

    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    lasts: list[Seen | None] = field(default_factory=list)
    watched: list[tuple[str, str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most_under_way: int = 0

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.asked.append((source.name, scope.key, scope.paths))
        self.lasts.append(last)
        await self.gate.wait()
        self.under_way -= 1
        fact = Pool(key=str(len(self.asked)), name="p", kind="dir", target="/p")
        return Changes(source=source.name, scope=scope.key, full=full, facts=[fact], gone=[], faults=())

    async def watch(self, source: Source, scope: Scope) -> None:
        self.watched.append((source.name, scope.root))


@dataclass
class Delivered:
    changes: list[Changes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, changes: Changes) -> None:
        self.changes.append(changes)
        self.came.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.changes) < count:
                self.came.clear()
                await self.came.wait()


def run(scenario: Callable[[Agent, Asked, Delivered], Coroutine[None, None, None]]) -> None:
    async def body() -> None:
        asked, delivered = Asked(), Delivered()
        asked.gate.set()
        agent = Agent(asked, delivered, SOURCES, known={("images", "s/a"): KNOWN})
        try:
            await scenario(agent, asked, delivered)
        finally:
            await agent.close()

    asyncio.run(body())


KNOWN = Seen(source="images", scope="s/a", facts={})


def test_every_scope_is_looked_at_once_it_is_given() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A), ("images", B)])
        assert not agent.answered
        await delivered.until(2)
        assert agent.answered
        assert {scope for _, scope, _ in asked.asked} == {"s/a", "s/b"}

    run(scenario)


def test_the_first_look_starts_from_what_an_earlier_run_had_seen_and_later_ones_do_not() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A)])
        await delivered.until(1)
        agent.hint("images", "s/a", ("x",))
        await delivered.until(2)
        assert asked.lasts == [KNOWN, None]

    run(scenario)


def test_a_hint_costs_a_look_at_its_paths_only() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A)])
        await delivered.until(1)
        agent.hint("images", "s/a", ("x.qcow2",))
        agent.hint("images", "s/a", ("y.qcow2",))
        await delivered.until(2)
        assert asked.asked[-1] == ("images", "s/a", ("x.qcow2", "y.qcow2"))

    run(scenario)


def test_a_hint_without_paths_costs_a_walk_of_the_scope() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A)])
        await delivered.until(1)
        agent.hint("images", "s/a", ("x.qcow2",))
        agent.hint("images", "s/a")
        await delivered.until(2)
        assert asked.asked[-1] == ("images", "s/a", ())

    run(scenario)


def test_an_event_during_a_look_is_looked_at_afterwards_and_never_at_the_same_time() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        asked.gate.clear()
        agent.rescope([("images", A)])
        async with asyncio.timeout(5):
            while not asked.asked:
                await asyncio.sleep(0)
        agent.hint("images", "s/a", ("x.qcow2",))
        asked.gate.set()
        await delivered.until(2)
        assert asked.asked[-1] == ("images", "s/a", ("x.qcow2",))
        assert asked.most_under_way == 1

    run(scenario)


def test_a_change_wakes_the_sources_that_depend_on_it() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("mounts", Scope()), ("space", A), ("space", B)])
        await delivered.until(3)
        agent.hint("mounts", "")
        await delivered.until(6)
        assert sorted(asked.asked[4:]) == [("space", "s/a", ()), ("space", "s/b", ())]

    run(scenario)


def test_a_scope_that_is_gone_delivers_nothing_more() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        asked.gate.clear()
        agent.rescope([("images", A), ("images", B)])
        async with asyncio.timeout(5):
            while len(asked.asked) < 2:
                await asyncio.sleep(0)
        agent.rescope([("images", B)])
        asked.gate.set()
        await delivered.until(1)
        agent.hint("images", "s/b")
        await delivered.until(2)
        assert {changes.scope for changes in delivered.changes} == {"s/b"}

    run(scenario)


def test_a_scope_that_was_taken_away_and_comes_back_is_told_whole() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A), ("images", B)])
        await delivered.until(2)
        agent.rescope([("images", A)])
        agent.rescope([("images", A), ("images", B)])
        await delivered.until(3)
        agent.hint("images", "s/b")
        await delivered.until(4)
        told = [(change.scope, change.full) for change in delivered.changes]
        assert sorted(told[:2]) == [("s/a", False), ("s/b", True)]
        assert told[2:] == [("s/b", True), ("s/b", False)]

    run(scenario)


def test_a_changed_scope_is_looked_at_anew_at_once() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A)])
        await delivered.until(1)
        agent.rescope([("images", Scope(key="s/a", root="/elsewhere"))])
        await delivered.until(2)
        agent.rescope([("images", Scope(key="s/a", root="/elsewhere"))])
        agent.hint("images", "s/a", ("marker",))
        await delivered.until(3)
        assert [paths for _, _, paths in asked.asked] == [(), (), ("marker",)]

    run(scenario)


def test_a_place_is_watched_before_its_first_look_and_a_new_place_again() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("images", A)])
        await delivered.until(1)
        assert asked.watched == [("images", "/a")]
        agent.hint("images", "s/a")
        await delivered.until(2)
        agent.rescope([("images", Scope(key="s/a", root="/elsewhere"))])
        await delivered.until(3)
        assert asked.watched == [("images", "/a"), ("images", "/elsewhere")]

    run(scenario)


def test_a_host_source_is_told_its_last_look_each_time_since_its_worker_may_be_a_new_one() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("mounts", Scope())])
        await delivered.until(1)
        agent.hint("mounts", "")
        await delivered.until(2)
        assert asked.lasts[0] is None
        last = asked.lasts[1]
        assert last is not None
        assert set(last.facts) == {"1"}

    run(scenario)


def test_another_pause_holds_at_once() -> None:
    async def scenario(agent: Agent, asked: Asked, delivered: Delivered) -> None:
        agent.rescope([("mounts", Scope())])
        await delivered.until(1)
        agent.pace({name: source._replace(every_s=0.01) for name, source in SOURCES.items()})
        await delivered.until(3)
        assert asked.asked[:3] == [("mounts", "", ())] * 3

    run(scenario)
