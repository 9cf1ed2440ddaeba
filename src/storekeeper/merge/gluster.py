"""What Gluster says of a volume: its words for the document, and what its lost bricks cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from storekeeper.declaration import Volume
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Brick, Fault, GlusterHeal, GlusterVolume

# Gluster's own default: quorum is `auto` from three bricks a subvolume (afr, client-quorum).
_AUTO_FROM = 3


class Cluster(Struct, frozen=True, kw_only=True):
    """A Gluster volume as its cluster knows it. `fact` and `heal` as last seen. `untold`: why nothing
    fresh is known, `""` when it is; `untold_since` the last time it was. `at`, `heal_at`: when it was seen.
    """

    fact: GlusterVolume | None
    heal: GlusterHeal | None
    untold: str
    untold_since: float
    at: float
    heal_at: float


def cluster_of(
    volume: Volume, hosts: Sequence[str], views: Mapping[str, HostView], horizon: Horizon
) -> Cluster:
    """What the first host that can tell says now; else what was seen last, and why nobody can."""
    seen = [(host_id, views[host_id], look) for host_id in hosts if host_id in views
            and (look := views[host_id].looks.get(("gluster", ""))) is not None]  # fmt: skip
    name = volume.gvolume_name
    told: list[tuple[Look, GlusterVolume]] = []
    reasons: list[str] = []
    for host_id, view, look in seen:
        fact = look.seen.facts.get(name)
        if not horizon.reported(view) or not horizon.answered(look):
            reasons.append(f"{host_id} has not been heard of")
        elif (fault := _hiding(look, name)) is not None:
            reasons.append(f"{host_id}: {fault.text.rstrip('.')}")
        elif not isinstance(fact, GlusterVolume):
            reasons.append(f"{host_id} knows no Gluster volume {name}")
        elif _tells(fact):
            told.append((look, fact))
        elif fact.faults:
            reasons.append(f"{host_id}: {fact.faults[0].text.rstrip('.')}")
    heal, heal_at = _heal(name, [view for _, view, _ in seen], horizon)
    if told:
        look, fact = told[0]
        return Cluster(fact=fact, heal=heal, untold="", untold_since=0.0, at=look.at, heal_at=heal_at)
    known = [
        (look.good_at, fact)
        for _, _, look in seen
        if isinstance(fact := look.seen.facts.get(name), GlusterVolume)
    ]
    return Cluster(
        fact=max(known, key=lambda each: each[0])[1] if known else None,
        heal=heal,
        untold="; ".join(reasons) or "no host has asked it yet",
        untold_since=max((look.good_at for _, _, look in seen), default=0.0),
        at=0.0,
        heal_at=heal_at,
    )


def _hiding(look: Look, name: str) -> Fault | None:
    return next((fault for fault in look.seen.faults if fault.hides in {"*", name}), None)


def _tells(fact: GlusterVolume) -> bool:
    """Whether this host asked for the bricks' status, and was answered."""
    return not fact.started or any(brick.online is not None for brick in fact.bricks)


def _heal(name: str, views: Iterable[HostView], horizon: Horizon) -> tuple[GlusterHeal | None, float]:
    """What the first host that can tell says of heals now."""
    for view in views:
        look = view.looks.get(("gluster_heals", ""))
        if look is None or not horizon.reported(view) or not horizon.answered(look):
            continue
        fact = look.seen.facts.get(name)
        if _hiding(look, name) is None and isinstance(fact, GlusterHeal):
            return fact, look.at
    return None, 0.0


def configuration(fact: GlusterVolume) -> str:
    """The bricks' arrangement as `gluster volume info` writes it, without the sum: `1 x (4 + 2)`, `2 x 3`,
    `1 x (2 + 1)`, `2`.
    """
    if fact.disperse_count > 0:
        data = fact.disperse_count - fact.redundancy_count
        return f"{fact.dist_count} x ({data} + {fact.redundancy_count})"
    if fact.arbiter_count > 0:
        return f"{fact.dist_count} x ({fact.replica_count - fact.arbiter_count} + {fact.arbiter_count})"
    if fact.replica_count > 1:
        return f"{fact.dist_count} x {fact.replica_count}"
    return str(fact.brick_count)


def brick_name(brick: Brick) -> str:
    """`host:/path`, as gluster lists it."""
    return f"{brick.host}:{brick.path}"


def offline(fact: GlusterVolume) -> list[Brick]:
    """The bricks that are down, or of which nobody can tell."""
    return [brick for brick in fact.bricks if not brick.online]


def split_brain_entries(heal: GlusterHeal) -> int:
    """How many entries are in split brain, as far as any brick can tell."""
    counted = max((brick.split_brain_entries for brick in heal.bricks), default=0)
    return max(counted, len(heal.split_brain_files))


def subvolumes(fact: GlusterVolume) -> list[tuple[Brick, ...]]:
    """The bricks by subvolume: gluster lists them one subvolume after the other."""
    size = fact.disperse_count or max(fact.replica_count, 1)
    return [fact.bricks[start : start + size] for start in range(0, len(fact.bricks), size)]


def lost(fact: GlusterVolume) -> list[tuple[Brick, ...]]:
    """The subvolumes that have lost more bricks than they tolerate."""
    return [bricks for bricks in subvolumes(fact) if not _stands(fact, bricks)]


def _stands(fact: GlusterVolume, bricks: Sequence[Brick]) -> bool:
    """Whether a subvolume can be used with the bricks that are up."""
    up = [brick for brick in bricks if brick.online]
    if fact.disperse_count > 0:
        return len(bricks) - len(up) <= fact.redundancy_count
    # An arbiter counts for the quorum but holds no data.
    return any(not brick.arbiter for brick in up) and len(up) >= _quorum(fact, bricks)


def _quorum(fact: GlusterVolume, bricks: Sequence[Brick]) -> int:
    """How many bricks of a replica must be up, as its client counts: `cluster.quorum-type`."""
    kind = fact.options.get("cluster.quorum-type", "auto" if len(bricks) >= _AUTO_FROM else "none")
    if kind == "fixed":
        count = fact.options.get("cluster.quorum-count", "")
        return int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 1
    if kind != "auto":
        return 1
    # More than half; of an even number just half is enough when the first brick is among them.
    half, odd = divmod(len(bricks), 2)
    return half if not odd and bricks[0].online else half + 1
