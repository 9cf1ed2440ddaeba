"""What the merge remembers from one truth to the next: first looks, last sizes, when troubles began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from storekeeper.declaration import Volume
from storekeeper.merge.truth import Memory
from storekeeper.merge.volumes import DARK, Sight
from storekeeper.observation import UNKNOWN

# A volume so seen is measured truly, if it cannot be used.
_MEASURED = frozenset({"", "read-only"})


class Remembering:
    """Gathers one merge's memory. What belongs to volumes that are declared no more stays."""

    def __init__(self, former: Memory) -> None:
        self.former = former
        self._filesystem_ids = dict(former.filesystem_ids)
        self._mount_points = set(former.mount_points)
        self._parents = dict(former.parents)
        self._first_seen = dict(former.first_seen)
        self._spaces = dict(former.spaces)
        self._since = dict(former.since)

    def memory(self) -> Memory:
        """The memory now; the former one itself when it is the same."""
        now = Memory(
            filesystem_ids=self._filesystem_ids,
            mount_points=frozenset(self._mount_points),
            parents=self._parents,
            first_seen=self._first_seen,
            spaces=self._spaces,
            since=self._since,
        )
        return self.former if now == self.former else now

    def first_look(self, volume: Volume, sights: Sequence[Sight]) -> None:
        """Remembers, once, which filesystem the volume is and whether it is a mount."""
        good = next((sight.space for sight in sights if not sight.code and sight.space is not None), None)
        if good is None or self._filesystem_ids.get(volume.key):
            return
        if volume.key not in self._filesystem_ids and good.is_mount_point:
            self._mount_points.add(volume.key)
        # An identity that the first look could not tell is remembered from the first that can.
        self._filesystem_ids[volume.key] = good.filesystem_id

    def space(self, volume: Volume, sights: Sequence[Sight]) -> tuple[int, int]:
        """Total and available bytes, of one host: the first that sees the volume; else the last known."""
        for sight in sights:
            if sight.code in _MEASURED and (measured := _measured(sight)):
                self._spaces[volume.key] = measured
                return measured
        if volume.key in self._spaces:
            return self._spaces[volume.key]
        # Nothing is remembered, but of a host that is silent now the last good look may be known.
        last = (_measured(sight) for sight in sights if sight.code in DARK)
        return next((each for each in last if each), (0, 0))

    def family(self, key: str, decided: Mapping[str, str], first_seen: Mapping[str, float]) -> None:
        """Remembers the reflink parents of a volume's images, and when those without a birth were seen."""
        _set(self._parents, key, dict(decided))
        _set(self._first_seen, key, dict(first_seen))

    def troubles(self, key: str, seen: Iterable[tuple[str, float]]) -> Mapping[str, float]:
        """When each of a volume's troubles began; those that are over are forgotten."""
        former = self._since.get(key, {})
        now = {trouble: former.get(trouble, at) for trouble, at in seen}
        _set(self._since, key, now)
        return now


def _measured(sight: Sight) -> tuple[int, int] | None:
    here = sight.space
    if here is None or UNKNOWN in {here.total_bytes, here.available_bytes}:
        return None
    return here.total_bytes, here.available_bytes


_T = TypeVar("_T", dict[str, str], dict[str, float])


def _set(memory: dict[str, _T], key: str, now: _T) -> None:
    """Keeps what there is to remember; nothing takes no room."""
    if now:
        memory[key] = now
    else:
        memory.pop(key, None)
