"""Simulated agents: the product's own but for the machine that they look at, all in one process."""

from __future__ import annotations

import asyncio
import random
import time

from bench.fleet.hosts import SimulatedHost
from bench.fleet.timings import Timings
from storekeeper import __version__
from storekeeper.agent.agent import Agent
from storekeeper.agent.channel import Channel
from storekeeper.agent.delivery import Delivery, pause_s
from storekeeper.agent.outbox import Identity, Outbox
from storekeeper.agent.reporting import ASK_EVERY_S
from storekeeper.errors import NotKnown, StorekeeperError
from storekeeper.report import Acknowledged, Report
from storekeeper.sources import SOURCES

# Agents that all start in one moment are none that anybody has; these do within this.
START_S = 5.0


class SimulatedAgent:
    """One host's agent. `acknowledged_at`: when a report of it was last taken, by the steady clock."""

    def __init__(
        self, host: SimulatedHost, url: str, credential: str, machine_id: str, timings: Timings
    ) -> None:
        self.url = url
        self.acknowledged_at = 0.0
        self._host_id = host.host_id
        self._timings = timings
        identity = Identity(
            host_id=host.host_id, version=__version__, machine_id=machine_id, boot_id=machine_id, run=1
        )
        self._channel = Channel(url, lambda: credential)
        self._delivery = Delivery(Outbox(identity), self._send)
        self._agent = Agent(host, self._delivery.look, SOURCES)
        self._version = ""
        self._walks: frozenset[str] = frozenset()

    def walks(self, key: str) -> bool:
        """Whether it is this host that looks into the volume."""
        return key in self._walks

    def changed(self, key: str, paths: tuple[str, ...]) -> None:
        """Something changed there, as inotify would tell whoever walks the volume."""
        self._agent.hint("images", key, paths)

    async def run(self) -> None:
        """Looks and reports until cancelled."""
        await asyncio.sleep(random.random() * START_S)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._delivery.run())
                group.create_task(self._follow_scopes())
        finally:
            await self._agent.close()
            await self._channel.close()

    async def _send(self, report: Report) -> Acknowledged:
        began = self._timings.sending(report)
        try:
            acknowledged = await self._channel.report(report)
        except StorekeeperError as error:
            self._timings.failed(error)
            raise
        self.acknowledged_at = self._timings.answered(report, began)
        return acknowledged

    async def _follow_scopes(self) -> None:
        failures = 0
        while True:
            asked_at = time.monotonic()
            try:
                scopes = await self._channel.scopes(self._version)
            except NotKnown:
                failures += 1
                await asyncio.sleep(pause_s(failures, random.random()))
                continue
            failures = 0
            if scopes is None:
                await asyncio.sleep(max(0.0, asked_at + ASK_EVERY_S - time.monotonic()))
                continue
            self._version = scopes.version
            self._delivery.every_s = scopes.report_every_s
            self._delivery.outbox.keep([(name, scope.key) for name, scope in scopes.scopes])
            self._walks = frozenset(scope.key for name, scope in scopes.scopes if name == "images")
            self._agent.rescope(scopes.scopes)
