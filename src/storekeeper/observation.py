"""What is seen on a host, in the host's own terms: bytes, paths, devices, header fields.

Every fact has a `key`, unique in its `Seen`. Sizes are bytes; `UNKNOWN` (-1) stands for a number
that could not be seen. Paths and names are `str`: bytes that are not UTF-8, control characters and
`%` are written `%XX` (see `storekeeper.naming`), so that every string here is printable and exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

UNKNOWN = -1


class Fault(Struct, frozen=True, gc=False):
    """Something that could not be seen, or that lies.

    `code` is a word of `errors` (`timed-out`, `denied`, `io-error`, `bad-header` ...), `text` one
    sentence for an admin. `hides` says which facts this fault kept from being seen: `"*"` all of the
    scope, a fact's key that one, a key prefix ending in `/` all below it, `""` none.
    """

    code: str
    text: str
    hides: str = ""


# --- disks ------------------------------------------------------------------------------------


class Use(Struct, frozen=True, gc=False):
    """One reason why a disk is not free, as seen on this host."""

    kind: Literal[
        "partition-table", "filesystem", "raid", "lvm", "signature", "mounted", "held", "read-only",
        "removable", "unreadable", "swap",
    ]  # fmt: skip
    text: str


class Disk(Struct, frozen=True, kw_only=True, tag="disk"):
    """A whole physical disk; of a multipath disk the map, with its `paths`. `key` is the kernel name.

    `physical_disk_id` is what `scsi_id -g -u` prints (descriptor type digit and identifier), for NVMe
    the namespace's wwid, `""` where the disk has none. `matchable`: the id is of a type that means the
    same disk on every host (1, 2, 3, 8, NVMe).
    """

    key: str
    device: str
    physical_disk_id: str
    matchable: bool
    vendor: str
    product_number: str
    serial: str
    size_bytes: int
    transport: str = ""
    paths: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()
    filesystem_uuid: str = ""
    filesystem_type: str = ""
    device_numbers: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


# --- mounts and space ---------------------------------------------------------------------------


class Mount(Struct, frozen=True, kw_only=True, tag="mount"):
    """One line of /proc/self/mountinfo. `key` is the mount id (its first field)."""

    key: str
    parent: str
    device_number: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    filesystem_type: str
    source: str
    super_options: tuple[str, ...]


class DeclaredMount(Struct, frozen=True, kw_only=True, tag="declared-mount"):
    """A place that this host means to mount: a line of /etc/fstab or a systemd unit. `key` is the place."""

    key: str
    source: str
    filesystem_type: str
    declared_in: str


class Space(Struct, frozen=True, kw_only=True, tag="space"):
    """One look at a volume's place: what stands there, whether it answers, how large it is.

    `key` is the volume's key. `mount` is the covering mount (the last one mountinfo lists for it).
    `filesystem_id` is the identity as the design defines it: superblock UUID, Gluster volume id,
    `server:/export`, `//server/share`; `""` when it could not be told. `must_be_mount` when fstab or a
    systemd unit mounts the place. `other_paths`: further paths under which it is known here (symlinks
    resolved, bind mounts). `read_fault`: what an uncached read or the kernel's error counters say.
    """

    key: str
    path: str
    exists: bool
    is_mount_point: bool
    mount: Mount | None
    filesystem_id: str
    total_bytes: int = UNKNOWN
    available_bytes: int = UNKNOWN
    read_only: bool = False
    must_be_mount: bool = False
    other_paths: tuple[str, ...] = ()
    read_fault: Fault | None = None
    device_number: str = ""
    took_s: float = 0.0


# --- images ---------------------------------------------------------------------------------------


class Parent(Struct, frozen=True, gc=False):
    """What a header says of its parent. Data, never a path to open.

    `names` in the order of trust as the header gives them (backing file; relative, then absolute
    locators; parent hint), `unique_id` for formats that name it by UUID, `format` as declared.
    """

    names: tuple[str, ...] = ()
    format: str = ""
    unique_id: str = ""


class Extent(Struct, frozen=True, gc=False):
    """A further file of an image, as its descriptor names it (VMDK extents)."""

    name: str
    size_bytes: int
    kind: str
    offset_bytes: int = 0


class Header(Struct, frozen=True, kw_only=True, gc=False):
    """What an image file says of itself.

    `version` is free text (`2`, `3`, `monolithicSparse`, `differencing`). `virtual_bytes` is UNKNOWN
    when the header lies about it. `preallocated`: the header itself says all space is taken (fixed VHD,
    static VDI, flat VMDK). `corrupt`: the format's own dirty-beyond-use mark.
    """

    format: str
    version: str = ""
    virtual_bytes: int = UNKNOWN
    cluster_bytes: int = 0
    parent: Parent | None = None
    unique_id: str = ""
    data_file: str = ""
    data_file_raw: bool = False
    extents: tuple[Extent, ...] = ()
    encryption: str = ""
    internal_snapshots: int = 0
    preallocated: bool = False
    features: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class Image(Struct, frozen=True, kw_only=True, tag="image", gc=False):
    """A file that is, or may be, a disk image. `key` is its path below the volume's root, escaped.

    `evidence` says why it is here: its `header`; a `partition-table`; its `name` (.raw, .img); a guest
    `used` it; or `none`, a file of whole sectors that is an image only if it proves to be a reflink
    copy of one. `temporary`: a name that counts only when a guest uses it (`.x`, `x.part`).
    `allocated_bytes` is st_blocks * 512, of all files of the image. `inode`, `modified_ns`,
    `changed_ns`, `file_bytes` together are the signature by which an unchanged file is known.
    `born_ns`: statx birth time, UNKNOWN where the filesystem keeps none or cannot share extents.
    """

    key: str
    evidence: Literal["header", "partition-table", "name", "used", "none"]
    header: Header
    file_bytes: int
    allocated_bytes: int
    inode: int
    modified_ns: int
    changed_ns: int
    born_ns: int = UNKNOWN
    temporary: bool = False
    faults: tuple[Fault, ...] = ()


class Sharing(Struct, frozen=True, kw_only=True, tag="sharing"):
    """The extents that one image shares with others, by FIEMAP. `key` is the image's key.

    `shared_with` maps other images' keys to the bytes shared at the same file offset. `shared_bytes`
    counts what is shared with anyone, `exclusive_bytes` the rest of what is mapped.
    """

    key: str
    shared_with: dict[str, int]
    shared_bytes: int
    exclusive_bytes: int
    faults: tuple[Fault, ...] = ()


# --- guests ---------------------------------------------------------------------------------------


class GuestDisk(Struct, frozen=True, kw_only=True):
    """One disk of a guest's definition. CD-ROMs and floppies are not here.

    `found_in`: the definition that names it. `kind` is libvirt's source type; `path` a file or device;
    `pool` and `volume` for `volume` sources; `name` and `hosts` for `network` (gluster: `VOL/path`).
    `below` are the backing files that the live definition lists under it, nearest first.
    """

    target: str
    found_in: Literal["persistent", "live", "snapshot", "mirror"]
    kind: str
    format: str = ""
    path: str = ""
    pool: str = ""
    volume: str = ""
    protocol: str = ""
    name: str = ""
    hosts: tuple[str, ...] = ()
    encryption: str = ""
    read_only: bool = False
    shareable: bool = False
    below: tuple[str, ...] = ()


GuestState = Literal["running", "paused", "stopped", "suspended", "migrating", "unknown"]


class Guest(Struct, frozen=True, kw_only=True, tag="guest"):
    """A libvirt domain. `key` is its name."""

    key: str
    unique_id: str
    state: GuestState
    persistent: bool
    disks: tuple[GuestDisk, ...]
    faults: tuple[Fault, ...] = ()


class Pool(Struct, frozen=True, kw_only=True, tag="pool"):
    """A libvirt storage pool as its file defines it. `key` is `pool:NAME`; `target` its directory."""

    key: str
    name: str
    kind: str
    target: str
    source: str = ""


# --- gluster --------------------------------------------------------------------------------------


class Brick(Struct, frozen=True, kw_only=True):
    """One brick. `online` is None when nobody could tell (a dead peer's brick)."""

    host: str
    path: str
    arbiter: bool = False
    online: bool | None = None


class GlusterVolume(Struct, frozen=True, kw_only=True, tag="gluster-volume"):
    """A Gluster volume from `volume info`, joined with `volume status`. `key` is its name.

    Counts as `gluster volume info --xml` gives them, save that `dist_count` is the number of subvolumes
    whatever gluster's version. `replica_count` includes arbiters, `disperse_count` the redundancy (0 when
    the volume is not dispersed). `options` holds the reconfigured options only, no defaults.
    """

    key: str
    unique_id: str
    started: bool
    type_name: str
    transport: str
    brick_count: int
    dist_count: int
    replica_count: int
    arbiter_count: int
    disperse_count: int
    redundancy_count: int
    bricks: tuple[Brick, ...]
    options: dict[str, str]
    faults: tuple[Fault, ...] = ()


class BrickHeal(Struct, frozen=True, kw_only=True):
    """What waits to be healed, as one brick tells it: both UNKNOWN when the brick could not be asked.

    `entries` counts all, those in split brain included.
    """

    host: str
    path: str
    entries: int = UNKNOWN
    split_brain_entries: int = UNKNOWN


class GlusterHeal(Struct, frozen=True, kw_only=True, tag="gluster-heal"):
    """`volume heal VOL info summary` of a started replica or disperse volume. `key` is the volume's name.

    `split_brain_files`: paths below the volume's root (or `<gfid:...>` where no brick knows a path) that
    are in split brain, at most 16, sorted.
    """

    key: str
    bricks: tuple[BrickHeal, ...]
    split_brain_files: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


# --- ocfs2 ----------------------------------------------------------------------------------------


class Ocfs2(Struct, frozen=True, kw_only=True, tag="ocfs2"):
    """An OCFS2 filesystem on a device of this host. `key` is the kernel device name.

    `heartbeat_active`: this node heartbeats in the cluster; None when it cannot be told.
    """

    key: str
    device: str
    device_number: str
    filesystem_uuid: str
    label: str
    cluster_stack: str
    cluster_name: str
    block_bytes: int
    cluster_bytes: int
    total_bytes: int
    slots: int
    mounted_at: str = ""
    heartbeat_active: bool | None = None
    faults: tuple[Fault, ...] = ()


# --- the machine ----------------------------------------------------------------------------------


class Machine(Struct, frozen=True, kw_only=True, tag="machine"):
    """The host itself. `key` is `machine`. `physical_cores` and `physical_ram_bytes` may be UNKNOWN;
    `hypervisor` is `qemu` and its version, `""` where none is installed.
    """

    key: str
    cpu_type: str
    physical_cores: int
    physical_ram_bytes: int
    hypervisor: str
    kernel: str


Fact = (
    Disk
    | Mount
    | DeclaredMount
    | Space
    | Image
    | Sharing
    | Guest
    | Pool
    | GlusterVolume
    | GlusterHeal
    | Ocfs2
    | Machine
)


class Seen(Struct, frozen=True, kw_only=True):
    """One look of a source at a scope: for `scope` these are all the facts, save what `faults` hide.

    An empty `facts` without faults means "none here", and was seen.
    """

    source: str
    scope: str
    facts: Mapping[str, Fact]
    faults: tuple[Fault, ...] = ()
    took_s: float = 0.0

    @property
    def blind(self) -> Fault | None:
        """The fault that hid the whole scope, if there is one."""
        return next((fault for fault in self.faults if fault.hides == "*"), None)
