"""VDI: VirtualBox's disk image, of both header versions (0.1 and 1.1).

Specification: src/VBox/Storage/VDICore.h of VirtualBox; its limits: block/vdi.c of QEMU.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import Format, ImageFile, exactly, guid_text, whole_sectors
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_VERSION = Struct("<68xI")
# Of version 1: header size, type, offsets of block map and data, disk size, block size, extra bytes of
# each block, blocks, allocated blocks, own UUID, UUID of the last change, parent's UUID.
_V1 = Struct("<72xII4x256xII20xQIIII16s16s16s")
_V0 = Struct("<72xI4x256x16xQIII16s16s16s")
_V1_HEADER_LEAST_BYTES = 384
_TYPES = {1: "dynamic", 2: "fixed", 3: "undo", 4: "differencing"}
_HAVE_PARENTS = ("undo", "differencing")
_MAP_ENTRY_BYTES = 4
_BLOCKS_LIMIT = 0x3FFFFFFF
_SIZE_LIMIT_BYTES = _BLOCKS_LIMIT << 20
_NO_UUID = bytes(16)


class _Fields(NamedTuple):
    kind: int
    map_offset: int
    data_offset: int
    disk_bytes: int
    block_bytes: int
    extra_bytes: int
    blocks: int
    allocated: int
    own: bytes
    parent: bytes


def inspect(file: ImageFile) -> Header:
    """The header of a VDI file.

    Raises:
        BadHeader: it is cut, of an unknown version, or its fields make no sense.
    """
    fields = _fields(file)
    kind = _TYPES.get(fields.kind)
    if kind is None:
        raise BadHeader(f"Type {fields.kind} of VDI is not known.", code="unknown-feature")
    if not fields.block_bytes:
        raise BadHeader("Blocks of 0 bytes make no sense.")
    faults: list[Fault] = []
    parent = None
    if fields.parent != _NO_UUID:
        parent = Parent(format="vdi", unique_id=guid_text(fields.parent))
    elif kind in _HAVE_PARENTS:
        faults.append(Fault("bad-header", f"It is {kind}, and does not say what its parent is."))
    virtual_bytes = _virtual_bytes(fields, faults)
    _check_file(fields, file.size, faults)
    return Header(
        format="vdi",
        version=kind,
        virtual_bytes=virtual_bytes,
        cluster_bytes=fields.block_bytes,
        parent=parent,
        unique_id=guid_text(fields.own),
        preallocated=kind == "fixed",
        faults=tuple(faults),
    )


def _fields(file: ImageFile) -> _Fields:
    (version,) = _VERSION.unpack(exactly(file, 0, _VERSION.size, "header"))
    if version >> 16 == 0:
        kind, disk_bytes, block_bytes, blocks, allocated, own, _changed, parent = _V0.unpack(
            exactly(file, 0, _V0.size, "header")
        )
        data_offset = _V0.size + _MAP_ENTRY_BYTES * blocks
        return _Fields(
            kind, _V0.size, data_offset, disk_bytes, block_bytes, 0, blocks, allocated, own, parent
        )
    if version != 0x00010001:
        found = f"{version >> 16}.{version & 0xFFFF}"
        raise BadHeader(f"Version {found} of VDI is not known.", code="unknown-feature")
    raw = exactly(file, 0, _V1.size, "header")
    (
        header_bytes, kind, map_offset, data_offset, disk_bytes, block_bytes, extra_bytes, blocks, allocated,
        own, _changed, parent,
    ) = _V1.unpack(raw)  # fmt: skip
    if header_bytes < _V1_HEADER_LEAST_BYTES:
        raise BadHeader(f"A header of {header_bytes} bytes; at least {_V1_HEADER_LEAST_BYTES}.")
    return _Fields(
        kind, map_offset, data_offset, disk_bytes, block_bytes, extra_bytes, blocks, allocated, own, parent
    )


def _virtual_bytes(fields: _Fields, faults: list[Fault]) -> int:
    """The disk's size, in whole sectors: VirtualBox converts raw images of any number of bytes."""
    if fields.disk_bytes > min(fields.blocks * fields.block_bytes, _SIZE_LIMIT_BYTES):
        faults.append(
            Fault("size-lies", f"{fields.disk_bytes} bytes are more than its {fields.blocks} blocks hold.")
        )
        return UNKNOWN
    return whole_sectors(fields.disk_bytes)


def _check_file(fields: _Fields, file_bytes: int, faults: list[Fault]) -> None:
    """The block map and the allocated blocks: one behind the other, inside the file."""
    map_end = fields.map_offset + _MAP_ENTRY_BYTES * fields.blocks
    if fields.map_offset < _V0.size or fields.data_offset < map_end or fields.allocated > fields.blocks:
        faults.append(Fault("bad-header", "Its header, block map and blocks do not lie behind each other."))
    end = max(map_end, fields.data_offset + fields.allocated * (fields.block_bytes + fields.extra_bytes))
    if end > file_bytes:
        faults.append(Fault("truncated", f"The file has {file_bytes} bytes; its blocks end at {end}."))


FORMAT = Format("vdi", ((0x40, b"\x7f\x10\xda\xbe"),), inspect)
