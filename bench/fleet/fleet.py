"""A whole fleet: managers, agents that report to them, and whoever reads the documents."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from msgspec import Struct
from msgspec.structs import replace

from bench.fleet.agents import SimulatedAgent
from bench.fleet.documents import follow, until_served
from bench.fleet.hosts import SimulatedHost
from bench.fleet.managers import Manager, fill
from bench.fleet.storages import SimulatedStorage
from bench.fleet.timings import Spread, Timings, spread
from bench.processes import cpu_s, tree

FIRST_PORT = 8121
HOSTS_A_STORAGE = 5
WATCHED = 20
FILES = 16_384
TICK_S = 0.02
LAG_EVERY_S = 0.05
# With so little of a core each, managers do no more than hear that nothing is new.
REST_CORES = 0.3
REST_S = 2.0
# A whole line of an event must fit in.
EVENT_BYTES = 32 << 20
# What was sent is served within this, or the managers do not keep up.
LEFT_S = 10.0


class Size(Struct, frozen=True):
    """How large a fleet is."""

    hosts: int
    storages: int
    images: int


class Load(Struct, frozen=True, kw_only=True):
    """What was measured over a while. `cores`: CPU seconds a second, of each part. `unserved`: changes of
    the watched storages that were sent and not served in time.
    """

    seconds: float
    changes_s: float = 0.0
    reports_s: float
    full_reports: int
    request: Spread
    report_to_document: Spread
    change_to_document: Spread
    lag: Spread
    failures: dict[str, int]
    unserved: int = 0
    cores: dict[str, float]
    memory_mib: list[int]
    most_memory_mib: list[int]


class Fleet:
    """The running fleet. `storages` are what there truly is."""

    def __init__(self, size: Size, managers: Sequence[Manager], url: str, database_pid: int | None) -> None:
        hosts = [f"host-{number:04}" for number in range(size.hosts)]
        share = size.images // size.storages
        self.storages = []
        for at in range(size.storages):
            linked = [hosts[(at * HOSTS_A_STORAGE + one) % size.hosts] for one in range(HOSTS_A_STORAGE)]
            self.storages.append(SimulatedStorage(at, linked, share))
        self.managers = managers
        self.timings = Timings()
        self._database_pid = database_pid
        credentials = fill(url, self.storages, hosts)
        self._agents: dict[str, SimulatedAgent] = {}
        for storage in self.storages:
            for host_id in storage.hosts:
                number = len(self._agents)
                self._agents[host_id] = SimulatedAgent(
                    SimulatedHost(host_id, number, storage), managers[number % len(managers)].url,
                    credentials[host_id], f"machine-of-{host_id}", self.timings,
                )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Managers and agents, until the block ends."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self.session = aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), read_bufsize=EVENT_BYTES
        )
        try:
            for manager in self.managers:
                manager.start()
                await manager.answers(self.session)
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.session.close()
            for manager in self.managers:
                manager.stop()

    # --- what is measured -----------------------------------------------------------------------

    async def first_reports(self, timeout_s: float) -> Load:
        """All agents start; over once every image is served by every manager."""
        self._tasks = [asyncio.create_task(agent.run()) for agent in self._agents.values()]
        self.timings.reset()
        async with self._watching([]):
            return await self._measured(self._all_served(timeout_s), self._cpu_s())

    async def rest(self, timeout_s: float) -> None:
        """Waits until the managers have written what they were told, and do little else than listen."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            before = self._cpu_s()["managers"]
            await asyncio.sleep(REST_S)
            if self._cpu_s()["managers"] - before < REST_CORES * REST_S * len(self.managers):
                return

    async def steady(self, changes_s: float, seconds: float) -> Load:
        """A while of `changes_s` changes a second over all storages."""
        watched = self.storages[:: max(1, len(self.storages) // WATCHED)]
        async with self._watching(watched):
            self.timings.reset()
            load = await self._measured(self._change(changes_s, seconds), self._cpu_s())
            return replace(load, changes_s=changes_s, unserved=await self._left(watched))

    async def restart(self, timeout_s: float) -> tuple[float, Load]:
        """Kills all managers, changes every storage once, starts them: the seconds until the last truth is
        served, and what it took until all is known again.
        """
        for manager in self.managers:
            manager.kill()
        for storage in self.storages:
            self._change_one(storage)
        before = {**self._cpu_s(), "managers": 0.0}
        self.timings.reset()
        began = self.timings.began
        for manager in self.managers:
            manager.start()
        async with self._watching([]), asyncio.TaskGroup() as group:
            again = group.create_task(self._measured(self._all_heard(began, timeout_s), before))
            if not await self._served(timeout_s, sizes=False):
                raise RuntimeError(f"The last truth is not served within {timeout_s:.0f} s")
            served_s = time.monotonic() - began
        return served_s, again.result()

    # --- how ------------------------------------------------------------------------------------

    async def _all_heard(self, since: float, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while any(agent.acknowledged_at < since for agent in self._agents.values()):
                await asyncio.sleep(0.05)
        await self._all_served(timeout_s)

    async def _served(self, timeout_s: float, *, sizes: bool = True) -> bool:
        served = [
            until_served(self.session, manager.url, self.storages, timeout_s, sizes=sizes)
            for manager in self.managers
        ]
        return all(await asyncio.gather(*served))

    async def _all_served(self, timeout_s: float) -> None:
        if not await self._served(timeout_s):
            raise RuntimeError(f"Not every image is served within {timeout_s:.0f} s")

    def _change_one(self, storage: SimulatedStorage) -> None:
        size_mb, paths = storage.change()
        self.timings.changed(storage.key, size_mb)
        for host_id in storage.hosts:
            self._agents[host_id].changed(storage.key, paths)

    async def _change(self, changes_s: float, seconds: float) -> None:
        end = time.monotonic() + seconds
        done = 0.0
        last = time.monotonic()
        while (now := time.monotonic()) < end:
            done += (now - last) * changes_s
            last = now
            for _ in range(int(done)):
                self._change_one(random.choice(self.storages))
            done -= int(done)
            await asyncio.sleep(TICK_S)

    def _reader_of(self, storage: SimulatedStorage) -> Manager:
        """A manager that the storage's images are not reported to, if there is one."""
        walker = next(host for host in storage.hosts if self._agents[host].walks(storage.key))
        others = [each for each in self.managers if each.url != self._agents[walker].url]
        return (others or list(self.managers))[0]

    @asynccontextmanager
    async def _watching(self, watched: Sequence[SimulatedStorage]) -> AsyncIterator[None]:
        """Follows the documents of some storages, and asks the managers how long they let wait."""
        self.timings.watched = {storage.key for storage in watched}
        tasks = [asyncio.create_task(self._lag(manager)) for manager in self.managers]
        tasks += [
            asyncio.create_task(follow(self.session, self._reader_of(storage).url, storage, self.timings))
            for storage in watched
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _measured(self, work: Awaitable[None], before: dict[str, float]) -> Load:
        """What happens until `work` is done. `before`: the CPU seconds used when that began."""
        await work
        timings, now = self.timings, self._cpu_s()
        seconds = time.monotonic() - timings.began
        memory = [manager.memory_mib() for manager in self.managers]
        return Load(
            seconds=round(seconds, 2),
            reports_s=round(len(timings.reports_s) / seconds, 1),
            full_reports=timings.full,
            request=spread(timings.reports_s),
            report_to_document=spread(timings.report_to_document_s),
            change_to_document=spread(timings.change_to_document_s),
            lag=spread(timings.lag_s),
            failures=dict(timings.failures),
            # Of a database's processes some ended meanwhile, and what they used is gone with them.
            cores={name: round(max(0.0, used - before[name]) / seconds, 2) for name, used in now.items()},
            memory_mib=[each for each, _ in memory],
            most_memory_mib=[most for _, most in memory],
        )

    async def _left(self, watched: Sequence[SimulatedStorage]) -> int:
        """How many changes were sent and are not served soon."""
        deadline = time.monotonic() + LEFT_S
        while True:
            left = sum(self.timings.waiting(each.key, set(each.sizes().values())) for each in watched)
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.05)

    async def _lag(self, manager: Manager) -> None:
        """Asks, again and again, for what takes a manager no time: how long its event loop lets wait."""
        while True:
            began = time.monotonic()
            with suppress(aiohttp.ClientError):
                async with self.session.get(f"{manager.url}/healthz") as answer:
                    await answer.read()
                self.timings.lag_s.append(time.monotonic() - began)
            await asyncio.sleep(LAG_EVERY_S)

    def _cpu_s(self) -> dict[str, float]:
        used = {"managers": sum(manager.cpu_s() for manager in self.managers), "agents": time.process_time()}
        if self._database_pid is not None:
            used["database"] = cpu_s(tree(self._database_pid))
        return used


def managers_on(count: int, build: Path, url: str) -> list[Manager]:
    """Managers that are not started yet, on one database."""
    return [Manager(build, FIRST_PORT + number, url) for number in range(count)]
