"""The scenario file: what hosts, storage, guests and declarations the lab makes, and what must be seen.

Every struct below is a table of the file, which is TOML; `reading` reads and checks it.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from lab.verbs import Verb


class Table(Struct, forbid_unknown_fields=True):
    """A table of the file: an unknown key is refused."""


class HostTable(Table):
    """`[[hosts]]`: one guest. `address` is its place in the storage network, a /24 of all hosts. With
    `agent = false` it reports to nobody: it only serves others.
    """

    name: str
    address: str
    memory_mib: int = 640
    agent: bool = True


class DiskTable(Table):
    """`[[disks]]`: a SCSI disk, of a sparse file. A host names those that it sees `sda`, `sdb` … in the
    file's order. `paths` over one make it a multipath disk.
    """

    name: str
    size_kib: int
    seen_by: tuple[str, ...]
    wwn: str = ""
    vendor: str = "QEMU"
    product: str = "HARDDISK"
    serial: str = ""
    paths: int = 1


class MountTable(Table):
    """Where hosts mount something."""

    hosts: tuple[str, ...]
    at: str
    options: str = "defaults"


class FilesystemTable(Table):
    """`[[filesystems]]`: made on a disk with `mkfs.KIND` and these options. `mapped` is mounted from a linear
    map over the disk, `/dev/mapper/DISK`, which faults can suspend or let fail.
    """

    kind: Literal["ocfs2", "xfs", "ext4"]
    disk: str
    label: str = ""
    mkfs: tuple[str, ...] = ()
    mapped: bool = False
    mounts: tuple[MountTable, ...] = ()


class ExportTable(Table):
    """`[[exports]]`: what a host serves by NFS 4, the root of all that it serves: clients mount `HOST:/`.
    `path` lies in one of its filesystems.
    """

    host: str
    path: str
    mounts: tuple[MountTable, ...] = ()


class GlusterVolumeTable(Table):
    """`[[gluster_volumes]]`. `layout` as `gluster volume create` takes it; bricks `HOST:/path`."""

    name: str
    bricks: tuple[str, ...]
    layout: tuple[str, ...] = ()
    options: dict[str, str] = {}
    mounts: tuple[MountTable, ...] = ()


class ImageTable(Table):
    """`[[images]]`: made on `host` by `qemu-img create`; with `backing`, a clone. `allocated` gives a raw
    one all its room; `leaves_free_kib` as much as leaves just that free on its filesystem.
    """

    host: str
    path: str
    size_mib: int
    format: str = "raw"
    backing: str = ""
    allocated: bool = False
    leaves_free_kib: int | None = None


class FillerTable(Table):
    """`[[fillers]]`: a file that is no image, of the size that leaves just so much free."""

    host: str
    path: str
    leaves_free_kib: int


class GuestTable(Table):
    """`[[guests]]`: a libvirt domain. With `live_disks` it is started, paused, with those, and then defined
    with `disks`; otherwise it is defined only.
    """

    name: str
    host: str
    disks: tuple[str, ...]
    live_disks: tuple[str, ...] = ()


class ManagerTable(Table):
    """`[manager]`: time-outs and intervals, as the declaration's own table takes them. Its database is a
    file, or a PostgreSQL of the lab's own, which `count` managers behind one address may share.
    """

    database: Literal["sqlite", "postgresql"] = "sqlite"
    count: int = 1
    host_timeout_s: float = 60
    probe_every_s: dict[str, float] = {}


class ExpectedTable(Table):
    """`[expected]`: `documents` names for each image storage to look at the JSON file beside the scenario.
    `within` gives, by field name, the part by which a number may differ.
    """

    documents: dict[str, str]
    within: dict[str, float] = {}
    within_s: float = 240


class SightTable(Table):
    """What must be seen of a volume: its status, a pattern found in its message, and images, by their ids,
    beside those of the expected document.
    """

    volume: str
    status: Literal["ok", "degraded", "broken", "unknown"]
    message: str = ""
    images: tuple[str, ...] = ()


class HostSightTable(Table):
    """What must be seen of a host: its state, and a pattern found in its message."""

    host: str
    state: Literal["running", "unknown", "unavailable", "incompatible"]
    message: str = ""


class CheckTable(Table):
    """What must hold in a host besides: a shell command that succeeds."""

    host: str
    command: str


class FaultTable(Table):
    """`[[faults]]`: what is done, what must be seen within `within_s` and for `stays_s` from then on, how it
    is undone; then the documents are whole again within `recovers_s`. Where the fault is to do no harm to
    them (`unharmed`) they are whole meanwhile too. `expect_unlisted`: the ids of disks that the expected
    documents list, and what is seen must not.

    Neighbours in the file of one `together` are done one after the other, waited for at once, and undone.
    """

    name: str
    do: tuple[Verb, ...]
    expect: tuple[SightTable, ...] = ()
    expect_hosts: tuple[HostSightTable, ...] = ()
    expect_unlisted: tuple[str, ...] = ()
    unharmed: bool = False
    checks: tuple[CheckTable, ...] = ()
    undo: tuple[Verb, ...] = ()
    together: str = ""
    within_s: float = 60
    stays_s: float = 0
    recovers_s: float = 120


class Scenario(Table):
    """The whole file. `declaration` is a declaration's text without `[manager]` and `[host]`."""

    about: str
    hosts: tuple[HostTable, ...]
    declaration: str
    expected: ExpectedTable
    disks: tuple[DiskTable, ...] = ()
    filesystems: tuple[FilesystemTable, ...] = ()
    exports: tuple[ExportTable, ...] = ()
    gluster_volumes: tuple[GlusterVolumeTable, ...] = ()
    gluster_ping_timeout_s: int = 10
    o2cb_dead_threshold: int = 16
    images: tuple[ImageTable, ...] = ()
    fillers: tuple[FillerTable, ...] = ()
    guests: tuple[GuestTable, ...] = ()
    manager: ManagerTable = msgspec.field(default_factory=ManagerTable)
    faults: tuple[FaultTable, ...] = ()

    def host(self, name: str) -> HostTable:
        """The host of that name."""
        return next(host for host in self.hosts if host.name == name)

    def gluster_volume(self, name: str) -> GlusterVolumeTable:
        """The Gluster volume of that name."""
        return next(volume for volume in self.gluster_volumes if volume.name == name)

    def disks_of(self, host: str) -> list[DiskTable]:
        """The disks that a host sees, in the file's order."""
        return [disk for disk in self.disks if host in disk.seen_by]

    def mounts_of(self, host: str) -> list[tuple[FilesystemTable, MountTable]]:
        """What a host mounts of the filesystems, in the file's order."""
        return [(fs, mount) for fs in self.filesystems for mount in fs.mounts if host in mount.hosts]

    def maps_of(self, host: str) -> list[DiskTable]:
        """The disks over which a host has a map."""
        mapped = {fs.disk for fs, _ in self.mounts_of(host) if fs.mapped}
        return [disk for disk in self.disks_of(host) if disk.name in mapped]

    def exports_mounted_on(self, host: str) -> list[tuple[ExportTable, MountTable]]:
        """What a host mounts of the exports."""
        return [(export, mount) for export in self.exports for mount in export.mounts if host in mount.hosts]

    def gluster_mounts_of(self, host: str) -> list[tuple[GlusterVolumeTable, MountTable]]:
        """What a host mounts of the Gluster volumes."""
        return [(vol, mount) for vol in self.gluster_volumes for mount in vol.mounts if host in mount.hosts]

    @property
    def gluster_hosts(self) -> list[str]:
        """The hosts with bricks, in the order of `hosts`."""
        named = {brick.partition(":")[0] for volume in self.gluster_volumes for brick in volume.bricks}
        return [host.name for host in self.hosts if host.name in named]

    @property
    def ocfs2_hosts(self) -> list[str]:
        """The nodes of the OCFS2 cluster, in the order of `hosts`."""
        return [
            host.name for host in self.hosts if any(fs.kind == "ocfs2" for fs, _ in self.mounts_of(host.name))
        ]
