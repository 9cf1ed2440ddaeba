"""QED, QEMU's enhanced disk. Specification: docs/interop/qed_spec of QEMU; limits: block/qed.h."""

from __future__ import annotations

from struct import Struct

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import SECTOR_BYTES, Format, ImageFile, exactly, text
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_HEADER = Struct("<4xIIIQQQQQII")
_BACKING_FILE, _NEED_CHECK, _BACKING_IS_RAW = 1, 2, 4
_KNOWN_FEATURES = 7
_BACKING_NAME_LIMIT_BYTES = 1023


def inspect(file: ImageFile) -> Header:
    """The header of a QED file.

    Raises:
        BadHeader: it is cut, or its fields make no sense.
    """
    raw = exactly(file, 0, _HEADER.size, "header")
    (
        cluster_bytes, table_clusters, header_clusters, features, _compatible, _autoclear,
        l1_offset, size, name_offset, name_bytes,
    ) = _HEADER.unpack(raw)  # fmt: skip
    if not (4096 <= cluster_bytes <= 64 << 20 and cluster_bytes.bit_count() == 1):
        raise BadHeader(f"Clusters of {cluster_bytes} bytes; QED has a power of two, 4 KiB to 64 MiB.")
    if not (1 <= table_clusters <= 16 and table_clusters.bit_count() == 1):
        raise BadHeader(f"Tables of {table_clusters} clusters; QED has 1, 2, 4, 8 or 16.")
    faults = []
    virtual_bytes = size
    table_bytes = table_clusters * cluster_bytes
    mapped = min((table_bytes // 8) ** 2 * cluster_bytes, 2**63 - SECTOR_BYTES)
    if size > mapped or size % SECTOR_BYTES:
        faults.append(Fault("size-lies", f"{size} bytes: more than its tables map, or no whole sectors."))
        virtual_bytes = UNKNOWN
    if l1_offset % cluster_bytes or l1_offset < header_clusters * cluster_bytes:
        faults.append(Fault("bad-header", "Its L1 table does not begin at a cluster behind the header."))
    if l1_offset + table_bytes > file.size:
        faults.append(
            Fault("truncated", f"The file ends at byte {file.size}, before the end of its L1 table.")
        )
    if features & ~_KNOWN_FEATURES:
        faults.append(Fault("unknown-feature", f"Features {features & ~_KNOWN_FEATURES:#x} are not known."))
    parent = None
    if features & _BACKING_FILE:
        if (
            name_bytes > _BACKING_NAME_LIMIT_BYTES
            or name_offset + name_bytes > header_clusters * cluster_bytes
        ):
            faults.append(Fault("bad-header", "Its backing file's name is too long, or outside the header."))
        elif name_offset + name_bytes > file.size:
            faults.append(Fault("truncated", "The file ends before its backing file's name."))
        elif name := text(exactly(file, name_offset, name_bytes, "backing file's name")):
            parent = Parent(names=(name,), format="raw" if features & _BACKING_IS_RAW else "")
    return Header(
        format="qed",
        virtual_bytes=virtual_bytes,
        cluster_bytes=cluster_bytes,
        parent=parent,
        features=("dirty",) if features & _NEED_CHECK else (),
        faults=tuple(faults),
    )


FORMAT = Format("qed", ((0, b"QED\0"),), inspect)
