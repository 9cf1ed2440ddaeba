"""Workers: one process a lane, and what becomes of one that hangs, crashes or has a bug."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from storekeeper import errors
from storekeeper.host.wire import Ask, Hint, Watch
from storekeeper.host.workers import Workers
from storekeeper.sources.contract import Scope

FAKE_ZYGOTE = ("-I", str(Path(__file__).with_name("fake_zygote.py")))


@asynccontextmanager
async def workers() -> AsyncIterator[Workers]:
    running = Workers(FAKE_ZYGOTE)
    try:
        yield running
    finally:
        await running.close()


def ask(source: str, root: object = "", *, full: bool = False) -> Ask:
    return Ask(number=7, source=source, scope=Scope(key="storage/volume", root=str(root)), full=full)


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_an_answer_is_full_at_first_and_then_only_what_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a").touch()
        (tmp_path / "b").touch()
        async with workers() as running:
            first = await running.ask("lane", ask("names", tmp_path), 10)
            (tmp_path / "a").unlink()
            (tmp_path / "c").touch()
            second = await running.ask("lane", ask("names", tmp_path), 10)
            third = await running.ask("lane", ask("names", tmp_path, full=True), 10)
        assert first.number == 7
        assert first.changes.full
        assert [fact.key for fact in first.changes.facts] == ["a", "b"]
        assert not second.changes.full
        assert ([fact.key for fact in second.changes.facts], second.changes.gone) == (["c"], ["a"])
        assert third.changes.full
        assert [fact.key for fact in third.changes.facts] == ["b", "c"]

    run(scenario)


def test_a_bug_in_a_source_is_a_fault_and_the_worker_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workers() as running:
            before = await running.ask("lane", ask("process"), 10)
            told = await running.ask("lane", ask("bug"), 10)
            after = await running.ask("lane", ask("process", full=True), 10)
        assert [(fault.code, fault.hides) for fault in told.changes.faults] == [("internal", "*")]
        assert "ZeroDivisionError" in told.changes.faults[0].text
        assert before.changes.facts == after.changes.facts

    run(scenario)


def test_a_worker_that_crashes_fails_its_ask_and_the_next_ask_has_a_new_one() -> None:
    async def scenario() -> None:
        async with workers() as running:
            with pytest.raises(errors.ToolFailed, match="died"):
                await running.ask("lane", ask("crash"), 10)
            told = await running.ask("lane", ask("process"), 10)
            assert told.changes.full
            assert told.changes.facts[0].key == str(running.pid("lane"))

    run(scenario)


def test_a_hanging_ask_times_out_and_its_neighbours_in_other_lanes_do_not_notice() -> None:
    async def scenario() -> None:
        async with workers() as running:
            await running.ask("slow", ask("process"), 10)
            await running.ask("quick", ask("process"), 10)
            slow = running.pid("slow")
            hanging = asyncio.create_task(running.ask("slow", ask("stuck"), 0.5))
            started = time.monotonic()
            for _ in range(20):
                await running.ask("quick", ask("process"), 10)
            assert time.monotonic() - started < 0.5
            assert not hanging.done()
            with pytest.raises(errors.TimedOut, match=r"0\.5 s"):
                await hanging
            assert time.monotonic() - started < 2
            told = await running.ask("slow", ask("process"), 10)
            assert told.changes.facts[0].key != str(slow)
            assert slow is not None
            assert not alive(slow)

    run(scenario)


def test_other_asks_of_a_killed_lane_are_told_at_once_why() -> None:
    async def scenario() -> None:
        async with workers() as running:
            long = asyncio.create_task(running.ask("lane", ask("stuck"), 600))
            with pytest.raises(errors.TimedOut):
                await running.ask("lane", ask("stuck"), 0.2)
            with pytest.raises(errors.TimedOut, match="killed because"):
                await asyncio.wait_for(long, 2)

    run(scenario)


def test_a_tool_dies_with_the_worker_that_runs_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workers() as running:
            hanging = asyncio.create_task(running.ask("lane", ask("tool", tmp_path), 1.5))
            await until((tmp_path / "pid").exists)
            pid = int((tmp_path / "pid").read_text())
            assert alive(pid)
            with pytest.raises(errors.TimedOut):
                await hanging
            await until(lambda: not alive(pid))

    run(scenario)


def test_after_an_answer_that_nobody_received_the_next_is_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workers() as running:
            await running.ask("lane", ask("names", tmp_path), 10)
            (tmp_path / "new").touch()
            cancelled = asyncio.create_task(running.ask("lane", ask("names", tmp_path), 10))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            told = await running.ask("lane", ask("names", tmp_path), 10)
        assert told.changes.full
        assert [fact.key for fact in told.changes.facts] == ["new"]

    run(scenario)


def test_a_new_worker_watches_what_the_dead_one_did_and_hints_at_all_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workers() as running:
            scope = Scope(key="storage/volume", root=str(tmp_path))
            await running.watch("lane", Watch(source="names", scope=scope))
            pid = running.pid("lane")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: running.pid("lane") is None)
            await running.ask("lane", ask("names", tmp_path), 10)
            hint = await asyncio.wait_for(running.hints.get(), 10)
            assert hint == Hint(source="names", scope="storage/volume")
            for number in range(1000):  # a watch is set some time after it is asked for
                (tmp_path / str(number)).touch()
                await asyncio.sleep(0.01)
                if not running.hints.empty():
                    break
            assert isinstance(await running.hints.get(), Hint)

    run(scenario)


def test_the_zygote_that_died_is_started_anew() -> None:
    async def scenario() -> None:
        async with workers() as running:
            await running.ask("one", ask("process"), 10)
            zygote = running._zygote._process
            assert zygote is not None
            zygote.kill()
            zygote.wait()
            with pytest.raises(errors.ToolFailed, match="cannot be started"):
                await running.ask("two", ask("process"), 10)
            await running.ask("two", ask("process"), 10)

    run(scenario)


def test_a_worker_that_ended_leaves_no_defunct_process() -> None:
    async def scenario() -> None:
        async with workers() as running:
            await running.ask("one", ask("process"), 10)
            await running.ask("two", ask("process"), 10)
            pid, other = running.pid("one"), running.pid("two")
            await running.end("one")
            await until(lambda: not Path(f"/proc/{pid}").exists())
            assert running.pid("two") == other
            await running.ask("one", ask("process"), 10)

    run(scenario)


def test_close_ends_everything_even_what_hangs() -> None:
    async def scenario() -> None:
        running = Workers(FAKE_ZYGOTE)
        await running.ask("idle", ask("process"), 10)
        hanging = asyncio.create_task(running.ask("busy", ask("stuck"), 600))
        await until(lambda: running.pid("busy") is not None)
        pids = [running.pid("idle"), running.pid("busy")]
        zygote = running._zygote._process
        assert zygote is not None
        started = time.monotonic()
        await running.close()
        assert time.monotonic() - started < 3
        assert isinstance((await asyncio.gather(hanging, return_exceptions=True))[0], errors.HostError)
        assert not any(alive(pid) for pid in [*pids, zygote.pid] if pid)

    run(scenario)


AGENT = """
import asyncio, sys
from storekeeper.host.wire import Ask
from storekeeper.host.workers import Workers
from storekeeper.sources.contract import Scope

async def main():
    running = Workers(sys.argv[1:])
    await running.ask("a", Ask(number=1, source="process", scope=Scope()), 10)
    asyncio.create_task(running.ask("b", Ask(number=1, source="stuck", scope=Scope()), 600))
    while running.pid("b") is None:
        await asyncio.sleep(0.01)
    print(running.pid("a"), running.pid("b"), running._zygote._process.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_the_agents_death_ends_all_workers() -> None:
    async def scenario() -> None:
        agent = subprocess.Popen(
            [sys.executable, "-I", "-c", AGENT, *FAKE_ZYGOTE], stdout=subprocess.PIPE, text=True
        )
        try:
            assert agent.stdout is not None
            pids = [int(pid) for pid in agent.stdout.readline().split()]
            assert len(pids) == 3
            assert all(alive(pid) for pid in pids)
        finally:
            agent.kill()
            agent.communicate()
        await until(lambda: not any(alive(pid) for pid in pids))

    run(scenario)
