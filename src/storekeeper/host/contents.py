"""Contents, taken out of what is captured: of files that are no image, of raw images, of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from storekeeper.formats import by_footer, by_head
from storekeeper.formats.content import telling
from storekeeper.formats.contract import SECTOR_BYTES
from storekeeper.host.capture import BlockRead, content_of

# (offset, magic number there, where the superblock begins, its length), as `sources.space` and
# `sources.ocfs2` know them
_SUPERBLOCKS: Final = (
    (0, b"XFSB", 0, 512),
    (1080, b"\x53\xef", 1024, 1024),  # ext2 to ext4
    (65600, b"_BHRfS_M", 65536, 1024),
    *((2 * block_bytes, b"OCFSV2", 2 * block_bytes, 512) for block_bytes in (512, 1024, 2048, 4096)),
)


def without_contents(reads: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The reads (offset, bytes) of one file, the first of which is its head.

    A file that begins with an image's header is captured as it was read. Where it begins with anything else,
    that is someone's data, and zeroed but for what shows the file to be what it is: magic numbers, a
    partition table, a VHD's footer.
    """
    (_, head), *further = reads
    if by_head(head):
        return list(reads)
    if any(len(data) >= SECTOR_BYTES - 1 and by_footer(data) for _, data in further):
        return [(0, bytes(len(head))), *further]
    read = content_of(reads)
    kept = list(telling(head, lambda offset, length: read.at(offset, length) or b""))
    return [(offset, _only(kept, offset, len(data))) for offset, data in reads]


def without_device_contents(read: BlockRead) -> BlockRead:
    """What was read of a device: of its bytes, superblocks alone."""
    reads = read.content.reads()
    kept = [
        (begin, data[begin - offset : begin - offset + length])
        for offset, data in reads
        for at, magic, begin, length in _SUPERBLOCKS
        if offset <= begin and data.startswith(magic, at - offset)
    ]
    return replace(read, content=content_of((at, _only(kept, at, len(data))) for at, data in reads))


def _only(kept: Sequence[tuple[int, bytes]], offset: int, length: int) -> bytes:
    """What of `kept` lies in these bytes of the file; the others are zero."""
    found = bytearray(length)
    for at, data in kept:
        start, end = max(at, offset), min(at + len(data), offset + length)
        if start < end:
            found[start - offset : end - offset] = data[start - at : end - at]
    return bytes(found)
