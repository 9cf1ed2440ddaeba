"""qcow2, versions 2 and 3: QEMU's format.

Specification: docs/interop/qcow2 of QEMU; its limits: block/qcow2.c and block/qcow2.h.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from msgspec.structs import replace

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import Format, ImageFile, exactly, text
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_V2 = Struct(">4xIQIIQIIQQIIQ")
_V3 = Struct(">4xIQIIQIIQQIIQQQQII")
_EXTENSION = Struct(">II")
_VERSION = Struct(">4xI")
_COMPRESSION_TYPE_AT = 104
_FIXED_BYTES = 105
_NEAR_BYTES = 512
_EXTENSIONS_LIMIT_BYTES = 64 << 10
_KEPT = 256

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION_TYPE, _EXTENDED_L2 = 1, 2, 4, 8, 16
_KNOWN_INCOMPATIBLE = 31
_LAZY_REFCOUNTS = 1
_BITMAPS, _DATA_FILE_RAW = 1, 2

_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE_NAME = 0x44415441

_ENCRYPTIONS = ("", "aes", "luks")
_COMPRESSIONS = ("zlib", "zstd")

_BACKING_NAME_LIMIT_BYTES = 1023
_DATA_FILE_NAME_LIMIT_BYTES = 4096
_BACKING_FORMAT_LIMIT_BYTES = 15
_L1_LIMIT_ENTRIES = (32 << 20) // 8
_REFCOUNT_TABLE_LIMIT_BYTES = 8 << 20
_SNAPSHOT_LIMIT = 65536
_SNAPSHOT_LEAST_BYTES = 40
_EXTENSION_LIMIT = 64


class _Fields(NamedTuple):
    version: int
    backing_offset: int
    backing_bytes: int
    cluster_bits: int
    size: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    header_bytes: int = _V2.size


class _Fixed(NamedTuple):
    """What the fields of fixed places say, whatever the size of the file.

    `header`: without what lies elsewhere. `tables_end`: the file ends there at least. The extensions lie
    between `extensions_at` and `extensions_end`, those of nearly all files before `near_end`.
    """

    fields: _Fields
    header: Header
    tables_end: int
    extensions_at: int
    near_end: int
    extensions_end: int


class _Extensions(NamedTuple):
    backing_format: str
    data_file: str
    faults: tuple[Fault, ...] = ()


_NO_EXTENSIONS = _Extensions("", "")


def inspect(file: ImageFile) -> Header:
    """The header of a qcow2 file.

    Raises:
        BadHeader: it is cut, of an unknown version, or its fields make no sense.
    """
    head = file.head
    fields, header, tables_end, at, near_end, end = _fixed(head[:_FIXED_BYTES])
    faults: list[Fault] = []
    if tables_end > file.size:
        text_of = f"The file has {file.size} bytes; its tables alone would end at {tables_end}."
        faults.append(Fault("truncated", text_of))
    extensions = _extensions(head[at:near_end], near_end == end) if near_end <= len(head) else None
    if extensions is None:
        extensions = _extensions(file.read(at, min(end - at, _EXTENSIONS_LIMIT_BYTES)), True)
    backing_format, data_file, bad = extensions or _NO_EXTENSIONS
    faults += bad
    parent_name = _backing_name(fields, file, faults) if fields.backing_bytes else ""
    parent = Parent((parent_name,), backing_format) if parent_name else None
    if faults or fields.snapshots or fields.incompatible & _DATA_FILE:
        return _with_more(header, fields, parent, data_file, file.size, faults)
    return replace(header, parent=parent) if parent else header


def _with_more(
    header: Header, fields: _Fields, parent: Parent | None, data_file: str, file_bytes: int,
    faults: list[Fault],
) -> Header:  # fmt: skip
    """The header with what few images have."""
    if not fields.incompatible & _DATA_FILE:
        data_file = ""
    elif not data_file:
        faults.append(Fault("bad-header", "Its data lie in another file, which its header does not name."))
    snapshots = _internal_snapshots(fields, file_bytes, faults)
    return replace(
        header, parent=parent, data_file=data_file, internal_snapshots=snapshots,
        faults=(*header.faults, *faults),
    )  # fmt: skip


@lru_cache(_KEPT)
def _fixed(head: bytes) -> _Fixed:
    """What the first _FIXED_BYTES say. Kept, since the images of a storage differ in few of these bytes."""
    fields = _fields(head)
    faults: list[Fault] = []
    tables_end = _end_of_tables(fields, faults)
    header = Header(
        format="qcow2",
        version=str(fields.version),
        virtual_bytes=_virtual_bytes(fields, faults),
        cluster_bytes=1 << fields.cluster_bits,
        data_file_raw=bool(fields.incompatible & _DATA_FILE and fields.autoclear & _DATA_FILE_RAW),
        encryption=_encryption(fields, faults),
        features=_features(fields, head, faults),
    )
    at, end = fields.header_bytes, 1 << fields.cluster_bits
    if at <= fields.backing_offset < end:
        end = fields.backing_offset
    return _Fixed(
        fields, replace(header, faults=tuple(faults)), tables_end, at, min(at + _NEAR_BYTES, end), end
    )


def _fields(head: bytes) -> _Fields:
    if len(head) < _V2.size:
        raise BadHeader(f"The file ends at byte {len(head)}, within its header.", code="truncated")
    (version,) = _VERSION.unpack_from(head)
    if version == 2:
        fields = _Fields(*_V2.unpack_from(head))
    elif version != 3:
        raise BadHeader(f"Version {version} of qcow2 is not known.", code="unknown-feature")
    elif len(head) < _V3.size:
        raise BadHeader(f"The file ends at byte {len(head)}, within its header.", code="truncated")
    else:
        fields = _Fields(*_V3.unpack_from(head))
    if not 9 <= fields.cluster_bits <= 21:
        raise BadHeader(f"Clusters of 2^{fields.cluster_bits} bytes; qcow2 has 2^9 to 2^21.")
    if version == 3 and not _V3.size <= fields.header_bytes <= 1 << fields.cluster_bits:
        raise BadHeader(f"A header of {fields.header_bytes} bytes; at least 104 and at most one cluster.")
    return fields


def _virtual_bytes(fields: _Fields, faults: list[Fault]) -> int:
    entry_bits = 4 if fields.incompatible & _EXTENDED_L2 else 3
    mapped = min(fields.l1_entries, _L1_LIMIT_ENTRIES) << (2 * fields.cluster_bits - entry_bits)
    if fields.size <= mapped:
        return fields.size
    faults.append(
        Fault("size-lies", f"Its header says {fields.size} bytes; its L1 table can map {mapped} at most.")
    )
    return UNKNOWN


def _end_of_tables(fields: _Fields, faults: list[Fault]) -> int:
    """Where the L1 and the refcount table end: within the limits, aligned."""
    cluster_bytes = 1 << fields.cluster_bits
    refcount_bytes = fields.refcount_clusters * cluster_bytes
    if fields.l1_entries > _L1_LIMIT_ENTRIES or not 0 < refcount_bytes <= _REFCOUNT_TABLE_LIMIT_BYTES:
        faults.append(Fault("bad-header", "Its L1 or refcount table is larger than qcow2 permits, or empty."))
    if (fields.l1_offset | fields.refcount_offset) & (cluster_bytes - 1):
        faults.append(Fault("bad-header", "Its L1 or refcount table does not begin at a cluster."))
    if fields.refcount_order > 6:
        faults.append(Fault("bad-header", f"Refcounts of 2^{fields.refcount_order} bits; at most 2^6."))
    if fields.incompatible & _EXTENDED_L2 and fields.cluster_bits < 14:
        faults.append(Fault("bad-header", "Extended L2 entries need clusters of 16 KiB at least."))
    end = fields.refcount_offset + refcount_bytes
    return max(end, fields.l1_offset + 8 * fields.l1_entries) if fields.l1_entries else end


@lru_cache(_KEPT)
def _extensions(raw: bytes, whole: bool) -> _Extensions | None:
    """What these header extensions say; None when they go on behind what is not the `whole` of their place.

    Kept, since most images have the same.
    """
    backing_format = data_file = ""
    faults: list[Fault] = []
    at = 0
    for _ in range(_EXTENSION_LIMIT):
        if at + _EXTENSION.size > len(raw):
            return _Extensions(backing_format, data_file, tuple(faults)) if whole else None
        kind, length = _EXTENSION.unpack_from(raw, at)
        if kind == 0:
            return _Extensions(backing_format, data_file, tuple(faults))
        at += _EXTENSION.size
        if at + length > len(raw):
            if not whole:
                return None
            faults.append(Fault("bad-header", f"A header extension of {length} bytes goes past its place."))
            return _Extensions(backing_format, data_file, tuple(faults))
        if kind == _BACKING_FORMAT:
            backing_format = _name(raw[at : at + length], _BACKING_FORMAT_LIMIT_BYTES, faults)
        elif kind == _DATA_FILE_NAME:
            data_file = _name(raw[at : at + length], _DATA_FILE_NAME_LIMIT_BYTES, faults)
        at += length + 7 & ~7
    faults.append(Fault("bad-header", f"Over {_EXTENSION_LIMIT} header extensions; the rest was not read."))
    return _Extensions(backing_format, data_file, tuple(faults))


def _name(raw: bytes, limit: int, faults: list[Fault]) -> str:
    if len(raw) > limit:
        faults.append(
            Fault("bad-header", f"A name of {len(raw)} bytes in a header extension; at most {limit}.")
        )
        return ""
    return text(raw)


def _backing_name(fields: _Fields, file: ImageFile, faults: list[Fault]) -> str:
    if not fields.backing_offset:
        return ""
    end = fields.backing_offset + fields.backing_bytes
    if fields.backing_bytes > _BACKING_NAME_LIMIT_BYTES or end > 1 << fields.cluster_bits:
        faults.append(
            Fault("bad-header", "Its backing file's name is over 1023 bytes, or outside the first cluster.")
        )
        return ""
    if end > file.size:
        faults.append(
            Fault("truncated", f"The file ends at byte {file.size}, before its backing file's name.")
        )
        return ""
    return text(exactly(file, fields.backing_offset, fields.backing_bytes, "backing file's name"))


def _encryption(fields: _Fields, faults: list[Fault]) -> str:
    if fields.encryption < len(_ENCRYPTIONS):
        return _ENCRYPTIONS[fields.encryption]
    faults.append(Fault("unknown-feature", f"Encrypted by a method, {fields.encryption}, that is not known."))
    return "unknown"


def _internal_snapshots(fields: _Fields, file_bytes: int, faults: list[Fault]) -> int:
    """The count in the header, if the file has room for so many. The table itself is not read."""
    room = max(0, file_bytes - fields.snapshots_offset) // _SNAPSHOT_LEAST_BYTES
    if fields.snapshots > _SNAPSHOT_LIMIT:
        faults.append(Fault("bad-header", f"{fields.snapshots} internal snapshots; qcow2 permits 65536."))
        return 0
    if fields.snapshots > room:
        faults.append(
            Fault(
                "truncated", f"{fields.snapshots} internal snapshots; the file has room for {room} at most."
            )
        )
        return 0
    return fields.snapshots


def _features(fields: _Fields, head: bytes, faults: list[Fault]) -> tuple[str, ...]:
    incompatible = fields.incompatible
    compression = 0
    if fields.header_bytes > _COMPRESSION_TYPE_AT and len(head) > _COMPRESSION_TYPE_AT:
        compression = head[_COMPRESSION_TYPE_AT]
    # Most images have none: no time for the words.
    if not (incompatible | fields.compatible | fields.autoclear | compression):
        return ()
    unknown = incompatible & ~_KNOWN_INCOMPATIBLE
    if unknown:
        faults.append(Fault("unknown-feature", f"Incompatible features {unknown:#x} that are not known."))
    if incompatible & _CORRUPT:
        faults.append(Fault("corrupt", "Marked as corrupt; check it: qemu-img check PATH"))
    if compression >= len(_COMPRESSIONS):
        faults.append(Fault("unknown-feature", f"Compression type {compression} is not known."))
    elif bool(compression) != bool(incompatible & _COMPRESSION_TYPE):
        faults.append(Fault("bad-header", "Its compression type contradicts its incompatible features."))
    words = (
        (incompatible & _DIRTY, "dirty"),
        (incompatible & _CORRUPT, "corrupt"),
        (incompatible & _DATA_FILE, "data-file"),
        (incompatible & _DATA_FILE and fields.autoclear & _DATA_FILE_RAW, "data-file-raw"),
        (compression == 1, "zstd"),
        (incompatible & _EXTENDED_L2, "extended-l2"),
        (fields.compatible & _LAZY_REFCOUNTS, "lazy-refcounts"),
        (fields.autoclear & _BITMAPS, "bitmaps"),
    )
    return tuple(word for present, word in words if present)


FORMAT = Format("qcow2", ((0, b"QFI\xfb"),), inspect)
