"""VHD: which footer counts, which size a guest sees, how a child names its parent."""

from __future__ import annotations

import pytest

from storekeeper.formats import vhd
from storekeeper.observation import UNKNOWN
from tests.formats.by_hand import OWN, PARENT, checked, vhd_child, vhd_footer, vhd_second
from tests.formats.by_hand import vhd as disk
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import codes, seeds, seen

GIB = 1 << 30


def fixed(footer: bytes, data_bytes: int = GIB) -> MemoryFile:
    return MemoryFile({data_bytes: footer})


class TestWhichFooterCounts:
    def test_a_fixed_disk_has_it_at_its_end_only(self) -> None:
        header = seen(fixed(vhd_footer(2, GIB)))
        assert (header.format, header.version, header.virtual_bytes) == ("vhd", "fixed", GIB)
        assert (header.preallocated, header.unique_id, header.faults) == (True, str(OWN), ())

    def test_virtual_pc_before_2004_wrote_511_bytes(self) -> None:
        header = seen(fixed(vhd_footer(2, GIB)[:511]))
        assert (header.version, header.virtual_bytes, header.faults) == ("fixed", GIB, ())

    def test_a_guest_of_a_fixed_disk_cannot_make_it_another_by_what_it_writes_to_its_first_sectors(
        self,
    ) -> None:
        forged = vhd_footer(4, 2 * GIB) + vhd_second(2048, name="/etc/shadow")
        header = seen(MemoryFile({0: forged, GIB: vhd_footer(2, GIB)}))
        assert (header.version, header.virtual_bytes, header.parent, header.faults) == (
            "fixed",
            GIB,
            None,
            (),
        )

    def test_a_dynamic_disk_without_its_last_sector_was_cut(self) -> None:
        seed = disk(vhd_footer(3, GIB), vhd_second(512))
        header = seen(seed.file(seed.size - 512))
        assert (header.virtual_bytes, codes(header)) == (GIB, ["truncated"])

    def test_a_footer_at_the_end_that_was_cut_is_none(self) -> None:
        seed = disk(vhd_footer(3, GIB), vhd_second(512))
        header = seen(seed.file(seed.size - 400))
        assert (header.virtual_bytes, codes(header)) == (GIB, ["truncated"])

    def test_a_copy_with_a_wrong_checksum_gives_way_to_the_footer_at_the_end(self) -> None:
        seed = disk(vhd_footer(3, GIB), vhd_second(512))
        header = seen(seed.patched((48, (2 * GIB).to_bytes(8, "big"))))
        assert (header.virtual_bytes, header.faults) == (GIB, ())

    def test_a_copy_that_was_overwritten_is_a_fault_and_the_end_counts(self) -> None:
        seed = disk(vhd_footer(3, GIB), vhd_second(512))
        header = seen(seed.patched((0, bytes(512))))
        assert (header.virtual_bytes, codes(header)) == (GIB, ["bad-header"])

    def test_a_wrong_checksum_everywhere_is_a_fault(self) -> None:
        footer = vhd_footer(2, GIB)
        header = seen(fixed(footer[:-1] + b"\x01"))
        assert (header.virtual_bytes, codes(header)) == (GIB, ["bad-header"])

    def test_a_file_shorter_than_a_footer_is_cut(self) -> None:
        assert codes(seen(MemoryFile(vhd_footer(3, GIB)[:400]))) == ["truncated"]


class TestWhichSizeAGuestSees:
    GEOMETRY = (1000, 16, 63)
    BY_GEOMETRY = 1000 * 16 * 63 * 512

    @pytest.mark.parametrize("creator", [b"vpc ", b"qemu"])
    def test_virtual_pc_and_qemu_go_by_the_geometry(self, creator: bytes) -> None:
        header = seen(fixed(vhd_footer(2, GIB, creator=creator, geometry=self.GEOMETRY)))
        assert header.virtual_bytes == self.BY_GEOMETRY

    @pytest.mark.parametrize(
        "creator", [b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0", b"vbox", b"vs  "], ids=repr
    )
    def test_all_others_go_by_the_size(self, creator: bytes) -> None:
        header = seen(fixed(vhd_footer(2, GIB, creator=creator, geometry=self.GEOMETRY)))
        assert header.virtual_bytes == GIB

    def test_a_geometry_at_its_limit_says_nothing_so_the_size_counts(self) -> None:
        footer = vhd_footer(3, 200 * GIB, creator=b"qemu", geometry=(65535, 16, 255))
        assert seen(disk(footer, vhd_second(102400), size=1 << 20).file()).virtual_bytes == 200 * GIB

    def test_over_2040_gib_is_a_lie(self) -> None:
        footer = vhd_footer(3, 2040 * GIB + 512)
        header = seen(disk(footer, vhd_second(1 << 21), size=16 << 20).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_2040_gib_are_the_most_there_is(self) -> None:
        header = seen(disk(vhd_footer(3, 2040 * GIB), vhd_second(1 << 21), size=16 << 20).file())
        assert (header.virtual_bytes, header.faults) == (2040 * GIB, ())

    def test_a_fixed_disk_larger_than_what_is_before_its_footer_is_a_lie(self) -> None:
        header = seen(fixed(vhd_footer(2, GIB + 512)))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_a_dynamic_disk_larger_than_its_block_table_is_a_lie(self) -> None:
        header = seen(disk(vhd_footer(3, GIB), vhd_second(511)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


class TestWhatMakesNoSense:
    @pytest.mark.parametrize("kind", [0, 1, 5, 6, 2**32 - 1])
    def test_a_type_that_is_not_known_must_not_be_understood(self, kind: int) -> None:
        header = seen(disk(vhd_footer(kind, GIB), vhd_second(512)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    def test_a_version_that_is_not_known_must_not_be_understood(self) -> None:
        header = seen(disk(vhd_footer(3, GIB, version=0x20000), vhd_second(512)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    def test_nor_such_a_version_of_the_second_header(self) -> None:
        header = seen(disk(vhd_footer(3, GIB), vhd_second(512, version=0x20000)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    def test_a_second_header_that_is_something_else(self) -> None:
        header = seen(disk(vhd_footer(3, GIB), vhd_second(512, magic=b"cxspARSE")).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    @pytest.mark.parametrize("offset", [2**64 - 1, 2**63, (64 << 10) - 100])
    def test_a_second_header_past_the_end(self, offset: int) -> None:
        header = seen(disk(vhd_footer(3, GIB, data_offset=offset), vhd_second(512)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["truncated"])

    @pytest.mark.parametrize("block", [0, 256, 3 << 20])
    def test_blocks_that_are_no_power_of_two(self, block: int) -> None:
        header = seen(disk(vhd_footer(3, GIB), vhd_second(512, block=block)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    def test_a_second_header_with_a_wrong_checksum(self) -> None:
        seed = disk(vhd_footer(3, GIB), vhd_second(512))
        header = seen(seed.patched((512 + 1000, b"\x01")))
        assert (header.virtual_bytes, codes(header)) == (GIB, ["bad-header"])

    @pytest.mark.parametrize("table", [63 << 10, 2**64 - 1])
    def test_a_block_table_past_the_end(self, table: int) -> None:
        header = seen(disk(vhd_footer(3, GIB), vhd_second(512, table=table)).file())
        assert codes(header) == ["truncated"]

    def test_a_million_blocks_cost_no_more_than_one(self) -> None:
        file = disk(vhd_footer(3, 2040 * GIB), vhd_second(1 << 21), size=16 << 20).file()
        seen(file)
        assert file.total_read <= 512


class TestHowAChildNamesItsParent:
    def test_relative_names_come_before_absolute_ones_and_backslashes_stay(self) -> None:
        seed = vhd_child(
            (b"W2ku", "D:\\golden\\base.vhd".encode("utf-16-le")),
            (b"W2ru", "..\\golden\\base.vhd".encode("utf-16-le")),
            name="D:\\golden\\base.vhd",
        )
        parent = seen(seed.file()).parent
        assert parent is not None
        assert parent.names == ("..\\golden\\base.vhd", "D:\\golden\\base.vhd")
        assert (parent.unique_id, parent.format) == (str(PARENT), "vhd")

    def test_a_child_names_its_parent_by_the_id_that_the_parent_calls_its_own(self) -> None:
        parent = seen(vhd_child(parent=OWN.bytes).file()).parent
        assert parent is not None
        assert parent.unique_id == seen(fixed(vhd_footer(2, GIB))).unique_id

    def test_as_xenserver_writes_it_in_three_locators(self) -> None:
        raw = "./base-é.vhd"
        seed = vhd_child(
            (b"MacX", f"file://{raw}".encode()),
            (b"W2ku", raw.encode("utf-16-le")),
            (b"W2ru", raw.encode("utf-16-le")),
            name="base-é.vhd",
        )
        parent = seen(seed.file()).parent
        assert parent is not None
        assert parent.names == ("./base-é.vhd", "base-é.vhd")

    @pytest.mark.parametrize("url", ["file://localhost/images/base.vhd", "file:///images/base.vhd"])
    def test_a_macintosh_url_is_a_path(self, url: str) -> None:
        parent = seen(vhd_child((b"MacX", url.encode()), name="").file()).parent
        assert parent is not None
        assert parent.names == ("/images/base.vhd",)

    @pytest.mark.parametrize("code", [b"Wi2r", b"Wi2k"])
    def test_the_deprecated_locators_hold_bytes(self, code: bytes) -> None:
        parent = seen(vhd_child((code, b".\\b\xe9.vhd"), name="").file()).parent
        assert parent is not None
        assert parent.names == (".\\b%E9.vhd",)

    def test_the_name_in_the_header_is_enough(self) -> None:
        parent = seen(vhd_child(name="base.vhd").file()).parent
        assert parent is not None
        assert parent.names == ("base.vhd",)

    def test_control_characters_and_broken_utf_16_do_no_harm(self) -> None:
        raw = "a\n\x1b\u202e".encode("utf-16-le") + b"\x00\xd8"
        parent = seen(vhd_child((b"W2ru", raw), name="").file()).parent
        assert parent is not None
        assert parent.names == ("a%0A%1B%E2%80%AE\ufffd",)

    def test_a_name_past_the_end_is_a_fault_and_the_others_stay(self) -> None:
        second = vhd_second(
            512,
            parent=PARENT.bytes,
            name="base.vhd",
            locators=((b"W2ku", 20, 2**63), (b"W2ru", 20, 64 << 10)),
        )
        header = seen(disk(vhd_footer(4, GIB), second).file())
        assert header.parent is not None
        assert (header.parent.names, codes(header)) == (("base.vhd",), ["truncated", "truncated"])

    def test_a_name_of_any_length_is_a_fault_and_not_read(self) -> None:
        locators = ((b"W2ru", 2**32 - 1, 2048),) * 8
        file = disk(vhd_footer(4, GIB), vhd_second(512, name="b", locators=locators), size=16 << 20).file()
        assert codes(seen(file)) == ["bad-header"] * 8
        assert file.total_read <= 512

    @pytest.mark.parametrize("locator", [(b"Mac ", b"alias"), (b"W2ru", b""), (b"\0\0\0\0", b"x")])
    def test_a_locator_that_only_a_mac_can_follow_or_that_is_empty_is_left_alone(
        self, locator: tuple[bytes, bytes]
    ) -> None:
        header = seen(vhd_child(locator, name="").file())
        assert header.parent is not None
        assert (header.parent.names, header.parent.unique_id, header.faults) == ((), str(PARENT), ())

    def test_a_child_without_any_name_or_id_is_a_fault(self) -> None:
        header = seen(vhd_child(name="", parent=bytes(16)).file())
        assert codes(header) == ["bad-header"]
        assert header.parent is not None

    def test_a_dynamic_disk_has_no_parent_whatever_its_fields_say(self) -> None:
        second = vhd_second(512, parent=PARENT.bytes, name="base.vhd")
        assert seen(disk(vhd_footer(3, GIB), second).file()).parent is None


def test_an_id_of_zeros_is_none() -> None:
    footer = bytearray(vhd_footer(2, GIB))
    footer[64:84] = bytes(20)
    assert seen(fixed(checked(bytes(footer), 64))).unique_id == ""


def test_a_saved_state_is_told() -> None:
    assert seen(fixed(vhd_footer(2, GIB, saved_state=1))).features == ("saved-state",)


def test_what_qemu_makes_is_read_without_looking_beyond_its_footer() -> None:
    file = seeds()["vhd-dynamic"].file()
    header = vhd.inspect(file)
    assert (header.version, header.cluster_bytes, header.faults) == ("dynamic", 2 << 20, ())
    assert len(file.reads) == 1


def test_the_checksum_here_is_that_of_qemu() -> None:
    footer = seeds()["vhd-dynamic"].file().head[:512]
    assert checked(footer[:64] + bytes(4) + footer[68:], 64) == footer
