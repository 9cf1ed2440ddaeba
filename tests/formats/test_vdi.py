"""VDI: as VirtualBox writes it, of both versions."""

from __future__ import annotations

import pytest

from storekeeper.observation import UNKNOWN, Parent
from tests.formats.by_hand import MIB, OWN, PARENT, vdi, vdi_0_1
from tests.formats.seeds import codes, seen

GIB = 1 << 30


@pytest.mark.parametrize(
    ("kind", "word", "preallocated"),
    [(1, "dynamic", False), (2, "fixed", True), (3, "undo", False), (4, "differencing", False)],
)
def test_its_four_types(kind: int, word: str, preallocated: bool) -> None:
    header = seen(vdi(kind, parent=PARENT if kind > 2 else None).file())
    assert (header.version, header.preallocated, header.faults) == (word, preallocated, ())
    assert (header.virtual_bytes, header.cluster_bytes, header.unique_id) == (20 * GIB, MIB, str(OWN))


def test_a_child_names_its_parent_by_the_id_that_the_parent_calls_its_own() -> None:
    child = seen(vdi(4, parent=OWN).file())
    assert child.parent == Parent(format="vdi", unique_id=seen(vdi().file()).unique_id)


def test_a_child_that_names_no_parent_is_a_fault() -> None:
    header = seen(vdi(4).file())
    assert (header.parent, codes(header)) == (None, ["bad-header"])


def test_the_first_version_has_its_block_map_right_behind_its_header() -> None:
    header = seen(vdi_0_1(4, parent=PARENT).file())
    assert (header.virtual_bytes, header.unique_id, header.faults) == (4 * GIB, str(OWN), ())
    assert header.parent == Parent(format="vdi", unique_id=str(PARENT))


def test_the_first_version_cut_within_its_block_map() -> None:
    seed = vdi_0_1()
    assert codes(seen(seed.file(seed.size - 1))) == ["truncated"]


def test_a_size_of_no_whole_sectors_is_rounded_up_as_virtualbox_converts_any_file() -> None:
    assert seen(vdi(size=1_000_001).file()).virtual_bytes == 1_000_448


def test_blocks_of_another_size_than_qemus() -> None:
    header = seen(vdi(block=4 * MIB, blocks=5 << 10).file())
    assert (header.virtual_bytes, header.cluster_bytes, header.faults) == (20 * GIB, 4 * MIB, ())


@pytest.mark.parametrize("size", [(20 << 30) + 1, 2**63, 2**64 - 1])
def test_a_size_beyond_its_blocks_is_a_lie(size: int) -> None:
    header = seen(vdi(size=size).file())
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


def test_a_size_beyond_what_virtualbox_can_address_is_a_lie_whatever_its_blocks_say() -> None:
    header = seen(vdi(size=2**51, block=2**31, blocks=2**20, data_at=8 * MIB, file_bytes=8 * MIB).file())
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


def test_a_block_map_past_the_end_is_truncated() -> None:
    assert codes(seen(vdi(blocks=2**31 - 1, data_at=2**32 - 1).file())) == ["bad-header", "truncated"]


@pytest.mark.parametrize("extra", [0, 512])
def test_allocated_blocks_past_the_end_are_truncated(extra: int) -> None:
    seed = vdi(allocated=2, extra=extra, file_bytes=4 * MIB + 2 * extra)
    assert seen(seed.file()).faults == ()
    assert codes(seen(seed.file(seed.size - 1))) == ["truncated"]


@pytest.mark.parametrize("fields", [{"map_at": 0}, {"data_at": MIB}, {"allocated": 20481}])
def test_parts_that_overlap_are_a_fault(fields: dict[str, int]) -> None:
    assert "bad-header" in codes(seen(vdi(**fields).file(2**50)))  # type: ignore[arg-type]


def test_blocks_of_no_bytes_make_no_sense() -> None:
    header = seen(vdi(block=0).file())
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])


def test_a_header_shorter_than_its_version_has_makes_no_sense() -> None:
    assert codes(seen(vdi(header_bytes=383).file())) == ["bad-header"]


@pytest.mark.parametrize("version", [0x10000, 0x10002, 0x20000])
def test_a_version_that_is_not_known_must_not_be_understood(version: int) -> None:
    assert codes(seen(vdi(version=version).file())) == ["unknown-feature"]


@pytest.mark.parametrize("kind", [0, 5])
def test_a_type_that_is_not_known_must_not_be_understood(kind: int) -> None:
    assert codes(seen(vdi(kind).file())) == ["unknown-feature"]


def test_an_id_of_zeros_is_none() -> None:
    assert seen(vdi().patched((392, bytes(16)))).unique_id == ""


def test_it_is_read_from_the_head_alone() -> None:
    file = vdi().file()
    seen(file)
    assert file.reads == []
