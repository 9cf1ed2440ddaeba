"""Clones by what headers say: each names its direct parent, link by link.

A parent is another image of the storage; one outside of it, or gone, is named as the header names it,
and the clone stays a clone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from typing import TypeVar

from storekeeper.merge.images import Own
from storekeeper.merge.places import Ref
from storekeeper.observation import Fault

T = TypeVar("T", bound=Hashable)

LOOP = Fault(
    code="loop",
    text="Its chain of parents comes back to itself; give it its real parent with qemu-img rebase -u.",
)


def header_parent(
    ref: Ref, own: Own, counted: Mapping[str, Container[str]], by_unique_id: Mapping[str, tuple[Ref, ...]]
) -> Ref | None:
    """The parent that the image's header names: an image, or `("", name)` when that is none of this
    storage; None when the header names none.
    """
    if not own.parent_name:
        return None
    for volume_id, key in own.candidates:
        if key in counted[volume_id]:
            return volume_id, key
    alike = by_unique_id.get(own.parent_unique_id, ()) if own.parent_unique_id else ()
    others = [each for each in alike if each != ref]
    if others:
        return min(others, key=lambda other: _distance(ref, other))
    return "", own.parent_name


def _distance(ref: Ref, other: Ref) -> tuple[bool, bool, Ref]:
    """Of several images with the wanted id (copies keep it), the nearest is meant."""
    same_volume = ref[0] == other[0]
    same_directory = same_volume and posixpath.dirname(ref[1]) == posixpath.dirname(other[1])
    return not same_directory, not same_volume, other


def not_found(name: str) -> Fault:
    """The fault of a clone whose parent is no image of its storage."""
    return Fault(code="parent-not-found", text=f"Its parent {name} is no image of this image storage.")


def loop_through(ref: Ref, parents: Mapping[Ref, Ref]) -> list[Ref]:
    """The images of the loop that the parents of `ref` form with it; none when they lead elsewhere."""
    chain = [ref]
    passed = {ref}
    while True:
        above = parents.get(chain[-1])
        if above == ref:
            return chain
        if above is None or above in passed:
            return []
        passed.add(above)
        chain.append(above)


def looping(
    former: frozenset[Ref], changed: Iterable[Ref], old: Mapping[Ref, Ref], new: Mapping[Ref, Ref]
) -> frozenset[Ref]:
    """All images that lie on a loop of parents, given those that did before and whose parent changed.

    Every loop that came or went holds one of `changed`.
    """
    now = set(former)
    changed = list(changed)
    for ref in changed:
        if ref in now:
            now.difference_update(loop_through(ref, old))
    ends: set[Ref] = set()
    for ref in changed:
        now.update(loop_above(ref, new.get, ends))
    return frozenset(now)


def loop_above(start: T, parent: Callable[[T], T | None], ends: set[T]) -> list[T]:
    """The loop into which the parents of `start` lead; each link is followed once, kept in `ends`."""
    passed: dict[T, int] = {}
    chain: list[T] = []
    here: T | None = start
    while here is not None and here not in ends:
        if here in passed:
            ends.update(chain)
            return chain[passed[here] :]
        passed[here] = len(chain)
        chain.append(here)
        here = parent(here)
    ends.update(chain)
    return []
