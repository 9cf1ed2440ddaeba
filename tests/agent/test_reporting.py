"""The whole agent as a process of its own, with a manager that gives it scopes."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from aiohttp import web
from msgspec.structs import replace

from storekeeper.agent.delivery import LONGEST_PAUSE_S
from storekeeper.agent.joining import StateDirectory
from storekeeper.agent.reporting import told_pauses
from storekeeper.errors import NotKnown, Refused
from storekeeper.merge.truth import HostView
from storekeeper.observation import Space
from storekeeper.report import Scopes
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope
from tests.agent.stand_in_manager import JOIN_TOKEN, StandInManager, refusal
from tests.manager.sequence import Sequence

COMMAND = Path(sys.executable).with_name("storekeeper")


def scopes(version: str, root: Path, **every_s: float) -> Scopes:
    return Scopes(
        version=version,
        scopes=[
            ("mounts", Scope()), ("machine", Scope()), ("space", Scope(key="s/a", root=str(root))),
            ("of a later version", Scope()),
        ],
        report_every_s=1.0,
        every_s=every_s,
    )  # fmt: skip


class Site:
    """A manager, and agents of one state directory."""

    def __init__(self, manager: StandInManager, url: str, state: Path) -> None:
        self.manager = manager
        self.url = url
        self.state = state
        self.agents: list[asyncio.subprocess.Process] = []

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        agent = await asyncio.create_subprocess_exec(
            COMMAND, "agent", "--manager", self.url, "--state", str(self.state), *more,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.agents.append(agent)
        return agent

    async def end(self, agent: asyncio.subprocess.Process) -> tuple[int, str]:
        """Its exit code and what it said, after SIGTERM."""
        agent.send_signal(signal.SIGTERM)
        return await self.ended(agent)

    async def ended(self, agent: asyncio.subprocess.Process) -> tuple[int, str]:
        async with asyncio.timeout(20):
            _, said = await agent.communicate()
        self.agents.remove(agent)
        assert agent.returncode is not None
        return agent.returncode, said.decode()

    def seen(self) -> set[tuple[str, str]]:
        return set(self.manager.view.looks)


def at_site(directory: Path, scenario: Callable[[Site], Coroutine[None, None, None]]) -> None:
    async def body() -> None:
        manager = StandInManager()
        async with manager.serving() as url:
            site = Site(manager, url, directory / "state")
            try:
                await scenario(site)
            finally:
                for agent in site.agents:
                    agent.kill()
                    await agent.wait()

    asyncio.run(body())


def test_a_host_joins_reports_what_it_is_to_look_at_and_ends_at_once(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.manager.rescope(scopes("1", tmp_path))
        agent = await site.start("--join", JOIN_TOKEN)
        await site.manager.until(lambda: site.seen() == {("mounts", ""), ("machine", ""), ("space", "s/a")})
        space = site.manager.view.looks["space", "s/a"].seen.facts["s/a"]
        assert isinstance(space, Space)
        assert space.total_bytes > 0
        assert await site.end(agent) == (0, f"Reporting as h to {site.url}\n")

    at_site(tmp_path, scenario)


def test_it_looks_where_it_was_last_told_and_catches_up_with_a_manager_that_lost_its_place(
    tmp_path: Path,
) -> None:
    async def scenario(site: Site) -> None:
        site.manager.rescope(scopes("1", tmp_path))
        agent = await site.start("--join", JOIN_TOKEN)
        await site.manager.until(lambda: ("space", "s/a") in site.seen())
        site.manager.sequence = Sequence()
        count = len(site.manager.reports)
        await site.manager.until(lambda: any(report.full for report in site.manager.reports[count:]))
        await site.end(agent)
        runs = site.manager.reports[-1].run
        site.manager.scopes = None
        site.manager.view = HostView(host_id="h")
        agent = await site.start()
        await site.manager.until(lambda: ("space", "s/a") in site.seen())
        assert site.manager.reports[-1].run > runs
        await site.end(agent)

    at_site(tmp_path, scenario)


def test_every_look_is_told_though_nothing_changed_at_the_managers_pace(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.manager.rescope(scopes("1", tmp_path))
        agent = await site.start("--join", JOIN_TOKEN)
        await site.manager.until(lambda: ("machine", "") in site.seen())
        site.manager.rescope(scopes("2", tmp_path, machine=0.2))
        before = len(site.manager.reports)

        def looks() -> list[int]:
            return [
                len(change.facts)
                for report in site.manager.reports[before:]
                for change in report.changes
                if change.source == "machine"
            ]

        await site.manager.until(lambda: len(looks()) >= 3)
        assert set(looks()) == {0}
        await site.end(agent)

    at_site(tmp_path, scenario)


def test_a_report_that_tells_of_other_scopes_ends_the_pause_before_they_are_asked_for(
    tmp_path: Path,
) -> None:
    async def scenario(site: Site) -> None:
        manager, refused = site.manager, [False]

        def not_before_a_report() -> web.StreamResponse | None:
            # Someone has to put this right, which is tried again after 15 s at the soonest.
            refused[0] |= not manager.reports
            return None if manager.reports else refusal(Refused("not now"))

        manager.rescope(scopes("1", tmp_path))
        manager.before_scopes = not_before_a_report
        manager.before = [lambda: None if refused[0] else refusal(NotKnown("soon"))] * 100
        agent = await site.start("--join", JOIN_TOKEN)
        await manager.until(lambda: bool(manager.reports))
        reported_at = time.monotonic()
        await manager.until(lambda: ("space", "s/a") in site.seen())
        assert time.monotonic() - reported_at < LONGEST_PAUSE_S / 3
        await site.end(agent)

    at_site(tmp_path, scenario)


def test_an_agent_that_was_followed_by_another_ends(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.manager.rescope(scopes("1", tmp_path))
        agent = await site.start("--join", JOIN_TOKEN)
        await site.manager.until(lambda: bool(site.manager.reports))
        last = site.manager.reports[-1]
        site.manager.sequence.applied(replace(last, run=last.run + 1))
        code, said = await site.ended(agent)
        assert code == 5
        assert "later start" in said

    at_site(tmp_path, scenario)


def test_a_host_that_has_not_joined_says_how(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        code, said = await site.ended(await site.start())
        assert code == 5
        assert "storekeeper host add" in said

    at_site(tmp_path, scenario)


def test_rotating_leaves_a_new_credential_and_ends(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        agent = await site.start("--join", JOIN_TOKEN)
        await site.manager.until(lambda: bool(site.manager.reports))
        assert (await site.ended(await site.start("--rotate")))[0] == 0
        assert StateDirectory(site.state).membership().credential == "sk_agent_2_other"
        await site.end(agent)

    at_site(tmp_path, scenario)


def test_pauses_that_are_none_become_the_nearest_that_may_be() -> None:
    rows = told_pauses({"mounts": 0.0, "disks": 1e9, "unknown": 3.0, "space": 2.0})
    assert rows.keys() == SOURCES.keys()
    assert (rows["mounts"].every_s, rows["disks"].every_s, rows["space"].every_s) == (0.1, 3600.0, 2.0)
    assert rows["images"] == SOURCES["images"]
