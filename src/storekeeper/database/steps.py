"""What managers on one database write for each other: how far each host is known, and by which steps."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import randbits

from msgspec import Struct
from msgspec.structs import replace

from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import HostView, Look, Remembered
from storekeeper.report import Changes, apply, looked

# How far one step may be from the one before: a column of BIGINT lasts for 4,000,000,000 changes.
STEP_BITS = 32


def step_after(step: int) -> int:
    """A later step that nobody else takes, though another change may follow on the same one: the database may
    be put back to it, or emptied, while managers know what came after.
    """
    return step + 1 + randbits(STEP_BITS)


class Mark(Struct, frozen=True, kw_only=True):
    """How far a host is known: by the change `step` (0: none), the last report being `number` of `run`.

    `report`: what its agent said of itself last. `claimed_at`: when another machine last spoke as this host
    (0: never), and in `claim` what is told of it. `inside`: when the manager started that its agent is inside
    of (0: it is inside of none). `joined`: how often another machine may have become this host; reports from
    before the last time are the earlier ones, whatever their numbers. Times are epoch seconds.
    """

    host_id: str
    step: int = 0
    run: int = 0
    number: int = 0
    report: HostReport
    claimed_at: float = 0.0
    claim: str = ""
    inside: float = 0.0
    joined: int = 0


class Applied(Struct, frozen=True, kw_only=True):
    """A report as the manager applied it: what to write so that the store holds the same look."""

    host_id: str
    changes: Changes
    look: Look


class Forgotten(Struct, frozen=True, kw_only=True):
    """A look that the manager dropped."""

    host_id: str
    source: str
    scope: str


class HostWrite(Struct, frozen=True, kw_only=True):
    """What is to be written of one host. Without steps: that it was heard.

    `mark`: as it is then, its `step` a new one. `after`: the step that this follows on (0: nothing).
    """

    mark: Mark
    after: int
    steps: list[Applied | Forgotten]


class Looked(Struct, frozen=True, kw_only=True, tag="looked"):
    """One logged change. A full one is all of the look, with what its faults hid and with `good_at`, which
    else follows from the look before.
    """

    changes: Changes
    at: float
    good_at: float = 0.0


class Dropped(Struct, frozen=True, kw_only=True, tag="dropped"):
    """One logged forgetting."""

    source: str
    scope: str


class Logged(Struct, frozen=True, kw_only=True):
    """What one write did to a host that was at step `after`. `steps` is None where only the tables tell."""

    mark: Mark
    after: int
    steps: list[Looked | Dropped] | None


class Kept(Struct, frozen=True):
    """What is remembered of one volume, as of the change `step`."""

    step: int
    value: Remembered


class MemoryWrite(Struct, frozen=True, kw_only=True):
    """What is to be written of one volume. `after`: the step that this follows on (0: nothing)."""

    kept: Kept
    after: int


class Refused(Struct, frozen=True, kw_only=True):
    """What is there instead of what was not written, by host id and volume key; None: nothing."""

    hosts: dict[str, Mark | None] = {}
    memory: dict[str, Kept | None] = {}


class Stored(Struct, frozen=True, kw_only=True):
    """All that managers know, at one moment. A view may lack its mark, and a mark its view."""

    views: dict[str, HostView]
    marks: dict[str, Mark]
    memory: dict[str, Kept]


def whole(steps: Iterable[Applied | Forgotten]) -> list[Applied | Forgotten]:
    """The same end as one full write a scope: what is to be tried again after a write that failed."""
    last = {scope_of(each): each for each in steps}
    return [
        replace(each, changes=replace(each.changes, full=True)) if isinstance(each, Applied) else each
        for each in last.values()
    ]


def scope_of(step: Applied | Forgotten) -> tuple[str, str, str]:
    """The host, source and scope that a step changes."""
    if isinstance(step, Applied):
        return step.host_id, step.changes.source, step.changes.scope
    return step.host_id, step.source, step.scope


def look_after(former: Look | None, step: Looked) -> Look:
    """The look that a logged change leads to, the same as where it was first applied."""
    if not step.changes.full:
        return looked(former, step.changes, step.at)
    seen = apply(former.seen if former is not None else None, step.changes)
    return Look(seen=seen, at=step.at, good_at=step.good_at)


def logged_as(step: Applied | Forgotten) -> Looked | Dropped:
    """What is logged of a step, whatever it was applied to."""
    if isinstance(step, Forgotten):
        return Dropped(source=step.source, scope=step.scope)
    changes, look = step.changes, step.look
    if changes.full:
        changes = replace(changes, facts=list(look.seen.facts.values()), gone=[])
    return Looked(changes=changes, at=look.at, good_at=look.good_at)
