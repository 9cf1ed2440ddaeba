"""Reports on their way to a manager that is away, forgets, refuses, or whose answers are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.agent.channel import Channel
from storekeeper.agent.delivery import GATHER_S, LONGEST_PAUSE_S, Delivery, pause_s, slow_s
from storekeeper.agent.outbox import Identity, Outbox
from storekeeper.errors import FullReportNeeded, Incompatible, NotAuthenticated, NotKnown, Superseded
from storekeeper.observation import Fact, Pool
from storekeeper.report import Changes
from tests.agent.stand_in_manager import CREDENTIAL, StandInManager, Trouble, refusal
from tests.manager.sequence import Sequence


def look(*names: str) -> Changes:
    facts: list[Fact] = [Pool(key=name, name=name, kind="dir", target="/") for name in names]
    return Changes(source="guests", scope="", full=True, facts=facts, gone=[], faults=())


class Site:
    """A delivery to a stand-in manager; its pauses are not waited for, only written down."""

    def __init__(self, manager: StandInManager, channel: Channel) -> None:
        self.manager = manager
        self.paused: list[float] = []
        self.delivery = Delivery(self.outbox(), channel.report, chance=lambda: 1.0, sleep=self._sleep)

    def outbox(self, run: int = 1) -> Outbox:
        return Outbox(Identity(host_id="h", version="1", machine_id="m", boot_id="b", run=run))

    async def _sleep(self, seconds: float) -> None:
        self.paused.append(seconds)
        assert len(self.paused) < 1000, "it never ends"
        await asyncio.sleep(0)

    def held(self) -> set[str]:
        return set(self.manager.view.looks["guests", ""].seen.facts)


def at_site(scenario: Callable[[Site], Coroutine[None, None, None]]) -> None:
    async def body() -> None:
        manager = StandInManager()
        async with manager.serving() as url:
            channel = Channel(url, lambda: CREDENTIAL)
            try:
                await scenario(Site(manager, channel))
            finally:
                await channel.close()

    asyncio.run(body())


def answer(error: Exception) -> Trouble:
    def make() -> web.StreamResponse:
        if isinstance(error, ConnectionError):
            raise error
        assert isinstance(error, NotKnown | NotAuthenticated | Incompatible | FullReportNeeded)
        return refusal(error)

    return make


def test_a_report_whose_answer_was_lost_is_sent_again_and_applied_once() -> None:
    async def scenario(site: Site) -> None:
        site.manager.after.append(answer(NotKnown("the answer is lost")))
        site.delivery.look(look("a"))
        await site.delivery.deliver()
        assert [report.number for report in site.manager.reports] == [1]
        assert len(site.manager.asked) == 2
        assert site.held() == {"a"}
        site.delivery.look(look("a", "b"))
        await site.delivery.deliver()
        assert [(report.number, report.full) for report in site.manager.reports] == [(1, True), (2, False)]
        assert site.held() == {"a", "b"}

    at_site(scenario)


def test_a_manager_that_was_away_gets_what_is_seen_now_and_nothing_has_queued() -> None:
    async def scenario(site: Site) -> None:
        await site.delivery.deliver()
        away = [answer(NotKnown("starting"))] * 5
        site.manager.before += away
        site.delivery.look(look("a"))
        await site.delivery.deliver()
        for number in range(100):
            site.delivery.look(look("a", str(number)))
        await site.delivery.deliver()
        assert len(site.manager.reports) == 3
        assert site.held() == {"a", "99"}
        assert site.paused == [1.0, 2.0, 4.0, 8.0, 16.0]

    at_site(scenario)


def test_a_manager_that_lost_its_place_gets_everything_at_once() -> None:
    async def scenario(site: Site) -> None:
        site.delivery.look(look("a"))
        await site.delivery.deliver()
        site.manager.sequence = Sequence()
        site.delivery.look(look("a", "b"))
        await site.delivery.deliver()
        assert [(report.number, report.full) for report in site.manager.reports] == [(1, True), (3, True)]
        assert site.paused == []
        assert site.held() == {"a", "b"}

    at_site(scenario)


def test_a_manager_that_always_asks_for_everything_is_not_stormed() -> None:
    async def scenario(site: Site) -> None:
        site.manager.before += [answer(FullReportNeeded("all"))] * 3
        await site.delivery.deliver()
        assert site.paused == [1.0, 2.0]

    at_site(scenario)


def test_a_later_run_of_the_agent_ends_this_one() -> None:
    async def scenario(site: Site) -> None:
        later = Delivery(site.outbox(run=2), site.delivery._send)
        await later.deliver()
        with pytest.raises(Superseded, match="later start"):
            await site.delivery.run()

    at_site(scenario)


@pytest.mark.parametrize("error", [NotAuthenticated("revoked"), Incompatible("too old")])
def test_what_a_person_must_put_right_is_said_once_and_tried_slowly(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario(site: Site) -> None:
        site.manager.before += [answer(error)] * 3
        site.delivery.look(look("a"))
        await site.delivery.deliver()
        assert site.paused == [slow_s(1.0)] * 3
        assert site.held() == {"a"}

    at_site(scenario)
    told = capsys.readouterr()
    assert (told.out + told.err).count(str(error)) == 1


def test_a_quiet_host_reports_all_the_same_and_a_burst_is_one_report() -> None:
    async def scenario(site: Site) -> None:
        site.delivery.every_s = GATHER_S  # the pauses are not waited for
        running = asyncio.create_task(site.delivery.run())
        await site.manager.until(lambda: len(site.manager.reports) >= 3)
        assert [report.changes for report in site.manager.reports[:3]] == [[], [], []]
        site.delivery.every_s = 60.0
        before = len(site.manager.reports)
        site.delivery.look(look("a"))
        site.delivery.look(look("a", "b"))
        await site.manager.until(lambda: bool(site.manager.view.looks))
        assert [len(report.changes) for report in site.manager.reports[before:] if report.changes] == [1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    at_site(scenario)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_to_half_a_minute_and_may_always_be_short(failures: int, chance: float) -> None:
    assert 0 <= pause_s(failures, chance) <= min(LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 30))
    assert pause_s(failures, 0.0) == 0.0
    assert LONGEST_PAUSE_S / 2 <= slow_s(chance) <= LONGEST_PAUSE_S
