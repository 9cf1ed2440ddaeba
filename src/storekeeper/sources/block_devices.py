"""The block devices of a host as sysfs shows them: physical disks, multipath maps, their partitions.

Kernel: Documentation/ABI/stable/sysfs-block; device mapper's uuid prefixes: `mpath-` for multipath maps,
`partN-mpath-` for the partitions that kpartx lays over them. What is no physical disk (loop, ram, zram,
CD-ROM, floppy, nbd, md, drbd, rbd, LVM, crypt) is not here; it shows as holder of the disks below it.
"""

from __future__ import annotations

import re

from msgspec import Struct

from storekeeper.errors import Absent, Unreadable
from storekeeper.naming import escape
from storekeeper.sources.contract import Host

SECTOR_BYTES = 512  # of sysfs' sizes, whatever the disk's own sectors are

_NO_DISK = re.compile(r"(?:loop|ram|zram|sr|fd|nbd|md|drbd|rbd|dm-)\d")
_MULTIPATH = "mpath-"
_MULTIPATH_PARTITION = re.compile(r"part\d+-mpath-")


class Partition(Struct, frozen=True):
    """A partition, of a disk or (then a dm device) of a multipath map. `number` is `major:minor`."""

    name: str
    device: str
    number: str
    size_bytes: int


class Path(Struct, frozen=True):
    """One way to a disk: the device in /sys/block that stands for the hardware."""

    name: str
    device: str
    number: str


class BlockDevice(Struct, frozen=True, kw_only=True):
    """A whole disk: of a plain disk the device itself, its one path; of a multipath disk the map.

    `map_id` is what multipath names the disk by, `""` for a plain disk. `holders` are the devices laid
    over it or its partitions, as a person knows them; `numbers` are all that a mount of it may show.
    """

    name: str
    device: str
    number: str
    size_bytes: int
    read_only: bool
    removable: bool
    paths: tuple[Path, ...]
    partitions: tuple[Partition, ...]
    holders: tuple[str, ...]
    numbers: tuple[str, ...]
    map_id: str = ""


def attribute(host: Host, path: str) -> bytes:
    """A small file of sysfs; `b""` where the kernel has none, or refuses to say (EINVAL)."""
    try:
        return host.read(path)
    except (Absent, Unreadable):
        return b""


def text(host: Host, path: str) -> str:
    """A line of sysfs, trimmed and printable."""
    return escape(attribute(host, path).split(b"\0", 1)[0].strip())


def node(name: str) -> str:
    """The device node of a kernel name (`cciss!c0d0` lies in a directory of /dev)."""
    return "/dev/" + name.replace("!", "/")


def block_devices(host: Host) -> list[BlockDevice]:
    """Every physical disk and multipath map of a host; disks that are paths of a map only in the map. A map
    that something holds outlives its last path: without one it is no disk any more.

    Raises:
        HostError: /sys/block itself cannot be read.
    """
    names = host.names("/sys/block")
    uuids = {name: text(host, f"/sys/block/{name}/dm/uuid") for name in names if name.startswith("dm-")}
    maps = [name for name, uuid in uuids.items() if uuid.startswith(_MULTIPATH)]
    slaves = {
        name: tuple(path for path in _names(host, f"/sys/block/{name}/slaves") if path in names)
        for name in maps
    }
    in_maps = {slave for names in slaves.values() for slave in names}
    found = []
    for name in names:
        if name in slaves:
            if slaves[name]:
                found.append(_multipath(host, name, slaves[name], uuids))
        elif not _NO_DISK.match(name) and name not in in_maps:
            disk = _disk(host, name, uuids)
            if disk:
                found.append(disk)
    return found


def _disk(host: Host, name: str, uuids: dict[str, str]) -> BlockDevice | None:
    """A plain disk; None for what has no hardware behind it, is one path of an NVMe, or is gone."""
    entries = _names(host, f"/sys/block/{name}")
    number = text(host, f"/sys/block/{name}/dev")
    if "device" not in entries or not number or text(host, f"/sys/block/{name}/hidden") == "1":
        return None
    partitions = tuple(_partitions(host, name, entries))
    holders = _names(host, f"/sys/block/{name}/holders")
    for partition in partitions:
        holders += _names(host, f"/sys/block/{name}/{partition.name}/holders")
    return _block_device(
        host, name, number, device=node(name), paths=(Path(name, node(name), number),), partitions=partitions,
        holders=tuple(_known_as(host, holder, uuids) for holder in holders),
    )  # fmt: skip


def _multipath(host: Host, name: str, slaves: tuple[str, ...], uuids: dict[str, str]) -> BlockDevice:
    """A multipath map. Its partitions are dm devices that hold it, and hide what holds them."""
    paths = tuple(Path(slave, node(slave), text(host, f"/sys/block/{slave}/dev")) for slave in slaves)
    partitions, holders = [], []
    for holder in _names(host, f"/sys/block/{name}/holders"):
        if not _MULTIPATH_PARTITION.match(uuids.get(holder, "")):
            holders.append(holder)
            continue
        partitions.append(
            Partition(
                holder, _mapped(host, holder), text(host, f"/sys/block/{holder}/dev"), _size(host, holder)
            )
        )
        holders += _names(host, f"/sys/block/{holder}/holders")
    return _block_device(
        host, name, text(host, f"/sys/block/{name}/dev"), device=_mapped(host, name), paths=paths,
        partitions=tuple(partitions), holders=tuple(_known_as(host, holder, uuids) for holder in holders),
        map_id=uuids[name].removeprefix(_MULTIPATH),
    )  # fmt: skip


def _block_device(
    host: Host, name: str, number: str, *, device: str, paths: tuple[Path, ...],
    partitions: tuple[Partition, ...], holders: tuple[str, ...], map_id: str = "",
) -> BlockDevice:  # fmt: skip
    numbers = (number, *(part.number for part in partitions), *(path.number for path in paths))
    return BlockDevice(
        name=name, device=device, number=number, size_bytes=_size(host, name), paths=paths,
        read_only=text(host, f"/sys/block/{name}/ro") == "1",
        removable=text(host, f"/sys/block/{name}/removable") == "1",
        partitions=partitions, holders=holders, numbers=tuple(dict.fromkeys(numbers)), map_id=map_id,
    )  # fmt: skip


def _partitions(host: Host, name: str, entries: tuple[str, ...]) -> list[Partition]:
    found = []
    for entry in entries:
        # `sda1` below sda, `nvme0n1p1` below nvme0n1; nothing else in the directory begins so.
        if entry.startswith(name) and attribute(host, f"/sys/block/{name}/{entry}/partition"):
            number = text(host, f"/sys/block/{name}/{entry}/dev")
            found.append(Partition(entry, node(entry), number, _size(host, f"{name}/{entry}")))
    return found


def _names(host: Host, directory: str) -> tuple[str, ...]:
    try:
        return host.names(directory)
    except (Absent, Unreadable):
        return ()


def _size(host: Host, name: str) -> int:
    sectors = text(host, f"/sys/block/{name}/size")
    return int(sectors) * SECTOR_BYTES if sectors.isdecimal() else 0


def _mapped(host: Host, name: str) -> str:
    return "/dev/mapper/" + text(host, f"/sys/block/{name}/dm/name")


def _known_as(host: Host, holder: str, uuids: dict[str, str]) -> str:
    """`md0`; `dm-1 (vg-lv)` for a device of device mapper."""
    return f"{holder} ({text(host, f'/sys/block/{holder}/dm/name')})" if holder in uuids else holder
