"""The id of a SCSI disk from its VPD pages, as systemd's `scsi_id -g -u` prints it.

Rules: systemd src/udev/scsi_id/scsi_serial.c and udev_replace_chars of src/shared/udev-util.c; pages:
SPC-5, 7.8.6 (0x83) and 7.8.19 (0x80). The kernel hands out both as `device/vpd_pg83` and `vpd_pg80`.
Two things are different on purpose: an empty or blank identifier names nothing (scsi_id prints its type
alone, which would be "the same disk" everywhere), and a page that claims more than was asked for is read no
further (scsi_id prints its own stack, or dies).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# scsi_id asks for this many bytes and sees nothing behind them; what a page does not fill is zero.
_PAGE_BYTES = 254
# Its strings end here; a longer id is passed over.
_ID_BYTES = 256
_VENDOR_BYTES, _MODEL_BYTES = 8, 16

_BINARY, _ASCII = 1, 2
_VENDOR_SPECIFIC, _T10_VENDOR, _EUI_64, _NAA = 0, 1, 2, 3
_NAA_REGISTERED, _NAA_REGISTERED_EXTENDED = 5, 6

# (type, NAA kind, code set), best first; the first descriptor of the first row that fits is the id.
_PREFERENCE: tuple[tuple[int, int | None, int], ...] = (
    (_NAA, _NAA_REGISTERED_EXTENDED, _BINARY),
    (_NAA, _NAA_REGISTERED_EXTENDED, _ASCII),
    (_NAA, _NAA_REGISTERED, _BINARY),
    (_NAA, _NAA_REGISTERED, _ASCII),
    (_NAA, None, _BINARY),
    (_NAA, None, _ASCII),
    (_EUI_64, None, _BINARY),
    (_EUI_64, None, _ASCII),
    (_T10_VENDOR, None, _BINARY),
    (_T10_VENDOR, None, _ASCII),
    (_VENDOR_SPECIFIC, None, _BINARY),
    (_VENDOR_SPECIFIC, None, _ASCII),
)

# Descriptor types that name the same disk on every host: T10, EUI-64, NAA, SCSI name string.
_MATCHABLE = frozenset("1238")

_WHITE = b" \t\n\v\f\r"
_SPACES = re.compile(rb"[ \t\n\v\f\r]+")
_REFUSED = re.compile(r"[^0-9A-Za-z#+\-.:=@_\x80-\U0010ffff\\]|\\(?!x)|[\udc80-\udcff]")


class Inquiry(NamedTuple):
    """What a disk answers to INQUIRY: pages as the kernel keeps them (`b""`: not offered), and the
    vendor and model fields of the standard answer, padded or not.
    """

    page_83: bytes
    page_80: bytes
    vendor: bytes
    model: bytes


class _Descriptor(NamedTuple):
    code_set: int
    association: int
    kind: int
    identifier: bytes


def scsi_id(inquiry: Inquiry) -> str:
    """The id that `scsi_id -g -u` prints, `""` where it prints none. Never raises.

    >>> page = bytes.fromhex("0083000c" "01030008" "500253887013e77e")
    >>> scsi_id(Inquiry(page, b"", b"ATA", b"Samsung"))
    '3500253887013e77e'
    """
    raw = _page_83_id(inquiry) or _page_80_id(inquiry)
    # C strings: nothing behind a NUL is printed.
    text = _SPACES.sub(b"_", raw.split(b"\0", 1)[0].strip(_WHITE))
    return _REFUSED.sub("_", text.decode("utf-8", "surrogateescape"))


def matchable(physical_disk_id: str) -> bool:
    """Whether a SCSI id means the same disk on every host."""
    return physical_disk_id[:1] in _MATCHABLE


def unit_serial_number(page_80: bytes) -> str:
    """The serial number of page 0x80, trimmed; `""` where there is none."""
    if page_80[1:2] != b"\x80" or len(page_80) < 4:
        return ""
    return page_80[4 : 4 + page_80[3]].split(b"\0", 1)[0].decode("utf-8", "surrogateescape").strip()


def _page_83_id(inquiry: Inquiry) -> bytes:
    page = inquiry.page_83[:_PAGE_BYTES].ljust(_PAGE_BYTES, b"\0")
    if page[1] != 0x83:
        return b""
    if page[6]:
        # SCSI-2: a bare WWN follows the page's head (old EMC Symmetrix); later standards have a
        # reserved zero here.
        return b"3" + page[4 : 4 + page[3]].hex().encode()[: _ID_BYTES - 4]
    descriptors = tuple(_descriptors(page))
    for kind, naa, code_set in _PREFERENCE:
        for found in descriptors:
            if (found.association, found.kind, found.code_set) != (0, kind, code_set):
                continue
            if naa is not None and found.identifier[:1].hex()[:1] != f"{naa:x}":
                continue
            identifier = _written(found, inquiry)
            if identifier:
                return identifier
    return b""


def _descriptors(page: bytes) -> Iterator[_Descriptor]:
    """The identification descriptors of a page, those that are cut or empty left out."""
    end = min(int.from_bytes(page[2:4], "big") + 4, len(page) - 4)
    at = 4
    while at < end:
        code_set, kind, length = page[at] & 0x0F, page[at + 1], page[at + 3]
        identifier = page[at + 4 : at + 4 + length]
        if length and len(identifier) == length:
            yield _Descriptor(code_set, kind >> 4 & 3, kind & 0x0F, identifier)
        at += 4 + length


def _written(found: _Descriptor, inquiry: Inquiry) -> bytes:
    """A descriptor as scsi_id writes it; `b""` when it is blank, or its string would be too long."""
    identifier = found.identifier.hex().encode()
    if found.code_set == _ASCII:
        identifier = found.identifier
        if not identifier.split(b"\0", 1)[0].strip(_WHITE):
            return b""
    who = _vendor_and_model(inquiry) if found.kind == _VENDOR_SPECIFIC else b""
    if len(who) + len(identifier) + 2 > _ID_BYTES:
        return b""
    return b"%x" % found.kind + who + identifier


def _page_80_id(inquiry: Inquiry) -> bytes:
    page = inquiry.page_80[:_PAGE_BYTES].ljust(_PAGE_BYTES, b"\0")
    length = page[3]
    if page[1] != 0x80 or 1 + _VENDOR_BYTES + _MODEL_BYTES + length > _ID_BYTES:
        return b""
    return b"S" + _vendor_and_model(inquiry) + page[4 : 4 + length]


def _vendor_and_model(inquiry: Inquiry) -> bytes:
    return inquiry.vendor[:_VENDOR_BYTES].ljust(_VENDOR_BYTES) + inquiry.model[:_MODEL_BYTES].ljust(
        _MODEL_BYTES
    )
