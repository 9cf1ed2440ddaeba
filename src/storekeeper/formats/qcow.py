"""qcow, version 1: what QEMU wrote before qcow2. Its only documentation: block/qcow.c of QEMU."""

from __future__ import annotations

from struct import Struct

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import Format, ImageFile, exactly, text
from storekeeper.observation import UNKNOWN, Fault, Header, Parent

_HEADER = Struct(">8xQI4xQBB2xIQ")
_BACKING_NAME_LIMIT_BYTES = 1023
_L1_LIMIT_ENTRIES = (2**31 - 1) // 8
_ENCRYPTIONS = ("", "aes")


def inspect(file: ImageFile) -> Header:
    """The header of a qcow file.

    Raises:
        BadHeader: it is cut, or its fields make no sense.
    """
    raw = exactly(file, 0, _HEADER.size, "header")
    backing_offset, backing_bytes, size, cluster_bits, l2_bits, encryption, l1_offset = _HEADER.unpack(raw)
    if not 9 <= cluster_bits <= 16:
        raise BadHeader(f"Clusters of 2^{cluster_bits} bytes; qcow has 2^9 to 2^16.")
    if not 6 <= l2_bits <= 13:
        raise BadHeader(f"L2 tables of 2^{l2_bits} entries; qcow has 2^6 to 2^13.")
    faults = []
    virtual_bytes = size
    l1_entries = -(-size >> (cluster_bits + l2_bits))
    if size < 2 or l1_entries > _L1_LIMIT_ENTRIES:
        faults.append(Fault("size-lies", f"Its header says {size} bytes, which qcow cannot hold."))
        virtual_bytes = UNKNOWN
    elif l1_offset + 8 * l1_entries > file.size:
        faults.append(
            Fault("truncated", f"The file ends at byte {file.size}, before the end of its L1 table.")
        )
    if encryption >= len(_ENCRYPTIONS):
        faults.append(Fault("unknown-feature", f"Encrypted by a method, {encryption}, that is not known."))
    name = ""
    if backing_offset and backing_bytes > _BACKING_NAME_LIMIT_BYTES:
        faults.append(
            Fault("bad-header", f"Its backing file's name has {backing_bytes} bytes; at most 1023.")
        )
    elif backing_offset and backing_offset + backing_bytes > file.size:
        faults.append(
            Fault("truncated", f"The file ends at byte {file.size}, before its backing file's name.")
        )
    elif backing_offset:
        name = text(exactly(file, backing_offset, backing_bytes, "backing file's name"))
    return Header(
        format="qcow",
        version="1",
        virtual_bytes=virtual_bytes,
        cluster_bytes=1 << cluster_bits,
        parent=Parent(names=(name,)) if name else None,
        encryption=_ENCRYPTIONS[encryption] if encryption < len(_ENCRYPTIONS) else "unknown",
        faults=tuple(faults),
    )


FORMAT = Format("qcow", ((0, b"QFI\xfb\0\0\0\1"),), inspect)
