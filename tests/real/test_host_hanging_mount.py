"""A mount that truly hangs (its FUSE server is stopped) costs its own lane, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from storekeeper import errors
from storekeeper.host.wire import Ask
from storekeeper.host.workers import Workers
from storekeeper.sources.contract import Scope

pytestmark = pytest.mark.needs("root", "fuse", "bindfs")

FAKE_ZYGOTE = ("-I", str(Path(__file__).parents[1] / "host" / "fake_zygote.py"))


class Mount:
    """A bindfs mount, and the process that serves it."""

    def __init__(self, place: Path, server: int) -> None:
        self.place = place
        self.server = server

    def stop(self) -> None:
        os.kill(self.server, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.server, signal.SIGCONT)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    below, place = tmp_path / "below", tmp_path / "mount"
    below.mkdir()
    place.mkdir()
    (below / "disk.raw").write_bytes(b"x" * 8192)
    options = ["-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"]
    server = subprocess.Popen(["bindfs", "-f", *options, below, place])
    try:
        end = time.monotonic() + 10
        while not (place / "disk.raw").exists():
            assert time.monotonic() < end
            assert server.poll() is None
        yield Mount(place, server.pid)
    finally:
        os.kill(server.pid, signal.SIGCONT)
        subprocess.run(["umount", "-l", place], check=False)
        server.kill()
        server.wait()


def ask(source: str, root: object = "") -> Ask:
    return Ask(number=1, source=source, scope=Scope(key="storage/volume", root=str(root)), full=True)


def living_children(pid: int) -> list[int]:
    """The children of a process that are no zombies."""
    living = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        # It may end while this looks.
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                living.append(child)
    return living


@pytest.mark.parametrize("source", ["space", "names"])
def test_a_hung_mount_times_out_alone_and_recovers(mount: Mount, source: str) -> None:
    async def scenario() -> None:
        running = Workers(FAKE_ZYGOTE)
        try:
            await running.ask("hung", ask(source, mount.place), 10)
            await running.ask("quick", ask("process"), 10)
            zygote = running._zygote._process
            assert zygote is not None
            mount.stop()
            started = time.monotonic()
            hanging = asyncio.create_task(running.ask("hung", ask(source, mount.place), 1.0))
            slowest = 0.0
            while not hanging.done():
                before = time.monotonic()
                await running.ask("quick", ask("process"), 10)
                slowest = max(slowest, time.monotonic() - before)
                await asyncio.sleep(0.01)
            with pytest.raises(errors.TimedOut):
                await hanging
            assert time.monotonic() - started < 2.0
            assert slowest < 0.5
            for _ in range(3):  # whether the old process died or hangs on, there is never a second one
                with pytest.raises(errors.TimedOut):
                    await running.ask("hung", ask(source, mount.place), 0.3)
                assert len(living_children(zygote.pid)) <= 2
            mount.go_on()
            end = time.monotonic() + 10
            while True:
                try:
                    told = await running.ask("hung", ask(source, mount.place), 2.0)
                    break
                except errors.TimedOut:
                    assert time.monotonic() < end
            assert told.changes.facts
            assert told.changes.faults == ()
        finally:
            mount.go_on()
            await running.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_closing_does_not_wait_for_a_hung_mount(mount: Mount) -> None:
    async def scenario() -> None:
        running = Workers(FAKE_ZYGOTE)
        try:
            await running.ask("hung", ask("space", mount.place), 10)
            mount.stop()
            hanging = asyncio.create_task(running.ask("hung", ask("space", mount.place), 600))
            await asyncio.sleep(0)
            started = time.monotonic()
            await running.close()
            assert time.monotonic() - started < 4
            assert isinstance((await asyncio.gather(hanging, return_exceptions=True))[0], errors.HostError)
        finally:
            mount.go_on()

    asyncio.run(asyncio.wait_for(scenario(), 60))
