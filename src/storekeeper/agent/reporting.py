"""This host's agent with a manager elsewhere: reports go there, scopes come from there."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

from storekeeper import __version__
from storekeeper.agent.agent import Agent
from storekeeper.agent.asking import WorkerAsker
from storekeeper.agent.channel import Channel
from storekeeper.agent.delivery import Delivery, Saying, pause_s, slow_s
from storekeeper.agent.joining import Membership, StateDirectory, boot_id, digest, machine_id
from storekeeper.agent.outbox import Identity, Outbox
from storekeeper.errors import NotKnown, StorekeeperError, said
from storekeeper.host.workers import Workers
from storekeeper.report import Acknowledged, Scopes
from storekeeper.sources import SOURCES, paced
from storekeeper.sources.contract import Source

# A manager that does not hold the question for scopes is not asked more often than this.
ASK_EVERY_S = 1.0
# Whatever the manager says, neither may become a storm or a silence.
SHORTEST_S = 0.1
LONGEST_S = 3600.0

log = structlog.get_logger()


def told_pauses(every_s: Mapping[str, float]) -> dict[str, Source]:
    """The sources with the pauses that the manager gives."""
    return paced({name: _within(pause_s) for name, pause_s in every_s.items()})


def _within(seconds: float) -> float:
    return min(max(seconds, SHORTEST_S), LONGEST_S)


class Reporting:
    """One run of this host's agent."""

    def __init__(self, channel: Channel, state: StateDirectory) -> None:
        """Raises NotAuthenticated when this host has not joined, NotKnown when it cannot say who it is."""
        self._channel = channel
        self._state = state
        host_id = state.membership().host_id
        identity = Identity(
            host_id=host_id, version=__version__, machine_id=machine_id(), boot_id=boot_id(),
            run=state.next_run(),
        )  # fmt: skip
        self._delivery = Delivery(Outbox(identity), channel.report, acknowledged=self._acknowledged)
        self._workers = Workers()
        self._agent = Agent(WorkerAsker(self._workers), self._delivery.look, SOURCES)
        self._version = ""
        self._other_version = asyncio.Event()

    async def run(self) -> None:
        """Looks and reports until cancelled.

        Raises:
            Superseded: a later run of this host's agent reports.
        """
        if kept := self._state.scopes():
            self._look_at(kept)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._delivery.run(), name="delivery")
                group.create_task(self._follow_scopes(), name="scopes")
                group.create_task(self._agent.heed(self._workers.hints), name="hints")
        except ExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 what is raised in it comes out as a group again.
            told = said(errors)
            if told is errors:
                raise
            raise told from errors

    async def close(self) -> None:
        """Ends all that was started."""
        await self._agent.close()
        await self._workers.close()
        await self._channel.close()

    def _look_at(self, scopes: Scopes) -> None:
        known = [(name, scope) for name, scope in scopes.scopes if name in SOURCES]
        self._version = scopes.version
        self._delivery.every_s = _within(scopes.report_every_s)
        self._delivery.outbox.keep([(name, scope.key) for name, scope in known])
        self._agent.pace(told_pauses(scopes.every_s))
        self._agent.rescope(known)

    def _acknowledged(self, answer: Acknowledged) -> None:
        # A manager that is back is asked at once: its reports find that out sooner than this question.
        if answer.scopes != self._version:
            self._other_version.set()

    async def _other_version_within(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._other_version.wait()

    async def _follow_scopes(self) -> None:
        failures = 0
        saying = Saying("Not told where to look; looking where it was told last")
        while True:
            self._other_version.clear()
            asked_at = time.monotonic()
            try:
                scopes = await self._channel.scopes(self._version)
                if scopes is not None:
                    self._look_at(scopes)
                    self._state.keep_scopes(scopes)
            except NotKnown as error:
                failures += 1
                saying.trouble(error)
                await self._other_version_within(pause_s(failures, random.random()))  # noqa: S311  no secret
                continue
            except StorekeeperError as error:
                saying.trouble(error)
                await self._other_version_within(slow_s(random.random()))  # noqa: S311
                continue
            failures = 0
            saying.over()
            await asyncio.sleep(
                max(0.0, asked_at + ASK_EVERY_S - time.monotonic()) if scopes is None else 0.0
            )


async def join(url: str, fingerprint: str, token: str, state: StateDirectory) -> None:
    """Makes this host the one that the token was made for. Does nothing when it did so before.

    Raises:
        NotAuthenticated: the token holds no more. Whatever else the manager answers.
    """
    if state.joined_with(token):
        return
    channel = Channel(url, lambda: token, fingerprint)
    try:
        got = await channel.join(machine_id())
    finally:
        await channel.close()
    if not got.host_id:
        raise NotKnown("What answered is no manager of this version: it did not say which host this is.")
    state.joined(Membership(got.host_id, got.credential, digest(token)))


async def rotate(url: str, fingerprint: str, state: StateDirectory) -> None:
    """Replaces this host's credential. An agent that runs uses the new one from its next request on.

    Raises:
        NotAuthenticated: this host has not joined, or its credential was revoked.
    """
    channel = Channel(url, lambda: state.membership().credential, fingerprint)
    try:
        state.rotated((await channel.rotate()).credential)
    finally:
        await channel.close()


async def report_until_stopped(url: str, fingerprint: str, state: StateDirectory) -> None:
    """Runs this host's agent until cancelled.

    Raises:
        NotAuthenticated, NotKnown, Superseded, UsageError: it cannot, or is not to.
    """
    reporting = Reporting(Channel(url, lambda: state.membership().credential, fingerprint), state)
    try:
        await reporting.run()
    finally:
        await reporting.close()
