"""The text of a VMDK: names in their encodings, ids, extents that make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.errors import BadHeader
from storekeeper.formats.vmdk_descriptor import Descriptor, parse
from storekeeper.observation import UNKNOWN, Parent
from tests.formats.by_hand import OWN, PARENT, descriptor

FLAT = 'RW 8 FLAT "a-flat.vmdk" 0'


def codes(found: Descriptor) -> list[str]:
    return [fault.code for fault in found.faults]


class TestNames:
    @pytest.mark.parametrize(
        ("encoding", "raw", "name"),
        [
            ("UTF-8", "größe.vmdk".encode(), "größe.vmdk"),
            ("windows-1252", b"gr\xf6\x80e.vmdk", "grö€e.vmdk"),
            ("windows-1251", "диск.vmdk".encode("cp1251"), "диск.vmdk"),
            ("ISO-8859-15", b"\xa4.vmdk", "€.vmdk"),
            ("GBK", "磁盘.vmdk".encode("gbk"), "磁盘.vmdk"),
            ("Shift_JIS", "表.vmdk".encode("shift_jis"), "表.vmdk"),
            ("Big5", "磁碟.vmdk".encode("big5"), "磁碟.vmdk"),
        ],
    )
    def test_are_decoded_as_the_descriptor_says(self, encoding: str, raw: bytes, name: str) -> None:
        text = descriptor("vmfs", 'RW 8 VMFS "NAME"', parent="NAME").replace(b"NAME", raw)
        found = parse(text.replace(b'encoding="UTF-8"', f'encoding="{encoding}"'.encode()))
        assert (found.extents[0].name, found.faults) == (name, ())
        assert found.parent is not None
        assert found.parent.names == (name,)

    def test_what_does_not_decode_is_kept_as_bytes(self) -> None:
        found = parse(descriptor("vmfs", 'RW 8 VMFS "NAME"').replace(b"NAME", b"a\xff\x81.vmdk"))
        assert found.extents[0].name == "a%FF%81.vmdk"

    @pytest.mark.parametrize("encoding", ["unicode_escape", "idna", "zip", "utf-7", "os", "..", ""])
    def test_an_encoding_that_vmware_does_not_write_is_not_used(self, encoding: str) -> None:
        text = descriptor("vmfs", 'RW 8 VMFS "a\\x2fb+AC8-.vmdk"')
        found = parse(text.replace(b'encoding="UTF-8"', f'encoding="{encoding}"'.encode()))
        assert found.extents[0].name == "a\\x2fb+AC8-.vmdk"
        assert codes(found) == (["unknown-feature"] if encoding else [])

    def test_backslashes_and_pipes_stay_and_control_characters_do_no_harm(self) -> None:
        found = parse(descriptor("fullDevice", 'RW 8 FLAT "\\\\.\\PhysicalDrive0|22\x1b" 63'))
        assert found.extents[0].name == "\\\\.\\PhysicalDrive0|22%1B"
        assert found.extents[0].offset_bytes == 63 * 512

    def test_what_follows_on_an_extents_line_is_left_alone(self) -> None:
        line = 'RW 8 FLAT "\\\\.\\PhysicalDrive0" 63 partitionUUID "a" device'
        assert parse(descriptor("partitionedDevice", line)).sectors == 8


class TestIds:
    def test_a_parent_is_named_by_hint_and_content_id(self) -> None:
        found = parse(descriptor("vmfsSparse", 'RW 8 VMFSSPARSE "a"', parent="b.vmdk"))
        assert (found.parent, found.unique_id) == (Parent(("b.vmdk",), "vmdk", "5e6f7a8b"), "1a2b3c4d")

    def test_virtualbox_names_its_parent_by_uuid_alone(self) -> None:
        more = f'ddb.uuid.image="{OWN}"\nddb.uuid.parent="{str(PARENT).upper()}"'
        text = descriptor("monolithicSparse", FLAT, more=more)
        found = parse(text.replace(b"parentCID=ffffffff", b"parentCID=5e6f7a8b"))
        assert found.unique_id == str(OWN)
        assert found.parent == Parent((), "vmdk", str(PARENT))

    def test_its_uuids_of_zeros_are_none(self) -> None:
        zeros = "00000000-0000-0000-0000-000000000000"
        found = parse(descriptor("vmfs", FLAT, more=f'ddb.uuid.image="{zeros}"\nddb.uuid.parent="{zeros}"'))
        assert (found.parent, found.unique_id) == (None, "1a2b3c4d")

    @pytest.mark.parametrize("cid", ["fffffffe", "FFFFFFFF", "123456789", "xyz", '"', ""])
    def test_a_content_id_that_tells_no_disk_from_another_is_none(self, cid: str) -> None:
        assert parse(descriptor("vmfs", FLAT, cid=cid)).unique_id == ""

    def test_a_parent_by_hint_counts_even_where_its_content_id_says_there_is_none(self) -> None:
        text = descriptor("vmfs", FLAT, parent="b.vmdk").replace(b"5e6f7a8b", b"ffffffff")
        assert parse(text).parent == Parent(("b.vmdk",), "vmdk", "")

    def test_a_parent_that_is_not_named_is_a_fault(self) -> None:
        found = parse(descriptor("vmfs", FLAT).replace(b"parentCID=ffffffff", b"parentCID=fffffffe"))
        assert (found.parent, codes(found)) == (Parent(format="vmdk"), ["bad-header"])

    def test_a_parents_name_of_any_length_is_a_fault(self) -> None:
        found = parse(descriptor("vmfs", FLAT, parent="x" * 1024))
        assert (found.parent, codes(found)) == (Parent((), "vmdk", "5e6f7a8b"), ["bad-header"])

    def test_of_a_key_that_comes_twice_the_first_counts(self) -> None:
        found = parse(descriptor("vmfs", FLAT, more='parentFileNameHint="b"\nparentFileNameHint="c"\nCID=2'))
        assert found.unique_id == "1a2b3c4d"
        assert found.parent is not None
        assert found.parent.names == ("b",)

    def test_nothing_behind_a_nul_counts(self) -> None:
        found = parse(descriptor("vmfs", FLAT) + b'\0\nparentFileNameHint="b"\nRW 8 ZERO\n')
        assert (found.parent, found.sectors) == (None, 8)


class TestExtents:
    @pytest.mark.parametrize(
        "kind", ["FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "VMFSRDM", "VMFSRAW", "SESPARSE"]
    )
    @pytest.mark.parametrize("access", ["RW", "RDONLY", "NOACCESS"])
    def test_of_every_kind_and_access_count(self, access: str, kind: str) -> None:
        found = parse(descriptor("custom", f'{access} 8 {kind} "a"'))
        assert (found.sectors, [extent.kind for extent in found.extents], found.faults) == (8, [kind], ())

    def test_of_zeros_count_and_lie_in_no_file(self) -> None:
        found = parse(descriptor("custom", "RW 8 ZERO"))
        assert (found.sectors, found.extents, found.extent_count, found.preallocated) == (8, (), 1, False)

    def test_of_no_sectors_are_no_part_of_the_image(self) -> None:
        found = parse(descriptor("custom", 'RW 0 SPARSE "a"', FLAT))
        assert (found.sectors, [extent.name for extent in found.extents], found.faults) == (
            8,
            ["a-flat.vmdk"],
            (),
        )

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("RW x FLAT", "bad-header"),
            ("RW -8 FLAT", "bad-header"),
            ("RW 8 FLAT", "bad-header"),
            ("RW 8 SPARSE a.vmdk", "bad-header"),
            ('RW 8 FLAT "' + "x" * 1024 + '" 0', "bad-header"),
            ('RW 999999999999999999999 FLAT "a" 0', "bad-header"),
            ('RW 99999999999999999999 FLAT "a" 0', "size-lies"),
            ('RW 8 FLAT "a" 99999999999999999999', "size-lies"),
            ('RW 18014398509481983 FLAT "a" 0', "size-lies"),
        ],
    )
    def test_that_make_no_sense_leave_the_size_unknown_and_the_others_named(
        self, line: str, code: str
    ) -> None:
        found = parse(descriptor("custom", FLAT, line, 'RW 8 FLAT "b" 0'))
        assert (found.sectors, codes(found)) == (UNKNOWN, [code])
        assert {"a-flat.vmdk", "b"} <= {extent.name for extent in found.extents}

    def test_that_make_no_sense_in_the_same_way_are_one_fault(self) -> None:
        assert codes(parse(descriptor("custom", *["RW 8 FLAT"] * 100))) == ["bad-header"]

    def test_of_a_kind_that_is_not_known_are_a_fault_and_count(self) -> None:
        found = parse(descriptor("custom", 'RW 8 HOLOGRAM "a"'))
        assert (found.sectors, found.extents[0].name, codes(found)) == (8, "a", ["unknown-feature"])

    def test_more_than_any_disk_has_are_too_much(self) -> None:
        assert parse(descriptor("custom", *["RW 1 ZERO"] * 4096)).sectors == 4096
        with pytest.raises(BadHeader) as caught:
            parse(descriptor("custom", *["RW 1 ZERO"] * 4097))
        assert caught.value.fault_code == "too-much"


@pytest.mark.parametrize("create_type", ["", "sparse-extent", "x" * 65, "a\x1bb"])
def test_a_type_that_is_no_word_is_a_fault(create_type: str) -> None:
    found = parse(descriptor(create_type, FLAT))
    assert (found.create_type, codes(found)) == ("", ["bad-header"])


def test_changed_block_tracking_is_told() -> None:
    found = parse(descriptor("vmfs", FLAT, more='changeTrackPath="a-ctk.vmdk"'))
    assert found.features == ("changed-block-tracking",)


@given(
    raw=st.lists(
        st.sampled_from(
            [b"RW ", b"8 ", b"FLAT ", b'"a"', b"=", b"CID", b"encoding", b'"GBK"', b"\n", b"\r", b"\0"]
        )
        | st.binary(max_size=8)
    ).map(b"".join)
)
def test_no_text_is_an_exception(raw: bytes) -> None:
    found = parse(raw)
    assert found.sectors >= UNKNOWN
