"""OCFS2 filesystems on the devices of this host: superblock, where mounted, whether this node heartbeats.

Superblock: linux fs/ocfs2/ocfs2_fs.h (struct ocfs2_dinode with ocfs2_super_block at 0xC0), in block 2 of
the filesystem. Cluster state: configfs, fs/ocfs2/cluster/heartbeat.c. Nothing is asked of the cluster's
tools: they read every device in turn and wait for a dead one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from msgspec import Struct

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fault, Ocfs2, Seen
from storekeeper.sources.block_devices import BlockDevice, Partition, block_devices, node, text
from storekeeper.sources.contract import Host, Scope, facts_by_key, fault_of
from storekeeper.sources.mountinfo import MOUNTINFO, MOUNTINFO_BYTES
from storekeeper.sources.mountinfo import parse as parse_mountinfo

_AT_ONCE = 8
_CLUSTERS = "/sys/kernel/config/cluster"

# Enough for block 2 of every block size, and whole sectors of every disk: one read a device.
HEAD_BYTES = 12288
_BLOCK_BYTES = (512, 1024, 2048, 4096)
_SIGNATURE = b"OCFSV2"
_INODE = struct.Struct("<8s12xI56xQ")  # i_signature, i_clusters, i_blkno
_SUPER = struct.Struct("<32xI20xIIH14x64s16s4s4x16s")  # from s_major_rev_level to s_cluster_info
_SUPER_OFFSET = 0xC0
_LOCAL_MOUNT = 0x0008
_CLUSTER_INFO = 0x0080 | 0x4000  # userspace stack, or o2cb with its name in the superblock
_CLUSTER_BITS = range(12, 21)


class Superblock(Struct, frozen=True, kw_only=True):
    """What the superblock says. Stack and cluster are `""` for a filesystem that only one host mounts."""

    filesystem_uuid: str
    label: str
    cluster_stack: str
    cluster_name: str
    block_bytes: int
    cluster_bytes: int
    total_bytes: int
    slots: int
    faults: tuple[Fault, ...] = ()


class _Device(Struct, frozen=True):
    name: str
    device: str
    number: str


def parse(head: bytes) -> Superblock | None:
    """The superblock in the first HEAD_BYTES of a device; None where there is no OCFS2. Never raises."""
    for block_bytes in _BLOCK_BYTES:
        at = 2 * block_bytes
        if head[at : at + len(_SIGNATURE)] == _SIGNATURE and len(head) >= at + _SUPER_OFFSET + _SUPER.size:
            return _superblock(head, at, block_bytes)
    return None


def _superblock(head: bytes, at: int, block_bytes: int) -> Superblock:
    _, clusters, block = _INODE.unpack_from(head, at)
    incompatible, block_bits, cluster_bits, slots, label, uuid, stack, name = _SUPER.unpack_from(
        head, at + _SUPER_OFFSET
    )
    lies = []
    if block != 2 or 1 << min(block_bits, 32) != block_bytes:
        lies.append(f"it says it is block {block} of a filesystem with block size 2^{block_bits}")
    if cluster_bits not in _CLUSTER_BITS:
        lies.append(f"cluster size 2^{cluster_bits}")
    if incompatible & _LOCAL_MOUNT:
        stack, name = b"", b""
    elif not incompatible & _CLUSTER_INFO:
        stack, name = b"o2cb", b""
    cluster_bytes = 1 << cluster_bits if cluster_bits in _CLUSTER_BITS else 0
    return Superblock(
        filesystem_uuid=str(UUID(bytes=uuid)), label=_name(label), cluster_stack=_name(stack),
        cluster_name=_name(name), block_bytes=block_bytes, cluster_bytes=cluster_bytes,
        total_bytes=clusters * cluster_bytes if cluster_bytes else UNKNOWN, slots=slots,
        faults=tuple(Fault("bad-superblock", f"The OCFS2 superblock lies: {lie}.") for lie in lies),
    )  # fmt: skip


def probe(host: Host, scope: Scope, last: Seen | None = None) -> Seen:  # noqa: ARG001
    """Every OCFS2 filesystem on a disk, partition or multipath map, and every one that is mounted."""
    started = time.monotonic()
    try:
        mounts = _mounts(host)
        devices = _candidates(host, mounts)
    except HostError as error:
        faults = (fault_of(error, "*"),)
        return Seen(
            source="ocfs2", scope=scope.key, facts={}, faults=faults, took_s=time.monotonic() - started
        )
    with ThreadPoolExecutor(_AT_ONCE, "ocfs2") as pool:
        looks = list(pool.map(lambda device: _look(host, device, mounts.get(device.number, "")), devices))
    return Seen(
        source="ocfs2", scope=scope.key,
        facts=facts_by_key([look for look in looks if isinstance(look, Ocfs2)]),
        faults=tuple(look for look in looks if isinstance(look, Fault)),
        took_s=time.monotonic() - started,
    )  # fmt: skip


def _mounts(host: Host) -> dict[str, str]:
    """Device number to the first place where OCFS2 is mounted from it."""
    places: dict[str, str] = {}
    for mount in parse_mountinfo(host.read(MOUNTINFO, MOUNTINFO_BYTES)):
        if mount.filesystem_type == "ocfs2":
            places.setdefault(mount.device_number, mount.mount_point)
    return places


def _candidates(host: Host, mounted: Iterable[str]) -> list[_Device]:
    """Where OCFS2 may lie: disks, partitions and maps, and whatever it is mounted from (an LV, drbd)."""
    found = {}
    for disk in block_devices(host):
        parts: tuple[BlockDevice | Partition, ...] = (disk, *disk.partitions)
        for part in parts:
            if part.size_bytes >= HEAD_BYTES:
                found[part.number] = _Device(part.name, part.device, part.number)
    for number in mounted:
        if number not in found:
            name = host.target(f"/sys/dev/block/{number}").rpartition("/")[2]
            found[number] = _Device(name, node(name), number)
    return list(found.values())


def _look(host: Host, device: _Device, mounted_at: str) -> Ocfs2 | Fault | None:
    """The filesystem on one device, None if there is none, a fault if it could not be told."""
    try:
        found = parse(host.block(device.device, 0, HEAD_BYTES, direct=True))
        if not found:
            return None
        heartbeat = _heartbeat(host, found)
    except Absent:
        return None
    except HostError as error:
        return fault_of(error, device.name)
    return Ocfs2(
        key=device.name, device=device.device, device_number=device.number,
        filesystem_uuid=found.filesystem_uuid, label=found.label, cluster_stack=found.cluster_stack,
        cluster_name=found.cluster_name, block_bytes=found.block_bytes, cluster_bytes=found.cluster_bytes,
        total_bytes=found.total_bytes, slots=found.slots, mounted_at=mounted_at,
        heartbeat_active=heartbeat, faults=found.faults,
    )  # fmt: skip


def _heartbeat(host: Host, found: Superblock) -> bool | None:
    """Whether this node beats for the filesystem: in its own region, or in any with global heartbeat.

    None for stacks that do not heartbeat through o2cb, and where configfs is not mounted.
    """
    if found.cluster_stack != "o2cb":
        return None
    try:
        clusters = host.names(_CLUSTERS)
    except Absent:
        # Without o2cb's own directory its module is not there, and nothing can beat.
        return None if _present(host, "/sys/fs/o2cb") else False
    region = UUID(found.filesystem_uuid).hex.upper()
    for cluster in clusters if not found.cluster_name else {found.cluster_name} & set(clusters):
        place = f"{_CLUSTERS}/{cluster}/heartbeat"
        regions = [name for name in host.names(place) if len(name) == len(region)]
        if text(host, f"{place}/mode") == "local":
            regions = [name for name in regions if name == region]
        if any(text(host, f"{place}/{name}/dev") for name in regions):
            return True
    return False


def _present(host: Host, directory: str) -> bool:
    try:
        host.names(directory)
    except Absent:
        return False
    return True


def _name(raw: bytes) -> str:
    return escape(raw.split(b"\0", 1)[0])
