"""The ids of SCSI disks. Pages and answers named "real" were taken from disks and from scsi_id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.sources.disk_ids import Inquiry, matchable, scsi_id, unit_serial_number

NAA = bytes.fromhex("01030008500253887013e77e")
NAA_EXTENDED = bytes.fromhex("0103001060060160a5b02000c4a1b2c3d4e5f607")
NAA_LOCAL = bytes.fromhex("010300083123456789abcdef")
EUI_64 = bytes.fromhex("010200080025385b61b0d5c1")
T10 = b"\x02\x01\x00\x10ATA     Disk S12"
SERIAL = b"\x02\x00\x00\x05S1234"
TARGET_PORT = bytes.fromhex("01930008500253887013e7ff")
SCSI_NAME = b"\x03\x08\x00\x14iqn.2003-01.org:t1,0"

# From a SATA disk without a WWN behind libata.
REAL_SATA = bytes.fromhex(
    "008300600200001451"
    "4d2030303031202020202020202020202020200201004441544120202020205145"
    "4d55204841524444495"
    "34b202020202020202020202020202020202020202020202020202020"
    "514d203030303120202020202020202020202020"
)


def page(*descriptors: bytes) -> bytes:
    body = b"".join(descriptors)
    return b"\x00\x83" + len(body).to_bytes(2, "big") + body


def page_80(serial: bytes) -> bytes:
    return bytes([0, 0x80, 0, len(serial)]) + serial


def asked(
    page_83: bytes = b"", serial_page: bytes = b"", vendor: bytes = b"ATA", model: bytes = b"Samsung"
) -> str:
    return scsi_id(Inquiry(page_83, serial_page, vendor, model))


@pytest.mark.parametrize(
    ("page_83", "printed"),
    [
        (page(SERIAL, NAA), "3500253887013e77e"),
        (page(NAA, NAA_EXTENDED), "360060160a5b02000c4a1b2c3d4e5f607"),
        (page(NAA_LOCAL, NAA), "3500253887013e77e"),
        (page(NAA_LOCAL), "33123456789abcdef"),
        (page(EUI_64, NAA_LOCAL), "33123456789abcdef"),
        (page(T10, EUI_64), "20025385b61b0d5c1"),
        (page(SERIAL, T10), "1ATA_Disk_S12"),
        (page(SERIAL), "0ATA_Samsung_S1234"),
        (REAL_SATA, "1ATA_QEMU_HARDDISK_QM_0001"),
    ],
)
def test_the_best_descriptor_is_the_id(page_83: bytes, printed: str) -> None:
    assert asked(page_83) == printed


def test_a_descriptor_of_the_port_is_not_the_disk() -> None:
    assert asked(page(TARGET_PORT, SERIAL)) == "0ATA_Samsung_S1234"


def test_a_page_in_the_form_of_scsi_2_holds_the_bare_wwn() -> None:
    assert (
        asked(bytes.fromhex("0083001060060480000190100773533030304530"))
        == "360060480000190100773533030304530"
    )


def test_without_a_usable_page_0x83_the_serial_number_is_the_id() -> None:
    assert asked(page(SCSI_NAME), page_80(b"  abc 1 ")) == "SATA_Samsung_abc_1"
    assert asked(b"", page_80(b"abc")) == "SATA_Samsung_abc"


def test_a_disk_that_says_nothing_has_no_id() -> None:
    assert asked() == ""
    assert asked(b"\x00\x00\x00\x00") == ""


@pytest.mark.parametrize("nothing", [b"\x01\x03\x00\x00", b"\x02\x01\x00\x03   ", b"\x02\x01\x00\x03\0ab"])
def test_a_blank_identifier_names_nothing_so_that_two_disks_are_never_one(nothing: bytes) -> None:
    assert asked(page(nothing), page_80(b"abc")) == "SATA_Samsung_abc"


def test_a_page_that_claims_more_than_it_may_hold_is_read_no_further() -> None:
    long_page = b"\x00\x83\x01\x00" + b"\x02\x04\x00\xee" + bytes(0xEE) + NAA
    assert asked(long_page, page_80(b"abc")) == "SATA_Samsung_abc"


def test_characters_that_udev_refuses_become_underscores() -> None:
    assert asked(page(b"\x02\x00\x00\x07a/b%c\\d")) == "0ATA_Samsung_a_b_c_d"
    assert asked(page(b"\x02\x00\x00\x05\\x2fa")) == "0ATA_Samsung_\\x2fa"


def test_only_types_that_name_the_disk_itself_match_across_hosts() -> None:
    assert [matchable(f"{kind}abc") for kind in "01238S"] == [False, True, True, True, True, False]
    assert not matchable("")


def test_the_serial_number_is_that_of_page_0x80() -> None:
    assert unit_serial_number(page_80(b"QM 0001             ")) == "QM 0001"
    assert unit_serial_number(b"") == unit_serial_number(page(SERIAL)) == ""


@given(st.binary(max_size=600), st.binary(max_size=300), st.binary(max_size=12), st.binary(max_size=20))
def test_no_page_is_too_broken_to_read(page_83: bytes, serial: bytes, vendor: bytes, model: bytes) -> None:
    for sent in (page_83, b"\x00\x83" + page_83, b"\x00\x83\x00\xf0" + page_83):
        answer = scsi_id(Inquiry(sent, b"\x00\x80" + serial, vendor, model))
        assert len(answer) < 256
        assert not set(answer) & set("/\n\0 %")
    unit_serial_number(b"\x00\x80" + serial)


@given(
    st.integers(4, 60), st.integers(0, 255), st.sampled_from([page(SERIAL, T10, NAA), page(EUI_64, SERIAL)])
)
def test_one_changed_byte_never_lends_a_disk_an_id_without_content(at: int, byte: int, sound: bytes) -> None:
    changed = bytearray(sound)
    changed[at % len(sound)] = byte
    assert len(asked(bytes(changed), page_80(b"abc"))) > 1
