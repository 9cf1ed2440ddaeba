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

from collections import defaultdict
from collections.abc import Collection, Mapping, MutableMapping

from storekeeper.merge.clones import LOOP, header_parent, looping, not_found
from storekeeper.merge.images import Own, own
from storekeeper.merge.owners import guests
from storekeeper.merge.places import Places, Ref
from storekeeper.merge.sharing import Family, copies_of_raw
from storekeeper.merge.shelves import (
    NOTHING,
    Found,
    Keys,
    Marks,
    Shelf,
    amended,
    link,
    linked,
    names_of,
    reindex,
    sharers,
)
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import Image, Sharing
from storekeeper.parts import copied, differing, in_order


class Catalogue:
    """All volumes' shelves, and what crosses volumes.

    `meant`: the images whose headers may mean an image as their parent; by a unique id under `("", id)`.
    `changed`: the images that were resolved anew when it was made from the one before, by volume.
    """

    def __init__(self, places: Places, former: Catalogue | None = None) -> None:
        self.places = places
        self.shelves: dict[str, Shelf] = dict(former.shelves) if former else {}
        self.claimed: MutableMapping[Ref, int] = copied(former.claimed) if former else {}
        self.by_unique_id: MutableMapping[str, tuple[Ref, ...]] = (
            copied(former.by_unique_id) if former else {}
        )
        self.meant: MutableMapping[Ref, Marks[Ref]] = copied(former.meant) if former else {}
        self.parents: MutableMapping[Ref, Ref] = copied(former.parents) if former else {}
        self.by_extents: MutableMapping[Ref, None] = copied(former.by_extents) if former else {}
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
        # Files that changed, whose headers say such, or said.
        self.with_parent: set[Ref] = set()
        self.with_unique_id: set[Ref] = set()
        self.meaning: defaultdict[Ref, set[Ref]] = defaultdict(set)
        self.meaning_no_more: defaultdict[Ref, set[Ref]] = defaultdict(set)
        self.ids_touched: set[str] = set()

    def run(self) -> None:
        for volume_id, found in self.found.items():
            self.now.shelves[volume_id] = Shelf(self.former.shelves.get(volume_id), found)
        for volume_id in self.found:
            self._files(volume_id)
        reindex(self.now.meant, self.meaning_no_more, self.meaning)
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
        shelf.sharers = sharers(shelf.sharers, self.shared[volume_id], former.sharing, shelf.found.sharing)
        touched = changed | differing(former.uses, shelf.found.uses)
        others = linked(touched, former.files, shelf)
        link(shelf, changed, former.files, shelf.found.files)
        touched |= others | linked(touched, shelf.found.files, shelf)
        maybe_copies: Keys = set()
        for key in in_order(touched, shelf.found.files):
            now = self._own(volume_id, key, shelf)
            if now is not None and now.may_be_copy:
                maybe_copies.add(key)
        shelf.maybe_copies = amended(shelf.maybe_copies, touched, maybe_copies)
        self.touched[volume_id] = touched

    def _own(self, volume_id: str, key: str, shelf: Shelf) -> Own | None:
        image = shelf.found.files.get(key)
        ref = (volume_id, key)
        before = shelf.own.get(key)
        if before is not None:
            self._note(ref, before, -1, self.meaning_no_more)
        if not isinstance(image, Image):
            shelf.own.pop(key, None)
            return None
        uses = shelf.found.uses.get(key, ())
        if shelf.hard_links and (names := names_of(shelf, image)):
            uses = tuple(sorted({use for name in names for use in shelf.found.uses.get(name, ())}))
        now = shelf.own[key] = own(ref, image, uses, self.now.places)
        self._note(ref, now, 1, self.meaning)
        return now

    def _note(self, ref: Ref, known: Own, claims: int, meaning: defaultdict[Ref, set[Ref]]) -> None:
        """Notes what a file claims (or claims no more) and means."""
        for each in known.claims:
            self.claims_touched.add(each)
            if by := self.now.claimed.get(each, 0) + claims:
                self.now.claimed[each] = by
            else:
                self.now.claimed.pop(each, None)
        if known.header.unique_id:
            self.with_unique_id.add(ref)
        if known.parent_name:
            self.with_parent.add(ref)
            for each in known.candidates:
                meaning[each].add(ref)
            if known.parent_unique_id:
                meaning["", known.parent_unique_id].add(ref)

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
            shelf.counted = amended(shelf.counted, set(shelf.copies), set(shelf.copies))
            touched |= shelf.copies
        self.joined_or_left[volume_id] = {
            key for key in touched if (key in shelf.counted) is not (key in before)
        }

    def _hidden(self, volume_id: str, key: str, known: Own) -> bool:
        """Whether a file is a part of another image. A guest's disk is none, nor is what has parts."""
        claimed = bool(self.now.claimed) and (volume_id, key) in self.now.claimed
        return claimed and not known.uses and not known.claims

    # --- 3: parents by headers -------------------------------------------------------------------

    def _index_unique_ids(self) -> None:
        claimed = [ref for ref in self.claims_touched if ref[1] in self.joined_or_left.get(ref[0], ())]
        for ref in self.with_unique_id.union(claimed):
            volume_id, key = ref
            before, shelf = self.former.shelves.get(volume_id), self.now.shelves[volume_id]
            if before is not None and key in before.counted:
                self._unique_id(before.own[key].header.unique_id, ref, there=False)
            if key in shelf.counted:
                self._unique_id(shelf.own[key].header.unique_id, ref, there=True)

    def _unique_id(self, unique_id: str, ref: Ref, *, there: bool) -> None:
        if not unique_id:
            return
        self.ids_touched.add(unique_id)
        others = tuple(each for each in self.now.by_unique_id.get(unique_id, ()) if each != ref)
        if there or others:
            self.now.by_unique_id[unique_id] = (*others, ref) if there else others
        else:
            self.now.by_unique_id.pop(unique_id, None)

    def _header_parents(self) -> None:
        counted = {volume_id: shelf.counted for volume_id, shelf in self.now.shelves.items()}
        for ref in self._may_mean_others():
            shelf = self.now.shelves[ref[0]]
            parent = None
            if ref[1] in shelf.counted:
                parent = header_parent(ref, shelf.own[ref[1]], counted, self.now.by_unique_id)
            if parent is not None or ref not in self.now.by_extents:
                self._reparent(ref, parent, by_extents=False)

    def _may_mean_others(self) -> set[Ref]:
        """Those that may have another parent: changed themselves, or naming what came or went."""
        refs, meant = self.with_parent, self.now.meant
        for volume_id, keys in self.joined_or_left.items():
            own_now = self.now.shelves[volume_id].own
            # Of what did not change itself another file may have left it alone.
            refs.update(
                (volume_id, key)
                for key in keys - self.touched[volume_id]
                if (known := own_now.get(key)) is not None and known.parent_name
            )
            if len(keys) < len(meant):
                refs.update(*(meant.get((volume_id, key), ()) for key in keys))
            else:
                refs.update(
                    *(those for (where, key), those in meant.items() if where == volume_id and key in keys)
                )
        for unique_id in self.ids_touched:
            refs.update(meant.get(("", unique_id), ()))
        return refs

    def _reparent(self, ref: Ref, parent: Ref | None, *, by_extents: bool) -> None:
        if parent == self.now.parents.get(ref) and by_extents == (ref in self.now.by_extents):
            return
        self.reparented[ref[0]].add(ref[1])
        self.now.by_extents.pop(ref, None)
        if parent is None:
            self.now.parents.pop(ref, None)
            return
        self.now.parents[ref] = parent
        if by_extents:
            self.now.by_extents[ref] = None

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
        dirty.update(*(shelf.sharers.get(key, ()) for key in moved) if shelf.sharers else ())
        if not shelf.found.sharing:
            dirty = {key for key in dirty if key in shelf.decided or (volume_id, key) in self.now.by_extents}
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
