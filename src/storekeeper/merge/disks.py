"""The disks of an image storage: which are usable on it, and why the others are not.

Usable is a disk that every linked host sees and that is either reserved, the primary disk of one of the
storage's OCFS2 volumes, or free on every host. A silent host counts with what it saw last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from storekeeper.declaration import Declaration, ImageStorage
from storekeeper.document import DiskDetail, PhysicalDiskInfo
from storekeeper.merge.truth import HostView
from storekeeper.observation import Disk, Guest


class Disks(Struct, frozen=True):
    """`usable` as the document lists them, `details` of every disk of every linked host."""

    usable: list[PhysicalDiskInfo]
    details: list[DiskDetail]


def disks_of(storage: ImageStorage, declaration: Declaration, views: Mapping[str, HostView]) -> Disks:
    """The disks of one storage, usable ones sorted by id; the details by host, then by device."""
    farm = _Farm(storage, declaration, views)
    details = []
    usable: dict[str, PhysicalDiskInfo] = {}
    for host_id, disks in farm.by_host.items():
        for disk in disks or ():
            disk_id = disk.physical_disk_id
            volume_id = farm.reserved.get(disk_id, "")
            reasons = list(dict.fromkeys(farm.reasons(disk, host_id)))
            details.append(_detail(disk, host_id, volume_id, reasons))
            if not reasons and disk_id not in usable:
                usable[disk_id] = PhysicalDiskInfo(
                    disk_id, disk.product_number, disk.vendor, disk.device, volume_id
                )
    return Disks([usable[disk_id] for disk_id in sorted(usable)], details)


class _Farm:
    """The disks of all linked hosts side by side. `by_host`: None for a host that never told its disks."""

    def __init__(
        self, storage: ImageStorage, declaration: Declaration, views: Mapping[str, HostView]
    ) -> None:
        linked = {host_id: views.get(host_id) for host_id in storage.hosts}
        self.by_host = {host_id: _disks(view) if view else None for host_id, view in linked.items()}
        self.given = {host_id: _given(view) if view else frozenset() for host_id, view in linked.items()}
        self.reserved: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        for other in declaration.image_storages.values():
            for volume in other.volumes:
                if volume.primary_disk_id and other.image_storage_id == storage.image_storage_id:
                    self.reserved[volume.primary_disk_id] = volume.volume_id
                elif volume.primary_disk_id:
                    self.elsewhere[volume.primary_disk_id] = volume.key

    def reasons(self, disk: Disk, host_id: str) -> Iterable[str]:
        """Why the disk is not usable on the storage; nothing when it is."""
        disk_id = disk.physical_disk_id
        reserved = disk_id in self.reserved
        if not disk_id:
            yield "it has no id by which it could be named"
        if disk_id in self.elsewhere:
            yield f"reserved for {self.elsewhere[disk_id]}"
        if not reserved:
            yield from self._uses(disk, host_id)
        if len(self.by_host) > 1 and not disk.matchable and not reserved:
            yield "its id means nothing on other hosts"
            return
        for other, disks in self.by_host.items():
            alike = sum(seen.physical_disk_id == disk_id for seen in disks or ())
            if disks is None:
                # A reserved disk is known by its declaration; that one is free is known when all say so.
                if not reserved:
                    yield f"{other} has not told its disks yet"
            elif not alike:
                yield f"not seen by {other}"
            elif alike > 1 and disk_id and not reserved:
                yield f"another disk of {other} has the same id"

    def _uses(self, disk: Disk, host_id: str) -> Iterable[str]:
        """What it is used for, on this host and, where its id means the same there, on the others."""
        for other, disks in self.by_host.items():
            on = "" if other == host_id else f" (on {other})"
            for seen in disks or ():
                same = seen is disk if other == host_id else disk.matchable and _same(seen, disk)
                if same:
                    yield from (f"{use.text}{on}" for use in seen.uses)
                    if not self.given[other].isdisjoint(_names(seen)):
                        yield f"given to a guest{on}"


def _same(one: Disk, other: Disk) -> bool:
    return bool(one.physical_disk_id) and one.physical_disk_id == other.physical_disk_id


def _disks(view: HostView) -> list[Disk] | None:
    """What a host saw last; None when it never saw its disks."""
    look = view.looks.get(("disks", ""))
    if look is None or not look.good_at:
        return None
    disks = [fact for fact in look.seen.facts.values() if isinstance(fact, Disk)]
    return sorted(disks, key=lambda disk: disk.device)


def _given(view: HostView) -> frozenset[str]:
    """The devices that guests of a host use, as their definitions name them."""
    look = view.looks.get(("guests", ""))
    return frozenset(
        disk.path
        for fact in (look.seen.facts.values() if look else ())
        if isinstance(fact, Guest)
        for disk in fact.disks
        if disk.path.startswith("/dev/")
    )


def _names(disk: Disk) -> Iterable[str]:
    """What a definition may call the disk. By-path names cannot be told from here."""
    disk_id = disk.physical_disk_id
    yield from (disk.device, f"/dev/{disk.key}", *disk.paths)
    if disk_id:
        # udev's names (60-persistent-storage.rules, 60-persistent-storage-dm.rules).
        links = (f"scsi-{disk_id}", f"wwn-0x{disk_id[1:]}", f"nvme-{disk_id}", f"dm-uuid-mpath-{disk_id}")
        yield from (f"/dev/disk/by-id/{name}" for name in (*links, disk_id))


def _detail(disk: Disk, host_id: str, volume_id: str, reasons: list[str]) -> DiskDetail:
    return DiskDetail(
        physical_disk_id=disk.physical_disk_id,
        host_id=host_id,
        device=disk.device,
        vendor=disk.vendor,
        product_number=disk.product_number,
        serial=disk.serial,
        size_bytes=disk.size_bytes,
        transport=disk.transport,
        paths=list(disk.paths),
        usable=not reasons,
        volume_id=volume_id,
        reasons=reasons,
    )
