"""Every image of one storage, resolved, and kept so by doing again only what a change touches.

A catalogue is a function of its inputs alone. `updated` follows each change along what depends on it:

1. A file, or a guest that uses it, changed: what the file is by itself (`own`), and its hard links'.
2. `own` changed: whom it claims (extents, data files), hence which files count as images.
3. What counts changed: the parents of those whose headers may mean it.
4. Any of these, or shared extents, or what is remembered of a file, changed: the reflink parents of those
   that share with it.
5. A parent changed: the loops through it.

From scratch is the same: an update of the empty catalogue, in which everything changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from storekeeper.merge.clones import LOOP, header_parent, looping, not_found
from storekeeper.merge.images import Own, own
from storekeeper.merge.owners import guests
from storekeeper.merge.places import Places, Ref
from storekeeper.merge.sharing import Family, copies_of_raw
from storekeeper.merge.shelves import (
    NOTHING,
    Found,
    Keys,
    Shelf,
    amended,
    differing,
    in_order,
    link,
    linked,
    names_of,
)
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import Image, Sharing


class Catalogue:
    """All volumes' shelves, and what crosses volumes. `changed`: the images that were resolved anew when
    it was made from the one before, by volume.
    """

    def __init__(self, places: Places, former: Catalogue | None = None) -> None:
        self.places = places
        self.shelves: dict[str, Shelf] = dict(former.shelves) if former else {}
        self.claimed: dict[Ref, int] = dict(former.claimed) if former else {}
        self.by_unique_id: dict[str, tuple[Ref, ...]] = dict(former.by_unique_id) if former else {}
        self.parents: dict[Ref, Ref] = dict(former.parents) if former else {}
        self.by_extents: set[Ref] = set(former.by_extents) if former else set()
        self.loops: frozenset[Ref] = former.loops if former else frozenset()
        self.changed: dict[str, Collection[str]] = {}


def updated(former: Catalogue, found: Mapping[str, Found], now: float) -> Catalogue:
    """The catalogue of what is found now; `former`, of the same places, itself when that is the same."""
    if former.shelves.keys() == found.keys() and all(
        _same(former.shelves[volume_id], each) for volume_id, each in found.items()
    ):
        return former
    catalogue = Catalogue(former.places, former)
    _Update(former, catalogue, found, now).run()
    return catalogue


def _same(shelf: Shelf, found: Found) -> bool:
    before = shelf.found
    return (
        before.files is found.files
        and before.sharing is found.sharing
        and before.uses is found.uses
        and shelf.decided is found.decided
        and shelf.first_seen is found.first_seen
        and shelf.identities is found.identities
    )


class _Update:
    """One run from a catalogue to the next; each step leaves what it changed for the later ones."""

    def __init__(self, former: Catalogue, now: Catalogue, found: Mapping[str, Found], at: float) -> None:
        self.former = former
        self.now = now
        self.found = found
        self.at = at
        volumes = found.keys()
        self.touched: dict[str, Keys] = {volume_id: set() for volume_id in volumes}
        self.shared: dict[str, Keys] = {volume_id: set() for volume_id in volumes}
        self.joined_or_left: dict[str, Keys] = {volume_id: set() for volume_id in volumes}
        self.reparented: dict[str, Keys] = {volume_id: set() for volume_id in volumes}
        self.claims_touched: set[Ref] = set()
        self.ids_touched: set[str] = set()

    def run(self) -> None:
        for volume_id, found in self.found.items():
            self.now.shelves[volume_id] = Shelf(self.former.shelves.get(volume_id), found)
        for volume_id in self.found:
            self._files(volume_id)
        for volume_id in self.found:
            self._count(volume_id)
        self._index_unique_ids()
        self._header_parents()
        for volume_id in self.found:
            self._extent_parents(volume_id)
        self._loops()
        for volume_id in self.found:
            self._truths(volume_id)

    # --- 1: files and their guests ---------------------------------------------------------------

    def _files(self, volume_id: str) -> None:
        shelf = self.now.shelves[volume_id]
        former = self._found_before(volume_id)
        changed = differing(former.files, shelf.found.files)
        self.shared[volume_id] = differing(former.sharing, shelf.found.sharing)
        touched = changed | differing(former.uses, shelf.found.uses)
        others = linked(touched, former.files, shelf)
        link(shelf, changed, former.files, shelf.found.files)
        touched |= others | linked(touched, shelf.found.files, shelf)
        with_parent: Keys = set()
        with_unique_id: Keys = set()
        maybe_copies: Keys = set()
        for key in in_order(touched, shelf.found.files):
            now = self._own(volume_id, key, shelf)
            if now is not None:
                if now.parent_name:
                    with_parent.add(key)
                if now.header.unique_id:
                    with_unique_id.add(key)
                if now.may_be_copy:
                    maybe_copies.add(key)
        shelf.with_parent = amended(shelf.with_parent, touched, with_parent)
        shelf.with_unique_id = amended(shelf.with_unique_id, touched, with_unique_id)
        shelf.maybe_copies = amended(shelf.maybe_copies, touched, maybe_copies)
        self.touched[volume_id] = touched

    def _own(self, volume_id: str, key: str, shelf: Shelf) -> Own | None:
        image = shelf.found.files.get(key)
        before = shelf.own.pop(key, None)
        if before is not None and before.claims:
            self._claim(before.claims, -1)
        if not isinstance(image, Image):
            return None
        uses = shelf.found.uses.get(key, ())
        if shelf.hard_links and (names := names_of(shelf, image)):
            uses = tuple(sorted({use for name in names for use in shelf.found.uses.get(name, ())}))
        now = shelf.own[key] = own((volume_id, key), image, uses, self.now.places)
        if now.claims:
            self._claim(now.claims, 1)
        return now

    def _claim(self, refs: Iterable[Ref], by: int) -> None:
        for ref in refs:
            self.now.claimed[ref] = self.now.claimed.get(ref, 0) + by
            self.claims_touched.add(ref)

    # --- 2: what counts as an image --------------------------------------------------------------

    def _count(self, volume_id: str) -> None:
        shelf = self.now.shelves[volume_id]
        before = shelf.counted
        touched = self.touched[volume_id] | {key for where, key in self.claims_touched if where == volume_id}
        touched |= shelf.copies
        counted = {
            key
            for key in in_order(touched, shelf.own)
            if (known := shelf.own.get(key)) is not None
            and known.counts
            and not self._hidden(volume_id, key, known)
        }
        shelf.counted = amended(before, touched, counted)
        free = {key for key in shelf.maybe_copies if not self._hidden(volume_id, key, shelf.own[key])}
        shelf.copies = copies_of_raw(free, shelf.own, shelf.counted, shelf.found.sharing)
        if shelf.copies:
            shelf.counted |= shelf.copies
            touched |= shelf.copies
        self.joined_or_left[volume_id] = (touched & shelf.counted) ^ (touched & before)

    def _hidden(self, volume_id: str, key: str, known: Own) -> bool:
        """Whether a file is a part of another image. A guest's disk is none, nor is what has parts."""
        claimed = bool(self.now.claimed) and self.now.claimed.get((volume_id, key), 0) > 0
        return claimed and not known.uses and not known.claims

    # --- 3: parents by headers -------------------------------------------------------------------

    def _index_unique_ids(self) -> None:
        for volume_id, shelf in self.now.shelves.items():
            before = self.former.shelves.get(volume_id)
            dirty = self.touched[volume_id] | self.joined_or_left[volume_id]
            dirty &= shelf.with_unique_id | (before.with_unique_id if before is not None else frozenset())
            for key in dirty:
                ref = (volume_id, key)
                if before is not None and key in before.counted:
                    self._unique_id(before.own[key].header.unique_id, ref, there=False)
                if key in shelf.counted:
                    self._unique_id(shelf.own[key].header.unique_id, ref, there=True)

    def _unique_id(self, unique_id: str, ref: Ref, *, there: bool) -> None:
        if not unique_id:
            return
        self.ids_touched.add(unique_id)
        others = tuple(each for each in self.now.by_unique_id.get(unique_id, ()) if each != ref)
        self.now.by_unique_id[unique_id] = (*others, ref) if there else others

    def _header_parents(self) -> None:
        counted = {volume_id: shelf.counted for volume_id, shelf in self.now.shelves.items()}
        for volume_id, shelf in self.now.shelves.items():
            before = self.former.shelves.get(volume_id)
            dirty = self.touched[volume_id] | self.joined_or_left[volume_id]
            dirty &= shelf.with_parent | (before.with_parent if before is not None else frozenset())
            if any(self.joined_or_left.values()) or self.ids_touched:
                dirty |= self._may_mean_others(shelf, shelf.with_parent - dirty)
            for key in dirty:
                ref = (volume_id, key)
                parent = None
                if key in shelf.counted:
                    parent = header_parent(ref, shelf.own[key], counted, self.now.by_unique_id)
                if parent is not None or ref not in self.now.by_extents:
                    self._reparent(ref, parent, by_extents=False)

    def _may_mean_others(self, shelf: Shelf, keys: Collection[str]) -> Keys:
        """Those whose headers name as parent what came or went."""
        if not keys:
            return set()
        moved = {(volume_id, key) for volume_id, keys in self.joined_or_left.items() for key in keys}
        return {
            key
            for key in keys
            if not moved.isdisjoint((known := shelf.own[key]).candidates)
            or known.parent_unique_id in self.ids_touched
        }

    def _reparent(self, ref: Ref, parent: Ref | None, *, by_extents: bool) -> None:
        if parent == self.now.parents.get(ref) and by_extents == (ref in self.now.by_extents):
            return
        self.reparented[ref[0]].add(ref[1])
        self.now.by_extents.discard(ref)
        if parent is None:
            self.now.parents.pop(ref, None)
            return
        self.now.parents[ref] = parent
        if by_extents:
            self.now.by_extents.add(ref)

    # --- 4: parents by shared extents -------------------------------------------------------------

    def _extent_parents(self, volume_id: str) -> None:
        shelf = self.now.shelves[volume_id]
        before = self.former.shelves.get(volume_id) or Shelf(None, NOTHING)
        family = Family(volume_id, shelf, self._header_parent, self.at)
        # What is remembered may be another manager's.
        moved = self.touched[volume_id] | self.joined_or_left[volume_id] | self.reparented[volume_id]
        moved |= differing(before.first_seen, shelf.found.first_seen)
        moved |= differing(before.identities, shelf.found.identities)
        family.forget_replaced(moved)
        dirty = moved | self.shared[volume_id] | differing(before.decided, shelf.found.decided) | shelf.barred
        if moved:
            dirty |= {
                key
                for key, fact in shelf.found.sharing.items()
                if isinstance(fact, Sharing) and not fact.shared_with.keys().isdisjoint(moved)
            }
        if not shelf.found.sharing:
            dirty &= shelf.decided.keys() | {key for where, key in self.now.by_extents if where == volume_id}
        for key in family.decide(dirty):
            ref = (volume_id, key)
            if self._header_parent(ref) is None:
                parent = shelf.decided.get(key)
                self._reparent(ref, (volume_id, parent) if parent else None, by_extents=parent is not None)
        family.leave(before)

    def _header_parent(self, ref: Ref) -> Ref | None:
        return None if ref in self.now.by_extents else self.now.parents.get(ref)

    # --- 5: loops, and the truth of each image -----------------------------------------------------

    def _loops(self) -> None:
        changed = [(volume_id, key) for volume_id, keys in self.reparented.items() for key in keys]
        if changed:
            self.now.loops = looping(self.former.loops, changed, self.former.parents, self.now.parents)

    def _truths(self, volume_id: str) -> None:
        shelf = self.now.shelves[volume_id]
        dirty = self.touched[volume_id] | self.joined_or_left[volume_id] | self.reparented[volume_id]
        dirty |= self.shared[volume_id]
        dirty |= {key for where, key in self.former.loops ^ self.now.loops if where == volume_id}
        changed = in_order(dirty, shelf.own)
        for key in changed:
            if key in shelf.counted:
                shelf.truths[key] = self._truth((volume_id, key), shelf)
            else:
                shelf.truths.pop(key, None)
        self.now.changed[volume_id] = changed

    def _truth(self, ref: Ref, shelf: Shelf) -> ImageTruth:
        known = shelf.own[ref[1]]
        parent = self.now.parents.get(ref)
        sharing = shelf.found.sharing.get(ref[1]) if shelf.found.sharing else None
        faults = known.faults
        if parent is not None and not parent[0]:
            faults = (*faults, not_found(parent[1]))
        if self.now.loops and ref in self.now.loops:
            faults = (*faults, LOOP)
        return ImageTruth(
            image=known.image,
            size_bytes=known.size_bytes,
            format=known.header.format,
            guests=guests(known.uses) if known.uses else (),
            parent=parent,
            parent_by="" if parent is None else "extents" if ref in self.now.by_extents else "header",
            sharing=sharing if isinstance(sharing, Sharing) else None,
            header=None if known.header is known.image.header else known.header,
            faults=faults,
        )

    def _found_before(self, volume_id: str) -> Found:
        shelf = self.former.shelves.get(volume_id)
        return shelf.found if shelf else NOTHING
