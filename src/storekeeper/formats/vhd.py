"""VHD: Virtual PC's and Hyper-V's image ("vpc" in QEMU), fixed, dynamic and differencing.

Specification: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0; which of its two sizes
a disk has: block/vpc.c of QEMU; what XenServer writes: libvhd of blktap.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import (
    SECTOR_BYTES,
    Format,
    ImageFile,
    exactly,
    text,
    uuid_text,
    whole_sectors,
)
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_MAGIC = b"conectix"
_DYNAMIC_MAGIC = b"cxsparse"
_FOOTER = Struct(">12xIQ4x4s8x8xQHBBII16sB427x")
_DYNAMIC = Struct(">8s8xQIIII16s8x512s")
_DYNAMIC_BYTES = 1024
_LOCATOR = Struct(">4s4xI4xQ")
_LOCATORS_AT, _LOCATORS_END = 576, 768
_FOOTER_CHECKSUM_AT, _DYNAMIC_CHECKSUM_AT = 64, 36

_FORMAT_VERSION = 0x00010000
_TYPES = {2: "fixed", 3: "dynamic", 4: "differencing"}
# Virtual PC, and QEMU unless told otherwise, give the guest what the geometry says; it is a little less
# than the size beside it. All others go by the size; so do these where the geometry is at its end.
_SIZED_BY_GEOMETRY = (b"vpc ", b"qemu")
_GEOMETRY_LIMIT_SECTORS = 65535 * 16 * 255
_LIMIT_SECTORS = 0xFF000000

_BLOCK_LIMIT_BYTES = 1 << 31
_NAME_LIMIT_BYTES = 2048
_MAC_SCHEMES = ("file://localhost/", "file:///")
_NO_UUID = bytes(16)


class _Footer(NamedTuple):
    version: int
    data_offset: int
    creator: bytes
    current_bytes: int
    cylinders: int
    heads: int
    track_sectors: int
    kind: int
    checksum: int
    own: bytes
    saved_state: int


def inspect(file: ImageFile) -> Header:
    """The footer of a VHD file, and the header that follows it unless the disk is fixed.

    Raises:
        BadHeader: it is cut, of an unknown version or type, or its fields make no sense.
    """
    faults: list[Fault] = []
    raw = _footer(file, faults)
    footer = _Footer(*_FOOTER.unpack(raw))
    if footer.version != _FORMAT_VERSION:
        raise BadHeader(f"Version {footer.version:#x} of VHD is not known.", code="unknown-feature")
    kind = _TYPES.get(footer.kind)
    if kind is None:
        raise BadHeader(f"Type {footer.kind} of VHD is not known.", code="unknown-feature")
    virtual_bytes, block_bytes, parent = _virtual_bytes(footer), 0, None
    if virtual_bytes > _LIMIT_SECTORS * SECTOR_BYTES:
        faults.append(Fault("size-lies", f"{virtual_bytes} bytes; VHD holds 2040 GiB at most."))
        virtual_bytes = UNKNOWN
    if kind == "fixed":
        room = _footer_at(file)
        if virtual_bytes > room:
            faults.append(
                Fault("size-lies", f"{virtual_bytes} bytes; before its footer there is room for {room}.")
            )
            virtual_bytes = UNKNOWN
    else:
        dynamic = exactly(file, footer.data_offset, _DYNAMIC_BYTES, "second header")
        block_bytes, mapped_bytes = _blocks(dynamic, file.size, faults)
        if virtual_bytes > mapped_bytes:
            faults.append(
                Fault("size-lies", f"{virtual_bytes} bytes; its block table maps {mapped_bytes} at most.")
            )
            virtual_bytes = UNKNOWN
        if kind == "differencing":
            parent = _parent(dynamic, file, faults)
    return Header(
        format="vhd",
        version=kind,
        virtual_bytes=virtual_bytes,
        cluster_bytes=block_bytes,
        parent=parent,
        unique_id=uuid_text(footer.own),
        preallocated=kind == "fixed",
        features=("saved-state",) if footer.saved_state else (),
        faults=tuple(faults),
    )


def _footer(file: ImageFile, faults: list[Fault]) -> bytes:
    """The footer that counts, of the one at the end and its copy at the beginning (not of a fixed disk).

    A fixed disk's beginning is written by its guest, which may put a footer there: so the end decides
    what is fixed. Else the copy goes first, as in QEMU, if its checksum holds.
    """
    end = file.read(_footer_at(file), SECTOR_BYTES)
    end = end.ljust(SECTOR_BYTES, b"\0") if len(end) >= SECTOR_BYTES - 1 and end.startswith(_MAGIC) else b""
    copy = file.head[:SECTOR_BYTES]
    copy = copy if len(copy) == SECTOR_BYTES and copy.startswith(_MAGIC) else b""
    if not end and not copy:
        raise BadHeader(f"The file ends at byte {file.size}, within its footer.", code="truncated")
    if end and _is_fixed(end):
        copy = b""
    elif not end:
        faults.append(Fault("truncated", "The file was cut, or never closed: it does not end with a footer."))
    elif not copy:
        faults.append(Fault("bad-header", "The copy of its footer, at its beginning, was overwritten."))
    for footer in (copy, end):
        if _holds(footer, _FOOTER_CHECKSUM_AT):
            return footer
    faults.append(Fault("bad-header", "The checksum of its footer is wrong."))
    return copy or end


def _footer_at(file: ImageFile) -> int:
    """Where the footer is, and a fixed disk ends: at the last sector.

    Virtual PC before 2004 left out the footer's last byte, which is reserved.
    """
    return whole_sectors(file.size) - SECTOR_BYTES


def _is_fixed(footer: bytes) -> bool:
    return _TYPES.get(_Footer(*_FOOTER.unpack(footer)).kind) == "fixed"


def _holds(raw: bytes, checksum_at: int) -> bool:
    """Whether the checksum of a footer or header holds: the complement of the sum of the other bytes."""
    checksum = raw[checksum_at : checksum_at + 4]
    # Most bytes are zeros: leaving them out is far quicker than adding them.
    total = sum(raw.translate(None, b"\0")) - sum(checksum)
    return bool(raw) and ~total & 0xFFFFFFFF == int.from_bytes(checksum, "big")


def _virtual_bytes(footer: _Footer) -> int:
    sectors = footer.cylinders * footer.heads * footer.track_sectors
    if footer.creator not in _SIZED_BY_GEOMETRY or sectors == _GEOMETRY_LIMIT_SECTORS:
        sectors = footer.current_bytes // SECTOR_BYTES
    return sectors * SECTOR_BYTES


def _blocks(dynamic: bytes, file_bytes: int, faults: list[Fault]) -> tuple[int, int]:
    """Bytes of a block, and bytes that all blocks of the table hold together."""
    magic, table_offset, version, entries, block_bytes, _checksum, *_ = _DYNAMIC.unpack_from(dynamic)
    if magic != _DYNAMIC_MAGIC:
        raise BadHeader("Where its second header should be is something else.")
    if version != _FORMAT_VERSION:
        raise BadHeader(f"Version {version:#x} of VHD's second header is not known.", code="unknown-feature")
    if not SECTOR_BYTES <= block_bytes <= _BLOCK_LIMIT_BYTES or block_bytes.bit_count() != 1:
        raise BadHeader(f"Blocks of {block_bytes} bytes; VHD has a power of two, of 512 at least.")
    if not _holds(dynamic, _DYNAMIC_CHECKSUM_AT):
        faults.append(Fault("bad-header", "The checksum of its second header is wrong."))
    end = table_offset + 4 * entries
    if end > file_bytes:
        faults.append(
            Fault("truncated", f"The file has {file_bytes} bytes; its block table would end at {end}.")
        )
    return block_bytes, entries * block_bytes


def _parent(dynamic: bytes, file: ImageFile, faults: list[Fault]) -> Parent:
    """The parent by its UUID, and by every name in the header; relative ones first."""
    *_, unique_id, name = _DYNAMIC.unpack_from(dynamic)
    names = [
        found
        for code, length, offset in _LOCATOR.iter_unpack(dynamic[_LOCATORS_AT:_LOCATORS_END])
        if (found := _located(code, length, offset, file, faults))
    ]
    names.append(_utf16(name, "utf-16-be"))
    names = [found for found in dict.fromkeys(names) if found]
    names.sort(key=_is_absolute)
    if not names and unique_id == _NO_UUID:
        faults.append(Fault("bad-header", "It is differencing, and does not say what its parent is."))
    return Parent(names=tuple(names), format="vhd", unique_id=uuid_text(unique_id))


def _located(code: bytes, length: int, offset: int, file: ImageFile, faults: list[Fault]) -> str:
    """The name that a parent locator points to; `""` for none, or one that only a Mac can follow."""
    if code not in (b"W2ru", b"W2ku", b"Wi2r", b"Wi2k", b"MacX") or not length:
        return ""
    if length > _NAME_LIMIT_BYTES:
        faults.append(Fault("bad-header", f"A parent's name of {length} bytes; at most {_NAME_LIMIT_BYTES}."))
        return ""
    raw = file.read(offset, length)
    if len(raw) < length:
        faults.append(Fault("truncated", f"The file ends at byte {file.size}, before its parent's name."))
        return ""
    if code in (b"W2ru", b"W2ku"):
        return _utf16(raw, "utf-16-le")
    name = text(raw)
    if code == b"MacX":
        # A URL, of which libvhd makes file://./name where the path is relative.
        for scheme in _MAC_SCHEMES:
            if name.startswith(scheme):
                return "/" + name.removeprefix(scheme)
        return name.removeprefix("file://")
    return name


def _utf16(raw: bytes, encoding: str) -> str:
    return escape(raw.decode(encoding, "replace").split("\0", 1)[0])


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or name[1:2] == ":"


FORMAT = Format("vhd", ((0, _MAGIC), (-SECTOR_BYTES, _MAGIC)), inspect)
