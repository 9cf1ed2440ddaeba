"""What counts as a raw image, by content, size and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from storekeeper.formats import identify, raw
from tests.formats.disk_file import opened
from tests.formats.memory_file import MemoryFile
from tests.formats.test_content import MADE, entry, mbr

MIB = 1 << 20
LINUX = entry(0x83, 2048, 2048)
ISO = {32768: b"\1CD001\1"}


def test_its_virtual_size_is_the_files_in_whole_sectors() -> None:
    assert raw.inspect(MemoryFile(b"", 1 << 40)).virtual_bytes == 1 << 40
    assert raw.inspect(MemoryFile(b"", 1_000_000)).virtual_bytes == 1_000_448


@pytest.mark.parametrize("name", ["disk", "disk.qcow2", "disk.raw"])
def test_a_partition_table_makes_an_image_whatever_its_name(name: str) -> None:
    assert raw.evidence(name, mbr(LINUX)) == "partition-table"


@pytest.mark.parametrize("name", ["disk.raw", "DISK.IMG", "team/a/disk.img"])
def test_the_names_raw_and_img_make_an_image_of_whole_sectors(name: str) -> None:
    assert raw.evidence(name, MemoryFile(b"", MIB)) == "name"
    assert raw.evidence(name, MemoryFile(b"", MIB + 1)) is None


def test_other_whole_sectors_are_an_image_only_if_they_prove_to_be_a_copy_of_one() -> None:
    assert raw.evidence("disk", MemoryFile(b"", MIB)) == "none"


def test_an_empty_file_is_no_image_but_by_its_name() -> None:
    assert raw.evidence("disk.lock", MemoryFile(b"")) is None
    assert raw.evidence("disk.raw", MemoryFile(b"")) == "name"


def test_under_a_mebibyte_a_partition_table_is_not_enough() -> None:
    assert raw.evidence("disk", mbr(entry(0x83, 1, 100), size=MIB)) == "partition-table"
    small = mbr(entry(0x83, 1, 100), size=MIB - 512)
    assert raw.evidence("disk", small) == "none"


@pytest.mark.parametrize("name", ["installer", "installer.raw", "installer.img"])
def test_an_iso_is_never_one_not_even_with_a_partition_table(name: str) -> None:
    assert raw.evidence(name, MemoryFile(ISO, MIB)) is None
    assert raw.evidence(name, mbr(LINUX, also=ISO)) is None


@pytest.mark.parametrize("what", MADE)
def test_what_is_never_a_disk_is_none_by_its_name(what: str) -> None:
    _, make = MADE[what]
    assert raw.evidence("disk.img", MemoryFile(make(), MIB)) is None
    assert raw.evidence("disk", MemoryFile(make(), MIB)) is None


def test_a_guest_hides_no_disk_by_writing_an_archive_before_its_partition_table() -> None:
    assert raw.evidence("disk", mbr(LINUX, also={0: b"PK\x03\x04"})) == "partition-table"


def test_a_kernel_whose_setup_looks_like_partitions_is_none() -> None:
    assert raw.evidence("vmlinuz", mbr(LINUX, also={514: b"HdrS"})) is None


@pytest.mark.parametrize("image", sorted(Path("/boot").glob("[vi]*-*")), ids=str)
def test_this_machines_kernel_and_initrd_are_none(image: Path) -> None:
    with opened(image) as file:
        assert identify(file) is None
        assert raw.evidence("boot.img", file) is None
