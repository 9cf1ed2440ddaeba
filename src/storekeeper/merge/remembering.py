"""What the merge remembers from one truth to the next: first looks, last sizes, when troubles began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from storekeeper.declaration import Volume
from storekeeper.merge.truth import Memory, Remembered
from storekeeper.merge.volumes import DARK, Sight
from storekeeper.observation import UNKNOWN

T = TypeVar("T")

# A volume so seen is measured truly, if it cannot be used.
_MEASURED = frozenset({"", "read-only"})


class Remembering:
    """Gathers one merge's memory. What belongs to volumes that are declared no more stays."""

    def __init__(self, former: Memory) -> None:
        self.former = former
        self._changed: dict[str, Remembered] = {}

    def memory(self) -> Memory:
        """The memory now; the former one itself when nothing was remembered anew."""
        if not self._changed:
            return self.former
        return Memory(volumes={**self.former.volumes, **self._changed})

    def first_look(self, volume: Volume, sights: Sequence[Sight]) -> None:
        """Remembers, once, which filesystem the volume is and whether it is a mount."""
        good = next((sight.space for sight in sights if not sight.code and sight.space is not None), None)
        known = self._of(volume.key)
        if good is None or known.filesystem_id:
            return
        if known.filesystem_id is None:
            self._remember(volume.key, filesystem_id=good.filesystem_id, is_mount_point=good.is_mount_point)
        elif good.filesystem_id:
            # An identity that the first look could not tell is remembered from the first that can.
            self._remember(volume.key, filesystem_id=good.filesystem_id)

    def space(self, volume: Volume, sights: Sequence[Sight]) -> tuple[int, int]:
        """Total and available bytes, of one host: the first that sees the volume; else the last known."""
        known = self._of(volume.key).space
        for sight in sights:
            if sight.code in _MEASURED and (measured := _measured(sight)):
                if measured != known:
                    self._remember(volume.key, space=measured)
                return measured
        if known is not None:
            return known
        # Nothing is remembered, but of a host that is silent now the last good look may be known.
        last = (_measured(sight) for sight in sights if sight.code in DARK)
        return next((each for each in last if each), (0, 0))

    def family(
        self,
        key: str,
        decided: dict[str, str],
        first_seen: dict[str, float],
        identities: dict[str, tuple[int, int]],
    ) -> None:
        """Remembers the reflink parents of a volume's images, when those without a birth were seen, and which
        files these were. All are kept as they are, and must not change any more; what is the same is the very
        same object.
        """
        known = self._of(key)
        if (
            decided is not known.parents
            or first_seen is not known.first_seen
            or identities is not known.identities
        ):
            self._remember(key, parents=decided, first_seen=first_seen, identities=identities)

    def troubles(self, key: str, seen: Iterable[tuple[str, float]]) -> Mapping[str, float]:
        """When each of a volume's troubles began; those that are over are forgotten."""
        known = self._of(key).since
        now = {trouble: known.get(trouble, at) for trouble, at in seen}
        if now != known:
            self._remember(key, since=now)
        return now

    def _of(self, key: str) -> Remembered:
        return self._changed.get(key) or self.former.of(key)

    def _remember(self, key: str, **news: Any) -> None:
        self._changed[key] = replace(self._of(key), **news)


def _measured(sight: Sight) -> tuple[int, int] | None:
    here = sight.space
    if here is None or UNKNOWN in {here.total_bytes, here.available_bytes}:
        return None
    return here.total_bytes, here.available_bytes


def adopted(mine: Remembered | None, theirs: Remembered) -> Remembered:
    """What to remember of a volume of which another manager already keeps something; `mine` itself when
    that adds nothing.

    The first look is theirs, who came first; an identity that they could not tell may be mine. Parents are
    theirs too, with the ages by which they were decided: mine, decided otherwise, might make loops with them,
    and the next merge decides again what theirs lack. Of troubles the earlier time holds. The size is theirs:
    one that is seen is measured by the next merge, and of one that is not each would else keep its own.
    """
    if mine is None:
        return theirs
    first = mine if theirs.filesystem_id is None else theirs
    now = Remembered(
        filesystem_id=theirs.filesystem_id or mine.filesystem_id or first.filesystem_id,
        is_mount_point=first.is_mount_point,
        parents=mine.parents if mine.parents == theirs.parents else theirs.parents,
        first_seen=_grown(mine.first_seen, theirs.first_seen),
        identities=_identities(mine, theirs),
        space=theirs.space if theirs.space is not None else mine.space,
        since=_grown(mine.since, {key: min(at, mine.since.get(key, at)) for key, at in theirs.since.items()}),
    )
    return mine if now == mine else now


def _identities(mine: Remembered, theirs: Remembered) -> dict[str, tuple[int, int]]:
    """What theirs tell of is of the files that they know, if they do; all else of mine."""
    told_of = {*theirs.parents, *theirs.parents.values(), *theirs.first_seen}
    unknown = mine.identities.keys() & told_of - theirs.identities.keys()
    kept = {key: each for key, each in mine.identities.items() if key not in unknown}
    return _grown(kept if unknown else mine.identities, theirs.identities)


def _grown(mine: dict[str, T], more: dict[str, T]) -> dict[str, T]:
    """`mine` with more; the very same when that adds nothing: whatever was made of it need not be again."""
    return mine if more.items() <= mine.items() else {**mine, **more}
