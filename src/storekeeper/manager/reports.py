"""Whether a report may be applied, and what it leads to. Pure: the rules of sequence and of content.

A host's reports form runs (one a start of its agent), numbered from 1. One is applied when it follows on the
last, or when it is full. One that was applied before is acknowledged again and changes nothing, so that an
agent may send until it is answered.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import msgspec
from msgspec import Struct

from storekeeper.database.steps import Mark
from storekeeper.errors import FullReportNeeded, Refused, Superseded, UsageError
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import (
    DeclaredMount,
    Disk,
    Fact,
    GlusterHeal,
    GlusterVolume,
    Guest,
    Image,
    Machine,
    Mount,
    Ocfs2,
    Pool,
    Sharing,
    Space,
)
from storekeeper.report import PROTOCOL, Changes, Headers, Report, looked
from storekeeper.sources import INSIDE, SOURCES

Key = tuple[str, str]

# A look that took longer was killed long before.
LONGEST_LOOK_S = 86_400.0

# What a look of each source may hold: the merge takes their kinds for granted.
_FACTS: dict[str, frozenset[type[Fact]]] = {
    "disks": frozenset({Disk}),
    "extents": frozenset({Sharing}),
    "gluster": frozenset({GlusterVolume}),
    "gluster_heals": frozenset({GlusterHeal}),
    "guests": frozenset({Guest, Pool}),
    "images": frozenset({Image}),
    "machine": frozenset({Machine}),
    "mounts": frozenset({Mount, DeclaredMount}),
    "ocfs2": frozenset({Ocfs2}),
    "space": frozenset({Space}),
}


class Greeting(Struct, frozen=True, kw_only=True):
    """As much of a report as every protocol has."""

    host_id: str
    version: str
    protocol: int


_greeting = msgspec.msgpack.Decoder(Greeting).decode
_report = msgspec.msgpack.Decoder(Report).decode


def decoded(body: bytes) -> Report | Greeting:
    """A report, checked by itself; a greeting only where it is of another protocol.

    Raises:
        UsageError: it is no report.
    """
    try:
        greeting = _greeting(body)
        if greeting.protocol != PROTOCOL:
            return greeting
        report = _report(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"This is no report of protocol {PROTOCOL}: {error}.") from error
    except RecursionError as error:
        raise UsageError("This report is nested too deeply.") from error
    _check(report)
    headers = Headers()
    for change in report.changes:
        headers.share(change.facts)
    return report


def _check(report: Report) -> None:
    if report.number < 1 or report.run < 0:
        raise UsageError("Reports are numbered from 1, and runs are not negative.")
    if not math.isfinite(report.sent_at):
        raise UsageError("sent_at is no time.")
    for change in report.changes:
        source = SOURCES.get(change.source)
        if source is None:
            raise UsageError(f"There is no source {change.source[:40]!r}; there is: {', '.join(SOURCES)}.")
        if (source.of == "host") != (change.scope == ""):
            raise UsageError(f"{change.source} is asked once a {source.of}; its scope does not say that.")
        if report.full and not change.full:
            raise UsageError("A full report holds full changes only.")
        if not math.isfinite(change.age_s) or not 0 <= change.took_s <= LONGEST_LOOK_S:
            raise UsageError(f"The look of {change.source} has a time that is none.")
        allowed = _FACTS[change.source]
        for fact in change.facts:
            if type(fact) not in allowed:
                raise UsageError(f"A look of {change.source} holds a fact that is another source's.")
            if type(fact) is Space and not 0 <= fact.took_s <= LONGEST_LOOK_S:
                raise UsageError("A look at a volume's space has a time that is none.")


def is_new(report: Report, last: Mark) -> bool:
    """Whether a report is to be applied now, where `last` is how far its host is known; False when it was.

    Raises:
        FullReportNeeded: it follows on one that is not known here.
        Superseded: a later run reports already.
        Refused: a machine that was copied tells the same run.
    """
    if report.run > last.run:
        if not report.full:
            raise FullReportNeeded("Nothing is known here of this run; tell everything.")
        return True
    if report.run < last.run:
        raise Superseded(f"A later start of the agent of {report.host_id} reports already.")
    if report.boot_id != last.report.boot_id:
        raise Refused(f"Another machine reports as {report.host_id}, from the same state.")
    if report.number <= last.number:
        return False
    if not report.full and report.number != last.number + 1:
        raise FullReportNeeded(f"Report {last.number + 1} is missing; tell everything.")
    return True


def own(
    report: Report, given: Collection[Key], once: Collection[Key], linked: Collection[str],
    scanners: Mapping[Key, str], views: Mapping[str, HostView],
) -> tuple[list[Changes], list[Key]]:  # fmt: skip
    """The changes to apply, and the keys of those to leave out: where the host is to look no more.

    `given`: where it is to look; `once`: where it looked before; `linked`: the keys of the volumes of its
    storages; `scanners`: who looks into each volume now. It may not have heard yet of what it is given no
    more, and a manager that has just started may not know yet that it is to give it again. Until another
    host has looked into a volume well, what this one saw there is all that is known.

    Raises:
        Refused: it tells of a scope that was never its own.
    """
    taken, left = [], []
    for change in report.changes:
        key = (change.source, change.scope)
        another = scanners.get(key, report.host_id) != report.host_id and _looked_well(key, scanners, views)
        mine = change.scope in linked and not another
        if not change.scope or key in given or mine:
            taken.append(change)
        elif key in once or change.scope in linked:
            left.append(key)
        else:
            raise Refused(f"{report.host_id} is not to look at this volume; a host tells of its own scopes.")
    return taken, left


def after(
    view: HostView, changes: Collection[Changes], now: float, views: Mapping[str, HostView]
) -> HostView:
    """`view` after these changes came at `now`, all of them. `views`: what all hosts told before.

    Raises:
        FullReportNeeded: a change follows on a look that is not there.
    """
    looks = dict(view.looks)
    for change in changes:
        key = (change.source, change.scope)
        former = looks.get(key)
        if former is None and not change.full:
            raise FullReportNeeded(f"No look of {change.source} is known here to follow on; tell everything.")
        if former is None:
            former = _seen_elsewhere(key, change, views)
        looks[key] = looked(former, change, max(now - max(change.age_s, 0.0), 0.0))
    return HostView(host_id=view.host_id, looks=looks, reported_at=now)


def _seen_elsewhere(key: Key, change: Changes, views: Mapping[str, HostView]) -> Look | None:
    """What another host last saw in a volume of which this one, at its first look, could not see everything:
    that is known all the same.
    """
    hides = {fault.hides for fault in change.faults if fault.hides}
    if key[0] not in INSIDE or not hides or "*" in hides:
        return None
    looks = (look for view in views.values() if (look := view.looks.get(key)) is not None and look.good_at)
    return max(looks, key=lambda look: look.good_at, default=None)


def without(view: HostView, keys: Collection[Key]) -> HostView:
    """`view` without some of its looks."""
    looks = {key: look for key, look in view.looks.items() if key not in keys}
    return HostView(host_id=view.host_id, looks=looks, reported_at=view.reported_at)


def outdated(
    view: HostView,
    given: Collection[Key],
    linked: Collection[str],
    views: Mapping[str, HostView],
    scanners: Mapping[Key, str],
) -> list[Key]:
    """The looks of a host that count no more: at volumes that are not its storages', and inside volumes that
    another host (`scanners`, by source and scope) looks into now, and well.
    """
    over = []
    for key in view.looks:
        if not key[1] or key in given:
            continue
        if key[1] not in linked or _looked_well(key, scanners, views):
            over.append(key)
    return over


def _looked_well(key: Key, scanners: Mapping[Key, str], views: Mapping[str, HostView]) -> bool:
    """Whether the host that looks into this volume now has seen what is in it."""
    scanner = views.get(scanners.get(key, ""))
    look = scanner.looks.get(key) if scanner is not None else None
    return look is not None and look.seen.blind is None
