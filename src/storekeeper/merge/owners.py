"""Which guests own which images.

A guest owns an image when one of its disks resolves to it: in its persistent or live definition, in one
kept with a snapshot, or as the target of a running block copy. What lies further down a chain is not
owned by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from storekeeper.declaration import ImageStorage
from storekeeper.merge.places import Places, Ref, pools
from storekeeper.merge.truth import HostView
from storekeeper.observation import Guest, GuestDisk, Pool

_AT_REST = frozenset({"stopped", "unknown"})
# Which definition's format counts: the one in force first.
_RANKS = {"live": 0, "mirror": 1, "persistent": 2, "snapshot": 3}
# libvirt's and qemu's names of formats that have others here.
_FORMATS = {"vpc": "vhd"}


class Use(Struct, frozen=True, order=True, gc=False):
    """One disk of a guest that is this image. Sorts as the document prefers: running guests first, then
    by name. `format` as declared, `""` when not said; `luks`: libvirt opens LUKS inside it.
    """

    at_rest: bool
    guest: str
    rank: int
    format: str
    luks: bool


Uses = tuple[Use, ...]
# By volume id and image id.
UsesByImage = dict[str, dict[str, Uses]]
Gathered = dict[str, dict[str, list[Use]]]


class GuestUses:
    """The uses of all guests of a storage's hosts; resolves again only guests that changed.

    `used`: by volume, the ids of the files that guests use to the format that they declare.
    """

    def __init__(self) -> None:
        self.by_image: UsesByImage = {}
        self.used: dict[str, dict[str, str]] = {}
        self._guests: dict[tuple[str, str], tuple[Guest, tuple[tuple[Ref, Use], ...]]] = {}
        self._facts: list[object] = []

    def updated(self, storage: ImageStorage, views: Mapping[str, HostView], places: Places) -> GuestUses:
        """The uses now; this very object when no guest changed. `places` must be those of before."""
        looks = [views[host].looks.get(("guests", "")) for host in storage.hosts if host in views]
        facts: list[object] = [look.seen.facts for look in looks if look is not None]
        if len(facts) == len(self._facts) and all(a is b for a, b in zip(facts, self._facts, strict=True)):
            return self
        now = GuestUses()
        now._facts = facts
        gathered: Gathered = {volume.volume_id: {} for volume in storage.volumes}
        for host_id in storage.hosts:
            if host_id in views:
                self._gather(now, views[host_id], places, gathered)
        now.by_image = {
            volume_id: {
                key: tuple(uses) if len(uses) == 1 else tuple(sorted(set(uses)))
                for key, uses in images.items()
            }
            for volume_id, images in gathered.items()
        }
        now.used = {
            volume_id: {
                key: use.format if (use := declared_format(uses)) else ""
                for key, uses in sorted(images.items())
            }
            for volume_id, images in now.by_image.items()
        }
        return now

    def _gather(self, now: GuestUses, view: HostView, places: Places, gathered: Gathered) -> None:
        look = view.looks.get(("guests", ""))
        known = pools(view)
        for key, fact in look.seen.facts.items() if look else ():
            if not isinstance(fact, Guest):
                continue
            former = self._guests.get((view.host_id, key))
            # A disk named by pool and volume moves with its pool.
            if former is not None and former[0] is fact and not any(disk.pool for disk in fact.disks):
                entry = former
            else:
                entry = (fact, tuple(_uses(fact, known, places)))
            now._guests[view.host_id, key] = entry
            for (volume_id, image_id), use in entry[1]:
                gathered[volume_id].setdefault(image_id, []).append(use)


def _uses(guest: Guest, known_pools: Mapping[str, Pool], places: Places) -> Iterable[tuple[Ref, Use]]:
    for disk in guest.disks:
        ref = resolve(disk, known_pools, places)
        if ref is not None:
            image_format = _FORMATS.get(disk.format, disk.format)
            luks = disk.encryption == "luks"
            yield ref, Use(guest.state in _AT_REST, guest.key, _RANKS[disk.found_in], image_format, luks)


def resolve(disk: GuestDisk, known_pools: Mapping[str, Pool], places: Places) -> Ref | None:
    """The image that a guest's disk is; None when it lies in no volume of the storage."""
    if disk.protocol == "gluster":
        name, _, path = disk.name.strip("/").partition("/")
        volume_id = places.by_gluster_name.get(name)
        return (volume_id, path) if volume_id and path else None
    if disk.path.startswith("/"):
        return places.find(disk.path)
    pool = known_pools.get(disk.pool) if disk.pool else None
    if pool is not None and pool.target and disk.volume:
        return places.find(f"{pool.target}/{disk.volume}")
    return None


def guests(uses: Uses) -> tuple[str, ...]:
    """The owners' names: running ones first, then by name. The document names the first."""
    return tuple(dict.fromkeys(use.guest for use in uses))


def declared_format(uses: Uses) -> Use | None:
    """The use whose declared format is the image's: the first guest's, in the definition in force."""
    return next((use for use in uses if use.format), None)
