"""Clones by shared extents: which member of a reflink family was made from which.

The parent is the member born before it with which it shares most bytes, of equals the oldest. Where no
birth time is kept (OCFS2), or births are equal: the one seen first, then the older mtime, then the first
name. Once decided it stays while the two share a byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from storekeeper.merge.images import Own
from storekeeper.observation import UNKNOWN, Fact, Sharing


def shared_with(sharing: Mapping[str, Fact], key: str) -> Mapping[str, int]:
    """The images that share bytes with `key`, at the same offsets."""
    fact = sharing.get(key)
    return fact.shared_with if isinstance(fact, Sharing) else {}


class Family:
    """The images of one volume that may share extents. `first_seen` grows as births are found wanting."""

    def __init__(
        self,
        own: Mapping[str, Own],
        counted: Collection[str],
        sharing: Mapping[str, Fact],
        first_seen: dict[str, float],
        now: float,
    ) -> None:
        self._own = own
        self._counted = counted
        self._sharing = sharing
        self._first_seen = first_seen
        self._now = now

    def parent(self, key: str, decided: str | None, made_from_it: Collection[str]) -> str | None:
        """The image from which `key` was made. `decided` is what was found before; `made_from_it`, whose
        headers name `key` as their parent, cannot be what it was made from.
        """
        peers = {
            peer: shared
            for peer, shared in shared_with(self._sharing, key).items()
            if shared > 0 and peer != key and peer in self._counted and peer not in made_from_it
        }
        if decided in peers:
            return decided
        best: str | None = None
        for peer, shared in sorted(peers.items()):
            if self._older(peer, key) and (
                best is None or shared > peers[best] or (shared == peers[best] and self._older(peer, best))
            ):
                best = peer
        return best

    def _older(self, one: str, other: str) -> bool:
        """Whether image `one` was there before image `other`."""
        first, second = self._own[one].image, self._own[other].image
        if first.born_ns != second.born_ns and UNKNOWN not in {first.born_ns, second.born_ns}:
            return first.born_ns < second.born_ns
        seen = [self._first_seen.setdefault(key, self._now) for key in (one, other)]
        if seen[0] != seen[1]:
            return seen[0] < seen[1]
        return (first.modified_ns, one) < (second.modified_ns, other)


def copies_of_raw(
    candidates: Iterable[str], own: Mapping[str, Own], counted: Collection[str], sharing: Mapping[str, Fact]
) -> frozenset[str]:
    """Those of `candidates` (files that nothing else shows to be images) that share bytes with a raw
    image, or with another such copy.
    """
    copies: set[str] = set()
    waiting = set(candidates)
    while waiting:
        found = {
            key
            for key in waiting
            if any(
                shared > 0 and (peer in copies or (peer in counted and own[peer].header.format == "raw"))
                for peer, shared in shared_with(sharing, key).items()
            )
        }
        if not found:
            break
        copies |= found
        waiting -= found
    return frozenset(copies)
