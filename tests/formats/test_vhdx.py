"""VHDX: which of its copies count, what the metadata may say, how a child names its parent."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest

from storekeeper.observation import UNKNOWN
from tests.formats.by_hand import (
    BAT,
    CHANGED,
    DISK_SIZE,
    HYPER_V_PARENT,
    LOGICAL_SECTOR,
    METADATA,
    MIB,
    OWN,
    PARAMETERS,
    PARENT,
    REGIONS,
    vhdx,
    vhdx_child,
    vhdx_header,
    vhdx_items,
    vhdx_locator,
    vhdx_metadata,
    vhdx_regions,
)  # fmt: skip
from tests.formats.seeds import codes, seeds, seen

GIB = 1 << 30
TIB = 1 << 40
STRANGE = UUID("12345678-1234-1234-1234-123456789abc")


class TestWhatItSays:
    @pytest.mark.parametrize(("flags", "word", "preallocated"), [(0, "dynamic", False), (1, "fixed", True)])
    def test_fixed_and_dynamic(self, flags: int, word: str, preallocated: bool) -> None:
        header = seen(vhdx(vhdx_items(flags=flags)).file())
        assert (header.version, header.preallocated, header.faults) == (word, preallocated, ())
        assert (header.virtual_bytes, header.cluster_bytes) == (20 * GIB, 32 * MIB)
        assert (header.parent, header.unique_id) == (None, str(OWN))

    def test_sectors_of_4096_bytes(self) -> None:
        assert seen(vhdx(vhdx_items(sector=4096)).file()).virtual_bytes == 20 * GIB

    def test_items_far_behind_the_first_are_read_too(self) -> None:
        strange = {STRANGE: bytes(8192)}
        metadata = vhdx_metadata({**strange, **vhdx_items()}, required=False)
        assert seen(vhdx(metadata=metadata).file()).virtual_bytes == 20 * GIB

    def test_more_items_than_programs_write_are_read_too(self) -> None:
        strange = {UUID(int=number): b"x" for number in range(1, 60)}
        metadata = vhdx_metadata({**strange, **vhdx_items()}, required=False)
        assert seen(vhdx(metadata=metadata).file()).virtual_bytes == 20 * GIB

    def test_what_qemu_makes_costs_five_reads(self) -> None:
        file = seeds()["vhdx"].file()
        assert seen(file).virtual_bytes == 20 * GIB
        assert len(file.reads) == 5
        assert file.total_read < 8192


class TestWhichHeaderCounts:
    def test_the_newer_one(self) -> None:
        for headers in (
            (vhdx_header(1, data=OWN), vhdx_header(2, data=CHANGED)),
            (vhdx_header(2, data=CHANGED), vhdx_header(1, data=OWN)),
        ):
            assert seen(vhdx(headers=headers).file()).unique_id == str(CHANGED)

    def test_a_newer_one_with_a_wrong_checksum_does_not_count(self) -> None:
        headers = (vhdx_header(1, data=OWN), vhdx_header(2, data=CHANGED, log=STRANGE, good=False))
        header = seen(vhdx(headers=headers).file())
        assert (header.unique_id, header.features, header.faults) == (str(OWN), (), ())

    def test_while_they_agree_no_checksum_is_computed_so_the_rest_of_their_blocks_is_not_read(self) -> None:
        file = vhdx(headers=(vhdx_header(1), vhdx_header(2))).file()
        seen(file)
        assert max(length for offset, length in file.reads if offset < 192 << 10) == 80

    @pytest.mark.parametrize(
        "other",
        [bytes(4096), vhdx_header(9, data=CHANGED, version=2), b"HEAD" + vhdx_header(9, data=CHANGED)[4:]],
    )
    def test_one_that_is_damaged_or_of_another_version_does_not_count(self, other: bytes) -> None:
        assert seen(vhdx(headers=(vhdx_header(1), other)).file()).unique_id == str(OWN)

    @pytest.mark.parametrize(
        "headers",
        [
            (bytes(4096), bytes(4096)),
            (vhdx_header(1, version=2), vhdx_header(2, version=2)),
            (vhdx_header(1, good=False), vhdx_header(2, data=CHANGED, good=False)),
        ],
    )
    def test_without_a_valid_one_the_file_must_not_be_understood(self, headers: tuple[bytes, bytes]) -> None:
        header = seen(vhdx(headers=headers).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    def test_an_id_of_zeros_is_none(self) -> None:
        headers = (vhdx_header(1, data=UUID(int=0)), vhdx_header(2, data=UUID(int=0)))
        assert seen(vhdx(headers=headers).file()).unique_id == ""

    def test_a_log_that_is_not_empty_is_told_and_is_no_fault(self) -> None:
        headers = (vhdx_header(1, log=STRANGE), vhdx_header(2, log=STRANGE))
        header = seen(vhdx(headers=headers).file())
        assert (header.features, header.virtual_bytes, header.faults) == (("log-to-replay",), 20 * GIB, ())


class TestRegions:
    GOOD = vhdx_regions(*REGIONS)

    @pytest.mark.parametrize(
        "damaged",
        [
            bytes(512),
            vhdx_regions(*REGIONS, magic=b"xegi"),
            vhdx_regions(*REGIONS, count=2048),
            vhdx_regions((BAT, 3 * MIB, MIB, 1)),
            vhdx_regions((METADATA, 2 * MIB, MIB, 1)),
            vhdx_regions(*REGIONS, (BAT, 3 * MIB, MIB, 1)),
            vhdx_regions((BAT, 3 * MIB + 1, MIB, 1), REGIONS[1]),
            vhdx_regions((BAT, 3 * MIB, MIB + 8, 1), REGIONS[1]),
            vhdx_regions((BAT, 0, MIB, 1), REGIONS[1]),
        ],
        ids=["empty", "magic", "count", "no-metadata", "no-bat", "twice", "offset", "length", "in-header"],
    )
    def test_a_damaged_table_gives_way_to_its_copy(self, damaged: bytes) -> None:
        header = seen(vhdx(tables=(damaged, self.GOOD)).file())
        assert (header.virtual_bytes, header.faults) == (20 * GIB, ())
        header = seen(vhdx(tables=(damaged, damaged)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    @pytest.mark.parametrize(("required", "expected"), [(0, []), (1, ["unknown-feature"])])
    def test_a_region_that_is_not_known_is_a_fault_where_it_is_required(
        self, required: int, expected: list[str]
    ) -> None:
        table = vhdx_regions(*REGIONS, (STRANGE, 4 * MIB, MIB, required))
        assert codes(seen(vhdx(tables=(table, table)).file())) == expected

    def test_as_many_regions_as_there_may_be(self) -> None:
        many = [(UUID(int=number), 4 * MIB, MIB, 0) for number in range(1, 2046)]
        table = vhdx_regions(*many, *REGIONS)
        assert seen(vhdx(tables=(table, table)).file()).virtual_bytes == 20 * GIB

    @pytest.mark.parametrize("count", [2048, 2**32 - 1])
    def test_a_table_with_more_regions_than_there_may_be_is_not_read(self, count: int) -> None:
        table = vhdx_regions(*REGIONS, count=count)
        file = vhdx(tables=(table, table)).file(GIB)
        assert codes(seen(file)) == ["bad-header"]
        assert file.total_read < 8192

    def test_metadata_past_the_end(self) -> None:
        table = vhdx_regions((BAT, 3 * MIB, MIB, 1), (METADATA, 2**63 // MIB * MIB, MIB, 1))
        assert codes(seen(vhdx(tables=(table, table)).file())) == ["truncated"]

    def test_a_block_allocation_table_past_the_end(self) -> None:
        header = seen(vhdx().file(3 * MIB + 100))
        assert (header.virtual_bytes, codes(header)) == (20 * GIB, ["truncated"])


class TestMetadata:
    @pytest.mark.parametrize("missing", [PARAMETERS, DISK_SIZE, LOGICAL_SECTOR])
    def test_without_an_item_that_every_file_has(self, missing: UUID) -> None:
        items = {guid: item for guid, item in vhdx_items().items() if guid != missing}
        header = seen(vhdx(items).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])
        assert "lack" in header.faults[0].text

    @pytest.mark.parametrize("item", [b"1234567", b"123456789"])
    def test_an_item_of_another_length(self, item: bytes) -> None:
        assert codes(seen(vhdx({**vhdx_items(), DISK_SIZE: item}).file())) == ["bad-header"]

    @pytest.mark.parametrize("offset", [0, 65520, 65535, MIB - 4, 2**32 - 1])
    def test_an_item_outside_of_its_place(self, offset: int) -> None:
        metadata = vhdx_metadata(vhdx_items())
        at = metadata.index(DISK_SIZE.bytes_le) + 16
        metadata = metadata[:at] + offset.to_bytes(4, "little") + metadata[at + 4 :]
        assert codes(seen(vhdx(metadata=metadata).file())) == ["bad-header"]

    def test_a_table_that_is_something_else(self) -> None:
        assert codes(seen(vhdx(metadata=vhdx_metadata(vhdx_items(), magic=b"metaDATA")).file())) == [
            "bad-header"
        ]

    def test_a_table_with_more_entries_than_there_may_be(self) -> None:
        metadata = bytearray(vhdx_metadata(vhdx_items()))
        metadata[10:12] = (2048).to_bytes(2, "little")
        assert codes(seen(vhdx(metadata=bytes(metadata)).file())) == ["bad-header"]

    def test_an_item_that_is_not_known_is_a_fault_where_it_is_required(self) -> None:
        items = {**vhdx_items(), STRANGE: b"x"}
        assert codes(seen(vhdx(items).file())) == ["unknown-feature"]
        assert codes(seen(vhdx(metadata=vhdx_metadata(items, required=False)).file())) == []

    @pytest.mark.parametrize("block", [0, MIB // 2, 3 * MIB, 512 * MIB])
    def test_blocks_that_vhdx_does_not_have(self, block: int) -> None:
        assert codes(seen(vhdx(vhdx_items(block=block)).file())) == ["bad-header"]

    @pytest.mark.parametrize("sector", [0, 511, 1024, 2**31])
    def test_sectors_that_vhdx_does_not_have(self, sector: int) -> None:
        assert codes(seen(vhdx(vhdx_items(sector=sector)).file())) == ["bad-header"]

    @pytest.mark.parametrize("size", [64 * TIB + 512, 2**63, 2**64 - 512, 513])
    def test_a_size_beyond_64_tib_or_of_no_whole_sectors_is_a_lie(self, size: int) -> None:
        table = vhdx_regions((BAT, 3 * MIB, 4 * MIB, 1), REGIONS[1])
        seed = vhdx(vhdx_items(size, block=256 * MIB), tables=(table, table))
        header = seen(seed.file(8 * MIB))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_a_size_beyond_what_its_block_allocation_table_maps_is_a_lie(self) -> None:
        # A MiB of table: 131072 entries, of which each 129th (4 GiB / 32 MiB, and one) maps no block.
        blocks = 131072 - 131072 // 129
        assert seen(vhdx(vhdx_items(blocks * 32 * MIB)).file()).virtual_bytes == blocks * 32 * MIB
        header = seen(vhdx(vhdx_items(blocks * 32 * MIB + 512)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


class TestHowAChildNamesItsParent:
    def test_in_the_order_of_the_specification_and_backslashes_stay(self) -> None:
        shuffled = dict(sorted(HYPER_V_PARENT.items()))
        header = seen(vhdx_child(vhdx_locator(shuffled)).file())
        assert (header.version, header.faults) == ("differencing", ())
        assert header.parent is not None
        assert header.parent.names == (
            "..\\golden\\base.vhdx",
            "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\golden\\base.vhdx",
            "\\\\?\\D:\\golden\\base.vhdx",
        )
        assert (header.parent.unique_id, header.parent.format) == (str(PARENT), "vhdx")

    def test_a_child_names_its_parent_by_the_id_that_the_parent_calls_its_own(self) -> None:
        parent = seen(vhdx(headers=(vhdx_header(1, data=PARENT), vhdx_header(2, data=PARENT))).file())
        child = seen(vhdx_child(vhdx_locator(HYPER_V_PARENT)).file())
        assert child.parent is not None
        assert child.parent.unique_id == parent.unique_id

    @pytest.mark.parametrize("key", ["relative_path", "parent_linkage"])
    def test_a_path_or_the_linkage_alone_is_enough(self, key: str) -> None:
        header = seen(vhdx_child(vhdx_locator({key: HYPER_V_PARENT[key]})).file())
        assert header.parent is not None
        assert (bool(header.parent.names), bool(header.parent.unique_id)) == (
            key == "relative_path",
            key == "parent_linkage",
        )
        assert header.faults == ()

    def test_control_characters_and_broken_utf_16_do_no_harm(self) -> None:
        values = {**HYPER_V_PARENT, "relative_path": "a\n\x1b\u202e"}
        parent = seen(vhdx_child(vhdx_locator(values)).file()).parent
        assert parent is not None
        assert parent.names[0] == "a%0A%1B%E2%80%AE"

    @pytest.mark.parametrize(
        "locator",
        [
            vhdx_locator(HYPER_V_PARENT)[:19],
            vhdx_locator(HYPER_V_PARENT, count=64),
            vhdx_locator({str(number): "x" for number in range(61)} | HYPER_V_PARENT),
            vhdx_locator(HYPER_V_PARENT, shift=2),
            vhdx_locator(HYPER_V_PARENT, shift=4096),
            vhdx_locator({**HYPER_V_PARENT, "relative_path": "x" * 1025}),
            vhdx_locator({}),
            vhdx_locator({"parent_linkage": "not a GUID"}),
            bytes(MIB // 2),
        ],
        ids=["cut", "count", "many", "ends-outside", "outside", "long", "empty", "no-guid", "huge"],
    )
    def test_a_locator_that_lies_is_a_fault_and_a_parent_that_is_not_known(self, locator: bytes) -> None:
        header = seen(vhdx_child(locator).file())
        assert header.parent is not None
        assert (header.parent.names, header.parent.unique_id) == ((), "")
        assert (header.virtual_bytes, codes(header)) == (20 * GIB, ["bad-header"])

    def test_a_locator_of_another_kind_must_not_be_understood(self) -> None:
        header = seen(vhdx_child(vhdx_locator(HYPER_V_PARENT, kind=STRANGE)).file())
        assert codes(header) == ["unknown-feature"]

    def test_a_child_without_a_locator_is_a_fault(self) -> None:
        header = seen(vhdx(vhdx_items(flags=2)).file())
        assert header.parent is not None
        assert codes(header) == ["bad-header"]

    def test_a_child_needs_a_table_with_room_for_whole_chunks(self) -> None:
        # 129 blocks of 32 MiB are two chunks of 128, each with a bitmap: 258 entries, not 130.
        items = vhdx_items(129 * 32 * MIB)
        file = vhdx(items).file(3 * MIB + 8 * 130)
        assert seen(file).faults == ()
        items[PARAMETERS] = struct.pack("<II", 32 * MIB, 2)
        assert "truncated" in codes(seen(vhdx(items).file(3 * MIB + 8 * 130)))
