"""Clones by shared extents: which member of a reflink family was made from which.

The parent is the member born before it with which it shares most bytes, of equals the oldest. Where no
birth time is kept (OCFS2), or births are equal: the one seen first, then the older mtime, then the first
name. Once decided it stays while both are the same files (by inode and birth) and share a byte.

No loop comes of it: all that a parent is known to be made from is older than its new clone too. Mtimes
change, headers say what they will, and managers decide otherwise: ages alone would not do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from storekeeper.merge.clones import loop_above
from storekeeper.merge.images import Own
from storekeeper.merge.places import Ref
from storekeeper.merge.shelves import Keys, Shelf, shared_with
from storekeeper.observation import UNKNOWN, Fact


class Family:
    """The images of one volume that may share extents. What is decided and remembered of them is kept on
    its shelf. `header_parent` gives the parent that an image's header names, before which extents yield.
    """

    def __init__(
        self, volume_id: str, shelf: Shelf, header_parent: Callable[[Ref], Ref | None], now: float
    ) -> None:
        self._volume_id = volume_id
        self._shelf = shelf
        self._header_parent = header_parent
        self._now = now
        self._renewed: Keys = set()

    def forget_replaced(self, moved: Keys) -> None:
        """Forgets when those of the `moved` were first seen that are other files now."""
        for key in moved & self._shelf.found.identities.keys():
            own = self._shelf.own.get(key)
            if own is not None and _identity(own) != self._shelf.found.identities[key]:
                self._renewed.add(key)
                if self._is_replaced(key):
                    self._shelf.first_seen.pop(key, None)

    def decide(self, dirty: Keys) -> Keys:
        """Decides the parents of these anew where none stands, and of those on loops with them. Gives all."""
        decided = self._shelf.decided
        for key in dirty & decided.keys():
            if not self._stands(key, decided[key]):
                del decided[key]
        again = set(dirty)
        if decided:
            ends: Keys = set()
            for key in dirty:
                for each in loop_above(key, self._parent, ends):
                    decided.pop(each, None)
                    again.add(each)
        barred: Keys = set()
        found: dict[str, str] = {}
        for key in again:
            if (
                key not in decided
                and key in self._shelf.counted
                and self._header_parent((self._volume_id, key)) is None
                and (elders := self._elders(key))
            ):
                parent = self._best(key, elders)
                if parent is None:
                    barred.add(key)
                else:
                    found[key] = parent
        # Not one by one: what is found for one image must not hang on the order in which they are asked for.
        decided.update(found)
        self._shelf.barred = frozenset(barred)
        return again

    def leave(self, before: Shelf) -> None:
        """Leaves what is to be remembered: nothing of what is gone, and what is the same as it was."""
        shelf, found = self._shelf, self._shelf.found
        for remembered in (shelf.first_seen, shelf.decided):
            for gone in [key for key in remembered if key not in shelf.own]:
                del remembered[gone]
        if shelf.decided == found.decided:
            shelf.decided = found.decided
        if shelf.first_seen == found.first_seen:
            shelf.first_seen = found.first_seen
        others = found.identities is not before.identities
        same = shelf.decided is found.decided and shelf.first_seen is found.first_seen
        if others or not same or self._renewed:
            told_of = {*shelf.decided, *shelf.decided.values(), *shelf.first_seen}
            known = set() if others else found.identities.keys() - self._renewed
            identities = {key: found.identities[key] for key in known & told_of}
            identities.update((key, _identity(shelf.own[key])) for key in told_of - known)
            if identities != found.identities:
                shelf.identities = identities

    def _stands(self, key: str, parent: str) -> bool:
        """Whether what was decided holds still."""
        counted = self._shelf.counted
        return (
            key != parent
            and key in counted
            and parent in counted
            and shared_with(self._shelf.found.sharing, key).get(parent, 0) > 0
            and self._header_parent((self._volume_id, key)) is None
            and not self._is_replaced(key)
            and not self._is_replaced(parent)
        )

    def _is_replaced(self, key: str) -> bool:
        """Whether the image is another file than the one remembered. Inodes are used again, births are not;
        a birth that was not told, then or now, tells nothing.
        """
        known = self._shelf.found.identities.get(key)
        if known is None:
            return False
        image = self._shelf.own[key].image
        births = {known[1], image.born_ns}
        return known[0] != image.inode or (len(births) > 1 and UNKNOWN not in births)

    def _elders(self, key: str) -> dict[str, int]:
        """The images that were there before `key`, with the bytes they share with it."""
        return {
            peer: shared
            for peer, shared in shared_with(self._shelf.found.sharing, key).items()
            if shared > 0 and peer != key and peer in self._shelf.counted and self._older(peer, key)
        }

    def _best(self, key: str, elders: Mapping[str, int]) -> str | None:
        """The elder that is the parent; none when all were made from it, or from what is younger than it."""
        best: str | None = None
        for peer, shared in sorted(elders.items()):
            if (
                best is None or shared > elders[best] or (shared == elders[best] and self._older(peer, best))
            ) and all(each != key and self._older(each, key) for each in self._above(peer)):
                best = peer
        return best

    def _above(self, key: str) -> Iterator[str]:
        """All from which an image is known to be made, on this volume."""
        passed = {key}
        above = self._parent(key)
        while above is not None and above not in passed:
            yield above
            passed.add(above)
            above = self._parent(above)

    def _parent(self, key: str) -> str | None:
        """The parent of an image as decided or as its header names it, on this volume."""
        if (decided := self._shelf.decided.get(key)) is not None:
            return decided
        named = self._header_parent((self._volume_id, key))
        return named[1] if named is not None and named[0] == self._volume_id else None

    def _older(self, one: str, other: str) -> bool:
        """Whether image `one` was there before image `other`. One without a birth came after all that have
        one: so the ages are in order, whichever are compared.
        """
        first, second = self._shelf.own[one].image, self._shelf.own[other].image
        if first.born_ns != second.born_ns:
            return second.born_ns == UNKNOWN or UNKNOWN != first.born_ns < second.born_ns
        seen = [self._shelf.first_seen.setdefault(key, self._now) for key in (one, other)]
        if seen[0] != seen[1]:
            return seen[0] < seen[1]
        return (first.modified_ns, one) < (second.modified_ns, other)


def _identity(own: Own) -> tuple[int, int]:
    return own.image.inode, own.image.born_ns


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
