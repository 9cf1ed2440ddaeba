"""VMDK: VMware's image, of one file or of many: text descriptors, and sparse extents of three kinds.

Specification: VMware, "Virtual Disk Format 5.0" (hosted sparse and ESX Server sparse extents); what
it leaves out (seSparse, limits): block/vmdk.c of QEMU, documentation of libvmdk.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storekeeper.errors import BadHeader
from storekeeper.formats import vmdk_descriptor
from storekeeper.formats.contract import SECTOR_BYTES, Format, ImageFile, exactly
from storekeeper.observation import UNKNOWN, Fault, Header

SPARSE_EXTENT = "sparse-extent"
"""The version of a file without a descriptor: a part of the image whose descriptor names it."""

DESCRIPTOR_LIMIT_BYTES = 256 << 10

_HOSTED_MAGIC = b"KDMV"
_COWD_MAGIC = b"COWD"
_SESPARSE_MAGIC = b"\xbe\xba\xfe\xca\0\0\0\0"
# VirtualBox, too, takes all of these for the first line.
_TEXT_MAGICS = (
    b"# Disk DescriptorFile", b"#Disk DescriptorFile", b"# Disk Descriptor File", b"#Disk Descriptor File",
)  # fmt: skip

_HOSTED = Struct("<4xIIQQQQIQQQB4sH")
_NEWLINES = b"\n \r\n"
_HAS_NEWLINES, _HAS_REDUNDANT, _ZEROED_GRAINS, _COMPRESSED = 1, 2, 4, 1 << 16
_DIRECTORY_AT_END = 2**64 - 1
_FOOTER_FROM_END = 1024
_DEFLATE = 1
_GRAIN_LIMIT_SECTORS = 0x200000
_TABLE_LIMIT_ENTRIES = 512

_COWD = Struct("<4xIIIIII")
_COWD_TABLE_ENTRIES = 4096

_SESPARSE = Struct("<8xQQQQQ32xQ40xQQ")
_SESPARSE_VERSION = 0x0000000200000001
_JOURNAL_STATE = Struct("<Q16xQ")
_JOURNAL_STATE_MAGIC = 0x00000000CAFECAFE

_SIZE_LIMIT_SECTORS = (2**63 - 1) // SECTOR_BYTES


class _Hosted(NamedTuple):
    """The header of a hosted sparse extent; offsets and sizes in sectors."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_offset: int
    descriptor_size: int
    table_entries: int
    redundant_offset: int
    directory_offset: int
    overhead: int
    unclean: int
    newlines: bytes
    compression: int


def inspect(file: ImageFile) -> Header:
    """What a file of a VMDK says: its descriptor, or as a part without one `SPARSE_EXTENT`.

    `extents` are the further files of an image, as its descriptor names them; none where the file
    itself is the only one.

    Raises:
        BadHeader: it is cut, of an unknown version, or its fields make no sense.
    """
    head = file.head
    if head.startswith(_HOSTED_MAGIC):
        return _hosted(file)
    if head.startswith(_COWD_MAGIC):
        return _cowd(file)
    if head.startswith(_SESPARSE_MAGIC):
        return _sesparse(file)
    return _described(vmdk_descriptor.parse(_text(file, 0, DESCRIPTOR_LIMIT_BYTES + 1)))


def _text(file: ImageFile, offset: int, length: int) -> bytes:
    """The text at a place, up to its first NUL: from the head alone if that shows its end."""
    end = offset + length
    text = file.head[offset:end]
    if b"\0" not in text and len(file.head) < min(end, file.size):
        text = file.read(offset, min(length, DESCRIPTOR_LIMIT_BYTES + 1))
    text = text.split(b"\0", 1)[0]
    if len(text) > DESCRIPTOR_LIMIT_BYTES:
        raise BadHeader(f"Its descriptor is over {DESCRIPTOR_LIMIT_BYTES} bytes long.", code="too-much")
    return text


def _described(descriptor: vmdk_descriptor.Descriptor) -> Header:
    """The image that a descriptor describes."""
    faults = descriptor.faults
    sectors = descriptor.sectors
    if not descriptor.extent_count:
        sectors = UNKNOWN
        if descriptor.encryption:
            faults += (Fault("unknown-feature", "Its descriptor is encrypted, so its size is not known."),)
        else:
            faults += (Fault("bad-header", "Its descriptor names no extent."),)
    return Header(
        format="vmdk",
        version=descriptor.create_type,
        virtual_bytes=UNKNOWN if sectors == UNKNOWN else sectors * SECTOR_BYTES,
        parent=descriptor.parent,
        unique_id=descriptor.unique_id,
        extents=descriptor.extents,
        encryption=descriptor.encryption,
        preallocated=descriptor.preallocated,
        features=descriptor.features,
        faults=faults,
    )


def _hosted(file: ImageFile) -> Header:
    """A hosted sparse extent: with an embedded descriptor an image, else a part of one."""
    fields = _Hosted(*_HOSTED.unpack(exactly(file, 0, _HOSTED.size, "header")))
    if not 1 <= fields.version <= 3:
        raise BadHeader(f"Version {fields.version} of VMDK is not known.", code="unknown-feature")
    faults: list[Fault] = []
    text = b""
    if fields.descriptor_offset:
        at, length = fields.descriptor_offset * SECTOR_BYTES, fields.descriptor_size * SECTOR_BYTES
        text = _text(file, at, length)
        if at + length > file.size:
            faults.append(Fault("truncated", f"The file ends at byte {file.size}, within its descriptor."))
    descriptor = vmdk_descriptor.parse(text) if text.strip() else None
    if not fields.capacity and descriptor:
        # As in QEMU: nothing of the disk is in this file.
        return _described(descriptor)
    if fields.directory_offset == _DIRECTORY_AT_END:
        fields = _from_footer(file, fields, faults)
    _check_hosted(fields, file.size, faults)
    virtual_bytes = UNKNOWN
    if fields.directory_offset != _DIRECTORY_AT_END:
        table_maps = fields.table_entries * fields.grain
        virtual_bytes = _mapped(fields.capacity, fields.directory_offset, table_maps, 4, file.size, faults)
    features = _hosted_features(fields)
    if not descriptor:
        return _sparse_extent(virtual_bytes, fields.grain, features, faults)
    if descriptor.extent_count != 1:
        text_of = f"Its descriptor names {descriptor.extent_count} extents; only this file was looked at."
        faults.append(Fault("bad-header", text_of))
    return Header(
        format="vmdk",
        version=descriptor.create_type,
        virtual_bytes=virtual_bytes,
        cluster_bytes=fields.grain * SECTOR_BYTES,
        parent=descriptor.parent,
        unique_id=descriptor.unique_id,
        encryption=descriptor.encryption,
        features=features + descriptor.features,
        faults=(*descriptor.faults, *faults),
    )


def _from_footer(file: ImageFile, fields: _Hosted, faults: list[Fault]) -> _Hosted:
    """The footer of a stream, which goes before its header: the last sector but one."""
    at = file.size // SECTOR_BYTES * SECTOR_BYTES - _FOOTER_FROM_END
    raw = file.read(at, _HOSTED.size) if at > 0 else b""
    if len(raw) < _HOSTED.size or not raw.startswith(_HOSTED_MAGIC):
        faults.append(Fault("truncated", "The stream was cut: its footer is not where it should be."))
        return fields
    footer = _Hosted(*_HOSTED.unpack(raw))
    place = (fields.version, fields.descriptor_offset, fields.descriptor_size)
    if (footer.version, footer.descriptor_offset, footer.descriptor_size) != place:
        faults.append(Fault("bad-header", "Its footer contradicts its header."))
    if footer.directory_offset == _DIRECTORY_AT_END:
        raise BadHeader("Its footer refers to another footer.")
    return footer


def _check_hosted(fields: _Hosted, file_bytes: int, faults: list[Fault]) -> None:
    if not 0 < fields.grain <= _GRAIN_LIMIT_SECTORS or fields.grain.bit_count() != 1:
        raise BadHeader(f"Grains of {fields.grain} sectors; VMDK has a power of two, up to 1 GiB.")
    if not 0 < fields.table_entries <= _TABLE_LIMIT_ENTRIES:
        raise BadHeader(f"Grain tables of {fields.table_entries} entries; VMDK has 512.")
    if fields.flags & _HAS_NEWLINES and fields.newlines != _NEWLINES:
        faults.append(Fault("corrupt", "Transferred as text: its line ends were changed. Copy it anew."))
    if fields.overhead * SECTOR_BYTES > file_bytes or (
        fields.flags & _HAS_REDUNDANT and fields.redundant_offset * SECTOR_BYTES > file_bytes
    ):
        faults.append(Fault("truncated", f"The file ends at byte {file_bytes}, within its tables."))
    if fields.compression > _DEFLATE:
        text = f"Compressed by a method, {fields.compression}, that is not known."
        faults.append(Fault("unknown-feature", text))


def _hosted_features(fields: _Hosted) -> tuple[str, ...]:
    words = (
        (fields.unclean, "dirty"),
        (fields.flags & _ZEROED_GRAINS, "zeroed-grains"),
        (fields.flags & _COMPRESSED, "compressed"),
    )
    return tuple(word for present, word in words if present)


def _cowd(file: ImageFile) -> Header:
    """An ESX Server sparse extent (-delta.vmdk). Its descriptor is another file."""
    version, _flags, sectors, grain, directory, entries = _COWD.unpack(exactly(file, 0, _COWD.size, "header"))
    if version != 1:
        raise BadHeader(f"Version {version} of ESX Server's extents is not known.", code="unknown-feature")
    if not 0 < grain <= _GRAIN_LIMIT_SECTORS:
        raise BadHeader(f"Grains of {grain} sectors make no sense.")
    faults: list[Fault] = []
    virtual_bytes = _mapped(sectors, directory, _COWD_TABLE_ENTRIES * grain, 4, file.size, faults)
    if virtual_bytes > entries * _COWD_TABLE_ENTRIES * grain * SECTOR_BYTES:
        faults.append(Fault("size-lies", f"{sectors} sectors are more than its {entries} tables map."))
        virtual_bytes = UNKNOWN
    return _sparse_extent(virtual_bytes, grain, ("cowd",), faults)


def _sesparse(file: ImageFile) -> Header:
    """A space-efficient sparse extent of ESXi (-sesparse.vmdk). Its descriptor is another file."""
    (
        version, sectors, grain, table_sectors, flags, state_at, directory, directory_sectors,
    ) = _SESPARSE.unpack(exactly(file, 0, _SESPARSE.size, "header"))  # fmt: skip
    if version != _SESPARSE_VERSION or flags:
        raise BadHeader(f"Version {version:#x} of seSparse is not known.", code="unknown-feature")
    if grain != 8 or table_sectors != 64:
        raise BadHeader(f"Grains of {grain} and tables of {table_sectors} sectors; seSparse has 8 and 64.")
    faults: list[Fault] = []
    features = ["sesparse"]
    entry_bytes = 8
    table_entries = table_sectors * SECTOR_BYTES // entry_bytes
    virtual_bytes = _mapped(sectors, directory, table_entries * grain, entry_bytes, file.size, faults)
    room = directory_sectors * SECTOR_BYTES // entry_bytes * table_entries * grain
    if virtual_bytes > room * SECTOR_BYTES:
        faults.append(Fault("size-lies", f"{sectors} sectors are more than its directory maps."))
        virtual_bytes = UNKNOWN
    magic, replay = _JOURNAL_STATE.unpack(
        exactly(file, state_at * SECTOR_BYTES, _JOURNAL_STATE.size, "second header")
    )
    if magic != _JOURNAL_STATE_MAGIC:
        faults.append(Fault("bad-header", "Where its second header should be is something else."))
    elif replay:
        features.append("journal-to-replay")
    return _sparse_extent(virtual_bytes, grain, tuple(features), faults)


def _mapped(
    sectors: int, directory: int, table_maps: int, entry_bytes: int, file_bytes: int, faults: list[Fault]
) -> int:
    """The bytes of `sectors`, if a directory at sector `directory` that maps so many is in the file.

    `table_maps`: sectors that each of its entries maps.
    """
    end = directory * SECTOR_BYTES + -(-sectors // table_maps) * entry_bytes
    if sectors <= _SIZE_LIMIT_SECTORS and end <= file_bytes:
        return sectors * SECTOR_BYTES
    text = f"The directory of {sectors} sectors would end at byte {end}; the file has {file_bytes}."
    faults.append(Fault("size-lies", text))
    return UNKNOWN


def _sparse_extent(virtual_bytes: int, grain: int, features: tuple[str, ...], faults: list[Fault]) -> Header:
    return Header(
        format="vmdk",
        version=SPARSE_EXTENT,
        virtual_bytes=virtual_bytes,
        cluster_bytes=grain * SECTOR_BYTES,
        features=features,
        faults=tuple(faults),
    )


FORMAT = Format(
    "vmdk",
    ((0, _HOSTED_MAGIC), (0, _COWD_MAGIC), (0, _SESPARSE_MAGIC), *((0, magic) for magic in _TEXT_MAGICS)),
    inspect,
)
