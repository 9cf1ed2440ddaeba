"""A manager with this host's agent inside: what `storekeeper serve` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import time

import structlog

from storekeeper.agent.agent import Agent
from storekeeper.agent.asking import WorkerAsker
from storekeeper.database import open_store
from storekeeper.declaration import Declaration
from storekeeper.errors import HostError, said
from storekeeper.host.real import RealHost
from storekeeper.host.workers import Workers
from storekeeper.manager.clock import SharedClock
from storekeeper.manager.manager import Manager
from storekeeper.merge.discovery import DEFAULT_DIRECTORY
from storekeeper.report import Changes
from storekeeper.sources import paced
from storekeeper.sources.contract import Host, Scope

# A volume that does not answer is unknown after its deadline; nobody waits longer for the rest.
READY_AT_THE_LATEST_S = 10.0

log = structlog.get_logger()


def image_directories(host: Host) -> tuple[str, ...]:
    """Where libvirt keeps images by default, if that is there; for hosts without a declaration.

    Told by the directory above: the place itself may be a dead mount, and whoever asks is no worker.
    """
    above, _, name = DEFAULT_DIRECTORY.rpartition("/")
    try:
        return (DEFAULT_DIRECTORY,) if name in host.names(above) else ()
    except HostError:
        return ()


class Station:
    """The agent and the manager of one process, joined: reports one way, scopes the other."""

    def __init__(self, declaration: Declaration) -> None:
        self._host_id = declaration.host_id
        store = open_store(declaration.database)
        self._clock = SharedClock(store) if store.shared else None
        self.workers = Workers()
        self.manager = Manager(
            declaration,
            store,
            self._rescope,
            lambda: self.agent.answered,
            directories=image_directories(RealHost()),
            clock=self._clock or time,
        )
        known = {key: look.seen for key, look in self.manager.view(self._host_id).looks.items()}
        self.agent = Agent(WorkerAsker(self.workers), self._deliver, paced(declaration.every_s), known)

    async def run(self) -> None:
        """Looks, merges and publishes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.manager.run(), name="manager")
            group.create_task(self.agent.heed(self.workers.hints), name="hints")
            group.create_task(self._ready_at_last(), name="ready")
            if self._clock is not None:
                group.create_task(self._clock.keep_right(), name="clock")

    async def close(self) -> None:
        """Ends all that was started, and writes what is not written."""
        await self.agent.close()
        await self.workers.close()
        await self.manager.close()

    def _deliver(self, changes: Changes) -> None:
        self.manager.apply(self._host_id, changes)

    def _rescope(self, host_id: str, scopes: list[tuple[str, Scope]]) -> None:
        if host_id == self._host_id:
            self.agent.rescope(scopes)

    async def _ready_at_last(self) -> None:
        await asyncio.sleep(READY_AT_THE_LATEST_S)
        self.manager.ready = True


async def serve(
    declaration: Declaration, answering: Callable[[Manager], Coroutine[None, None, None]]
) -> None:
    """Looks, merges and publishes for as long as `answering(manager)` runs, which answers its requests.

    Raises:
        DeclarationError, NotKnown: the database cannot be used.
        Outdated: another version of Storekeeper has the database now.
    """
    station = Station(declaration)
    working = asyncio.create_task(station.run())
    answered = asyncio.create_task(answering(station.manager))
    try:
        # Whichever ends first ends the other: a manager that failed must not go on serving old truth.
        await asyncio.wait({working, answered}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, answered):
            task.cancel()
        ends = await asyncio.gather(working, answered, return_exceptions=True)
        await station.close()
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
            raise said(end)
