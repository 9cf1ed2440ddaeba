"""The physical disks of this host, what identifies them and what each is used for.

Sysfs for what a disk is, `signatures` for what lies on it, mountinfo, /proc/swaps and the holders
directories for who uses it. A disk that does not answer costs its own bounded call: the others' facts
are whole, its own say `unreadable`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape
from storekeeper.observation import Disk, Fault, Seen, Use
from storekeeper.sources import disk_ids, signatures
from storekeeper.sources.block_devices import BlockDevice, Path, attribute, block_devices, text
from storekeeper.sources.contract import Host, Scope, facts_by_key, fault_of
from storekeeper.sources.mountinfo import MOUNTINFO, MOUNTINFO_BYTES, name, parse

_AT_ONCE = 8

# A part of a disk's place in /sys/devices tells how it is connected.
_TRANSPORTS = (
    (re.compile(r"/usb\d"), "usb"),
    (re.compile(r"/ata\d"), "sata"),
    (re.compile(r"/session\d"), "iscsi"),
    (re.compile(r"/rport-\d"), "fc"),
    (re.compile(r"/end_device-\d"), "sas"),
    (re.compile(r"/nvme"), "nvme"),
    (re.compile(r"/virtio\d+/block/"), "virtio"),
    (re.compile(r"/mmc\d"), "mmc"),
)


class Identity(Struct, frozen=True):
    """What a disk says of itself."""

    physical_disk_id: str
    matchable: bool
    vendor: str
    product_number: str
    serial: str


class InUse(Struct, frozen=True):
    """Where devices are mounted and which serve as swap, by device number (`8:16`) and by node."""

    mounted: dict[str, str]
    swaps: frozenset[str]


def probe(host: Host, scope: Scope, last: Seen | None = None) -> Seen:  # noqa: ARG001
    """Every physical disk of the host, those that are free and those that are not."""
    started = time.monotonic()
    try:
        devices = block_devices(host)
        in_use = _in_use(host)
    except HostError as error:
        faults = (fault_of(error, "*"),)
        return Seen(
            source="disks", scope=scope.key, facts={}, faults=faults, took_s=time.monotonic() - started
        )
    with ThreadPoolExecutor(_AT_ONCE, "disk") as pool:
        disks = list(pool.map(lambda device: _disk(host, device, in_use), devices))
    return Seen(source="disks", scope=scope.key, facts=facts_by_key(disks), took_s=time.monotonic() - started)


def parse_in_use(mountinfo: bytes, swaps: bytes) -> InUse:
    """Who uses block devices, from /proc/self/mountinfo and /proc/swaps (proc(5)).

    btrfs mounts show a device number of their own; they are known by the node in their source.
    """
    mounted: dict[str, str] = {}
    for mount in parse(mountinfo):
        mounted.setdefault(mount.device_number, mount.mount_point)
        if mount.source.startswith("/dev/"):
            mounted.setdefault(mount.source, mount.mount_point)
    lines = swaps.decode("utf-8", "surrogateescape").splitlines()[1:]
    return InUse(mounted, frozenset(name(line.split()[0]) for line in lines if line.strip()))


def identity(host: Host, path: Path) -> Identity:
    """What the disk behind one path says of itself."""
    place = f"/sys/block/{path.name}"
    vendor, model = attribute(host, f"{place}/device/vendor"), attribute(host, f"{place}/device/model")
    serial = ""
    if path.name.startswith("nvme"):
        physical_id, matchable = text(host, f"{place}/wwid"), True
        serial = text(host, f"{place}/device/serial")
    elif path.name.startswith("sd"):
        page_80 = attribute(host, f"{place}/device/vpd_pg80")
        inquiry = disk_ids.Inquiry(
            attribute(host, f"{place}/device/vpd_pg83"), page_80, vendor.rstrip(b"\n"), model.rstrip(b"\n")
        )
        physical_id = escape(disk_ids.scsi_id(inquiry))
        matchable = disk_ids.matchable(physical_id)
        serial = escape(disk_ids.unit_serial_number(page_80))
    else:
        # Virtio's serial is whatever the VM's owner wrote; `virtio-SERIAL` is its name in /dev/disk/by-id.
        serial = text(host, f"{place}/serial")
        physical_id, matchable = (f"virtio-{serial}" if path.name.startswith("vd") and serial else ""), False
    return Identity(
        physical_disk_id=physical_id,
        matchable=matchable and bool(physical_id),
        vendor=escape(vendor.strip()),
        product_number=escape(model.strip()),
        serial=serial,
    )


def _disk(host: Host, device: BlockDevice, in_use: InUse) -> Disk:
    """One disk, whole: it may be unreadable, or gone since it was listed, but is told either way."""
    faults: tuple[Fault, ...] = ()
    found = signatures.Signatures()
    who, transport = Identity("", False, "", "", ""), ""
    try:
        if device.paths:
            who = identity(host, device.paths[0])
            transport = _transport(host, device.paths[0])
        found = signatures.look(host, device.device, device.size_bytes)
    except HostError as error:
        found = signatures.Signatures((Use("unreadable", error.text),))
        faults = (fault_of(error),)
    physical_id = who.physical_disk_id or device.map_id
    return Disk(
        key=device.name,
        device=device.device,
        physical_disk_id=physical_id,
        matchable=who.matchable or (not who.physical_disk_id and disk_ids.matchable(physical_id)),
        vendor=who.vendor,
        product_number=who.product_number,
        serial=who.serial,
        size_bytes=device.size_bytes,
        transport=transport,
        paths=tuple(path.device for path in device.paths) if device.map_id else (),
        uses=(*found.uses, *_uses(device, in_use, table_seen=bool(found.uses))),
        filesystem_uuid=found.filesystem_uuid,
        filesystem_type=found.filesystem_type,
        device_numbers=device.numbers,
        faults=faults,
    )


def _uses(device: BlockDevice, in_use: InUse, *, table_seen: bool) -> Iterator[Use]:
    """Why a disk is not free, by what the kernel says of it; what lies on it is told elsewhere."""
    if device.partitions and not table_seen:
        yield Use("partition-table", _listed("has partition", [part.name for part in device.partitions]))
    nodes = [device.device, f"/dev/{device.name}", *(part.device for part in device.partitions)]
    nodes += [f"/dev/{part.name}" for part in device.partitions]
    places = dict.fromkeys(in_use.mounted[key] for key in (*device.numbers, *nodes) if key in in_use.mounted)
    if places:
        yield Use("mounted", _listed("mounted at", list(places)))
    if swaps := dict.fromkeys(node for node in nodes if node in in_use.swaps):
        yield Use("swap", _listed("swap on", list(swaps)))
    if device.holders:
        yield Use("held", _listed("held by", list(device.holders)))
    if device.read_only:
        yield Use("read-only", "the kernel has it read-only")
    if device.removable:
        yield Use("removable", "a removable medium")


def _listed(what: str, names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{what} {', '.join(names[:limit])}{more}"


def _in_use(host: Host) -> InUse:
    return parse_in_use(host.read(MOUNTINFO, MOUNTINFO_BYTES), attribute(host, "/proc/swaps"))


def _transport(host: Host, path: Path) -> str:
    """How the disk is connected, in lsblk's words; `""` where its place in /sys/devices does not tell."""
    try:
        place = host.target(f"/sys/block/{path.name}")
    except Absent:
        return ""
    return next((name for pattern, name in _TRANSPORTS if pattern.search(place)), "")
