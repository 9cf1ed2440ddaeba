"""What every host told and how far, and the database behind that, which other managers may share.

The invariants:

1. A host's view and its mark change together, on the event loop only.
2. What is told here holds at once and is written soon after; nothing here waits for the database to hold.
3. A mark's `step` is that of the host's row in the database which this view follows on. A write that follows
   on another is refused; then the later report wins, whichever manager it came to. So it does where the row
   is gone, or one that this view does not lead to: of a database that was emptied or put back.
4. Nothing is taken from the database for a host of which something is still to be written: the write tells.
5. What is read is taken only where nothing changed since it was asked for; a later report is never given up
   for an earlier one, be it of a database that was put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import structlog
from msgspec.structs import replace

from storekeeper.database import Store
from storekeeper.database.steps import (
    Applied,
    Forgotten,
    HostWrite,
    Kept,
    Logged,
    Mark,
    MemoryWrite,
    step_after,
    whole,
)
from storekeeper.errors import FullReportNeeded, Outdated, StoreError
from storekeeper.manager.replaying import as_reported, is_later, replayed
from storekeeper.manager.waiting import in_thread, to_its_end
from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import HostView, Memory, Remembered
from storekeeper.parts import copied
from storekeeper.report import changes

# Written in batches: for one manager alone nobody waits; otherwise the others, and the agent, do.
WRITE_EVERY_S = 1.0
GATHER_S = 0.02
# How long an agent waits for its report to be written. Unwritten it holds too, for as long as this manager.
WRITTEN_WITHIN_S = 1.0
# Another manager may be quicker than the last write, and than the one that settles it.
LAST_WRITES = 3
# Of more than about this many facts at once others would wait for the rows, and memory be short.
FACTS_AT_ONCE = 20_000

Step = Applied | Forgotten

log = structlog.get_logger()


class Ledger:
    """The views and marks of all hosts; what the merge remembers, as the database has it.

    `own_host_id`: the host whose agent is inside this process, which started at `started_at`.
    `inside`: the same, but later than every start before, whatever was done to the clock.
    `noticed(former, changed)` is called whenever a host's view took the place of `former`.
    """

    def __init__(
        self, store: Store, own_host_id: str, started_at: float, noticed: Callable[[HostView, bool], None]
    ) -> None:
        stored = store.stored()
        self.views: Mapping[str, HostView] = {
            host_id: as_reported(
                stored.views.get(host_id) or HostView(host_id=host_id), stored.marks.get(host_id)
            )
            for host_id in stored.views.keys() | stored.marks.keys()
        }
        self.memory = Memory(volumes={key: kept.value for key, kept in stored.memory.items()})
        self.marks = dict(stored.marks)
        # What other managers remembered first, to be taken up by the next merge.
        self.others: dict[str, Remembered] = {}
        self._store = store
        self._own_host_id = own_host_id
        self.inside = max(started_at, self.mark(own_host_id).inside + 1.0)
        self._noticed = noticed
        self._kept = dict(stored.memory)
        self._unwritten: dict[str, list[Step]] = {}
        self._more = False
        self._under_way: dict[str, list[Step]] = {}
        self._behind: set[str] = set()
        self._told_here: set[str] = set()
        self._joined_anew: set[str] = set()
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._due = asyncio.Event()
        self._wrote = asyncio.Event()

    # --- what is known --------------------------------------------------------------------------

    def view(self, host_id: str) -> HostView:
        """What a host has told so far."""
        return self.views.get(host_id) or HostView(host_id=host_id)

    def mark(self, host_id: str) -> Mark:
        """How far that is."""
        return self.marks.get(host_id) or Mark(host_id=host_id, report=HostReport(host_id=host_id))

    def is_ours(self, host_id: str) -> bool:
        """Whether this manager was the last that the host reported to; else another one looks after it."""
        return not self._store.shared or host_id in self._told_here

    def is_behind(self, host_id: str) -> bool:
        """Whether another manager is known to know more of a host than is known here yet."""
        return host_id in self._behind

    @property
    def superseded(self) -> bool:
        """Whether a manager that started later tells, from inside, of the very host that this one is on."""
        return self.mark(self._own_host_id).inside > self.inside

    def take_over(self, now: float, silent_after_s: float) -> None:
        """Ends being superseded by a manager that is silent now. If it comes back, it is superseded."""
        theirs = self.mark(self._own_host_id)
        if self.superseded and now - theirs.report.reported_at >= silent_after_s:
            self.inside = max(now, theirs.inside + 1.0)

    # --- what is told here ----------------------------------------------------------------------

    def keep(self, view: HostView, mark: Mark, steps: Collection[Step]) -> None:
        """Holds from now on, and is written soon. `mark` without its `step`, which is known here."""
        host_id = view.host_id
        self._take(view, replace(mark, step=self.mark(host_id).step), bool(steps))
        self._told_here.add(host_id)
        self._unwritten.setdefault(host_id, []).extend(steps)
        self._due.set()

    def begin_anew(self, host_id: str) -> None:
        """Another machine may be this host from now on, or none: whatever its next report is, it is new."""
        self._joined_anew.add(host_id)
        joined = self.mark(host_id).joined + 1
        mark = Mark(host_id=host_id, joined=joined, report=HostReport(host_id=host_id))
        self.keep(self.view(host_id), mark, [])

    async def written(self, host_id: str) -> None:
        """Waits until what was told of a host is where other managers see it, but not for long."""
        if self._store.shared:
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITTEN_WITHIN_S):
                    while self._is_waiting(host_id):
                        await self._wrote.wait()

    # --- what others are told -------------------------------------------------------------------

    async def catch_up(self, host_ids: Iterable[str]) -> None:
        """Takes up what other managers wrote of these hosts.

        Raises:
            StoreError: the database does not answer.
        """
        if not self._store.shared:
            return
        # One at a time: a database that hangs must not hold a thread for every host.
        async with self._reading:
            wanted = [host_id for host_id in host_ids if not self._is_waiting(host_id)]
            steps = {host_id: self.mark(host_id).step for host_id in wanted if host_id not in self._behind}
            news = await in_thread(self._store.since, steps) if steps else {}
            for host_id, logged in news.items():
                if not self._is_waiting(host_id):
                    self._follow(host_id, logged)
            for host_id in self._behind.intersection(wanted):
                await self._reread(host_id)

    async def remember(self, volume_keys: Iterable[str]) -> bool:
        """Notes, for the next merge, what other managers remember of these volumes; whether that is new.

        Raises:
            StoreError: the database does not answer.
        """
        # Nothing is written meanwhile: what is read is what there is.
        async with self._writing:
            steps = {key: self._kept[key].step if key in self._kept else 0 for key in volume_keys}
            for key, kept in (await in_thread(self._store.other_memory, steps)).items():
                self._note(key, kept)
        return bool(self.others)

    def taken_up(self, others: Mapping[str, Remembered]) -> None:
        """The last merge began with these of `others`."""
        self.others = {key: value for key, value in self.others.items() if others.get(key) is not value}

    # --- writing --------------------------------------------------------------------------------

    async def run(self, memory: Callable[[], Memory]) -> None:
        """Writes behind, until cancelled. `memory`: that of the last truth.

        Raises:
            Outdated: another version has the database now.
        """
        while True:
            if self._more:
                await asyncio.sleep(GATHER_S)
            elif self._store.shared:
                with suppress(TimeoutError):
                    async with asyncio.timeout(WRITE_EVERY_S):
                        await self._due.wait()
                await asyncio.sleep(GATHER_S)
            else:
                await asyncio.sleep(WRITE_EVERY_S)
            # What was cut off could not say whether it was written.
            if not await to_its_end(self.write(memory())):
                await asyncio.sleep(WRITE_EVERY_S)

    async def finish(self, memory: Memory) -> None:
        """Writes the last, also what was refused, if that can be done."""
        tries = LAST_WRITES
        try:
            while tries and await self.write(memory) and self._unwritten:
                tries -= not self._more
        except Outdated as error:
            log.warning("not written", error=str(error))

    async def write(self, memory: Memory) -> bool:
        """Writes what was told, as much as is good in one transaction; whether that could be done."""
        async with self._writing:
            self._due.clear()
            remembered = self._unwritten_memory(memory)
            self._under_way = batch = self._next_batch()
            hosts = [_write_after(self.mark(host_id), steps) for host_id, steps in batch.items()]
            try:
                if hosts or remembered:
                    refused = await in_thread(self._store.put, hosts, remembered)
                    # Those refused are not settled yet: nothing else is to be taken for them.
                    self._under_way = {host_id: batch[host_id] for host_id in refused.hosts}
                    for key, each in remembered.items():
                        if key in refused.memory:
                            self._note(key, refused.memory[key])
                        else:
                            self._kept[key] = each.kept
                    for host in hosts:
                        if host.mark.host_id not in refused.hosts:
                            self._wrote_step(host.mark)
                    for host_id, mark in refused.hosts.items():
                        await self._settle(host_id, mark)
                        del self._under_way[host_id]
                for host_id in tuple(self._behind):
                    await self._reread(host_id)
            except StoreError as error:
                # Tried again with the next: of each scope the last look, so that this does not grow.
                for host_id, steps in self._under_way.items():
                    self._unwritten[host_id] = whole([*steps, *self._unwritten.get(host_id, ())])
                log.warning("not written", error=str(error))
                return False
            finally:
                self._under_way = {}
                wrote, self._wrote = self._wrote, asyncio.Event()
                wrote.set()
        return True

    def _next_batch(self) -> dict[str, list[Step]]:
        """What was told of the first hosts that wait to be written, of each all."""
        batch: dict[str, list[Step]] = {}
        facts = 0
        for host_id in tuple(self._unwritten):
            if facts >= FACTS_AT_ONCE:
                break
            batch[host_id] = self._unwritten.pop(host_id)
            facts += sum(len(step.changes.facts) for step in batch[host_id] if isinstance(step, Applied))
        self._more = bool(self._unwritten)
        return batch

    async def _settle(self, host_id: str, theirs: Mark | None) -> None:
        """Another manager wrote of this host: the later report wins. Raises StoreError."""
        there = None
        if self._holds(self.mark(host_id), theirs):
            there, theirs = await in_thread(self._store.host, host_id)
        # Another one may have been written meanwhile.
        if self._holds(self.mark(host_id), theirs):
            self._write_over(host_id, there, theirs)
        else:
            self._unwritten.pop(host_id, None)
            self._behind.add(host_id)

    def _write_over(self, host_id: str, there: HostView | None, theirs: Mark | None) -> None:
        """What is known here is to be written whole, instead of what is there."""
        view, mark = self.view(host_id), self.mark(host_id)
        if theirs is not None:
            joined = theirs.joined + 1 if host_id in self._joined_anew else theirs.joined
            mark = replace(mark, joined=max(mark.joined, joined))
        self.marks[host_id] = replace(mark, step=theirs.step if theirs is not None else 0)
        gone = there.looks.keys() - view.looks.keys() if there is not None else set()
        self._unwritten[host_id] = [
            *(Forgotten(host_id=host_id, source=source, scope=scope) for source, scope in sorted(gone)),
            *(
                Applied(host_id=host_id, changes=changes(None, look.seen), look=look)
                for look in view.looks.values()
            ),
        ]
        self._due.set()

    def _is_later(self, ours: Mark, theirs: Mark | None) -> bool:
        if theirs is None or ours.host_id in self._joined_anew:
            return True
        if ours.host_id == self._own_host_id and ours.inside == self.inside:
            return ours.inside > theirs.inside
        return is_later(ours, theirs)

    def _holds(self, ours: Mark, theirs: Mark | None) -> bool:
        """Whether ours, which is not written, counts: of the host that this is on whatever is not told by
        a manager that started later.
        """
        if theirs is not None and ours.host_id == self._own_host_id and ours.inside == self.inside:
            return theirs.inside <= self.inside
        return self._is_later(ours, theirs)

    def _unwritten_memory(self, memory: Memory) -> dict[str, MemoryWrite]:
        rows = {}
        for key, value in memory.volumes.items():
            kept = self._kept.get(key)
            if key in self.others or (kept is not None and kept.value is value):
                continue
            if kept is not None and kept.value == value:
                self._kept[key] = Kept(kept.step, value)
                continue
            after = kept.step if kept is not None else 0
            rows[key] = MemoryWrite(kept=Kept(step_after(after), value), after=after)
        return rows

    # --- reading --------------------------------------------------------------------------------

    def _follow(self, host_id: str, logged: Sequence[Logged]) -> None:
        """Applies what another manager applied, as it did; where that cannot be, all is to be read."""
        view, mark, changed = self.view(host_id), self.mark(host_id), False
        if not logged:
            self._behind.add(host_id)
        for each in logged:
            # Without steps it is what is there, perhaps less than what was: of a database that was put back.
            if each.mark.step == mark.step or (each.steps is not None and each.mark.step < mark.step):
                continue
            if self._is_later(mark, each.mark):
                self._behind.add(host_id)
                break
            try:
                view = replayed(view, each, mark.step)
            except FullReportNeeded:
                self._behind.add(host_id)
                break
            mark = each.mark
            changed |= bool(each.steps)
        if mark is not self.marks.get(host_id):
            self._told_here.discard(host_id)
            self._take(view, mark, changed)

    async def _reread(self, host_id: str) -> None:
        before = self.marks.get(host_id)
        view, mark = await in_thread(self._store.host, host_id)
        # Otherwise it is still behind, and read again.
        if self._is_waiting(host_id) or self.marks.get(host_id) is not before:
            return
        self._behind.discard(host_id)
        ours = self.mark(host_id)
        if ours.step == (mark.step if mark is not None else 0):
            return
        if mark is None or self._holds(ours, mark):
            self._write_over(host_id, view, mark)
            return
        self._take(as_reported(view or HostView(host_id=host_id), mark), mark, True)
        if ours.claimed_at > mark.claimed_at:
            # Another machine's claim says nothing of what the host itself saw.
            claimed = replace(mark, claim=ours.claim, claimed_at=ours.claimed_at)
            self.keep(self.view(host_id), claimed, [])
        self._told_here.discard(host_id)

    def _note(self, key: str, theirs: Kept | None) -> None:
        mine = self._kept.get(key)
        if theirs is None:
            self._kept.pop(key, None)
        elif mine is None or theirs.step != mine.step:
            self._kept[key] = theirs
            self.others[key] = theirs.value

    def _is_waiting(self, host_id: str) -> bool:
        return host_id in self._unwritten or host_id in self._under_way

    def _wrote_step(self, mark: Mark) -> None:
        self.marks[mark.host_id] = replace(self.mark(mark.host_id), step=mark.step)
        self._joined_anew.discard(mark.host_id)

    def _take(self, view: HostView, mark: Mark, changed: bool) -> None:
        former = self.view(view.host_id)
        self.marks[view.host_id] = mark
        if view is not former:
            views = copied(self.views)
            views[view.host_id] = view
            self.views = views
        self._noticed(former, changed)


def _write_after(mark: Mark, steps: list[Step]) -> HostWrite:
    return HostWrite(mark=replace(mark, step=step_after(mark.step)), after=mark.step, steps=steps)
