"""One question to one source, whoever runs it: a worker, or this process on a captured machine."""

from __future__ import annotations

from typing import Protocol

from storekeeper.errors import HostError, TimedOut
from storekeeper.host.wire import Ask, Watch
from storekeeper.host.workers import Workers
from storekeeper.observation import Fault, Seen
from storekeeper.report import Changes, changes
from storekeeper.sources.contract import Host, Scope, Source

# Sources for which a worker knows events: kernel's (inotify, mountinfo) or libvirt's.
WATCHED = frozenset({"mounts", "guests", "images"})


class Asker(Protocol):
    """Runs a source's probe. Never raises for what the host does: a failure is a fault in the answer."""

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        """Looks with `source` at `scope`; `last` is what an earlier run had seen."""

    async def watch(self, source: Source, scope: Scope) -> None:
        """Has hints sent for this scope from now on, where its source has events."""


def lane(source: Source, scope: Scope) -> str:
    """The worker that looks: one a host source, one a volume, so that a hang costs one."""
    return source.name if source.of == "host" else scope.key


class WorkerAsker:
    """Asks worker processes: whatever hangs, hangs there.

    A worker that has nothing to watch is ended once it has answered, since starting another costs less (a
    fork) than keeping it: what the next one is to know comes as `last`.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        """See `Asker`. A look that fails or times out hides all of its scope: what was seen stays."""
        ask = Ask(number=0, source=source.name, scope=scope, full=full, last=last)
        try:
            told = await self._workers.ask(lane(source, scope), ask, source.deadline_s)
            if source.of == "host" and source.name not in WATCHED:
                await self._workers.end(source.name)
        except HostError as error:
            return Changes(
                source=source.name, scope=scope.key, full=False, facts=[], gone=[],
                faults=(Fault(code=error.code, text=error.text, hides="*"),),
            )  # fmt: skip
        return told.changes

    async def watch(self, source: Source, scope: Scope) -> None:
        """See `Asker`. Where nothing can be watched now, the walk is what tells."""
        if source.name not in WATCHED:
            return
        try:
            await self._workers.watch(lane(source, scope), Watch(source=source.name, scope=scope))
        except HostError:
            return  # the lane is stuck; its next worker watches


class DirectAsker:
    """Asks in this process: for captured machines, where nothing can hang."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def ask(
        self,
        source: Source,
        scope: Scope,
        *,
        full: bool = False,  # noqa: ARG002
        last: Seen | None = None,
    ) -> Changes:
        """Runs the probe here and now; the answer is always full."""
        return changes(None, source.probe(self._host, scope, last))

    async def watch(self, source: Source, scope: Scope) -> None:
        """A captured machine does not change."""


class CautiousAsker:
    """Asks `first`, and `then` only what that got an answer to: for a look that cannot be killed."""

    def __init__(self, first: Asker, then: Asker) -> None:
        self._first = first
        self._then = then

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        """See `Asker`: the second answer, or the first one where that did not come in time."""
        answer = await self._first.ask(source, scope, full=full, last=last)
        if any(fault.code == TimedOut.code for fault in answer.faults):
            return answer
        return await self._then.ask(source, scope, full=full, last=last)

    async def watch(self, source: Source, scope: Scope) -> None:
        """Nothing is asked twice, so nothing need be watched."""
