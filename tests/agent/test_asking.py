"""Questions to real worker processes: their answers, their failures, and how long they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from storekeeper.agent.asking import CautiousAsker, DirectAsker, WorkerAsker
from storekeeper.host.real import RealHost
from storekeeper.host.workers import Workers
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope


def run(scenario: Callable[[WorkerAsker, Workers], Coroutine[None, None, None]]) -> None:
    async def body() -> None:
        workers = Workers()
        try:
            await scenario(WorkerAsker(workers), workers)
        finally:
            await workers.close()

    asyncio.run(body())


def test_a_worker_without_anything_to_watch_is_ended_once_it_has_answered() -> None:
    async def scenario(asker: WorkerAsker, workers: Workers) -> None:
        changes = await asker.ask(SOURCES["ocfs2"], Scope())
        assert changes.full
        assert workers.pid("ocfs2") is None

    run(scenario)


def test_a_worker_that_watches_stays() -> None:
    async def scenario(asker: WorkerAsker, workers: Workers) -> None:
        await asker.watch(SOURCES["mounts"], Scope())
        changes = await asker.ask(SOURCES["mounts"], Scope())
        assert changes.facts
        assert workers.pid("mounts") is not None

    run(scenario)


def test_what_was_seen_before_comes_back_as_changes_from_it() -> None:
    async def scenario(asker: WorkerAsker, workers: Workers) -> None:
        source = SOURCES["mounts"]
        last = source.probe(RealHost(), Scope(), None)
        changes = await asker.ask(source, Scope(), last=last)
        assert not changes.full
        assert not changes.gone

    run(scenario)


def test_a_look_that_does_not_end_in_time_is_a_fault_that_hides_the_scope() -> None:
    async def scenario(asker: WorkerAsker, workers: Workers) -> None:
        hurried = SOURCES["disks"]._replace(deadline_s=0.0)
        changes = await asker.ask(hurried, Scope())
        assert [(fault.code, fault.hides) for fault in changes.faults] == [("timed-out", "*")]
        assert not changes.full

    run(scenario)


def test_a_cautious_look_does_not_ask_again_what_did_not_answer_in_time() -> None:
    async def scenario(asker: WorkerAsker, workers: Workers) -> None:
        cautious = CautiousAsker(asker, DirectAsker(RealHost()))
        assert (await cautious.ask(SOURCES["mounts"], Scope())).facts
        hurried = SOURCES["mounts"]._replace(deadline_s=0.0)
        changes = await cautious.ask(hurried, Scope())
        assert [fault.code for fault in changes.faults] == ["timed-out"]

    run(scenario)
