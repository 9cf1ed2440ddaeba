"""What a file without an image header is by its first bytes: what is never a disk, and what begins as one.

Magic numbers from the formats' own documents; the PC partition tables from the UEFI specification,
chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Literal

from storekeeper.formats.contract import SECTOR_BYTES, ImageFile

Kind = Literal[
    "", "iso9660", "archive", "compressed", "cpio", "kernel", "firmware", "tpm-state", "saved-guest"
]

_AT_START: dict[bytes, Kind] = {
    b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00": "iso9660",  # raw CD sectors of 2352 bytes
    b"PK\x03\x04": "archive",
    b"PK\x05\x06": "archive",
    b"PK\x07\x08": "archive",
    b"7z\xbc\xaf\x27\x1c": "archive",
    b"Rar!\x1a\x07": "archive",
    b"xar!": "archive",
    b"MSCF": "archive",
    b"MSWIM\0\0\0": "archive",
    b"!<arch>\n": "archive",
    b"\xed\xab\xee\xdb": "archive",  # rpm
    b"VMA\0": "archive",  # a Proxmox backup
    b"\x1f\x8b\x08": "compressed",  # gzip
    b"\x1f\x9d": "compressed",  # compress
    b"\x1f\xa0": "compressed",
    b"BZh": "compressed",
    b"\xfd7zXZ\0": "compressed",
    b"\x5d\0\0": "compressed",  # lzma
    b"LZIP": "compressed",
    b"\x28\xb5\x2f\xfd": "compressed",  # zstd
    b"\x04\x22\x4d\x18": "compressed",  # lz4
    b"\x02\x21\x4c\x18": "compressed",  # lz4 of old, as in initrds
    b"\x89LZO\0\r\n\x1a\n": "compressed",
    b"\x3a\xff\x26\xed": "compressed",  # Android's sparse image
    b"070701": "cpio",
    b"070702": "cpio",
    b"070707": "cpio",
    b"\x7fELF": "kernel",
    b"\x27\x05\x19\x56": "kernel",  # uImage
    b"\xd0\x0d\xfe\xed": "kernel",  # a device tree, or U-Boot's FIT
    b"nilmptws": "tpm-state",  # swtpm's linear store
    b"LibvirtQemudSave": "saved-guest",
    b"LibvirtQemudPart": "saved-guest",
    b"QEVM": "saved-guest",
    b"KDUMP   ": "saved-guest",
}
_INSIDE_HEAD: tuple[tuple[int, bytes, Kind], ...] = (
    (257, b"ustar", "archive"),
    (0x202, b"HdrS", "kernel"),  # bzImage, Documentation/arch/x86/boot.rst of Linux
    (56, b"ARM\x64", "kernel"),
    (56, b"RSC\x05", "kernel"),
    (40, b"_FVH", "firmware"),  # an UEFI firmware volume: OVMF's code and variables
)
_STARTS = tuple(_AT_START)

_DESCRIPTORS_AT = 16 * 2048
_DESCRIPTOR_IDS = (b"CD001", b"BEA01", b"CDROM")  # ISO 9660, UDF

_BOOT_SIGNATURE_AT = 510
_ENTRIES_AT = 446
_ENTRY = Struct("<B3xB3xII")
_PROTECTIVE = 0xEE
_GPT_SIGNATURE = b"EFI PART"
_GPT_AT = (512, 4096)  # the second sector, of either size


def kind(file: ImageFile) -> Kind:
    """What is never a disk by its content; `""` when it is nothing of that.

    Raises:
        HostError: the kernel could not read.
    """
    head = file.head
    if head.startswith(_STARTS):
        return next(word for magic, word in _AT_START.items() if head.startswith(magic))
    for offset, magic, word in _INSIDE_HEAD:
        if head.startswith(magic, offset):
            return word
    if head.startswith(b"MZ") and head.startswith(b"PE\0\0", int.from_bytes(head[60:64], "little")):
        return "kernel"
    descriptor = file.read(_DESCRIPTORS_AT, 16)
    if descriptor[1:6] in _DESCRIPTOR_IDS or descriptor[9:14] in _DESCRIPTOR_IDS:
        return "iso9660"
    return ""


def partition_table(file: ImageFile) -> Literal["", "gpt", "mbr"]:
    """The partition table that the file begins with: GPT behind its protective MBR, in sectors of 512
    or 4096 bytes; or an MBR, all of whose entries lie inside the file.

    Raises:
        HostError: the kernel could not read.
    """
    head = file.head
    if not head.startswith(b"\x55\xaa", _BOOT_SIGNATURE_AT):
        return ""
    entries = list(_ENTRY.iter_unpack(head[_ENTRIES_AT:_BOOT_SIGNATURE_AT]))
    if any(status & 0x7F for status, *_ in entries):
        return ""
    used = [(kind, first, count) for _, kind, first, count in entries if kind]
    if any(kind == _PROTECTIVE for kind, *_ in used) and any(
        file.read(at, len(_GPT_SIGNATURE)) == _GPT_SIGNATURE for at in _GPT_AT
    ):
        return "gpt"
    sectors = file.size // SECTOR_BYTES
    if used and all(first and count and first + count <= sectors for _, first, count in used):
        return "mbr"
    return ""


def telling(head: bytes, at: Callable[[int, int], bytes]) -> Iterator[tuple[int, bytes]]:
    """All by which `kind` and `partition_table` judge a file that begins with `head`: offsets and bytes,
    which are magic numbers and the partition table. `at(offset, length)` gives further bytes.
    """
    yield from ((0, magic) for magic in _STARTS if head.startswith(magic))
    yield from ((offset, magic) for offset, magic, _ in _INSIDE_HEAD if head.startswith(magic, offset))
    portable = int.from_bytes(head[60:64], "little")
    if head.startswith(b"MZ") and head.startswith(b"PE\0\0", portable):
        yield from ((0, b"MZ"), (60, head[60:64]), (portable, b"PE\0\0"))
    for offset in (_DESCRIPTORS_AT + 1, _DESCRIPTORS_AT + 9):
        yield from ((offset, word) for word in _DESCRIPTOR_IDS if at(offset, len(word)) == word)
    if head.startswith(b"\x55\xaa", _BOOT_SIGNATURE_AT):
        yield _ENTRIES_AT, head[_ENTRIES_AT : _BOOT_SIGNATURE_AT + 2]
        length = len(_GPT_SIGNATURE)
        yield from ((offset, _GPT_SIGNATURE) for offset in _GPT_AT if at(offset, length) == _GPT_SIGNATURE)
