"""Real managers, each a process of its own, on a database with all credentials in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from bench.fleet.storages import SimulatedStorage
from bench.processes import cpu_s, memory_mib, tree
from storekeeper.database import open_store
from storekeeper.declaration import Declared
from storekeeper.manager.access import Access
from tests.database.postgresql_server import postgresql_server

START_TIMEOUT_S = 120.0
_TOML = """[manager]
listen = "127.0.0.1:{port}"
database = "{database}"
[host]
id = "manager-{port}"
"""


class Manager:
    """A `storekeeper serve`, which may be killed and started again."""

    def __init__(self, build: Path, port: int, database: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = build / f"manager-{port}.log"
        self._declaration = build / f"manager-{port}.toml"
        self._declaration.write_text(_TOML.format(port=port, database=database), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the manager itself; its agent's workers are below."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it; it does not answer yet when this returns."""
        program = str(Path(sys.executable).with_name("storekeeper"))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "serve", "--config", str(self._declaration)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Ends it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends it as an administrator does."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def cpu_s(self) -> float:
        """CPU seconds used since its start."""
        return cpu_s(tree(self.pid))

    def memory_mib(self) -> tuple[int, int]:
        """Its resident set now, and at most."""
        return memory_mib(self.pid)

    async def answers(self, session: aiohttp.ClientSession) -> None:
        """Returns once it answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"The manager ended; see {self._log}")
            try:
                async with session.get(f"{self.url}/healthz") as answer:
                    await answer.read()
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
        raise RuntimeError(f"The manager does not answer; see {self._log}")


@contextmanager
def database(kind: str, build: Path) -> Iterator[tuple[str, int | None]]:
    """The URL of an empty database, and the process that serves it, if one does."""
    if kind == "sqlite":
        yield f"sqlite://{build}/fleet.db", None
        return
    with postgresql_server() as server:
        yield server.fresh(), server.pid


def fill(url: str, storages: Iterable[SimulatedStorage], host_ids: Iterable[str]) -> dict[str, str]:
    """Declares everything and lets every host join, in the database; credentials by host.

    Joining over HTTP would take minutes of fsync, and is not what is measured.
    """
    store = open_store(url)
    try:
        declared = Declared(image_storages={each.storage_id: each.declared() for each in storages})
        store.declare(lambda _: declared)
        access = Access(store, time.time)
        access.make("person", role="administrator")
        return {
            host_id: access.make("agent", host_id=host_id, machine_id=f"machine-of-{host_id}")[1]
            for host_id in host_ids
        }
    finally:
        store.close()
