"""The status of a volume: one table, the first row that matches wins.

A row's message is one sentence for a person: what is wrong, where, since when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from storekeeper.declaration import Volume
from storekeeper.document import Status
from storekeeper.merge import gluster
from storekeeper.merge.freshness import when
from storekeeper.merge.gluster import Cluster
from storekeeper.merge.truth import Look
from storekeeper.merge.volumes import BAD, DARK, Sight
from storekeeper.observation import Brick, Fault

_NAMES_SHOWN = 3


class Observed(Struct, frozen=True, kw_only=True):
    """All that a volume's status follows from. `images`: the look at its images that counts; `since`: when
    each of its `troubles` began; `listing_stale`: that look is too old, and no other is to be expected soon.
    """

    volume: Volume
    sights: tuple[Sight, ...]
    cluster: Cluster | None
    images: Look | None
    since: Mapping[str, float]
    listing_stale: bool = False


class Row(NamedTuple):
    """One line of the table. `find` gives the message, `""` when the row does not match."""

    status: Status
    code: str
    when: str
    find: Callable[[Observed], str]


def status_of(observed: Observed) -> tuple[Status, str]:
    """The status of a volume and its message, `("ok", "")` when no row matches."""
    for row in TABLE:
        message = row.find(observed)
        if message:
            return row.status, message[0].upper() + message[1:] + "."
    return "ok", ""


def troubles(sights: Iterable[Sight], cluster: Cluster | None) -> Iterator[tuple[str, float]]:
    """Every trouble whose beginning is to be remembered, and when it was seen now."""
    for sight in sights:
        if sight.code in BAD:
            yield f"{sight.code} {sight.host_id}", sight.at
    if cluster is None:
        return
    if cluster.fact is not None and not cluster.untold:
        if not cluster.fact.started:
            yield "gluster-stopped", cluster.at
        if gluster.lost(cluster.fact):
            yield "bricks-lost", cluster.at
        if gluster.offline(cluster.fact):
            yield "bricks-offline", cluster.at
    if cluster.heal is not None:
        if gluster.split_brain_entries(cluster.heal):
            yield "split-brain", cluster.heal_at
        for brick in cluster.heal.bricks:
            if brick.entries > 0:
                yield f"heals {brick.host}:{brick.path}", cluster.heal_at


# --- hosts --------------------------------------------------------------------------------------


def _nobody_reports(observed: Observed) -> str:
    if any(sight.code != "silent" for sight in observed.sights):
        return ""
    return _told(observed, observed.sights)


def _nobody_tells(observed: Observed) -> str:
    if any(sight.code not in DARK for sight in observed.sights):
        return ""
    return _told(observed, observed.sights)


def _unusable(code: str) -> Callable[[Observed], str]:
    """Matches where no host can use the volume, and this is the worst reason of those that tell."""

    def find(observed: Observed) -> str:
        codes = {sight.code for sight in observed.sights}
        return "" if "" in codes or code not in codes else _told(observed, observed.sights)

    return find


def _somewhere(code: str) -> Callable[[Observed], str]:
    """Matches where some host can use the volume, and this is the worst reason of the others."""

    def find(observed: Observed) -> str:
        there = any(sight.code == code for sight in observed.sights)
        return _told(observed, observed.sights) if there else ""

    return find


def _told(observed: Observed, sights: Sequence[Sight]) -> str:
    """What all hosts in trouble see, the worst first; equal troubles keep the order of the hosts."""
    order = (*BAD, *DARK)
    troubled = sorted((sight for sight in sights if sight.code), key=lambda sight: order.index(sight.code))
    return "; ".join(_with_since(observed, sight) for sight in troubled)


def _with_since(observed: Observed, sight: Sight) -> str:
    # Silence and hangs began when the host was last heard; of all else the first look that saw it tells.
    began = sight.at if sight.code in DARK else observed.since[f"{sight.code} {sight.host_id}"]
    return f"{sight.text} since {when(began)}" if began else sight.text


# --- gluster ------------------------------------------------------------------------------------


def _stopped(observed: Observed) -> str:
    cluster = observed.cluster
    if cluster is None or cluster.untold or cluster.fact is None or cluster.fact.started:
        return ""
    began = observed.since["gluster-stopped"]
    return f"the Gluster volume {cluster.fact.key} is stopped since {when(began)}"


def _bricks_lost(observed: Observed) -> str:
    cluster = observed.cluster
    if cluster is None or cluster.untold or cluster.fact is None or not gluster.lost(cluster.fact):
        return ""
    broken = gluster.lost(cluster.fact)
    down = [brick for bricks in broken for brick in bricks if not brick.online]
    began = observed.since["bricks-lost"]
    which = "the volume" if len(gluster.subvolumes(cluster.fact)) == 1 else f"{len(broken)} of its subvolumes"
    return f"more bricks are offline than {which} can do without since {when(began)}: {_bricks(down)}"


def _bricks_offline(observed: Observed) -> str:
    cluster = observed.cluster
    if cluster is None or cluster.untold or cluster.fact is None:
        return ""
    down = gluster.offline(cluster.fact)
    if not down:
        return ""
    began = observed.since["bricks-offline"]
    total = len(cluster.fact.bricks)
    return f"{len(down)} of {total} bricks are offline since {when(began)}: {_bricks(down)}"


def _split_brain(observed: Observed) -> str:
    heal = observed.cluster.heal if observed.cluster is not None else None
    entries = gluster.split_brain_entries(heal) if heal is not None else 0
    if heal is None or not entries:
        return ""
    named = _shortened(heal.split_brain_files) or f"{entries} entries"
    began = when(observed.since["split-brain"])
    return f"its bricks hold different contents (split brain) since {began}: {named}"


def _healing(observed: Observed) -> str:
    """Entries that two looks running saw: a running guest's writes are pending for moments."""
    cluster = observed.cluster
    if cluster is None or cluster.heal is None:
        return ""
    lasting = []
    for brick in cluster.heal.bricks:
        if brick.entries > 0:
            began = observed.since[f"heals {brick.host}:{brick.path}"]
            if began < cluster.heal_at:
                lasting.append((began, brick.entries, f"{brick.host}:{brick.path}"))
    if not lasting:
        return ""
    began = min(each[0] for each in lasting)
    entries = max(each[1] for each in lasting)
    names = _shortened([each[2] for each in lasting])
    return f"{entries} entries wait to be healed since {when(began)}, on {names}"


def _cluster_untold(observed: Observed) -> str:
    cluster = observed.cluster
    if cluster is None or not cluster.untold:
        return ""
    since = f" since {when(cluster.untold_since)}" if cluster.untold_since else ""
    return f"Gluster cannot be asked about its bricks{since} ({cluster.untold})"


def _bricks(bricks: Iterable[Brick]) -> str:
    return _shortened([gluster.brick_name(brick) for brick in bricks])


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


# --- images -------------------------------------------------------------------------------------


def _never_listed(observed: Observed) -> str:
    look = observed.images
    if look is not None and look.good_at:
        return ""
    fault = look.seen.blind if look is not None else None
    return f"its images were never listed ({_why(fault)})" if fault else "its images have not been listed yet"


def _listing_fails(observed: Observed) -> str:
    look = observed.images
    fault = look.seen.blind if look is not None else None
    if look is None or fault is None:
        return ""
    return f"its images could not be listed since {when(look.good_at)} ({_why(fault)}); they are as last seen"


def _listing_stale(observed: Observed) -> str:
    look = observed.images
    if look is None or not observed.listing_stale:
        return ""
    return f"its images were last listed at {when(look.at)}; they are as last seen"


def _listing_partial(observed: Observed) -> str:
    look = observed.images
    if look is None:
        return ""
    hidden = {fault.hides.rstrip("/") for fault in look.seen.faults if fault.hides not in {"", "*"}}
    if not hidden:
        return ""
    return f"a part of it could not be read, and is as last seen: {_shortened(sorted(hidden))}"


def _why(fault: Fault) -> str:
    return fault.text.rstrip(".")


TABLE: tuple[Row, ...] = (
    Row("unknown", "silent", "no linked host has reported within the time allowed", _nobody_reports),
    Row("broken", "gluster-stopped", "the Gluster volume is stopped", _stopped),
    Row("broken", "bricks-lost", "a subvolume has lost more bricks than it tolerates", _bricks_lost),
    Row("unknown", "untold", "every probe of it timed out, failed, or is too old", _nobody_tells),
    Row("broken", "disk-gone", "no host can use it: its disk is gone", _unusable("disk-gone")),
    Row("broken", "io-error", "no host can use it: it cannot be read", _unusable("io-error")),
    Row("broken", "other-filesystem", "no host can use it: another filesystem is there",
        _unusable("other-filesystem")),
    Row("broken", "not-mounted", "no host can use it: it is not mounted", _unusable("not-mounted")),
    Row("broken", "absent", "no host can use it: its directory does not exist", _unusable("absent")),
    Row("broken", "read-only", "no host can use it: it is read-only", _unusable("read-only")),
    Row("unknown", "never-listed", "its images were never listed", _never_listed),
    Row("degraded", "disk-gone", "its disk is gone from some host", _somewhere("disk-gone")),
    Row("degraded", "io-error", "it cannot be read on some host", _somewhere("io-error")),
    Row("degraded", "other-filesystem", "some host sees another filesystem there",
        _somewhere("other-filesystem")),
    Row("degraded", "not-mounted", "it is not mounted on some host", _somewhere("not-mounted")),
    Row("degraded", "absent", "its directory does not exist on some host", _somewhere("absent")),
    Row("degraded", "read-only", "some host sees it read-only", _somewhere("read-only")),
    Row("degraded", "hung", "it does not answer on some host", _somewhere("hung")),
    Row("degraded", "silent", "some host does not report", _somewhere("silent")),
    Row("degraded", "stale", "some host has not looked at it for long", _somewhere("stale")),
    Row("degraded", "untold", "some host cannot tell", _somewhere("untold")),
    Row("degraded", "unseen", "some host has not looked at it yet", _somewhere("unseen")),
    Row("degraded", "split-brain", "files are in split brain", _split_brain),
    Row("degraded", "bricks-offline", "bricks are offline, within what is tolerated", _bricks_offline),
    Row("degraded", "heals", "entries wait to be healed, in two looks running", _healing),
    Row("degraded", "gluster-untold", "Gluster's tools fail on every host that may ask", _cluster_untold),
    Row("degraded", "listing-fails", "its images can be listed no more", _listing_fails),
    Row("degraded", "listing-stale", "its images have not been listed for long", _listing_stale),
    Row("degraded", "listing-partial", "a part of it could not be read", _listing_partial),
)  # fmt: skip
