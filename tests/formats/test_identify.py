"""Which format a file is of, and what it costs to find out."""

from __future__ import annotations

import pytest

from storekeeper.errors import BadHeader
from storekeeper.formats import FORMATS, identify
from storekeeper.observation import UNKNOWN, Fault, Header
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import seeds, seen


def test_a_file_without_a_known_header_is_none() -> None:
    assert identify(MemoryFile(b"")) is None
    assert identify(MemoryFile(b"text\n" * 999)) is None


def test_version_1_and_later_of_the_same_magic_are_two_formats() -> None:
    assert seen(seeds()["qcow"].file()).format == "qcow"
    assert seen(seeds()["qcow2-v3"].file()).format == "qcow2"


@pytest.mark.parametrize("name", ["vdi", "vhd-fixed"])
def test_a_magic_within_the_head_or_in_the_last_sector_is_as_good(name: str) -> None:
    assert seen(seeds()[name].file()).format == seeds()[name].format


def test_virtual_pcs_footer_of_511_bytes_is_found_too() -> None:
    seed = seeds()["vhd-fixed"]
    assert seen(seed.file(seed.size - 1)).format == "vhd"


def test_a_header_that_cannot_be_believed_is_its_formats_with_the_fault() -> None:
    fault = Fault("truncated", "The file ends at byte 8, within its header.")
    assert identify(MemoryFile(b"QFI\xfb\0\0\0\3")) == Header(format="qcow2", faults=(fault,))
    assert seen(MemoryFile(b"QFI\xfb")).virtual_bytes == UNKNOWN


def test_no_magic_hides_another() -> None:
    magics = [(offset, magic, row.name) for row in FORMATS for offset, magic in row.magic]
    for index, (offset, magic, name) in enumerate(magics):
        hidden = [
            other for at, longer, other in magics[index + 1 :]
            if at == offset and longer.startswith(magic) and other != name
        ]  # fmt: skip
        assert hidden == []


@pytest.mark.parametrize("size", [512, 1 << 20, (1 << 20) - 1])
def test_a_footer_is_looked_for_with_one_read_of_the_last_sector(size: int) -> None:
    file = MemoryFile(b"", size)
    assert identify(file) is None
    assert [offset for offset, _ in file.reads] == ([-(-size // 512) * 512 - 512] if size > 4096 else [])


@pytest.mark.parametrize("size", [100, 4097, (1 << 20) + 1, (1 << 20) - 2])
def test_where_no_footer_can_be_nothing_is_read(size: int) -> None:
    file = MemoryFile(b"", size)
    assert identify(file) is None
    assert file.reads == []


def test_a_file_with_a_header_is_not_asked_for_a_footer() -> None:
    file = seeds()["qcow2-v3"].file(1 << 30)
    assert seen(file).format == "qcow2"
    assert file.reads == []


def test_the_bound_on_reading_is_a_fault_and_no_exception() -> None:
    class Greedy(MemoryFile):
        def read(self, offset: int, length: int) -> bytes:
            raise BadHeader("Enough.", code="too-much")

    header = identify(Greedy(seeds()["luks-2"].pieces, 1 << 30))
    assert header == Header(format="luks", faults=(Fault("too-much", "Enough."),))
