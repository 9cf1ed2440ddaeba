"""What libvirt's XML says: the disks of a domain or of a snapshot, and storage pools.

Formats: libvirt.org/formatdomain.html (disks), formatsnapshot.html, formatstorage.html. Paths and names in
it are data; nothing of them is opened here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from xml.etree.ElementTree import Element

from storekeeper.errors import ToolFailed
from storekeeper.naming import escape
from storekeeper.observation import GuestDisk, Pool
from storekeeper.sources.untrusted_xml import parse, text_of

FoundIn = Literal["persistent", "live", "snapshot", "mirror"]

# A CD-ROM or a floppy owns nothing; `lun` is a disk whose SCSI commands reach the guest.
_DISKS = {"disk", "lun"}
# The attribute of <source> that is a path, whatever the source's type.
_PATHS = ("file", "dev", "dir", "path")


def parse_domain(text: str, found_in: FoundIn, subject: str) -> list[GuestDisk]:
    """The disks of a `<domain>`, and the targets of the block copies that run in it.

    Raises:
        ToolFailed: this is no XML of a domain.
    """
    return list(_disks(_root(text, "domain", subject), found_in))


def parse_snapshot(text: str, subject: str) -> list[GuestDisk]:
    """The disks of the definitions that a `<domainsnapshot>` keeps: as the guest ran, and as it would
    have started. After an external snapshot they alone still name the image beneath.

    Raises:
        ToolFailed: this is no XML of a snapshot.
    """
    root = _root(text, "domainsnapshot", subject)
    return [
        disk
        for kept in ("domain", "inactiveDomain")
        for domain in root.iterfind(kept)
        for disk in _disks(domain, "snapshot")
    ]


def parse_pool(text: bytes, subject: str) -> Pool:
    """A pool as libvirt's own file keeps it: `<pool>`, or `<poolstate>` around it while it is active.

    `source` is written as a mount's source: `host:/export`, `host:VOLUME`, a device, a volume group.

    Raises:
        ToolFailed: this is no XML of a pool.
    """
    root = parse(text, subject)
    pool = root.find("pool") if root.tag == "poolstate" else root
    name = text_of(pool, "name") if pool is not None and pool.tag == "pool" else ""
    if pool is None or not name:
        raise ToolFailed(subject, "it is no storage pool")
    host = _attribute(pool, "source/host", "name")
    source = text_of(pool, "source/name") or next(
        (path for place in ("dir", "device") if (path := _attribute(pool, f"source/{place}", "path"))), ""
    )
    return Pool(
        key=f"pool:{escape(name)}",
        name=escape(name),
        kind=escape(pool.get("type", "")),
        target=escape(text_of(pool, "target/path")),
        source=escape(f"{host}:{source}" if host else source),
    )


def _root(text: str, tag: str, subject: str) -> Element:
    root = parse(text, subject)
    if root.tag != tag:
        raise ToolFailed(subject, f"it begins with <{escape(str(root.tag))}>, not <{tag}>")
    return root


def _disks(domain: Element, found_in: FoundIn) -> Iterator[GuestDisk]:
    for element in domain.iterfind("devices/disk"):
        if element.get("device", "disk") not in _DISKS:
            continue
        yield from _disk(element, element, found_in, _attribute(element, "driver", "type"))
        mirror = element.find("mirror")
        # The target of an active commit is an image further down the chain, not a new one.
        if mirror is not None and mirror.get("job", "copy") == "copy":
            yield from _disk(element, mirror, "mirror", _attribute(mirror, "format", "type"))


def _disk(disk: Element, place: Element, found_in: FoundIn, image_format: str) -> Iterator[GuestDisk]:
    """The image that `place` names for `disk`: the disk itself or its mirror; nothing without a source."""
    source = place.find("source")
    if source is None:
        return
    yield GuestDisk(
        target=escape(_attribute(disk, "target", "dev")),
        found_in=found_in,
        kind=escape(place.get("type", "")),
        format=escape(image_format),
        path=escape(_path(source)),
        pool=escape(source.get("pool", "")),
        volume=escape(source.get("volume", "")),
        protocol=escape(source.get("protocol", "")),
        name=escape(source.get("name", "")),
        hosts=tuple(escape(host.get("name", host.get("socket", ""))) for host in source.iterfind("host")),
        encryption=escape(
            _attribute(place, "encryption", "format") or _attribute(source, "encryption", "format")
        ),
        read_only=disk.find("readonly") is not None,
        shareable=disk.find("shareable") is not None,
        below=tuple(_chain(place)),
    )


def _chain(place: Element) -> Iterator[str]:
    """The backing images, nearest first. An empty `<backingStore/>` ends the chain."""
    link = place.find("backingStore")
    while link is not None and (source := link.find("source")) is not None:
        yield escape(_path(source) or f"{source.get('protocol', '')}://{source.get('name', '')}")
        link = link.find("backingStore")


def _path(source: Element) -> str:
    return next((path for attribute in _PATHS if (path := source.get(attribute))), "")


def _attribute(element: Element, path: str, attribute: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get(attribute, "")
