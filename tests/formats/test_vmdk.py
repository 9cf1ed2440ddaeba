"""VMDK: images of one file and of many, and the parts that are no images of their own."""

from __future__ import annotations

import time

import pytest

from storekeeper.formats import vmdk
from storekeeper.formats.vmdk import DESCRIPTOR_LIMIT_BYTES, SPARSE_EXTENT
from storekeeper.observation import UNKNOWN, Extent, Parent
from tests.formats.by_hand import MIB, cowd, descriptor, hosted, sesparse, sparse_vmdk, stream, text_vmdk
from tests.formats.memory_file import MemoryFile
from tests.formats.seeds import codes, seeds, seen

GIB = 1 << 30
DISK = 40 * GIB
SPARSE = descriptor("monolithicSparse", 'RW 83886080 SPARSE "disk.vmdk"', parent="base.vmdk")


class TestTextDescriptors:
    def test_a_flat_disk_is_the_sum_of_its_extents(self) -> None:
        header = seen(
            text_vmdk(
                descriptor(
                    "twoGbMaxExtentFlat",
                    'RW 4192256 FLAT "a-f001.vmdk" 0',
                    'RW 2048 FLAT "a-f002.vmdk" 16',
                    "RW 100 ZERO",
                    'RDONLY 28 SPARSE "a-s003.vmdk"',
                )
            ).file()
        )
        assert (header.version, header.virtual_bytes) == ("twoGbMaxExtentFlat", (4192256 + 2048 + 128) * 512)
        assert header.extents == (
            Extent("a-f001.vmdk", 4192256 * 512, "FLAT"),
            Extent("a-f002.vmdk", 2048 * 512, "FLAT", 16 * 512),
            Extent("a-s003.vmdk", 28 * 512, "SPARSE"),
        )
        assert (header.parent, header.preallocated, header.faults) == (None, False, ())

    @pytest.mark.parametrize(("thin", "preallocated"), [("", True), ('ddb.thinProvisioned = "1"', False)])
    def test_a_disk_of_esxi_is_thick_unless_it_says_otherwise(self, thin: str, preallocated: bool) -> None:
        raw = descriptor("vmfs", 'RW 83886080 VMFS "disk-flat.vmdk"', more=thin)
        header = seen(text_vmdk(raw).file())
        assert (header.virtual_bytes, header.preallocated) == (DISK, preallocated)

    def test_a_snapshot_of_esxi_names_its_parent(self) -> None:
        raw = descriptor(
            "vmfsSparse",
            'RW 83886080 VMFSSPARSE "disk-000001-delta.vmdk"',
            parent="/vmfs/volumes/a/disk.vmdk",
        )
        header = seen(text_vmdk(raw).file())
        assert header.parent == Parent(("/vmfs/volumes/a/disk.vmdk",), "vmdk", "5e6f7a8b")
        assert header.unique_id == "1a2b3c4d"

    @pytest.mark.parametrize("name", ["/etc/passwd", "../../other/secret.raw", "nbd://host/x", "json:{}"])
    def test_a_name_that_leads_elsewhere_is_reported_as_it_is(self, name: str) -> None:
        raw = descriptor("monolithicFlat", f'RW 8 FLAT "{name}" 0', parent=name)
        header = seen(text_vmdk(raw).file())
        assert (header.extents[0].name, header.faults) == (name, ())
        assert header.parent is not None
        assert header.parent.names == (name,)

    @pytest.mark.parametrize("first", ["# Disk DescriptorFile", "#Disk Descriptor File"])
    def test_windows_line_ends_and_virtualboxes_first_lines(self, first: str) -> None:
        raw = descriptor("monolithicFlat", 'RW 8 FLAT "a-flat.vmdk" 0', eol="\r\n", parent="b.vmdk")
        raw = raw.replace(b"# Disk DescriptorFile", first.encode())
        header = seen(text_vmdk(raw).file())
        assert (header.version, header.virtual_bytes, header.faults) == ("monolithicFlat", 4096, ())
        assert header.parent is not None
        assert header.parent.names == ("b.vmdk",)

    def test_a_descriptor_larger_than_the_head_is_read_whole(self) -> None:
        extents = [f'RW 4192256 SPARSE "disk-s{number:03}.vmdk"' for number in range(1, 1001)]
        header = seen(text_vmdk(descriptor("twoGbMaxExtentSparse", *extents)).file())
        assert (len(header.extents), header.virtual_bytes) == (1000, 1000 * 4192256 * 512)

    def test_a_file_without_end_that_begins_as_a_descriptor_is_too_much(self) -> None:
        file = MemoryFile(b"# Disk DescriptorFile\n" + b"x" * 2 * DESCRIPTOR_LIMIT_BYTES, 1 << 40)
        assert codes(seen(file)) == ["too-much"]
        assert file.total_read <= DESCRIPTOR_LIMIT_BYTES + 1

    def test_more_extents_than_any_disk_has_are_too_much(self) -> None:
        raw = descriptor("twoGbMaxExtentSparse", *["RW 1 ZERO"] * 4097)
        assert codes(seen(text_vmdk(raw).file())) == ["too-much"]

    def test_a_descriptor_without_extents_has_no_size(self) -> None:
        header = seen(text_vmdk(descriptor("monolithicFlat")).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    def test_a_sealed_descriptor_has_no_size(self) -> None:
        raw = b'# Disk DescriptorFile\nencoding="UTF-8"\nencryption.keySafe = "vmware:key/list/..."\n'
        header = seen(text_vmdk(raw).file())
        assert (header.virtual_bytes, header.encryption) == (UNKNOWN, "vmware")
        assert "unknown-feature" in codes(header)


class TestHostedSparseExtents:
    def test_with_its_descriptor_inside_it_is_an_image_without_further_files(self) -> None:
        header = seen(sparse_vmdk(hosted(), SPARSE).file())
        assert (header.version, header.virtual_bytes, header.extents) == ("monolithicSparse", DISK, ())
        assert header.parent == Parent(("base.vmdk",), "vmdk", "5e6f7a8b")
        assert (header.cluster_bytes, header.faults) == (65536, ())

    @pytest.mark.parametrize("at", [1, 7, 8, 4000])
    def test_its_descriptor_may_be_anywhere(self, at: int) -> None:
        header = seen(sparse_vmdk(hosted(at=at), SPARSE, at=at).file())
        assert (header.version, header.unique_id, header.faults) == ("monolithicSparse", "1a2b3c4d", ())

    @pytest.mark.parametrize("header", [hosted(at=0, sectors=0), hosted()])
    def test_without_one_it_is_a_part_of_an_image(self, header: bytes) -> None:
        found = seen(sparse_vmdk(header).file())
        assert (found.version, found.virtual_bytes, found.unique_id) == (SPARSE_EXTENT, DISK, "")

    def test_without_both_it_is_an_empty_part(self) -> None:
        header = seen(sparse_vmdk(hosted(0, at=0, sectors=0)).file())
        assert (header.version, header.virtual_bytes, header.faults) == (SPARSE_EXTENT, 0, ())

    def test_without_a_size_of_its_own_it_only_carries_the_descriptor(self) -> None:
        text = descriptor("monolithicFlat", 'RW 8 FLAT "/etc/passwd" 0')
        header = seen(sparse_vmdk(hosted(0), text).file())
        assert (header.virtual_bytes, header.extents) == (4096, (Extent("/etc/passwd", 4096, "FLAT"),))

    def test_further_extents_in_an_embedded_descriptor_are_a_fault(self) -> None:
        text = descriptor("custom", 'RW 83886080 SPARSE "disk.vmdk"', 'RW 8 FLAT "/etc/passwd" 0')
        header = seen(sparse_vmdk(hosted(), text).file())
        assert (header.virtual_bytes, header.extents, codes(header)) == (DISK, (), ["bad-header"])

    def test_a_stream_has_its_tables_in_a_footer(self) -> None:
        header = seen(stream().file())
        assert (header.version, header.virtual_bytes, header.faults) == ("streamOptimized", DISK, ())
        assert header.features == ("compressed",)

    def test_the_footer_goes_before_the_header(self) -> None:
        footer = hosted(2048, directory=2000, version=3)
        assert seen(stream(footer).file()).virtual_bytes == MIB

    def test_a_stream_that_was_cut_has_no_footer(self) -> None:
        header = seen(stream().file(MIB))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["truncated"])
        assert "truncated" in codes(seen(stream().file(1500)))

    def test_a_footer_that_names_another_descriptor_is_a_fault(self) -> None:
        assert codes(seen(stream(hosted(directory=2000, version=3, at=9)).file())) == ["bad-header"]

    def test_a_footer_that_refers_to_a_footer_makes_no_sense(self) -> None:
        header = seen(stream(hosted(directory=2**64 - 1, version=3)).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    @pytest.mark.parametrize("sectors", [2**54, 2**63, 2**64 - 1])
    def test_a_size_whose_directory_would_not_fit_the_file_is_a_lie(self, sectors: int) -> None:
        header = seen(sparse_vmdk(hosted(sectors), SPARSE).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_a_size_beyond_any_disk_is_a_lie_however_large_the_file(self) -> None:
        header = seen(sparse_vmdk(hosted(2**55, grain=0x200000, overhead=0), SPARSE, file_bytes=2**60).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    @pytest.mark.parametrize("directory", [8192, 2**63])
    def test_a_directory_past_the_end_is_a_lie(self, directory: int) -> None:
        assert codes(seen(sparse_vmdk(hosted(directory=directory), SPARSE).file())) == ["size-lies"]

    @pytest.mark.parametrize(
        "header", [hosted(overhead=8193), hosted(redundant=8193), hosted(overhead=2**64 - 1)]
    )
    def test_tables_past_the_end_are_truncated(self, header: bytes) -> None:
        assert codes(seen(sparse_vmdk(header, SPARSE).file())) == ["truncated"]

    def test_a_descriptor_past_the_end_is_truncated(self) -> None:
        assert "truncated" in codes(seen(sparse_vmdk(hosted(sectors=8192), SPARSE).file()))

    @pytest.mark.parametrize("grain", [0, 3, 0x400000, 2**63])
    def test_grains_that_vmdk_does_not_have(self, grain: int) -> None:
        assert codes(seen(sparse_vmdk(hosted(grain=grain), SPARSE).file())) == ["bad-header"]

    @pytest.mark.parametrize("entries", [0, 513, 2**32 - 1])
    def test_grain_tables_that_vmdk_does_not_have(self, entries: int) -> None:
        assert codes(seen(sparse_vmdk(hosted(entries=entries), SPARSE).file())) == ["bad-header"]

    @pytest.mark.parametrize("version", [0, 4, 2**32 - 1])
    def test_a_version_that_is_not_known_must_not_be_understood(self, version: int) -> None:
        header = seen(sparse_vmdk(hosted(version=version), SPARSE).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["unknown-feature"])

    def test_a_compression_that_is_not_known_is_a_fault(self) -> None:
        assert codes(seen(sparse_vmdk(hosted(compression=2), SPARSE).file())) == ["unknown-feature"]

    def test_a_transfer_as_text_is_found_by_the_line_ends(self) -> None:
        header = seen(sparse_vmdk(hosted(newlines=b"\r\n \r"), SPARSE).file())
        assert codes(header) == ["corrupt"]
        header = seen(sparse_vmdk(hosted(newlines=b"\r\n \r", flags=2), SPARSE).file())
        assert codes(header) == []

    def test_what_was_not_closed_is_dirty(self) -> None:
        assert seen(sparse_vmdk(hosted(unclean=1, flags=7), SPARSE).file()).features == (
            "dirty",
            "zeroed-grains",
        )

    def test_what_qemu_makes_costs_one_read_at_most(self) -> None:
        for name in ("vmdk-sparse", "vmdk-clone", "vmdk-stream", "vmdk-flat", "vmdk-2gb"):
            file = seeds()[name].file()
            vmdk.inspect(file)
            assert file.reads == []


class TestExtentsOfEsxi:
    def test_a_cowd_is_a_part_of_an_image(self) -> None:
        header = seen(cowd().file())
        assert (header.version, header.virtual_bytes, header.features) == (SPARSE_EXTENT, DISK, ("cowd",))
        assert header.cluster_bytes == 512

    def test_a_cowd_whose_directory_ends_past_the_file_is_a_lie(self) -> None:
        header = seen(cowd(directory=2048).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_a_cowd_larger_than_its_directory_maps_is_a_lie(self) -> None:
        header = seen(cowd(entries=(20 << 10) - 1).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    @pytest.mark.parametrize("grain", [0, 0x200001])
    def test_a_cowd_with_grains_that_make_no_sense(self, grain: int) -> None:
        assert codes(seen(cowd(grain=grain).file())) == ["bad-header"]

    def test_a_cowd_of_another_version_must_not_be_understood(self) -> None:
        assert codes(seen(cowd(version=2).file())) == ["unknown-feature"]

    def test_a_sesparse_is_a_part_of_an_image(self) -> None:
        header = seen(sesparse().file())
        assert (header.version, header.virtual_bytes, header.features) == (SPARSE_EXTENT, DISK, ("sesparse",))
        assert header.cluster_bytes == 4096

    def test_a_journal_to_replay_is_told(self) -> None:
        assert seen(sesparse(replay=1).file()).features == ("sesparse", "journal-to-replay")

    @pytest.mark.parametrize("sectors", [64 * 64 * 4096 * 8 + 1, 2**63, 2**64 - 1])
    def test_a_sesparse_larger_than_its_directory_maps_is_a_lie(self, sectors: int) -> None:
        header = seen(sesparse(sectors).file())
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_a_sesparse_whose_directory_ends_past_the_file_is_a_lie(self) -> None:
        header = seen(sesparse().file(4096 * 512 + 100))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    @pytest.mark.parametrize("fields", [{"grain": 16}, {"table": 0}])
    def test_a_sesparse_with_other_grains_or_tables_makes_no_sense(self, fields: dict[str, int]) -> None:
        assert codes(seen(sesparse(**fields).file())) == ["bad-header"]  # type: ignore[arg-type]

    @pytest.mark.parametrize("fields", [{"version": 0x300000001}, {"flags": 1}])
    def test_a_sesparse_of_another_version_must_not_be_understood(self, fields: dict[str, int]) -> None:
        assert codes(seen(sesparse(**fields).file())) == ["unknown-feature"]  # type: ignore[arg-type]

    def test_a_second_header_that_is_something_else_or_past_the_end(self) -> None:
        assert codes(seen(sesparse(state=bytes(32)).file())) == ["bad-header"]
        assert codes(seen(sesparse(state_at=2**60).file(4 * MIB))) == ["truncated"]


@pytest.mark.parametrize(
    "text",
    [
        b"CID=" + b" " * 250_000 + b"x y",
        b" " * 250_000 + b"CID",
        b"RW " + b" " * 250_000,
        b"RW 1" + b" " * 250_000 + b"x",
        b'RW 1 FLAT "' + b"x" * 250_000,
        b'CID="' + b"a" * 250_000,
        b" \n" * 125_000,
        b"CID=1\n" * 40_000,
    ],
    ids=range(8),
)
def test_no_text_takes_long(text: bytes) -> None:
    started = time.process_time()
    seen(text_vmdk(b"# Disk DescriptorFile\n" + text).file())
    assert time.process_time() - started < 1
