"""LUKS 1 and 2: encrypted volumes. The virtual size is the payload's.

Specifications: "LUKS1 On-Disk Format Specification" 1.2.3; "LUKS2 On-Disk Format Specification" 1.1.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from storekeeper.errors import BadHeader
from storekeeper.formats.contract import SECTOR_BYTES, Format, ImageFile, exactly, text, whole_sectors
from storekeeper.observation import UNKNOWN, Fault, Header

MAGIC = b"LUKS\xba\xbe"

_VERSION = Struct(">6xH")
_LUKS1 = Struct(">6xH96xI60x40s")
_LUKS1_BYTES = 592
_LUKS2 = Struct(">6xHQ8x48s96x40s48xQ")
_LUKS2_BINARY_BYTES = 4096
_LUKS2_HEADER_BYTES = frozenset(1 << bits for bits in range(14, 23))
_JSON_LIMIT_BYTES = 512 << 10

_DETACHED = Fault("unknown-feature", "A detached header: which file holds its payload, it does not say.")


class _Segment(msgspec.Struct):
    offset: str
    size: str
    flags: list[str] = []
    integrity: object = None

    @property
    def is_backup(self) -> bool:
        """Kept by a re-encryption under way: no part of the payload."""
        return any(flag.startswith("backup-") for flag in self.flags)


class _Metadata(msgspec.Struct):
    segments: dict[str, _Segment]


_METADATA = msgspec.json.Decoder(_Metadata)


def inspect(file: ImageFile) -> Header:
    """The header of a LUKS volume.

    Raises:
        BadHeader: it is cut, of an unknown version, or does not say where its payload is.
    """
    (version,) = _VERSION.unpack(exactly(file, 0, _VERSION.size, "header"))
    if version == 1:
        return _luks1(file)
    if version == 2:
        return _luks2(file)
    raise BadHeader(f"Version {version} of LUKS is not known.", code="unknown-feature")


def _luks1(file: ImageFile) -> Header:
    _, payload_sectors, uuid = _LUKS1.unpack_from(exactly(file, 0, _LUKS1_BYTES, "header"))
    offset = payload_sectors * SECTOR_BYTES
    if not offset:
        return _header("1", uuid, UNKNOWN, _DETACHED)
    return _payload("1", uuid, offset, file.size - offset)


def _luks2(file: ImageFile) -> Header:
    raw = exactly(file, 0, _LUKS2_BINARY_BYTES, "header")
    _, header_bytes, _label, uuid, own_offset = _LUKS2.unpack_from(raw)
    if header_bytes not in _LUKS2_HEADER_BYTES or own_offset:
        raise BadHeader(f"A header of {header_bytes} bytes at {own_offset}; LUKS2 has 16 KiB to 4 MiB at 0.")
    segments = [
        segment for segment in _metadata(file, header_bytes).segments.values() if not segment.is_backup
    ]
    if not segments:
        return _header("2", uuid, UNKNOWN, _DETACHED)
    if any(segment.integrity for segment in segments):
        fault = Fault("unknown-feature", "How much its integrity tags leave for the payload is not known.")
        return _header("2", uuid, UNKNOWN, fault)
    try:
        offset = min(int(segment.offset) for segment in segments)
        sizes = [int(segment.size) for segment in segments if segment.size != "dynamic"]
    except ValueError:
        raise BadHeader("Its segments have offsets or sizes that are no numbers.") from None
    if offset < 0 or min(sizes, default=0) < 0:
        raise BadHeader("Its segments have negative offsets or sizes.")
    if not offset:
        return _header("2", uuid, UNKNOWN, _DETACHED)
    room = file.size - offset
    if len(sizes) < len(segments):
        return _payload("2", uuid, offset, room)
    return _payload("2", uuid, offset, sum(sizes) if sum(sizes) <= room else -1)


def _metadata(file: ImageFile, header_bytes: int) -> _Metadata:
    """The JSON area: text up to the first NUL. Read in two steps, as its text is short in a large area."""
    area_bytes = min(header_bytes - _LUKS2_BINARY_BYTES, _JSON_LIMIT_BYTES)
    first_bytes = min(area_bytes, 12 << 10)
    area = exactly(file, _LUKS2_BINARY_BYTES, first_bytes, "metadata")
    if b"\0" not in area:
        area += exactly(file, _LUKS2_BINARY_BYTES + first_bytes, area_bytes - first_bytes, "metadata")
    try:
        return _METADATA.decode(area.split(b"\0", 1)[0])
    except (msgspec.DecodeError, RecursionError):
        raise BadHeader("Its metadata cannot be understood.") from None


def _payload(version: str, uuid: bytes, offset: int, payload_bytes: int) -> Header:
    if payload_bytes < 0:
        fault = Fault("truncated", f"The file ends within or before its payload, which begins at {offset}.")
        return _header(version, uuid, UNKNOWN, fault)
    return _header(version, uuid, whole_sectors(payload_bytes))


def _header(version: str, uuid: bytes, virtual_bytes: int, *faults: Fault) -> Header:
    return Header(
        format="luks",
        version=version,
        virtual_bytes=virtual_bytes,
        unique_id=text(uuid),
        encryption="luks",
        faults=faults,
    )


FORMAT = Format("luks", ((0, MAGIC),), inspect)
