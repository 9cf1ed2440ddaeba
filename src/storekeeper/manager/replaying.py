"""What other managers wrote, taken up here: their steps of a host, and what they remembered first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from storekeeper.database.steps import Dropped, Logged, Mark, look_after
from storekeeper.errors import FullReportNeeded
from storekeeper.merge.remembering import adopted
from storekeeper.merge.truth import HostView, Memory, Remembered


def adopting(mine: Memory, others: Mapping[str, Remembered], declared: Collection[str]) -> Memory:
    """`mine` after other managers remembered something first; the very same where that changes nothing.

    `declared`: the keys of the volumes that are merged here; of others nothing is known better here.
    """
    volumes = dict(mine.volumes)
    for key, theirs in others.items():
        both = adopted(volumes.get(key) if key in declared else None, theirs)
        volumes[key] = theirs if both == theirs and both is not volumes.get(key) else both
    same = all(volumes[key] is mine.volumes.get(key) for key in others)
    return mine if same else Memory(volumes=volumes)


def replayed(view: HostView, logged: Logged, step: int) -> HostView:
    """`view`, which is at `step`, after one more. Raises FullReportNeeded where that does not follow."""
    if logged.steps is None or logged.after != step:
        raise FullReportNeeded("This is not the next step.")
    looks = dict(view.looks)
    for each in logged.steps:
        if isinstance(each, Dropped):
            looks.pop((each.source, each.scope), None)
            continue
        key = (each.changes.source, each.changes.scope)
        former = looks.get(key)
        if former is None and not each.changes.full:
            raise FullReportNeeded("There is no look that this follows on.")
        looks[key] = look_after(former, each)
    return as_reported(HostView(host_id=view.host_id, looks=looks), logged.mark)


def as_reported(view: HostView, mark: Mark | None) -> HostView:
    """`view` with the time of the last report, if one is known."""
    return replace(view, reported_at=mark.report.reported_at) if mark is not None else view


def is_later(one: Mark, other: Mark) -> bool:
    """Whether one mark came with a later report than the other."""
    if _place(one) != _place(other):
        return _place(one) > _place(other)
    # What the agent inside a manager tells has no number. The clock may be put back, but steps are not, save
    # with the database.
    return one.step > other.step and one.report.reported_at > other.report.reported_at


def _place(mark: Mark) -> tuple[float, ...]:
    return mark.joined, mark.run, mark.number, mark.inside
