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
from storekeeper.observation import Fact, Guest, GuestDisk, Pool

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
        self._guests: dict[str, dict[str, Resolved]] = {}
        self._facts: dict[str, Mapping[str, Fact]] = {}

    def updated(self, storage: ImageStorage, views: Mapping[str, HostView], places: Places) -> GuestUses:
        """The uses now; this very object when no guest changed. `places` must be those of before."""
        linked = (views[host_id] for host_id in storage.hosts if host_id in views)
        looks = {view.host_id: view.looks.get(("guests", "")) for view in linked}
        facts: dict[str, Mapping[str, Fact]] = {
            host_id: look.seen.facts for host_id, look in looks.items() if look is not None
        }
        # Facts that did not change are mostly the same objects, which makes this fast.
        if facts == self._facts:
            return self
        now = GuestUses()
        now._facts = facts
        gathered: Gathered = {volume.volume_id: {} for volume in storage.volumes}
        for host_id in facts:
            now._guests[host_id] = _resolved(self._guests.get(host_id, {}), views[host_id], places)
            for _, uses, _ in now._guests[host_id].values():
                for (volume_id, image_id), use in uses:
                    gathered[volume_id].setdefault(image_id, []).append(use)
        for volume_id, images in gathered.items():
            now.by_image[volume_id] = {
                key: (uses[0],) if len(uses) == 1 else tuple(sorted(set(uses)))
                for key, uses in images.items()
            }
            now.used[volume_id] = {
                key: next((use.format for use in uses if use.format), "") if len(uses) > 1 else uses[0].format
                for key, uses in sorted(now.by_image[volume_id].items())
            }
        return now


# A guest, its uses, and whether they hang on its host's pools.
Resolved = tuple[Guest, tuple[tuple[Ref, Use], ...], bool]


def _resolved(former: Mapping[str, Resolved], view: HostView, places: Places) -> dict[str, Resolved]:
    """The guests of a host by name; those that did not change are not resolved again."""
    look = view.looks.get(("guests", ""))
    known = pools(view)
    found: dict[str, Resolved] = {}
    for key, fact in look.seen.facts.items() if look else ():
        before = former.get(key)
        # A disk named by pool and volume moves with its pool.
        if before is not None and before[0] is fact and not before[2]:
            found[key] = before
        elif isinstance(fact, Guest):
            found[key] = (fact, tuple(_uses(fact, known, places)), any(disk.pool for disk in fact.disks))
    return found


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
