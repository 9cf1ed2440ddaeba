"""LUKS 1 and 2: the payload's size, and each lie a header may tell."""

from __future__ import annotations

import json
import re
from struct import pack

import pytest

from storekeeper.observation import UNKNOWN
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import codes, seeds, seen

LUKS1, LUKS2 = seeds()["luks-1"], seeds()["luks-2"]
MIB = 1 << 20
VERSION, PAYLOAD_OFFSET, HEADER_SIZE, HEADER_OFFSET, METADATA = 6, 104, 8, 256, 4096


def described(metadata: object, *, size: int = 20 * MIB, header_bytes: int = 16384) -> MemoryFile:
    """The real LUKS2 header with other metadata."""
    content = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    return MemoryFile(
        {
            **LUKS2.pieces,
            METADATA: content.ljust(header_bytes - METADATA, b"\0"),
            HEADER_SIZE: pack(">Q", header_bytes),
        },
        size,
    )


def segment(offset: str = "16777216", size: str = "dynamic", **more: object) -> dict[str, object]:
    return {
        "type": "crypt",
        "offset": offset,
        "size": size,
        "iv_tweak": "0",
        "encryption": "aes-xts-plain64",
        **more,
    }


class TestLuks1:
    def test_the_virtual_size_is_the_payloads(self) -> None:
        header = seen(LUKS1.file())
        assert (header.format, header.version, header.encryption) == ("luks", "1", "luks")
        assert header.virtual_bytes == 18 * MIB
        assert re.fullmatch(r"[0-9a-f-]{36}", header.unique_id)

    def test_a_payload_of_nothing_is_no_fault(self) -> None:
        header = seen(LUKS1.file(2 * MIB))
        assert (header.virtual_bytes, header.faults) == (0, ())

    @pytest.mark.parametrize("size", [6, 591])
    def test_cut_within_the_header(self, size: int) -> None:
        assert codes(seen(LUKS1.file(size))) == ["truncated"]

    @pytest.mark.parametrize("sectors", [40961, 2**32 - 1])
    def test_a_payload_past_the_end_of_the_file(self, sectors: int) -> None:
        header = seen(LUKS1.patched((PAYLOAD_OFFSET, pack(">I", sectors))))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["truncated"])

    def test_a_detached_header_does_not_know_its_payload(self) -> None:
        header = seen(LUKS1.patched((PAYLOAD_OFFSET, pack(">I", 0))))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])


class TestLuks2:
    def test_the_virtual_size_is_the_payloads(self) -> None:
        header = seen(LUKS2.file())
        assert (header.format, header.version, header.encryption) == ("luks", "2", "luks")
        assert header.virtual_bytes == 4 * MIB
        assert re.fullmatch(r"[0-9a-f-]{36}", header.unique_id)

    def test_a_segment_of_fixed_size(self) -> None:
        assert seen(described({"segments": {"0": segment(size="1048576")}})).virtual_bytes == MIB
        assert seen(described({"segments": {"0": segment(size="4194304")}})).virtual_bytes == 4 * MIB

    def test_segments_of_a_re_encryption_add_up_without_its_backups(self) -> None:
        segments = {
            "0": segment(size="1048576"),
            "1": segment(offset="17825792", size="1048576", flags=["in-reencryption"]),
            "2": segment(offset="0", flags=["backup-previous"]),
        }
        assert seen(described({"segments": segments})).virtual_bytes == 2 * MIB

    def test_metadata_longer_than_the_least_header_are_read_whole(self) -> None:
        metadata = {"config": "x" * 20000, "segments": {"0": segment()}}
        assert seen(described(metadata, header_bytes=65536)).virtual_bytes == 4 * MIB

    def test_short_metadata_in_a_long_header_cost_one_read_of_12_kib(self) -> None:
        file = described({"segments": {"0": segment()}}, header_bytes=4 * MIB)
        assert seen(file).virtual_bytes == 4 * MIB
        assert file.reads == [(METADATA, 12288)]

    def test_metadata_that_fill_their_area_need_no_nul(self) -> None:
        metadata = json.dumps({"segments": {"0": segment()}}).encode().ljust(12288, b" ")
        assert seen(described(metadata)).virtual_bytes == 4 * MIB

    def test_a_payload_with_integrity_tags_is_smaller_than_its_place_by_what_is_not_told(self) -> None:
        header = seen(described({"segments": {"0": segment(integrity={"type": "hmac(sha256)"})}}))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    @pytest.mark.parametrize("segments", [{}, {"0": segment(offset="0")}])
    def test_a_detached_header_does_not_know_its_payload(self, segments: object) -> None:
        header = seen(described({"segments": segments}))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    @pytest.mark.parametrize(
        "lie",
        [
            segment(offset="20971521"),
            segment(offset="9" * 30),
            segment(size="4194305"),
            segment(size="9" * 30),
        ],
    )
    def test_a_payload_past_the_end_of_the_file(self, lie: object) -> None:
        header = seen(described({"segments": {"0": lie}}))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["truncated"])

    @pytest.mark.parametrize(
        "lie", [segment(offset="-1"), segment(size="-512"), segment(size="all"), segment(offset="9" * 5000)]
    )
    def test_offsets_and_sizes_that_make_no_sense(self, lie: object) -> None:
        assert codes(seen(described({"segments": {"0": lie}}))) == ["bad-header"]

    @pytest.mark.parametrize(
        "metadata", [b"", b"{", b"[]", b'{"segments":[]}', b"\xff{}", b'{"x":' + b"[" * 12000]
    )
    def test_metadata_that_cannot_be_understood(self, metadata: bytes) -> None:
        assert codes(seen(described(metadata))) == ["bad-header"]

    @pytest.mark.parametrize("size", [4095, 10000])
    def test_cut_within_the_header_or_its_metadata(self, size: int) -> None:
        assert codes(seen(LUKS2.file(size))) == ["truncated"]

    @pytest.mark.parametrize("length", [0, 4096, 16385, 8 * MIB, 2**64 - 1])
    def test_a_header_of_a_size_that_luks2_has_not(self, length: int) -> None:
        assert codes(seen(LUKS2.patched((HEADER_SIZE, pack(">Q", length))))) == ["bad-header"]

    def test_a_header_that_says_it_lies_elsewhere(self) -> None:
        assert codes(seen(LUKS2.patched((HEADER_OFFSET, pack(">Q", 16384))))) == ["bad-header"]

    def test_endless_metadata_are_not_read(self) -> None:
        file = described(b"x" * (4 * MIB - METADATA), header_bytes=4 * MIB)
        assert codes(seen(file)) == ["bad-header"]
        assert file.total_read <= 512 << 10


def test_a_version_that_is_not_known() -> None:
    assert codes(seen(LUKS1.patched((VERSION, pack(">H", 3))))) == ["unknown-feature"]
