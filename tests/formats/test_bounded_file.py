"""The bounds that every reader of a file keeps."""

from __future__ import annotations

import pytest

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import READ_LIMIT_BYTES, exactly, text, whole_sectors
from tests.formats.memory_file import MemoryFile


def test_what_lies_in_the_head_is_not_read_again() -> None:
    file = MemoryFile(bytes(range(256)) * 256)
    assert file.read(4000, 96) == (bytes(range(256)) * 16)[4000:]
    assert file.reads == []


def test_a_read_is_cut_at_the_end_of_the_file() -> None:
    file = MemoryFile(b"x" * 5000)
    assert file.read(4990, 100) == b"x" * 10
    assert file.reads == [(4990, 10)]


@pytest.mark.parametrize(
    ("offset", "length"), [(5000, 1), (2**64, 8), (-1, 8), (-512, 512), (10, 0), (10, -5)]
)
def test_a_range_outside_of_the_file_or_of_nothing_is_empty(offset: int, length: int) -> None:
    file = MemoryFile(b"x" * 5000)
    assert file.read(offset, length) == b""
    assert file.reads == []


def test_a_negative_offset_does_not_count_from_the_end() -> None:
    assert MemoryFile(b"hello").read(-1, 8) == b""


def test_all_reads_together_are_bounded() -> None:
    file = MemoryFile({}, 1 << 40)
    half = READ_LIMIT_BYTES // 2
    file.read(1 << 30, half)
    file.read(1 << 31, half)
    with pytest.raises(BadHeader) as caught:
        file.read(1 << 32, 1)
    assert caught.value.fault_code == "too-much"
    assert file.total_read == READ_LIMIT_BYTES


def test_a_huge_read_is_refused_before_it_is_made() -> None:
    with pytest.raises(BadHeader):
        MemoryFile({}, 1 << 40).read(0, 1 << 40)


def test_exactly_gives_what_is_there() -> None:
    assert exactly(MemoryFile(b"x" * 10), 2, 8, "header") == b"x" * 8


def test_exactly_says_where_the_file_ends_and_in_what() -> None:
    with pytest.raises(BadHeader, match="ends at byte 10, within its header") as caught:
        exactly(MemoryFile(b"x" * 10), 4, 8, "header")
    assert caught.value.fault_code == "truncated"


def test_a_name_ends_at_its_first_nul_and_is_printable() -> None:
    assert text(b"b\x1bse\xff\0secret") == "b%1Bse%FF"


def test_sectors_are_rounded_up() -> None:
    assert [whole_sectors(size) for size in (0, 1, 512, 513)] == [0, 512, 512, 1024]
