"""What travels from agent to manager: the changes between two looks. Pure; both ends use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Fact, Fault, Header, Image, Seen, Space
from storekeeper.parts import copied, differing, in_order
from storekeeper.sources.contract import Scope

# Raised when an agent and a manager of different versions could misunderstand each other.
PROTOCOL = 1
SPACE_CHANGE_BYTES = 1 << 20
SPACE_CHANGE_SHARE = 10_000


class Changes(Struct, frozen=True, kw_only=True):
    """How a `Seen` became another.

    `full`: `facts` is all there is; else `gone` were removed and `facts` were added or replaced. `age_s`:
    how long ago the host looked, by its own steady clock, when this left it.
    """

    source: str
    scope: str
    full: bool
    facts: list[Fact]
    gone: list[str]
    faults: tuple[Fault, ...]
    took_s: float = 0.0
    age_s: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """What one host tells at one time. Applied whole or not at all.

    `run` grows with each start of the agent on this host, `number` counts its reports from 1. A report
    that is not `full` follows on the one before; a `full` one stands alone: all its changes are full, and
    they are all that the agent knows. `machine_id` says which machine this is, `boot_id` which of its
    boots; `sent_at` is the host's own clock (epoch seconds), which is shown and never used.
    """

    host_id: str
    version: str
    protocol: int
    machine_id: str
    boot_id: str
    run: int
    number: int
    full: bool
    sent_at: float
    changes: list[Changes]


class Acknowledged(Struct, frozen=True, kw_only=True):
    """The manager has applied this report, now or before. `scopes`: the version of the host's scopes."""

    run: int
    number: int
    scopes: str


class Scopes(Struct, frozen=True, kw_only=True):
    """Where a host is to look. `version` is a digest of all the rest, the same from every manager.

    `report_every_s`: the longest an agent may be silent. `every_s`: pauses of sources that are not their
    own, by name.
    """

    version: str
    scopes: list[tuple[str, Scope]]
    report_every_s: float
    every_s: dict[str, float] = {}


class Headers:
    """Makes one object of all headers that say the same: those of most images do, which saves their room."""

    def __init__(self) -> None:
        self._known: dict[Header, Header] = {}

    def share(self, facts: Iterable[Fact]) -> None:
        """For facts that have just been decoded, and that nobody else has yet."""
        for fact in facts:
            if type(fact) is Image:
                force_setattr(fact, "header", self._known.setdefault(fact.header, fact.header))


def hidden(key: str, faults: Iterable[Fault]) -> bool:
    """Whether one of the faults kept the fact of this key from being seen."""
    return any(
        fault.hides in {"*", key} or (fault.hides.endswith("/") and key.startswith(fault.hides))
        for fault in faults
        if fault.hides
    )


def retain(old: Seen | None, new: Seen) -> Seen:
    """`new`, with what its faults hid kept as `old` last saw it."""
    if old is None or not any(fault.hides for fault in new.faults):
        return new
    kept = {key: fact for key, fact in old.facts.items() if key not in new.facts and hidden(key, new.faults)}
    return replace(new, facts={**new.facts, **kept})


def changes(old: Seen | None, new: Seen) -> Changes:
    """What a holder of `old` needs to come to hold `new`; `apply` is the inverse.

    Save that a change of free space under 1 MiB, or 0.01 % of the volume, alone is none: a holder then
    keeps the old figure. Full changes (`old` is None) are exact.
    """
    if old is None:
        return Changes(
            source=new.source, scope=new.scope, full=True, facts=list(new.facts.values()), gone=[],
            faults=new.faults, took_s=new.took_s,
        )  # fmt: skip
    before, after = old.facts, new.facts
    keys = differing(before, after)
    changed = [
        fact
        for key in in_order(keys, after)
        if (fact := after.get(key)) is not None and not _as_good_as(before.get(key), fact)
    ]
    gone = sorted(key for key in keys if key not in after)
    return Changes(
        source=new.source, scope=new.scope, full=False, facts=changed, gone=gone, faults=new.faults,
        took_s=new.took_s,
    )  # fmt: skip


def _as_good_as(old: Fact | None, new: Fact) -> bool:
    """Whether two looks at a volume's space differ by too little to be worth a new document."""
    if not isinstance(old, Space) or not isinstance(new, Space):
        return False
    allowed = max(SPACE_CHANGE_BYTES, new.total_bytes // SPACE_CHANGE_SHARE)
    if abs(old.available_bytes - new.available_bytes) >= allowed:
        return False
    return replace(old, available_bytes=0, took_s=0.0) == replace(new, available_bytes=0, took_s=0.0)


def apply(old: Seen | None, change: Changes) -> Seen:
    """The look that `change` leads to. Facts that are as before are the very objects they were, in the very
    same mapping where all are.
    """
    before: Mapping[str, Fact] = {} if old is None else old.facts
    if not change.full and not change.facts and not change.gone:
        facts = before
    else:
        now = {} if change.full else copied(before)
        for key in change.gone:
            now.pop(key, None)
        for fact in change.facts:
            known = before.get(fact.key)
            now[fact.key] = known if known is not None and known == fact else fact
        facts = now
    return Seen(
        source=change.source, scope=change.scope, facts=facts, faults=change.faults, took_s=change.took_s
    )  # fmt: skip


def retained(old: Seen | None, change: Changes) -> Seen:
    """The look that `change` leads to, with what its faults hid kept as `old` had it."""
    return retain(old, apply(old, change))


def received(view: HostView, changes: Changes, now: float) -> HostView:
    """`view` after one more report, which came at `now`."""
    key = (changes.source, changes.scope)
    look = looked(view.looks.get(key), changes, now)
    return HostView(host_id=view.host_id, looks={**view.looks, key: look}, reported_at=now)


def looked(former: Look | None, changes: Changes, at: float) -> Look:
    """The look that follows on `former`, of a host that looked at `at` (the manager's clock)."""
    seen = retained(former.seen if former else None, changes)
    good_at = at if seen.blind is None else former.good_at if former else 0.0
    return Look(seen=seen, at=at, good_at=good_at)
