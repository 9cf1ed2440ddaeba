"""Key slots, salts and digests of LUKS headers, taken out of what is captured.

Layouts: "LUKS1 On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1. What
tells the size and the kind of encryption stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MAGIC: Final = re.compile(rb"(?:LUKS|SKUL)\xba\xbe\0[\1\2]")
_LUKS1_BYTES: Final = 592
# (offset, length) in the header of version 1: master key digest and salt, the salts of the eight slots
_LUKS1_SECRETS: Final = ((112, 20), (132, 32), *((208 + 48 * slot + 8, 32) for slot in range(8)))
_LUKS2_SECRETS: Final = ((72 + 32, 64), (448, 64))  # salt, checksum
_LUKS2_SLOTS_END: Final = 16 << 20  # where cryptsetup lets the payload begin
_JSON_SECRETS: Final = (
    re.compile(rb'("(?:salt|digest)"\s*:\s*")([^"]*)'),
    re.compile(rb'(")([A-Za-z0-9+/=_.-]{24,})(?=")'),  # in tokens, which hold what anyone put there
)


def without_key_slots(reads: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The reads (offset, bytes) of one file, with the secrets of each LUKS header in them zeroed."""
    kept = [(offset, bytearray(data)) for offset, data in reads]
    found = [
        (offset + match.start(), bytes(data[match.start() : match.start() + 512]))
        for offset, data in kept
        for match in _MAGIC.finditer(data)
    ]
    for at, header in found:
        version = header[7]
        for offset, data in kept:
            if version == 1:
                for secret, length in _LUKS1_SECRETS:
                    _zero(data, offset, at + secret, length)
                payload = int.from_bytes(header[104:108], "big") * 512
                _zero(data, offset, at + _LUKS1_BYTES, max(0, payload - _LUKS1_BYTES))
            else:
                for secret, length in _LUKS2_SECRETS:
                    _zero(data, offset, at + secret, length)
                slots = 2 * int.from_bytes(header[8:16], "big")
                _zero(data, offset, at + slots, max(0, _LUKS2_SLOTS_END - slots))
                _zero_json(data)
    return [(offset, bytes(data)) for offset, data in kept]


def _zero(data: bytearray, offset: int, at: int, length: int) -> None:
    """Zeroes what of the file's bytes `at` to `at + length` lies in `data`, which begins at `offset`."""
    start, end = max(at - offset, 0), min(at + length - offset, len(data))
    if start < end:
        data[start:end] = bytes(end - start)


def _zero_json(data: bytearray) -> None:
    """Base64 of zeros is `A`; the same length keeps the offsets."""
    for secret in _JSON_SECRETS:
        data[:] = secret.sub(lambda match: match[1] + b"A" * len(match[2]), bytes(data))
