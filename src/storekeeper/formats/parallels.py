"""Parallels' expandable image (.hdd, .hds), of both magics.

Specification: docs/interop/parallels of QEMU.
"""

from __future__ import annotations

from struct import Struct

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import SECTOR_BYTES, Format, ImageFile, exactly, fault_of
from storekeeper.observation import UNKNOWN, Fault, Header

_OLD_MAGIC = b"WithoutFreeSpace"
_NEW_MAGIC = b"WithouFreSpacExt"
_HEADER = Struct("<16sI8xIIQIIIQ")
_EXTENSION_MAGIC = Struct("<Q16x")
_SECTION = Struct("<QQI4x")

_IN_USE = 0x746F6E59
_EMPTY_IMAGE = 1
_IS_EXTENSION = 0xAB234CEF23DCEA87
_DIRTY_BITMAP = 0x20385FAE252CB34A
_NECESSARY = 1
_CLUSTER_LIMIT_SECTORS = (2**31 - 1) // 513
_BAT_LIMIT_ENTRIES = (2**31 - 1) // 4
_SECTION_LIMIT = 32


def inspect(file: ImageFile) -> Header:
    """The header of a Parallels image.

    Raises:
        BadHeader: it is cut, or its fields make no sense.
    """
    raw = exactly(file, 0, _HEADER.size, "header")
    magic, version, cluster_sectors, entries, sectors, in_use, _data, flags, extension = _HEADER.unpack(raw)
    if version != 2:
        raise BadHeader(f"Version {version} of Parallels' format is not known.", code="unknown-feature")
    if not 0 < cluster_sectors <= _CLUSTER_LIMIT_SECTORS:
        raise BadHeader(f"Clusters of {cluster_sectors} sectors make no sense.")
    faults: list[Fault] = []
    features: list[str] = []
    if magic == _OLD_MAGIC:
        sectors &= 0xFFFFFFFF
    virtual_bytes = sectors * SECTOR_BYTES
    if entries > _BAT_LIMIT_ENTRIES or sectors > entries * cluster_sectors:
        faults.append(Fault("size-lies", f"{sectors} sectors are more than its block table can map."))
        virtual_bytes = UNKNOWN
    if _HEADER.size + 4 * entries > file.size:
        faults.append(Fault("truncated", f"The file ends at byte {file.size}, within its block table."))
    if in_use == _IN_USE:
        features.append("dirty")
    if flags & _EMPTY_IMAGE:
        features.append("empty")
    if extension:
        try:
            _read_extension(file, extension * SECTOR_BYTES, cluster_sectors * SECTOR_BYTES, features, faults)
        except BadHeader as bad:
            faults.append(fault_of(bad))
    return Header(
        format="parallels",
        version="2",
        virtual_bytes=virtual_bytes,
        cluster_bytes=cluster_sectors * SECTOR_BYTES,
        features=tuple(features),
        faults=tuple(faults),
    )


def _read_extension(
    file: ImageFile, at: int, cluster_bytes: int, features: list[str], faults: list[Fault]
) -> None:
    """The feature sections of the format extension, a cluster at byte `at`."""
    end = at + cluster_bytes
    (magic,) = _EXTENSION_MAGIC.unpack(exactly(file, at, _EXTENSION_MAGIC.size, "format extension"))
    if magic != _IS_EXTENSION:
        raise BadHeader("Where its format extension should be is something else.")
    at += _EXTENSION_MAGIC.size
    for _ in range(_SECTION_LIMIT):
        if at + _SECTION.size > end:
            return
        kind, flags, length = _SECTION.unpack(exactly(file, at, _SECTION.size, "format extension"))
        if kind == 0:
            return
        if kind == _DIRTY_BITMAP:
            if "bitmaps" not in features:
                features.append("bitmaps")
        elif flags & _NECESSARY:
            faults.append(Fault("unknown-feature", f"The feature {kind:#x} is not known, and necessary."))
        at += _SECTION.size + (length + 7 & ~7)


FORMAT = Format("parallels", ((0, _OLD_MAGIC), (0, _NEW_MAGIC)), inspect)
