"""VHDX: Hyper-V's image, fixed, dynamic and differencing.

Specification: Microsoft, [MS-VHDX], to whose sections the comments refer.
"""

from __future__ import annotations

import re
from functools import cache
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import Format, ImageFile, exactly, fault_of, guid_text
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_MIB = 1 << 20
_HEADERS_AT = (64 << 10, 128 << 10)
_HEADER = Struct("<4sIQ16s16s16sHHIQ")
_HEADER_BLOCK_BYTES = 4096
_REGION_TABLES_AT = (192 << 10, 256 << 10)
_TABLE_HEAD = Struct("<4s4xI4x")
_REGION = Struct("<16sQII")
_METADATA_HEAD = Struct("<8s2xH20x")
_ITEM = Struct("<16sIII4x")
_ENTRY_LIMIT = 2047
_TABLE_READ_BYTES = 512
_ITEMS_AT = 64 << 10
_ITEMS_READ_BYTES = 4096
_REQUIRED_REGION, _REQUIRED_ITEM = 1, 4

_FILE_PARAMETERS = Struct("<II")
_U32, _U64 = Struct("<I"), Struct("<Q")
_FIXED, _HAS_PARENT = 1, 2
_SIZE_LIMIT_BYTES = 64 << 40
_CHUNK_SECTORS = 1 << 23
_SECTOR_SIZES = (512, 4096)

_LOCATOR_HEAD = Struct("<16s2xH")
_KEY_VALUE = Struct("<IIHH")
_LOCATOR_LIMIT_BYTES = 64 << 10
_KEY_VALUE_LIMIT = 64
_VALUE_LIMIT_BYTES = 2048
_IS_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
# In the order in which 2.6.2.6.3 tries them.
_PARENT_PATHS = ("relative_path", "volume_path", "absolute_win32_path")


def _guid(text: str) -> bytes:
    return UUID(text).bytes_le


_NO_GUID = bytes(16)
_BAT = _guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = _guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_PARAMETERS_ITEM = _guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_SIZE_ITEM = _guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_DISK_ID_ITEM = _guid("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL_SECTOR_ITEM = _guid("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL_SECTOR_ITEM = _guid("cda348c7-445d-4471-9cc9-e9885251c556")
_PARENT_ITEM = _guid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_KNOWN_ITEMS = (
    _PARAMETERS_ITEM, _SIZE_ITEM, _DISK_ID_ITEM, _LOGICAL_SECTOR_ITEM, _PHYSICAL_SECTOR_ITEM, _PARENT_ITEM,
)  # fmt: skip
_VHDX_PARENT = _guid("b04aefb7-d19e-4a81-b789-25b8e9445913")


class _Current(NamedTuple):
    """What is used of the current header."""

    data_write_guid: bytes
    log_guid: bytes


class _Region(NamedTuple):
    offset: int
    length: int


class _Disk(NamedTuple):
    """What the metadata say of the disk."""

    block_bytes: int
    flags: int
    size: int
    sector_bytes: int


def inspect(file: ImageFile) -> Header:
    """The headers, region table and metadata of a VHDX file.

    `unique_id` is the GUID of its last data write, since that is how a child names its parent
    (2.6.2.6.3). A log that is not empty (`log-to-replay`) is normal while the disk is in use; the
    metadata here may then be older than what replaying it would give.

    Raises:
        BadHeader: it is cut, of an unknown version, or its fields make no sense.
    """
    faults: list[Fault] = []
    current = _current_header(file)
    bat, metadata = _regions(file, faults)
    items = _Items(file, metadata, faults)
    disk = _disk(items)
    has_parent = bool(disk.flags & _HAS_PARENT)
    version = "differencing" if has_parent else "fixed" if disk.flags & _FIXED else "dynamic"
    return Header(
        format="vhdx",
        version=version,
        virtual_bytes=_virtual_bytes(disk, bat, file.size, faults),
        cluster_bytes=disk.block_bytes,
        parent=_parent(items, faults) if has_parent else None,
        unique_id=guid_text(current.data_write_guid),
        preallocated=version == "fixed",
        features=("log-to-replay",) if current.log_guid != _NO_GUID else (),
        faults=tuple(faults),
    )


def _current_header(file: ImageFile) -> _Current:
    """The newer of the valid headers (2.2.2).

    Two good copies differ in their sequence number only, and then it does not matter which is taken; a
    CRC-32C over 4 KiB costs Python more than all else here. So checksums are computed only when the
    copies disagree in what is used of them. Region tables never change: a damaged one shows by itself.
    """
    found: list[tuple[int, int, _Current]] = []
    for at in _HEADERS_AT:
        raw = file.read(at, _HEADER.size)
        if len(raw) == _HEADER.size:
            magic, _crc, sequence, _file, data, log, _log_version, version, *_ = _HEADER.unpack(raw)
            if magic == b"head" and version == 1:
                found.append((sequence, at, _Current(data, log)))
    if len(found) == 2 and found[0][2] != found[1][2]:
        found = [row for row in found if _checksum_holds(file.read(row[1], _HEADER_BLOCK_BYTES))]
    if not found:
        raise BadHeader("Neither of its two headers is valid, or of a version that is known.")
    return max(found)[2]


def _regions(file: ImageFile, faults: list[Fault]) -> tuple[_Region, _Region]:
    """The places of the block allocation table and of the metadata, from the first table that makes sense."""
    bad = None
    for at in _REGION_TABLES_AT:
        try:
            found, unknown = _region_table(file, at)
        except BadHeader as error:
            bad = bad or error
            continue
        if unknown:
            faults.append(
                Fault("unknown-feature", f"The region {guid_text(unknown)} is not known, and required.")
            )
        return found[_BAT], found[_METADATA]
    raise bad or BadHeader("It has no region table.")


def _region_table(file: ImageFile, at: int) -> tuple[dict[bytes, _Region], bytes]:
    """The regions of one table (2.2.3), and the id of a required one that is not known."""
    raw = exactly(file, at, _TABLE_READ_BYTES, "region table")
    magic, count = _TABLE_HEAD.unpack_from(raw)
    if magic != b"regi" or count > _ENTRY_LIMIT:
        raise BadHeader("Its region table is damaged.")
    end = _TABLE_HEAD.size + _REGION.size * count
    if end > len(raw):
        raw = exactly(file, at, end, "region table")
    found: dict[bytes, _Region] = {}
    unknown = b""
    for guid, offset, length, flags in _REGION.iter_unpack(raw[_TABLE_HEAD.size : end]):
        if offset < _MIB or (offset | length) % _MIB or guid in found:
            raise BadHeader("A region of it does not begin at a MiB, or comes twice.")
        found[guid] = _Region(offset, length)
        if flags & _REQUIRED_REGION and guid not in (_BAT, _METADATA):
            unknown = guid
    if _BAT not in found or _METADATA not in found:
        raise BadHeader("Its region table lacks the block allocation table or the metadata.")
    return found, unknown


class _Items:
    """The metadata items by id (2.6), read when asked for."""

    def __init__(self, file: ImageFile, region: _Region, faults: list[Fault]) -> None:
        self._file = file
        self._region = region
        raw = exactly(file, region.offset, _TABLE_READ_BYTES, "metadata")
        magic, count = _METADATA_HEAD.unpack_from(raw)
        if magic != b"metadata" or count > _ENTRY_LIMIT:
            raise BadHeader("Its metadata are damaged.")
        end = _METADATA_HEAD.size + _ITEM.size * count
        if end > len(raw):
            raw = exactly(file, region.offset, end, "metadata")
        self._places: dict[bytes, tuple[int, int]] = {}
        for guid, offset, length, flags in _ITEM.iter_unpack(raw[_METADATA_HEAD.size : end]):
            if flags & _REQUIRED_ITEM and guid not in _KNOWN_ITEMS:
                text = f"The metadata item {guid_text(guid)} is not known, and required."
                faults.append(Fault("unknown-feature", text))
            self._places.setdefault(guid, (offset, length))
        # Where all programs put all items, so that they cost one read.
        self._near = file.read(region.offset + _ITEMS_AT, _ITEMS_READ_BYTES)

    def bytes_of(self, guid: bytes, what: str, limit_bytes: int) -> bytes:
        """An item; `what` names it in the messages.

        Raises:
            BadHeader: it is missing, longer than the limit, or outside of its place.
        """
        offset, length = self._places.get(guid, (0, 0))
        if not length:
            raise BadHeader(f"Its metadata lack the {what}.")
        if length > limit_bytes or offset < _ITEMS_AT or offset + length > self._region.length:
            raise BadHeader(f"Its {what} is too long, or outside of the metadata.")
        first = offset - _ITEMS_AT
        if first + length <= len(self._near):
            return self._near[first : first + length]
        return exactly(self._file, self._region.offset + offset, length, what)


def _disk(items: _Items) -> _Disk:
    """The items that every file has (2.6.2)."""
    block_bytes, flags = _FILE_PARAMETERS.unpack(_fixed(items, _PARAMETERS_ITEM, "file parameters", 8))
    (size,) = _U64.unpack(_fixed(items, _SIZE_ITEM, "virtual disk size", 8))
    (sector_bytes,) = _U32.unpack(_fixed(items, _LOGICAL_SECTOR_ITEM, "logical sector size", 4))
    if not _MIB <= block_bytes <= 256 * _MIB or block_bytes.bit_count() != 1:
        raise BadHeader(f"Blocks of {block_bytes} bytes; VHDX has a power of two, 1 MiB to 256 MiB.")
    if sector_bytes not in _SECTOR_SIZES:
        raise BadHeader(f"Sectors of {sector_bytes} bytes; VHDX has 512 or 4096.")
    return _Disk(block_bytes, flags, size, sector_bytes)


def _fixed(items: _Items, guid: bytes, what: str, length: int) -> bytes:
    raw = items.bytes_of(guid, what, length)
    if len(raw) < length:
        raise BadHeader(f"Its {what} has {len(raw)} bytes; it should have {length}.")
    return raw


def _virtual_bytes(disk: _Disk, bat: _Region, file_bytes: int, faults: list[Fault]) -> int:
    """The disk's size, if the block allocation table is long enough for it (2.5)."""
    if disk.size > _SIZE_LIMIT_BYTES or disk.size % disk.sector_bytes:
        faults.append(Fault("size-lies", f"{disk.size} bytes: over 64 TiB, or no whole sectors."))
        return UNKNOWN
    blocks = -(-disk.size // disk.block_bytes)
    chunk_blocks = _CHUNK_SECTORS * disk.sector_bytes // disk.block_bytes
    if disk.flags & _HAS_PARENT:
        entries = -(-blocks // chunk_blocks) * (chunk_blocks + 1)
    else:
        entries = blocks + max(blocks - 1, 0) // chunk_blocks
    if 8 * entries > bat.length:
        faults.append(Fault("size-lies", f"{disk.size} bytes are more than its block allocation table maps."))
        return UNKNOWN
    end = bat.offset + 8 * entries
    if end > file_bytes:
        text = f"The file has {file_bytes} bytes; its block allocation table ends at {end}."
        faults.append(Fault("truncated", text))
    return disk.size


def _parent(items: _Items, faults: list[Fault]) -> Parent:
    """The parent locator (2.6.2.6): keys and values, of which the paths and the linkage are used."""
    try:
        raw = items.bytes_of(_PARENT_ITEM, "parent locator", _LOCATOR_LIMIT_BYTES)
        values = _key_values(raw)
    except BadHeader as bad:
        faults.append(fault_of(bad))
        return Parent(format="vhdx")
    names = dict.fromkeys(values[key] for key in _PARENT_PATHS if values.get(key))
    linkage = values.get("parent_linkage", "").strip("{}").lower()
    if not _IS_GUID(linkage):
        linkage = ""
    if not names and not linkage:
        faults.append(Fault("bad-header", "Its parent locator does not say what its parent is."))
    return Parent(names=tuple(names), format="vhdx", unique_id=linkage)


def _key_values(raw: bytes) -> dict[str, str]:
    if len(raw) < _LOCATOR_HEAD.size:
        raise BadHeader("Its parent locator is cut.")
    kind, count = _LOCATOR_HEAD.unpack_from(raw)
    if kind != _VHDX_PARENT:
        raise BadHeader(
            f"A parent locator of the kind {guid_text(kind)} is not known.", code="unknown-feature"
        )
    end = _LOCATOR_HEAD.size + _KEY_VALUE.size * count
    if count > _KEY_VALUE_LIMIT or end > len(raw):
        raise BadHeader(f"A parent locator with {count} entries, in {len(raw)} bytes.")
    values = {}
    for key_at, value_at, key_bytes, value_bytes in _KEY_VALUE.iter_unpack(raw[_LOCATOR_HEAD.size : end]):
        if max(key_at + key_bytes, value_at + value_bytes) > len(raw) or value_bytes > _VALUE_LIMIT_BYTES:
            raise BadHeader("An entry of its parent locator is too long, or outside of it.")
        key = raw[key_at : key_at + key_bytes].decode("utf-16-le", "replace")
        values[key] = escape(raw[value_at : value_at + value_bytes].decode("utf-16-le", "replace"))
    return values


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return tuple(table)


def _checksum_holds(block: bytes) -> bool:
    """Whether a header block's CRC-32C, computed with its own four bytes as zeros, is the one in it."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in block[:4] + bytes(4) + block[8:]:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF == int.from_bytes(block[4:8], "little")


FORMAT = Format("vhdx", ((0, b"vhdxfile"),), inspect)
