"""Looks as a manager applies them."""

from __future__ import annotations

from storekeeper.database import Store
from storekeeper.database.steps import Applied, Forgotten, HostWrite, Kept, Mark, MemoryWrite, Refused
from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.observation import Fault, Pool, Seen
from storekeeper.report import Changes, received


def pool(name: str, target: str = "/x") -> Pool:
    """A fact."""
    return Pool(key=name, name=name, kind="dir", target=target)


def seen(*pools: Pool, faults: tuple[Fault, ...] = (), scope: str = "") -> Seen:
    """A look at them."""
    return Seen(source="guests", scope=scope, facts={each.key: each for each in pools}, faults=faults)


def told(view: HostView, change: Changes, now: float) -> tuple[HostView, Applied]:
    """The view after one more report, and what the store is given of it."""
    view = received(view, change, now)
    look = view.looks[change.source, change.scope]
    return view, Applied(host_id=view.host_id, changes=change, look=look)


def mark(host_id: str, step: int, run: int = 1, number: int = 0) -> Mark:
    """A mark at that step."""
    report = HostReport(host_id=host_id, version="1.0", reported_at=float(step))
    return Mark(host_id=host_id, step=step, run=run, number=number or step, report=report)


def next_of(host_id: str, store: Store, *steps: Applied | Forgotten, number: int = 0) -> HostWrite:
    """A write that follows on what is there."""
    _, known = store.host(host_id)
    return follows(known.step if known is not None else 0, *steps, host_id=host_id, number=number)


def follows(after: int, *steps: Applied | Forgotten, host_id: str = "h1", number: int = 0) -> HostWrite:
    """A write that follows on this step."""
    return HostWrite(mark=mark(host_id, after + 1, number=number), after=after, steps=list(steps))


def remembers(after: int, value: Remembered | None = None) -> MemoryWrite:
    """The same of a volume's memory."""
    return MemoryWrite(kept=Kept(after + 1, value or Remembered()), after=after)


def next_memory(key: str, store: Store, value: Remembered | None = None) -> dict[str, MemoryWrite]:
    """A write of one volume's memory that follows on what is there."""
    known = store.stored().memory.get(key)
    return {key: remembers(known.step if known is not None else 0, value)}


def write(store: Store, *steps: Applied | Forgotten) -> None:
    """Writes what nobody else has changed meanwhile."""
    assert store.put([next_of(steps[0].host_id, store, *steps)], {}) == Refused()
