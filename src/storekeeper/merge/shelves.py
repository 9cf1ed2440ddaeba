"""One volume's part of a catalogue: what was found on it, and its files by name and inode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, MutableMapping, Set
from typing import TypeVar

from msgspec import Struct

from storekeeper.merge.images import Own
from storekeeper.merge.owners import Uses
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import Fact, Image, Sharing
from storekeeper.parts import copied, in_order

Keys = set[str]
T = TypeVar("T", bound=Hashable)
# A set of which a change copies a part.
Marks = Mapping[T, None]
Index = Mapping[T, Marks[T]]


class Found(Struct, frozen=True):
    """What was found on one volume: the facts of its images and extents looks, and who uses what.

    `decided`, `first_seen` and `identities` are what is remembered of it.
    """

    files: Mapping[str, Fact]
    sharing: Mapping[str, Fact]
    uses: Mapping[str, Uses]
    decided: dict[str, str]
    first_seen: dict[str, float]
    identities: dict[str, tuple[int, int]]


NOTHING = Found({}, {}, {}, {}, {}, {})


class Shelf:
    """One volume's part of a catalogue. Never changed once its catalogue is made.

    `hard_links`: all names of the inodes that have several. `sharers`: who shares bytes with each file.
    `decided`, `first_seen` and `identities` are then what is to be remembered: the very objects of `found`
    when that is the same. `barred`: who has elders to share with, but none that can be its parent.
    """

    def __init__(self, former: Shelf | None, found: Found) -> None:
        self.found = found
        self.own: MutableMapping[str, Own] = copied(former.own) if former else {}
        self.truths: MutableMapping[str, ImageTruth] = copied(former.truths) if former else {}
        # What seldom changes is the former one's until it does.
        self.name_of_inode: Mapping[int, str] = former.name_of_inode if former else {}
        self.hard_links: Mapping[int, tuple[str, ...]] = former.hard_links if former else {}
        self.maybe_copies: Marks[str] = former.maybe_copies if former else {}
        self.sharers: Index[str] = former.sharers if former else {}
        self.copies: frozenset[str] = former.copies if former else frozenset()
        self.counted: Marks[str] = former.counted if former else {}
        self.decided: dict[str, str] = dict(found.decided)
        self.first_seen: dict[str, float] = dict(found.first_seen)
        self.identities = found.identities
        self.barred: frozenset[str] = former.barred if former else frozenset()


def amended(marks: Marks[T], touched: Set[T], holding: Set[T]) -> Marks[T]:
    """The marks, of what was touched just those `holding`; the very same object when nothing changed."""
    if not marks:
        return dict.fromkeys(holding)
    if {key for key in touched if key in marks} == holding:
        return marks
    now = copied(marks)
    for key in touched - holding:
        now.pop(key, None)
    now.update(dict.fromkeys(holding))
    return now


def reindex(index: MutableMapping[T, Marks[T]], gone: Mapping[T, Set[T]], come: Mapping[T, Set[T]]) -> None:
    """Takes what is gone from the marks of each, and adds what has come."""
    for name in gone.keys() | come.keys():
        added = come.get(name, frozenset[T]())
        marks = amended(index.get(name, {}), gone.get(name, frozenset[T]()) | added, added)
        if marks:
            index[name] = marks
        else:
            index.pop(name, None)


def sharers(
    index: Index[str], changed: Keys, before: Mapping[str, Fact], now: Mapping[str, Fact]
) -> Index[str]:
    """Who shares bytes with each file, after what these share changed."""
    if not changed:
        return index
    gone: defaultdict[str, Keys] = defaultdict(set)
    come: defaultdict[str, Keys] = defaultdict(set)
    for key in changed:
        for facts, peers in ((before, gone), (now, come)):
            for peer in shared_with(facts, key):
                peers[peer].add(key)
    after = copied(index)
    reindex(after, gone, come)
    return after


def shared_with(sharing: Mapping[str, Fact], key: str) -> Mapping[str, int]:
    """The images that share bytes with `key`, at the same offsets."""
    fact = sharing.get(key)
    return fact.shared_with if isinstance(fact, Sharing) else {}


def names_of(shelf: Shelf, fact: Fact | None) -> tuple[str, ...]:
    """All names of a file that has hard links; none when it has but one."""
    return shelf.hard_links.get(fact.inode, ()) if isinstance(fact, Image) else ()


def linked(keys: Keys, files: Mapping[str, Fact], shelf: Shelf) -> Keys:
    """All names of those of the files that have several."""
    if not shelf.hard_links:
        return set()
    return {name for key in keys for name in names_of(shelf, files.get(key))}


def link(shelf: Shelf, changed: Keys, before: Mapping[str, Fact], now: Mapping[str, Fact]) -> None:
    """Files the changed ones under their new inodes."""
    moved = [key for key in in_order(changed, now) if _inode(before.get(key)) != _inode(now.get(key))]
    if not moved:
        return
    names, links = copied(shelf.name_of_inode), copied(shelf.hard_links)
    for key in moved if before else ():
        if inode := _inode(before.get(key)):
            left = tuple(name for name in links.pop(inode, (key,)) if name != key)
            if left:
                names[inode] = left[0]
            else:
                del names[inode]
            if len(left) > 1:
                links[inode] = left
    for key in moved:
        if inode := _inode(now.get(key)):
            first = names.setdefault(inode, key)
            if first != key:
                links[inode] = (*links.get(inode, (first,)), key)
    shelf.name_of_inode, shelf.hard_links = names, links


def _inode(fact: Fact | None) -> int:
    """The inode of an image; 0 of what is none, or whose inode is not known."""
    return max(fact.inode, 0) if isinstance(fact, Image) else 0
