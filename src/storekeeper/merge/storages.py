"""The merge: what all hosts saw, what is declared, what is remembered and the time become the truth."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from operator import is_
from typing import TypedDict

from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.document import (
    CloneInfo,
    ExternalVolumeInfo,
    GlusterVolumeInfo,
    ImageInfo,
    ImageStorageInfo,
    Status,
    VolumeInfo,
)
from storekeeper.merge import gluster
from storekeeper.merge.catalogue import Catalogue, updated
from storekeeper.merge.clusters import Clusters
from storekeeper.merge.disks import Disks, disks_of
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.gluster import Cluster, cluster_of
from storekeeper.merge.listing import Listing
from storekeeper.merge.owners import GuestUses
from storekeeper.merge.places import Places, places_of
from storekeeper.merge.remembering import Remembering
from storekeeper.merge.scanners import scanner_of
from storekeeper.merge.shelves import NOTHING, Found
from storekeeper.merge.status import Observed, status_of, troubles
from storekeeper.merge.truth import Basis, HostView, Look, Memory, StorageTruth, Truth, VolumeTruth
from storekeeper.merge.volumes import Sight, look_of, sights_of
from storekeeper.rows import Rows
from storekeeper.sources.contract import Scope

_KIB = 1 << 10
# What the disks of a storage follow from, and, with its space, where its volumes lie.
_OF_DISKS = (("disks", ""), ("guests", ""))
_OF_PLACES = (("mounts", ""), ("guests", ""))

VolumeRow = VolumeInfo | ExternalVolumeInfo | GlusterVolumeInfo
Views = Mapping[str, HostView]


class StorageBasis(Basis):
    """What the merge keeps of one storage for the next: all of it follows from the same views.

    The whole truth of the storage stands while `declaration` and `views` (of the hosts that it follows from)
    are the very same, until `until`. `scopes` keeps what `merge.scopes` made of it.
    """

    def __init__(self, storage: ImageStorage, places: Places) -> None:
        self.storage = storage
        self.places = places
        self.place_facts: list[object] = []
        self.uses = GuestUses()
        self.catalogue = Catalogue(places)
        self.listings: dict[str, Listing] = {volume.volume_id: Listing() for volume in storage.volumes}
        self.disk_facts: list[object] = []
        self.disks = Disks([], [])
        self.declaration: Declaration | None = None
        self.views: dict[str, HostView | None] = {}
        self.until = 0.0
        self.scopes: dict[str, list[tuple[str, Scope]]] | None = None

    def stands(self, declaration: Declaration, views: Views, hosts: Collection[str], now: float) -> bool:
        """Whether the truth that was made of this would be made again now, of these hosts' views."""
        return (
            now < self.until
            and self.declaration is declaration
            and self.views.keys() == set(hosts)
            and all(map(is_, map(views.get, self.views), self.views.values()))
        )


def merge(
    declaration: Declaration, views: Views, memory: Memory, now: float, previous: Truth | None = None
) -> Truth:
    """The truth of all storages at `now` (epoch seconds).

    `previous`, the truth of an earlier moment, only saves work: what follows from the same is not resolved
    again, and a storage none of whose hosts told anything since is not looked at. `memory` is that of the
    last truth, or what was kept of it over a restart; what other managers remember may have been adopted.
    """
    remembering = Remembering(memory)
    formers, left = (previous.storages, previous.memory) if previous is not None else ({}, Memory())
    clusters = Clusters(views)
    storages = {}
    until = math.inf
    for storage_id, storage in declaration.image_storages.items():
        former = formers.get(storage_id)
        known = former.basis if former is not None else None
        hosts = _followed(storage, clusters)
        if (
            former is None
            or not isinstance(known, StorageBasis)
            or not known.stands(declaration, views, hosts, now)
            or not _remembered_alike(storage, left, memory)
        ):
            horizon = Horizon(now, declaration.host_timeout_s, declaration.every_s)
            made = _Storage(storage, declaration, views, horizon, remembering, former)
            former, known = made.truth(clusters)
            known.views = {host_id: views.get(host_id) for host_id in hosts}
        storages[storage_id] = former
        until = min(until, known.until)
    return Truth(storages=storages, memory=remembering.memory(), valid_until=until)


def _remembered_alike(storage: ImageStorage, one: Memory, other: Memory) -> bool:
    """Whether two memories remember the very same of a storage's volumes."""
    return one is other or all(
        one.volumes.get(volume.key) is other.volumes.get(volume.key) for volume in storage.volumes
    )


def _followed(storage: ImageStorage, clusters: Clusters) -> Collection[str]:
    """The hosts from whose views a storage's truth follows: its own, and whoever tells of its clusters."""
    gluster_volumes = [volume for volume in storage.volumes if volume.kind == "gluster"]
    if not gluster_volumes:
        return storage.hosts
    return {host for volume in gluster_volumes for host in clusters.tellers(volume, storage.hosts)}


class _Storage:
    """One storage's part of one merge."""

    def __init__(
        self,
        storage: ImageStorage,
        declaration: Declaration,
        views: Views,
        horizon: Horizon,
        remembering: Remembering,
        former: StorageTruth | None,
    ) -> None:
        self.storage = storage
        self.declaration = declaration
        self.views = views
        self.horizon = horizon
        self.remembering = remembering
        self.former = former

    def truth(self, clusters: Clusters) -> tuple[StorageTruth, StorageBasis]:
        memory = self.remembering.former
        sights = {
            volume.volume_id: sights_of(
                volume, self.storage.hosts, self.views, memory.of(volume.key), self.horizon
            )
            for volume in self.storage.volumes
        }
        looks = {
            volume.volume_id: look_of("images", volume, sights[volume.volume_id], self.views)
            for volume in self.storage.volumes
        }
        basis = self._basis(sights, looks)
        rows: dict[str, VolumeRow] = {}
        volumes = {}
        for volume in self.storage.volumes:
            volume_id = volume.volume_id
            cluster = None
            if volume.kind == "gluster":
                hosts = clusters.tellers(volume, self.storage.hosts)
                cluster = cluster_of(volume, hosts, self.views, self.horizon)
            rows[volume_id], volumes[volume_id] = self._volume(
                volume, sights[volume_id], looks[volume_id], cluster, basis
            )
        document = ImageStorageInfo(
            hosts=list(self.storage.hosts),
            volumes=[row for row in rows.values() if isinstance(row, VolumeInfo)],
            external_volumes=[row for row in rows.values() if isinstance(row, ExternalVolumeInfo)],
            gluster_volumes=[row for row in rows.values() if isinstance(row, GlusterVolumeInfo)],
            disks=basis.disks.usable,
        )
        if self.former is not None and self.former.document == document:
            document = self.former.document
        basis.declaration, basis.until = self.declaration, self.horizon.until
        truth = StorageTruth(document=document, volumes=volumes, disks=basis.disks.details, basis=basis)
        return truth, basis

    def _basis(
        self, sights: Mapping[str, tuple[Sight, ...]], looks: Mapping[str, Look | None]
    ) -> StorageBasis:
        """All images resolved, and the disks: again only as far as their facts changed."""
        former = self._former_basis()
        basis = StorageBasis(self.storage, former.places)
        basis.place_facts = former.place_facts
        basis.uses = former.uses.updated(self.storage, self.views, former.places)
        found = {
            volume.volume_id: self._found(volume, sights[volume.volume_id], looks[volume.volume_id], basis)
            for volume in self.storage.volumes
        }
        basis.catalogue = updated(former.catalogue, found, self.horizon.now)
        changed = {} if basis.catalogue is former.catalogue else basis.catalogue.changed
        for volume in self.storage.volumes:
            volume_id = volume.volume_id
            shelf = basis.catalogue.shelves[volume_id]
            basis.listings[volume_id] = former.listings[volume_id].updated(
                volume, shelf.truths, changed.get(volume_id, ())
            )
            if looks[volume_id] is not None:
                self.remembering.family(volume.key, shelf.decided, shelf.first_seen, shelf.identities)
        basis.disk_facts = [self.declaration, *self._facts(_OF_DISKS)]
        same = _are_the_very(basis.disk_facts, former.disk_facts)
        basis.disks = former.disks if same else disks_of(self.storage, self.declaration, self.views)
        return basis

    def _former_basis(self) -> StorageBasis:
        """What the last merge kept of this storage, as long as it lies in the same places."""
        known = self.former.basis if self.former is not None else None
        facts = self._facts([*_OF_PLACES, *(("space", volume.key) for volume in self.storage.volumes)])
        if not isinstance(known, StorageBasis) or known.storage != self.storage:
            known = None
        elif _are_the_very(facts, known.place_facts):
            return known
        places = places_of(self.storage, self.views)
        if known is None or known.places != places:
            known = StorageBasis(self.storage, places)
        known.place_facts = facts
        return known

    def _found(
        self, volume: Volume, sights: tuple[Sight, ...], images: Look | None, basis: StorageBasis
    ) -> Found:
        extents = look_of("extents", volume, sights, self.views)
        remembered = self.remembering.former.of(volume.key)
        # Nothing is decided of what was never seen, and nothing of it forgotten.
        seen = images is not None
        return Found(
            files=images.seen.facts if images is not None else NOTHING.files,
            sharing=extents.seen.facts if extents is not None else NOTHING.sharing,
            uses=basis.uses.by_image.get(volume.volume_id, NOTHING.uses),
            decided=remembered.parents if seen else NOTHING.decided,
            first_seen=remembered.first_seen if seen else NOTHING.first_seen,
            identities=remembered.identities if seen else NOTHING.identities,
        )

    def _facts(self, scopes: Collection[tuple[str, str]]) -> list[object]:
        """What the storage's hosts saw in these scopes, to tell whether any of it changed."""
        facts: list[object] = []
        for host_id in self.storage.hosts:
            view = self.views.get(host_id)
            for scope in scopes:
                look = view.looks.get(scope) if view is not None else None
                facts += (look.seen.facts, look.good_at > 0) if look is not None else (None, False)
        return facts

    def _volume(
        self,
        volume: Volume,
        sights: tuple[Sight, ...],
        images: Look | None,
        cluster: Cluster | None,
        basis: StorageBasis,
    ) -> tuple[VolumeRow, VolumeTruth]:
        since = self.remembering.troubles(volume.key, troubles(sights, cluster))
        observed = Observed(
            volume=volume, sights=sights, cluster=cluster, images=images, since=since,
            listing_stale=self._listing_stale(volume, sights, images),
        )  # fmt: skip
        status, message = status_of(observed)
        total_bytes, available_bytes = self.remembering.space(volume, sights)
        self.remembering.first_look(volume, sights)
        listing = basis.listings[volume.volume_id]
        common = _Common(
            volume_id=volume.volume_id, status=status, status_msg=message,
            total_space=kib(total_bytes), free_space=kib(available_bytes),
            images=listing.images, clones=listing.clones,
        )  # fmt: skip
        truth = VolumeTruth(
            volume=volume,
            status=status,
            status_msg=message,
            images=basis.catalogue.shelves[volume.volume_id].truths,
            seen_at=images.good_at if images is not None else 0.0,
        )
        return _row(volume, common, cluster), truth

    def _listing_stale(self, volume: Volume, sights: tuple[Sight, ...], images: Look | None) -> bool:
        """Whether the images were not listed for long where some host sees the volume well; a host that has
        just taken over from the one that fell behind is given the time of one walk.
        """
        well = [sight for sight in sights if not sight.code]
        if images is None or not well or self.horizon.answered(images):
            return False
        scanner = self.views[scanner_of(volume, well, self.views, self.horizon) or ""]
        takes_over = scanner.looks.get(("images", volume.key)) is not images
        return not (takes_over and self.horizon.answers_soon(images))


class _Common(TypedDict):
    """What the rows of all kinds of volumes have."""

    volume_id: str
    status: Status
    status_msg: str
    total_space: int
    free_space: int
    images: Rows[ImageInfo]
    clones: Rows[CloneInfo]


def _row(volume: Volume, common: _Common, cluster: Cluster | None) -> VolumeRow:
    if volume.kind == "ocfs2":
        return VolumeInfo(primary_disk_id=volume.primary_disk_id, **common)
    if volume.kind == "external":
        return ExternalVolumeInfo(mount_point=volume.mount_point, **common)
    fact = cluster.fact if cluster is not None else None
    return GlusterVolumeInfo(
        gvolume_name=volume.gvolume_name,
        bricks=[gluster.brick_name(brick) for brick in fact.bricks] if fact is not None else [],
        type=fact.type_name if fact is not None else "",
        configuration=gluster.configuration(fact) if fact is not None else "",
        transport=fact.transport if fact is not None else "",
        **common,
    )


def _are_the_very(now: Sequence[object], before: Sequence[object]) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))


def kib(size_bytes: int) -> int:
    """Bytes in KiB, rounded up as `df -k` does."""
    return -(-size_bytes // _KIB)
