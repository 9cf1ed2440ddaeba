"""Parallels: what its header says, and each lie it may tell."""

from __future__ import annotations

from struct import pack

import pytest

from storekeeper.observation import UNKNOWN
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import codes, seeds, seen

IMAGE = seeds()["parallels"]
VERSION, CLUSTER_SECTORS, ENTRIES, SECTORS, IN_USE, FLAGS, EXTENSION = 16, 28, 32, 36, 44, 52, 56
OLD_MAGIC = b"WithoutFreeSpace"
EXTENSION_AT = 1 << 20
BITMAP = 0x20385FAE252CB34A


def u32(value: int) -> bytes:
    return pack("<I", value)


def u64(value: int) -> bytes:
    return pack("<Q", value)


def section(kind: int, *, flags: int = 0, data: bytes = b"", claimed: int | None = None) -> bytes:
    return pack("<QQI4x", kind, flags, len(data) if claimed is None else claimed) + data


def extended(*sections: bytes, magic: int = 0xAB234CEF23DCEA87, size: int = 2 << 20) -> MemoryFile:
    content = pack("<Q16x", magic) + b"".join(sections)
    return IMAGE.patched((EXTENSION, u64(EXTENSION_AT // 512)), (EXTENSION_AT, content), size=size)


def test_size_and_cluster_size() -> None:
    header = seen(IMAGE.file())
    assert (header.format, header.version) == ("parallels", "2")
    assert (header.virtual_bytes, header.cluster_bytes) == (20 << 30, 1 << 20)


def test_the_old_magic_counts_sectors_in_32_bits() -> None:
    header = seen(IMAGE.patched((0, OLD_MAGIC), (SECTORS, u64(0xFFFFFFFF_00000800))))
    assert (header.virtual_bytes, header.faults) == (1 << 20, ())


def test_the_new_magic_counts_them_in_64() -> None:
    assert codes(seen(IMAGE.patched((SECTORS, u64(0xFFFFFFFF_00000800))))) == ["size-lies"]


def test_an_image_in_use_is_dirty_and_an_empty_one_empty() -> None:
    header = seen(IMAGE.patched((IN_USE, u32(0x746F6E59)), (FLAGS, u32(1))))
    assert (header.features, header.faults) == (("dirty", "empty"), ())


def test_dirty_bitmaps_in_the_format_extension() -> None:
    header = seen(extended(section(BITMAP, data=b"x" * 40), section(BITMAP, data=b"x" * 40), section(0)))
    assert (header.features, header.faults) == (("bitmaps",), ())


def test_a_feature_that_is_not_known_is_a_fault_only_when_necessary() -> None:
    assert codes(seen(extended(section(77), section(0)))) == []
    assert codes(seen(extended(section(77, data=b"x" * 8), section(78, flags=1)))) == ["unknown-feature"]
    assert codes(seen(extended(section(0), section(78, flags=1)))) == []


@pytest.mark.parametrize("size", [16, 63])
def test_cut_within_the_header(size: int) -> None:
    assert codes(seen(IMAGE.file(size))) == ["truncated"]


def test_cut_within_the_block_table_the_size_is_still_told() -> None:
    header = seen(IMAGE.file(1000))
    assert (header.virtual_bytes, codes(header)) == (20 << 30, ["truncated"])


def test_a_version_that_is_not_known() -> None:
    assert codes(seen(IMAGE.patched((VERSION, u32(3))))) == ["unknown-feature"]


def test_a_file_that_ends_with_its_block_table_is_whole() -> None:
    assert seen(IMAGE.file(64 + 20480 * 4)).faults == ()


def test_the_largest_clusters_and_block_table_are_no_fault() -> None:
    largest = (CLUSTER_SECTORS, u32((2**31 - 1) // 513)), (ENTRIES, u32((2**31 - 1) // 4))
    assert seen(IMAGE.patched(*largest, size=2**40)).faults == ()


def test_sections_are_read_to_the_end_of_their_cluster() -> None:
    last = section(77, data=bytes(440)) + section(78, flags=1)
    content = pack("<Q16x", 0xAB234CEF23DCEA87) + last
    small = (CLUSTER_SECTORS, u32(1)), (SECTORS, u64(1)), (EXTENSION, u64(EXTENSION_AT // 512))
    assert len(content) == 512
    assert codes(seen(IMAGE.patched(*small, (EXTENSION_AT, content), size=2 << 20))) == ["unknown-feature"]


@pytest.mark.parametrize("sectors", [0, 2**31, 2**32 - 1])
def test_clusters_that_make_no_sense(sectors: int) -> None:
    assert codes(seen(IMAGE.patched((CLUSTER_SECTORS, u32(sectors))))) == ["bad-header"]


@pytest.mark.parametrize("sectors", [(20 << 21) + 1, 2**55, 2**64 - 1])
def test_more_sectors_than_the_block_table_maps(sectors: int) -> None:
    header = seen(IMAGE.patched((SECTORS, u64(sectors))))
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


def test_a_block_table_over_2_gib() -> None:
    assert codes(seen(IMAGE.patched((ENTRIES, u32(2**31)), size=2**40))) == ["size-lies"]


def test_a_format_extension_past_the_end_of_the_file() -> None:
    header = seen(IMAGE.patched((EXTENSION, u64(2**64 - 1))))
    assert (header.virtual_bytes, codes(header)) == (20 << 30, ["truncated"])


def test_a_format_extension_that_is_none() -> None:
    assert codes(seen(extended(magic=1))) == ["bad-header"]


def test_sections_that_claim_more_than_their_cluster_are_not_followed() -> None:
    file = extended(section(77, claimed=2**32 - 1), size=2**40)
    assert codes(seen(file)) == []
    assert len(file.reads) == 2


def test_endless_sections_are_not_followed() -> None:
    file = extended(section(77) * 20000, size=1 << 30)
    assert codes(seen(file)) == []
    assert len(file.reads) < 40
