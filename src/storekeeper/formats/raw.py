"""Raw images: nothing in them says so. What counts as one is told in the design, "What is an image"."""

from __future__ import annotations

from typing import Literal

from storekeeper.formats.content import kind, partition_table
from storekeeper.formats.contract import SECTOR_BYTES, ImageFile, whole_sectors
from storekeeper.observation import Header

_LEAST_PARTITIONED_BYTES = 1 << 20
_SUFFIXES = (".raw", ".img")
# A guest can write the beginning of an archive before its partition table; these begin a disk never.
_NEVER_A_DISK = frozenset({"iso9660", "kernel", "firmware", "tpm-state"})


def inspect(file: ImageFile) -> Header:
    """The file as a raw disk: its size in whole sectors, as a guest sees it."""
    return Header(format="raw", virtual_bytes=whole_sectors(file.size))


def evidence(name: str, file: ImageFile) -> Literal["partition-table", "name", "none"] | None:
    """Why a file without an image header is a raw image; the words of `observation.Image.evidence`.

    `none`: nothing tells, it is one only if it proves to be a reflink copy of one, or a guest uses it.
    None: only a guest's use could make it one. Names that mark a file as temporary are not judged here.

    Raises:
        HostError: the kernel could not read.
    """
    if file.size % SECTOR_BYTES:
        return None
    content = kind(file)
    if content not in _NEVER_A_DISK and file.size >= _LEAST_PARTITIONED_BYTES and partition_table(file):
        return "partition-table"
    if content:
        return None
    if name.lower().endswith(_SUFFIXES):
        return "name"
    return "none" if file.size else None
