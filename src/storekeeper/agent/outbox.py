"""What this host saw, what the manager holds of it, and the reports that lead from one to the other. Pure.

Nothing queues while the manager is away: a report is made, when it can be sent, of all that was looked at
since the last one. The invariants:

1. One report is under way; it is sent, the same in everything but its looks' ages, until it is answered: a
   manager that has applied it already then acknowledges it again and changes nothing.
2. `told` is what the manager holds, which is known after an answer only. Where it is not known (the manager
   asks for all, or refused), everything is told in full.
3. After a full change that a fault hid a part of, the manager may hold more below that fault than is known
   here. It may not when another fault hides another part: then the change is full once more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from storekeeper.observation import Seen
from storekeeper.report import PROTOCOL, Acknowledged, Changes, Report, changes, retained

Key = tuple[str, str]

# A full look at a volume's space tells also a change that is too small for a delta.
_EXACT = "space"


class Identity(Struct, frozen=True, kw_only=True):
    """Who reports: the fields of every `Report` of one run of the agent."""

    host_id: str
    version: str
    machine_id: str
    boot_id: str
    run: int


@dataclass(eq=False)
class _Kept:
    """One scope of one source. `waiting`: it was looked at since the last report was made."""

    current: Seen
    looked_at: float
    told: Seen | None = None
    hidden: frozenset[str] = frozenset()
    full: bool = True
    waiting: bool = True


@dataclass(frozen=True)
class _Sent:
    kept: _Kept
    change: Changes
    told: Seen
    looked_at: float


@dataclass(frozen=True)
class _UnderWay:
    number: int
    full: bool
    sent: list[_Sent]


class Outbox:
    """What is to be told. Times are a steady clock's, in seconds."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._kept: dict[Key, _Kept] = {}
        self._under_way: _UnderWay | None = None
        self._number = 0
        self._all = True

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell that is in no report yet."""
        return any(kept.waiting for kept in self._kept.values())

    def look(self, change: Changes, at: float) -> None:
        """A look that was answered at `at`, be it with a fault or with no change."""
        key = (change.source, change.scope)
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = _Kept(retained(None, change), at)
            return
        kept.current = retained(kept.current, change)
        kept.looked_at = at
        kept.waiting = True
        kept.full |= change.full and change.source == _EXACT

    def keep(self, keys: Collection[Key]) -> None:
        """Forgets what is no longer looked at."""
        for gone in self._kept.keys() - set(keys):
            del self._kept[gone]

    def report(self, now: float, sent_at: float) -> Report:
        """The report that is under way, or else a new one. `sent_at`: the host's clock (epoch seconds)."""
        under_way = self._under_way
        if under_way is None:
            under_way = self._under_way = self._made()
        who = self._identity
        return Report(
            host_id=who.host_id, version=who.version, protocol=PROTOCOL, machine_id=who.machine_id,
            boot_id=who.boot_id, run=who.run, number=under_way.number, full=under_way.full, sent_at=sent_at,
            changes=[
                replace(sent.change, age_s=max(0.0, now - sent.looked_at)) for sent in under_way.sent
            ],
        )  # fmt: skip

    def _made(self) -> _UnderWay:
        sent = []
        for kept in self._kept.values():
            if self._all or kept.waiting:
                sent.append(_sent(kept, full=self._all))
                kept.waiting = False
        self._number += 1
        return _UnderWay(self._number, self._all, sent)

    def acknowledged(self, answer: Acknowledged) -> None:
        """The manager holds what was under way. An answer to another report says nothing."""
        under_way = self._under_way
        if under_way is None or (answer.run, answer.number) != (self._identity.run, under_way.number):
            return
        for sent in under_way.sent:
            kept = sent.kept
            kept.told = sent.told
            if sent.change.full:
                kept.hidden = _hides(sent.change)
                kept.full = False
        self._all = False
        self._under_way = None

    def tell_all(self) -> None:
        """What the manager holds is not known: the next report is a full one."""
        self._under_way = None
        self._all = True


def _sent(kept: _Kept, *, full: bool) -> _Sent:
    if full or kept.told is None or kept.full or (kept.hidden and kept.hidden != _hides(kept.current)):
        change = changes(None, kept.current)
        return _Sent(kept, change, kept.current, kept.looked_at)
    change = changes(kept.told, kept.current)
    # Mostly that is the very same, of which the next change is then told by what is not.
    same = change.source != _EXACT and not _hides(change)
    return _Sent(kept, change, kept.current if same else retained(kept.told, change), kept.looked_at)


def _hides(told: Seen | Changes) -> frozenset[str]:
    return frozenset(fault.hides for fault in told.faults if fault.hides)
