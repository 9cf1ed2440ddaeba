"""Guests: one for each UUID, whichever hosts define it, and the images and disks that it owns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from storekeeper.declaration import Declaration
from storekeeper.document import DiskInfo, GuestBasicInfo, GuestInfo
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.listing import size_mb
from storekeeper.merge.truth import HostView, ImageTruth, Truth
from storekeeper.observation import Guest, GuestState

# Which host's word counts where several define a guest: where it runs, or may run for all that is known.
_RANKS: dict[GuestState, int] = {
    "running": 0, "migrating": 1, "paused": 2, "unknown": 3, "suspended": 4, "stopped": 5,
}  # fmt: skip
_ON_A_HOST = frozenset({"running", "migrating", "paused"})

GuestType = Literal["normal", "template", "clone", "volatile"]
# An image: (storage id, volume id, image id).
ImageRef = tuple[str, str, str]


class Definition(Struct, frozen=True, gc=False):
    """A guest as one host defines it. `state` is `unknown` where the host's last answer is too old;
    `was`: what it was then.
    """

    host_id: str
    guest: Guest
    state: GuestState
    was: GuestState

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the host whose word counts first."""
        at_rest = self.state == "unknown" and self.was not in _ON_A_HOST
        return _RANKS[self.state] + (3 if at_rest else 0), self.host_id


class Guests:
    """All guests of all declared hosts at one time, the same until `valid_until` if no report comes.

    `definitions` by the guest's key, which is its UUID, first that whose host's word counts. `keys`: of all
    guests of a name.
    """

    def __init__(
        self, declaration: Declaration, views: Mapping[str, HostView], truth: Truth, now: float
    ) -> None:
        self._truth = truth
        self._storages: dict[str, set[str]] = {}
        for storage_id, storage in declaration.image_storages.items():
            for host_id in storage.hosts:
                self._storages.setdefault(host_id, set()).add(storage_id)
        horizon = Horizon(now, declaration.host_timeout_s, declaration.every_s)
        self.definitions: dict[str, list[Definition]] = {}
        for host_id in sorted(self._storages.keys() | declaration.hosts.keys()):
            for each in _definitions(views.get(host_id), horizon):
                self.definitions.setdefault(each.guest.unique_id or each.guest.key, []).append(each)
        self.valid_until = horizon.until
        self.keys: dict[str, list[str]] = {}
        for key, definitions in self.definitions.items():
            definitions.sort(key=lambda each: each.rank)
            self.keys.setdefault(definitions[0].guest.key, []).append(key)
        self._basics: dict[str, GuestBasicInfo] = {}
        self._images: dict[str, list[tuple[ImageRef, ImageTruth]]] = {}
        self._owners: dict[ImageRef, tuple[str, ...]] = {}
        self._clones: dict[ImageRef, set[str]] = {}
        self._own()

    def _own(self) -> None:
        for storage_id, storage in self._truth.storages.items():
            for volume_id, volume in storage.volumes.items():
                for image_id, image in volume.images.items():
                    if not image.guests:
                        continue
                    ref = (storage_id, volume_id, image_id)
                    self._owners[ref] = image.guests
                    for name in image.guests:
                        self._images.setdefault(name, []).append((ref, image))
                    if image.parent is not None:
                        self._clones.setdefault((storage_id, *image.parent), set()).update(image.guests)

    def named(self, guest_id: str) -> list[str]:
        """The keys of the guests that have this name, or this UUID."""
        return [guest_id] if guest_id in self.definitions else self.keys.get(guest_id, [])

    def basic(self, key: str) -> GuestBasicInfo:
        """One guest as the list shows it."""
        if key not in self._basics:
            self._basics[key] = self._basic(key)
        return self._basics[key]

    def _basic(self, key: str) -> GuestBasicInfo:
        first = self.definitions[key][0]
        runs = first.state in _ON_A_HOST or (first.state == "unknown" and first.was in _ON_A_HOST)
        return GuestBasicInfo(
            guest_id=first.guest.key,
            guest_type=self._type(key),
            pool_id="",
            desired_state="",
            current_state=first.state,
            current_host=first.host_id if runs else "",
        )

    def info(self, key: str) -> GuestInfo:
        """All that is known of one guest."""
        basic, definitions = self.basic(key), self.definitions[key]
        owned = list(self._owned(key))
        return GuestInfo(
            guest_id=basic.guest_id,
            guest_type=basic.guest_type,
            pool_id=basic.pool_id,
            desired_state=basic.desired_state,
            current_state=basic.current_state,
            current_host=basic.current_host,
            uuid=definitions[0].guest.unique_id,
            hosts=sorted({each.host_id for each in definitions}),
            parent_template=next(iter(self._parents(key)), ""),
            clone_list=sorted(self._clones_of(key)),
            disk_list=[DiskInfo(ref[2], ref[1], ref[0], size_mb(image.size_bytes)) for ref, image in owned],
            direct_disk_list=_direct(each.guest for each in definitions),
        )

    def _type(self, key: str) -> GuestType:
        if not any(each.guest.persistent for each in self.definitions[key]):
            return "volatile"
        if self._clones_of(key):
            return "template"
        mine = {ref for ref, _ in self._owned(key)}
        # A guest on an overlay of its own image, such as after a snapshot, is no clone of anything.
        return "clone" if any(ref not in mine for ref in self._parent_refs(key)) else "normal"

    def _owned(self, key: str) -> Iterator[tuple[ImageRef, ImageTruth]]:
        """The images of a guest, in the storages of its hosts: another guest elsewhere may have its name."""
        definitions = self.definitions[key]
        storages = {
            storage for each in definitions for storage in self._storages.get(each.host_id, frozenset())
        }
        for name in dict.fromkeys(each.guest.key for each in definitions):
            yield from ((ref, image) for ref, image in self._images.get(name, ()) if ref[0] in storages)

    def _parent_refs(self, key: str) -> Iterator[ImageRef]:
        for ref, image in self._owned(key):
            if image.parent is not None:
                yield (ref[0], *image.parent)

    def _parents(self, key: str) -> Iterator[str]:
        """The guests that own what this one's images were cloned from."""
        own = {each.guest.key for each in self.definitions[key]}
        for ref in self._parent_refs(key):
            yield from (name for name in self._owners.get(ref, ()) if name not in own)

    def _clones_of(self, key: str) -> set[str]:
        """The other guests whose images are clones of this one's."""
        names = {name for ref, _ in self._owned(key) for name in self._clones.get(ref, ())}
        return names - {each.guest.key for each in self.definitions[key]}


def _definitions(view: HostView | None, horizon: Horizon) -> Iterator[Definition]:
    look = view.looks.get(("guests", "")) if view is not None else None
    if view is None or look is None:
        return
    fresh = horizon.reported(view) and horizon.answered(look) and look.seen.blind is None
    for fact in look.seen.facts.values():
        if isinstance(fact, Guest):
            yield Definition(view.host_id, fact, fact.state if fresh else "unknown", fact.state)


def _direct(guests: Iterable[Guest]) -> list[str]:
    """The devices that are given to a guest whole."""
    disks = (disk for guest in guests for disk in guest.disks)
    return list(dict.fromkeys(disk.path for disk in disks if disk.kind == "block" and disk.path))
