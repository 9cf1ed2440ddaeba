"""What lies on a test's disks: partition tables and signatures that no installed tool writes to a file.

GPT: UEFI 2.10, 5.3; LVM2's label: lib/format_text/layout.h of LVM2. Both are checksummed, so that blkid
and the kernel accept them only when they are right.
"""

from __future__ import annotations

import binascii
import struct
import uuid
from pathlib import Path

_SECTOR = 512
_ENTRIES, _ENTRY_BYTES = 128, 128
_LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_LVM_CRC_START = 0xF597A6CF
PARTITION_OFFSET = 1 << 20


def write_gpt(disk: Path) -> None:
    """A GPT with one partition, from PARTITION_OFFSET to 1 MiB before the end."""
    sectors = disk.stat().st_size // _SECTOR
    first, last = PARTITION_OFFSET // _SECTOR, sectors - 2049
    entry = struct.pack("<16s16sQQQ72s", _LINUX.bytes_le, uuid.uuid4().bytes_le, first, last, 0, b"")
    entries = entry.ljust(_ENTRIES * _ENTRY_BYTES, b"\0")
    table_sectors = len(entries) // _SECTOR
    disk_id = uuid.uuid4().bytes_le

    def header(here: int, other: int, table: int) -> bytes:
        fields = (b"EFI PART", 0x10000, 92, 0, 0, here, other, 34, sectors - 34, disk_id, table)
        tail = (_ENTRIES, _ENTRY_BYTES, binascii.crc32(entries))
        unsigned = struct.pack("<8sIIIIQQQQ16sQIII", *fields, *tail)
        return unsigned[:16] + struct.pack("<I", binascii.crc32(unsigned)) + unsigned[20:]

    protective = bytes(446) + struct.pack("<8BII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, sectors - 1)
    with disk.open("r+b") as file:
        file.write(protective.ljust(510, b"\0") + b"\x55\xaa")
        file.write(header(1, sectors - 1, 2).ljust(_SECTOR, b"\0") + entries)
        file.seek((sectors - 1 - table_sectors) * _SECTOR)
        file.write(entries + header(sectors - 1, 1, sectors - 1 - table_sectors).ljust(_SECTOR, b"\0"))


def write_lvm_label(disk: Path) -> None:
    """The label of an LVM2 physical volume, in the disk's second sector."""
    volume = b"0aXYq1abcdefghijklmnopqrstuvwxyz"
    body = struct.pack("<I8s", 32, b"LVM2 001") + volume
    body = body.ljust(_SECTOR - 20, b"\0")
    label = b"LABELONE" + struct.pack("<QI", 1, _lvm_crc(body)) + body
    with disk.open("r+b") as file:
        file.seek(_SECTOR)
        file.write(label)


def _lvm_crc(data: bytes) -> int:
    """CRC-32 of zlib's polynomial with LVM's start value and without its final inversion."""
    return ~binascii.crc32(data, _LVM_CRC_START ^ 0xFFFFFFFF) & 0xFFFFFFFF
