"""What a file is by its first bytes: never a disk, or the beginning of one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from struct import pack

import pytest

from storekeeper.formats.content import kind, partition_table
from tests.formats.disk_file import opened
from tests.formats.memory_file import MemoryFile

MIB = 1 << 20


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("disk.raw"))
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("disk.raw", b"x")
    return out.getvalue()


MADE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tar": ("archive", tar),
    "zip": ("archive", zipped),
    "zip, empty": ("archive", lambda: b"PK\x05\x06" + bytes(18)),
    "gzip": ("compressed", lambda: gzip.compress(b"x")),
    "bzip2": ("compressed", lambda: bz2.compress(b"x")),
    "xz": ("compressed", lambda: lzma.compress(b"x")),
    "lzma": ("compressed", lambda: lzma.compress(b"x", lzma.FORMAT_ALONE)),
    "7z": ("archive", lambda: b"7z\xbc\xaf\x27\x1c\0\4"),
    "rar": ("archive", lambda: b"Rar!\x1a\x07\x01\0"),
    "xar": ("archive", lambda: b"xar!\0\x1c\0\1"),
    "zstd": ("compressed", lambda: b"\x28\xb5\x2f\xfd\x04\x58"),
    "lz4": ("compressed", lambda: b"\x04\x22\x4d\x18\x64\x40"),
    "lz4 of old": ("compressed", lambda: b"\x02\x21\x4c\x18"),
    "Android's sparse image": ("compressed", lambda: pack("<IHH", 0xED26FF3A, 1, 0)),
    "cpio": ("cpio", lambda: b"07070100000000"),
    "cpio with checksums": ("cpio", lambda: b"07070200000000"),
    "ELF": ("kernel", lambda: b"\x7fELF\2\1\1"),
    "an EFI program": ("kernel", lambda: b"MZ".ljust(60, b"\0") + pack("<I", 128) + bytes(64) + b"PE\0\0"),
    "arm64's kernel": ("kernel", lambda: bytes(56) + b"ARM\x64"),
    "UEFI variables": ("firmware", lambda: bytes(40) + b"_FVH"),
    "swtpm's linear store": ("tpm-state", lambda: pack("<Q", 0x737774706D6C696E)),
    "a saved guest": ("saved-guest", lambda: b"LibvirtQemudSave\2\0\0\0"),
    "a raw CD": ("iso9660", lambda: b"\0" + b"\xff" * 10 + b"\0\0\2\0\1"),
}


@pytest.mark.parametrize(("word", "make"), MADE.values(), ids=MADE)
def test_what_is_never_a_disk(word: str, make: Callable[[], bytes]) -> None:
    assert kind(MemoryFile(make(), MIB)) == word


@pytest.mark.parametrize("descriptor", [b"\1CD001\1", b"\0BEA01\1", bytes(8) + b"\1CDROM\1"])
def test_iso_9660_udf_and_high_sierra_begin_behind_16_sectors(descriptor: bytes) -> None:
    assert kind(MemoryFile({32768: descriptor}, MIB)) == "iso9660"
    assert kind(MemoryFile({32769: descriptor}, MIB)) == ""


@pytest.mark.parametrize("content", [b"", bytes(99999), b"MZ", b"PE\0\0", b"Nov 25 host qemu[7]: log\n"])
def test_zeros_text_and_nothing_are_nothing_of_that(content: bytes) -> None:
    assert kind(MemoryFile(content)) == ""


def test_one_read_past_the_head_tells_all_that_is_not_in_it() -> None:
    file = MemoryFile(b"", 1 << 40)
    kind(file)
    assert len(file.reads) == 1


@pytest.mark.parametrize("image", sorted(Path("/boot").glob("vmlinuz*")), ids=str)
def test_this_machines_kernel_is_one(image: Path) -> None:
    with opened(image) as file:
        assert kind(file) == "kernel"


def entry(type_: int, first: int, count: int, *, status: int = 0) -> bytes:
    return pack("<B3xB3xII", status, type_, first, count)


def mbr(*entries: bytes, size: int = 4 * MIB, also: Mapping[int, bytes] = {}) -> MemoryFile:
    return MemoryFile({446: b"".join(entries), 510: b"\x55\xaa", **also}, size)


class TestPartitionTables:
    def test_an_mbr_whose_entries_lie_inside(self) -> None:
        assert partition_table(mbr(entry(0x83, 2048, 6144, status=0x80))) == "mbr"

    def test_an_mbr_with_an_entry_past_the_end_is_none(self) -> None:
        assert partition_table(mbr(entry(0x83, 2048, 6144), entry(0x82, 8192, 1))) == ""

    def test_an_mbr_with_an_entry_that_overflows_is_none(self) -> None:
        assert partition_table(mbr(entry(0x83, 2**32 - 1, 2**32 - 1))) == ""

    @pytest.mark.parametrize("bad", [entry(0x83, 0, 64), entry(0x83, 64, 0)])
    def test_an_mbr_with_an_entry_of_nothing_is_none(self, bad: bytes) -> None:
        assert partition_table(mbr(bad)) == ""

    def test_a_boot_sector_without_entries_is_none(self) -> None:
        assert partition_table(mbr()) == ""

    def test_a_boot_sector_with_text_where_entries_would_be_is_none(self) -> None:
        assert partition_table(mbr(b"Remove disks or other media.\xff\r\nPress any key to restart\r\n")) == ""

    def test_an_entry_whose_status_is_neither_active_nor_not_is_none(self) -> None:
        assert partition_table(mbr(entry(0x83, 2048, 2048, status=0x41))) == ""

    def test_entries_without_the_signature_are_none(self) -> None:
        assert partition_table(MemoryFile({446: entry(0x83, 2048, 2048)}, 4 * MIB)) == ""

    @pytest.mark.parametrize("sector", [512, 4096])
    def test_gpt_in_the_second_sector_of_either_size(self, sector: int) -> None:
        protective = entry(0xEE, 1, 2**32 - 1)
        assert partition_table(mbr(protective, also={sector: b"EFI PART\0\0\1\0"})) == "gpt"

    def test_a_protective_mbr_alone_must_lie_inside_as_any(self) -> None:
        assert partition_table(mbr(entry(0xEE, 1, 2**32 - 1))) == ""

    def test_a_gpt_header_without_a_protective_mbr_is_a_stale_one(self) -> None:
        assert partition_table(MemoryFile({512: b"EFI PART"}, 4 * MIB)) == ""
        assert partition_table(mbr(entry(0x83, 2048, 2048), also={512: b"EFI PART"})) == "mbr"

    @pytest.mark.parametrize("size", [0, 100, 511])
    def test_a_file_shorter_than_a_sector_has_none(self, size: int) -> None:
        assert partition_table(MemoryFile(mbr(entry(0x83, 1, 1)).pieces, size)) == ""
