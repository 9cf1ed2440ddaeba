"""The agent: looks at everything it has a scope for, again and again, and delivers what changed.

Order matters here. The invariants:

1. One keeper a (source, scope); it has at most one question under way, so that the changes of a scope
   are delivered in the order in which they were seen.
2. An event that comes while a question is under way is looked at afterwards: the look may have passed
   the place already.
3. A keeper that ends (its scope is gone) delivers nothing any more.
4. A keeper never dies of what a host does: the asker turns every failure into a fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import structlog
from msgspec.structs import replace

from storekeeper.agent.asking import Asker
from storekeeper.agent.pace import EXACT_EVERY_S, USED_EVERY_S
from storekeeper.agent.settling import Settling
from storekeeper.host.wire import Hint, Unwatched
from storekeeper.observation import Seen
from storekeeper.report import Changes, retained
from storekeeper.sources.contract import Scope, Source

log = structlog.get_logger()

Deliver = Callable[[Changes], None]
Scopes = Sequence[tuple[str, Scope]]


@dataclass
class _Keeper:
    """One scope of one source, and what waits to be looked at in it.

    `last`: what its next worker has to be told of the looks before.
    """

    source: Source
    scope: Scope
    last: Seen | None
    settling: Settling = field(default_factory=Settling)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False
    whole_at: float = 0.0
    used_at: float = 0.0
    exact_at: float = 0.0
    took_s: float = 0.0
    task: asyncio.Task[None] | None = None

    def wake(self, paths: tuple[str, ...] = ()) -> None:
        self.settling.add(paths, monotonic())
        self.woken.set()


class Agent:
    """Watches, schedules, delivers. `known`: what an earlier run had seen, by (source, scope key)."""

    def __init__(
        self,
        asker: Asker,
        deliver: Deliver,
        sources: Mapping[str, Source],
        known: Mapping[tuple[str, str], Seen] | None = None,
    ) -> None:
        self._asker = asker
        self._deliver = deliver
        self._sources = sources
        self._known = dict(known or {})
        self._keepers: dict[tuple[str, str], _Keeper] = {}

    def rescope(self, scopes: Scopes) -> None:
        """Looks at just these scopes from now on; a changed scope is looked at anew at once."""
        wanted = {(name, scope.key): scope for name, scope in scopes}
        for gone in self._keepers.keys() - wanted.keys():
            keeper = self._keepers.pop(gone)
            if keeper.task is not None:
                keeper.task.cancel()
        for key, scope in wanted.items():
            known = self._keepers.get(key)
            if known is None:
                keeper = _Keeper(self._sources[key[0]], scope, self._known.pop(key, None))
                self._keepers[key] = keeper
                keeper.task = asyncio.create_task(self._keep(keeper), name="/".join(key))
            elif known.scope != scope:
                known.scope = scope
                known.wake()

    def pace(self, sources: Mapping[str, Source]) -> None:
        """The same sources with other pauses, which hold at once."""
        self._sources = sources
        for (name, _), keeper in self._keepers.items():
            keeper.source = sources[name]
            keeper.woken.set()

    def hint(self, source: str, scope: str, paths: tuple[str, ...] = ()) -> None:
        """An event says that something changed there. Unknown scopes are nobody's business."""
        keeper = self._keepers.get((source, scope))
        if keeper is not None:
            keeper.wake(paths)

    async def heed(self, hints: asyncio.Queue[Hint | Unwatched]) -> None:
        """Takes the workers' hints for as long as it runs."""
        while True:
            hint = await hints.get()
            if isinstance(hint, Hint):
                self.hint(hint.source, hint.scope, hint.paths)
            else:
                log.warning("Cannot be watched; changes are seen by the next walk",
                            source=hint.source, scope=hint.scope, reason=hint.text)  # fmt: skip

    @property
    def answered(self) -> bool:
        """Whether every scope has been looked at since it was given."""
        return all(keeper.answered for keeper in self._keepers.values())

    async def close(self) -> None:
        """Stops looking."""
        tasks = [keeper.task for keeper in self._keepers.values() if keeper.task is not None]
        self._keepers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, keeper: _Keeper) -> None:
        paths: tuple[str, ...] = ()
        watched: Scope | None = None
        while True:
            if watched is None or watched.root != keeper.scope.root:
                watched = keeper.scope
                await self._asker.watch(keeper.source, watched)
            await self._look(keeper, paths)
            paths = await self._next(keeper)

    async def _look(self, keeper: _Keeper, paths: tuple[str, ...]) -> None:
        now = monotonic()
        exact = keeper.source.name == "space" and now - keeper.exact_at >= EXACT_EVERY_S
        # A worker may remember this scope from when another keeper had it, of which nobody knows any more.
        full = exact or (keeper.last is None and not keeper.answered)
        changes = await self._asker.ask(
            keeper.source, replace(keeper.scope, paths=paths), full=full, last=keeper.last
        )
        # A volume's worker remembers its last look by itself; a host source's may be a new one each time.
        keeper.last = retained(keeper.last, changes) if keeper.source.of == "host" else None
        if exact:
            keeper.exact_at = now
        keeper.used_at = monotonic()
        if not paths:
            keeper.whole_at, keeper.took_s = keeper.used_at, changes.took_s
        keeper.answered = True
        self._deliver(changes)
        if changes.facts or changes.gone:
            self._wake_others(keeper)

    def _wake_others(self, keeper: _Keeper) -> None:
        for name in keeper.source.wakes:
            for (source, scope), other in self._keepers.items():
                if source == name and other.answered and keeper.scope.key in {"", scope}:
                    other.wake()

    async def _next(self, keeper: _Keeper) -> tuple[str, ...]:
        """Waits until there is something to look at: a settled burst of events, or the time has come."""
        while True:
            whole_due = keeper.whole_at + keeper.source.pause_s(keeper.took_s)
            due = whole_due
            if keeper.source.name == "images" and keeper.scope.used:
                due = min(due, keeper.used_at + USED_EVERY_S)
            if keeper.settling.waiting:
                due = min(due, keeper.settling.due_at())
            now = monotonic()
            if now >= due:
                if now >= whole_due or keeper.settling.whole:
                    keeper.settling.take()
                    return ()
                return keeper.settling.take() or tuple(sorted(keeper.scope.used))
            keeper.woken.clear()
            try:
                async with asyncio.timeout(due - now):
                    await keeper.woken.wait()
            except TimeoutError:
                continue
