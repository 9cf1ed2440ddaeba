"""Reports on their way: one at a time, again and again until the manager has them.

What an answer means is decided by its error:

- it does not answer, or cannot now (NotKnown): the same report again, soon
- FullReportNeeded: a full one, at once; soon if that is answered so too
- Superseded: the end, a later run of this host's agent reports
- whatever else (not authenticated, refused, incompatible): someone has to do something; it is said, and
  tried again slowly
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from storekeeper.agent.outbox import Outbox
from storekeeper.errors import FullReportNeeded, NotKnown, StorekeeperError, Superseded
from storekeeper.report import Acknowledged, Changes, Report

# What is seen within this after a report goes into one next report.
GATHER_S = 0.2
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# Until the first scopes say how often.
REPORT_EVERY_S = 10.0

log = structlog.get_logger()


def pause_s(failures: int, chance: float) -> float:
    """Back-off with full jitter: from 0 to 1 s after the first failure, to 30 s after many.

    `chance` is from 0 to 1. What spreads a thousand agents after an outage is that it starts from 0.
    """
    return chance * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))


class Saying:
    """Says each trouble once, and once that it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = ""

    def trouble(self, error: StorekeeperError) -> None:
        """This stands in the way now."""
        if str(error) != self._said:
            self._said = str(error)
            log.warning(self._what, reason=self._said)

    def over(self) -> None:
        """Nothing does."""
        if self._said:
            self._said = ""
            log.info("The manager answers again")


class Delivery:
    """Sends what the outbox has, for as long as it runs."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Report], Awaitable[Acknowledged]],
        *,
        acknowledged: Callable[[Acknowledged], None] = lambda _: None,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`acknowledged` hears each good answer."""
        self.outbox = outbox
        self.every_s = REPORT_EVERY_S
        self._send = send
        self._acknowledged = acknowledged
        self._chance = chance
        self._sleep = sleep
        self._looked = asyncio.Event()
        self._saying = Saying("Cannot report; what is seen meanwhile is told later")

    def look(self, change: Changes) -> None:
        """A look that was answered just now."""
        self.outbox.look(change, time.monotonic())
        self._looked.set()

    async def run(self) -> None:
        """Reports until cancelled.

        Raises:
            Superseded: a later run of this host's agent reports.
        """
        while True:
            await self.deliver()
            await self._sleep(min(GATHER_S, self.every_s))
            await self._something()

    async def _something(self) -> None:
        """Waits for a look, but not for longer than the manager may wait for a report."""
        self._looked.clear()
        if self.outbox.waiting:
            return
        try:
            async with asyncio.timeout(max(0.0, self.every_s - GATHER_S)):
                await self._looked.wait()
        except TimeoutError:
            return

    async def deliver(self) -> None:
        """One report, until the manager has it.

        Raises:
            Superseded: a later run of this host's agent reports.
        """
        failures = 0
        while True:
            try:
                answer = await self._send(self.outbox.report(time.monotonic(), time.time()))
            except Superseded:
                raise
            except NotKnown as error:
                failures += 1
                self._saying.trouble(error)
                await self._sleep(pause_s(failures, self._chance()))
            except FullReportNeeded:
                self.outbox.tell_all()
                if failures:
                    await self._sleep(pause_s(failures, self._chance()))
                failures += 1
            except StorekeeperError as error:
                self.outbox.tell_all()
                self._saying.trouble(error)
                await self._sleep(slow_s(self._chance()))
            else:
                self.outbox.acknowledged(answer)
                self._acknowledged(answer)
                self._saying.over()
                return


def slow_s(chance: float) -> float:
    """The pause before trying again what a person has to put right first."""
    return LONGEST_PAUSE_S * (1 + chance) / 2
