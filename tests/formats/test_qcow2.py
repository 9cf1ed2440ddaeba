"""qcow2: what its header says, and each lie it may tell."""

from __future__ import annotations

from struct import pack

import pytest

from storekeeper.observation import UNKNOWN, Parent
from tests.formats.seeds import codes, seeds, seen

V2, V3 = seeds()["qcow2-v2"], seeds()["qcow2-v3"]
GIB = 1 << 30

# Offsets of the header's fields, from the specification.
VERSION, BACKING_OFFSET, BACKING_SIZE, CLUSTER_BITS, SIZE, CRYPT_METHOD = 4, 8, 16, 20, 24, 32
L1_SIZE, L1_OFFSET, REFCOUNT_OFFSET, REFCOUNT_CLUSTERS, SNAPSHOTS, SNAPSHOTS_OFFSET = 36, 40, 48, 56, 60, 64
INCOMPATIBLE, COMPATIBLE, AUTOCLEAR, REFCOUNT_ORDER, HEADER_LENGTH, COMPRESSION = 72, 80, 88, 96, 100, 104
EXTENSIONS = 112


def u32(value: int) -> bytes:
    return pack(">I", value)


def u64(value: int) -> bytes:
    return pack(">Q", value)


def extension(kind: int, data: bytes, *, claimed: int | None = None) -> bytes:
    padded = data.ljust(-(-len(data) // 8) * 8, b"\0")
    return u32(kind) + u32(len(data) if claimed is None else claimed) + padded


class TestWhatItSays:
    @pytest.mark.parametrize(("name", "version"), [("qcow2-v2", "2"), ("qcow2-v3", "3")])
    def test_size_version_and_cluster_size(self, name: str, version: str) -> None:
        header = seen(seeds()[name].file())
        assert (header.format, header.version) == ("qcow2", version)
        assert (header.virtual_bytes, header.cluster_bytes) == (20 * GIB, 65536)
        assert header.parent is None

    def test_the_backing_file_with_its_declared_format(self) -> None:
        assert seen(seeds()["qcow2-backing"].file()).parent == Parent(names=("base.qcow2",), format="qcow2")

    def test_a_data_file_and_that_it_stays_raw(self) -> None:
        header = seen(seeds()["qcow2-data-file"].file())
        assert (header.data_file, header.data_file_raw) == ("qcow2-data-file.data", True)
        assert header.features == ("data-file", "data-file-raw")

    def test_features_by_their_words(self) -> None:
        features = seen(seeds()["qcow2-all-features"].file()).features
        assert features == ("zstd", "extended-l2", "lazy-refcounts", "bitmaps")

    @pytest.mark.parametrize("how", ["aes", "luks"])
    def test_encryption(self, how: str) -> None:
        assert seen(seeds()[f"qcow2-{how}"].file()).encryption == how

    def test_internal_snapshots_are_counted(self) -> None:
        assert seen(seeds()["qcow2-snapshots"].file()).internal_snapshots == 2

    def test_a_dirty_image_is_no_fault(self) -> None:
        header = seen(V3.patched((INCOMPATIBLE, u64(1))))
        assert (header.features, header.faults) == (("dirty",), ())

    def test_a_size_that_is_no_multiple_of_a_sector_is_told_as_it_is(self) -> None:
        assert seen(V3.patched((SIZE, u64(1000)))).virtual_bytes == 1000

    def test_a_backing_file_directly_behind_the_header_leaves_no_extensions(self) -> None:
        header = seen(V2.patched((BACKING_OFFSET, u64(72) + u32(4)), (72, b"base")))
        assert (header.parent, header.faults) == (Parent(names=("base",)), ())

    @pytest.mark.parametrize("between", [400, 480, 497, 520, 5000])
    def test_uncommonly_many_extensions_are_read_to_their_end(self, between: int) -> None:
        extensions = extension(0x12345678, b"x" * between) + extension(0xE2792ACA, b"raw")
        at = EXTENSIONS + len(extensions)
        for name_at in (at, 16384):
            header = seen(V3.patched(
                (EXTENSIONS, extensions), (BACKING_OFFSET, u64(name_at) + u32(4)), (name_at, b"base")
            ))  # fmt: skip
            assert (header.parent, header.faults) == (Parent(names=("base",), format="raw"), ())

    def test_a_header_longer_than_the_head_has_its_extensions_behind_it(self) -> None:
        header = seen(V3.patched(
            (HEADER_LENGTH, u32(8192)), (8192, extension(0xE2792ACA, b"raw")),
            (BACKING_OFFSET, u64(8300) + u32(4)), (8300, b"base"),
        ))  # fmt: skip
        assert header.parent == Parent(names=("base",), format="raw")

    def test_equal_beginnings_do_not_make_one_image_what_another_is(self) -> None:
        names = (BACKING_OFFSET, u64(16384) + u32(4))
        for name in (b"base", b"bass"):
            assert seen(V3.patched(names, (16384, name))).parent == Parent(names=(name.decode(),))
        for size in (V3.size, 1000):
            assert codes(seen(V3.patched(size=size))) == ["truncated"] * (size == 1000)

    def test_nothing_is_read_beyond_the_head(self) -> None:
        file = seeds()["qcow2-backing"].file()
        seen(file)
        assert file.reads == []

    def test_a_data_file_need_not_stay_raw(self) -> None:
        header = seen(seeds()["qcow2-data-file"].patched((AUTOCLEAR, u64(0))))
        assert (header.data_file, header.data_file_raw) == ("qcow2-data-file.data", False)
        assert (header.features, header.faults) == (("data-file",), ())

    def test_a_header_of_104_bytes_has_no_compression_type(self) -> None:
        header = seen(V3.patched((HEADER_LENGTH, u32(104)), (104, extension(0xE2792ACA, b"raw") + u64(0))))
        assert (header.features, header.faults) == ((), ())


class TestAtItsLimit:
    """What is permitted just so is no fault."""

    @pytest.mark.parametrize("bits", [9, 21])
    def test_cluster_bits(self, bits: int) -> None:
        tables = (L1_OFFSET, u64(1 << 21)), (REFCOUNT_OFFSET, u64(1 << 22))
        header = seen(V3.patched((CLUSTER_BITS, u32(bits)), (SIZE, u64(512)), *tables, size=1 << 30))
        assert (header.cluster_bytes, header.faults) == (1 << bits, ())

    def test_a_header_of_one_cluster(self) -> None:
        small = (CLUSTER_BITS, u32(9)), (SIZE, u64(512)), (HEADER_LENGTH, u32(512))
        assert seen(V3.patched(*small)).faults == ()

    def test_the_tables(self) -> None:
        largest = (L1_SIZE, u32(4 << 20)), (REFCOUNT_CLUSTERS, u32(128)), (REFCOUNT_ORDER, u32(6))
        assert seen(V3.patched(*largest, size=1 << 30)).faults == ()

    def test_extended_l2_entries(self) -> None:
        small = (INCOMPATIBLE, u64(16)), (CLUSTER_BITS, u32(14)), (SIZE, u64(512))
        assert seen(V3.patched(*small)).faults == ()

    def test_a_file_that_ends_with_its_l1_table(self) -> None:
        assert seen(V3.file(3 * 65536 + 40 * 8)).faults == ()

    @pytest.mark.parametrize("offset", [1024, 65536 - 1023])
    def test_a_backing_files_name(self, offset: int) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(offset) + u32(1023)), (offset, b"x" * 1023)))
        assert (header.parent, header.faults) == (Parent(names=("x" * 1023,)), ())

    def test_a_backing_files_name_at_the_end_of_the_file(self) -> None:
        name = (BACKING_OFFSET, u64(5000) + u32(4)), (5000, b"base")
        header = seen(V3.patched(*name, size=5004))
        assert (header.parent, codes(header)) == (Parent(names=("base",)), ["truncated"])

    def test_a_backing_format_and_an_extension_that_fills_its_place(self) -> None:
        name = (BACKING_OFFSET, u64(EXTENSIONS + 24) + u32(4)), (EXTENSIONS + 24, b"base")
        header = seen(V3.patched(*name, (EXTENSIONS, extension(0xE2792ACA, b"x" * 15))))
        assert (header.parent, header.faults) == (Parent(names=("base",), format="x" * 15), ())

    def test_internal_snapshots(self) -> None:
        most = (SNAPSHOTS, u32(65536) + u64(1 << 20))
        header = seen(V3.patched(most, size=(1 << 20) + 65536 * 40))
        assert (header.internal_snapshots, header.faults) == (65536, ())


class TestTruncated:
    @pytest.mark.parametrize("size", [4, 8, 71])
    def test_cut_within_the_header_nothing_can_be_believed(self, size: int) -> None:
        header = seen(V3.file(size))
        assert (header.format, header.virtual_bytes, codes(header)) == ("qcow2", UNKNOWN, ["truncated"])

    def test_cut_within_the_fields_of_version_3(self) -> None:
        assert codes(seen(V3.file(100))) == ["truncated"]

    @pytest.mark.parametrize(("name", "size"), [("qcow2-v2", 72), ("qcow2-v3", 104), ("qcow2-v3", 105)])
    def test_cut_right_behind_the_fields_the_size_is_still_told(self, name: str, size: int) -> None:
        header = seen(seeds()[name].file(size))
        assert (header.virtual_bytes, codes(header)) == (20 * GIB, ["truncated"])

    def test_cut_before_its_tables_the_size_is_still_told(self) -> None:
        header = seen(V3.file(70000))
        assert (header.virtual_bytes, codes(header)) == (20 * GIB, ["truncated"])

    def test_cut_within_the_l1_table(self) -> None:
        assert codes(seen(V3.file(3 * 65536 + 8))) == ["truncated"]

    def test_cut_before_the_backing_files_name(self) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(60000) + u32(9)), size=50000))
        assert header.parent is None
        assert codes(header) == ["truncated", "truncated"]


class TestSizes:
    @pytest.mark.parametrize("size", [2**63, 2**64 - 1, 2**63 - 1, 21 * GIB + (512 << 20)])
    def test_more_than_the_l1_table_maps_is_a_lie(self, size: int) -> None:
        header = seen(V3.patched((SIZE, u64(size))))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])

    def test_extended_l2_entries_map_half_as_much(self) -> None:
        lying = V3.patched((INCOMPATIBLE, u64(16)), (SIZE, u64(10 * GIB + 1)))
        assert codes(seen(lying)) == ["size-lies"]
        assert codes(seen(V3.patched((INCOMPATIBLE, u64(16)), (SIZE, u64(10 * GIB))))) == []

    def test_an_l1_table_over_32_mib_maps_no_more_than_one_of_32_mib(self) -> None:
        header = seen(V3.patched((L1_SIZE, u32(2**32 - 1)), (SIZE, u64(2**62)), size=2**40))
        assert codes(header) == ["bad-header", "size-lies"]

    def test_a_size_of_zero_needs_no_l1_table(self) -> None:
        header = seen(V3.patched((SIZE, u64(0)), (L1_SIZE, u32(0)), (L1_OFFSET, u64(0))))
        assert (header.virtual_bytes, header.faults) == (0, ())


class TestTables:
    @pytest.mark.parametrize("bits", [0, 8, 22, 2**31, 2**32 - 1])
    def test_cluster_bits_outside_9_to_21(self, bits: int) -> None:
        header = seen(V3.patched((CLUSTER_BITS, u32(bits))))
        assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])

    @pytest.mark.parametrize("offset", [L1_OFFSET, REFCOUNT_OFFSET])
    def test_a_table_that_begins_within_a_cluster(self, offset: int) -> None:
        assert "bad-header" in codes(seen(V3.patched((offset, u64(65536 + 8)))))

    @pytest.mark.parametrize("offset", [L1_OFFSET, REFCOUNT_OFFSET])
    def test_a_table_past_the_end_of_the_file(self, offset: int) -> None:
        assert codes(seen(V3.patched((offset, u64(2**63 - 65536))))) == ["truncated"]

    @pytest.mark.parametrize("clusters", [0, 129, 2**32 - 1])
    def test_a_refcount_table_of_nothing_or_over_8_mib(self, clusters: int) -> None:
        assert "bad-header" in codes(seen(V3.patched((REFCOUNT_CLUSTERS, u32(clusters)), size=2**50)))

    def test_refcounts_of_more_than_64_bits(self) -> None:
        assert codes(seen(V3.patched((REFCOUNT_ORDER, u32(7))))) == ["bad-header"]

    def test_extended_l2_entries_in_clusters_under_16_kib(self) -> None:
        small = V3.patched((INCOMPATIBLE, u64(16)), (CLUSTER_BITS, u32(13)), (SIZE, u64(512)))
        assert codes(seen(small)) == ["bad-header"]


class TestHeaderAndFeatures:
    @pytest.mark.parametrize("version", [0, 1 << 31, 4])
    def test_a_version_that_is_not_known(self, version: int) -> None:
        assert codes(seen(V3.patched((VERSION, u32(version))))) == ["unknown-feature"]

    @pytest.mark.parametrize("length", [0, 103, 65537, 2**32 - 1])
    def test_a_header_length_that_makes_no_sense(self, length: int) -> None:
        assert codes(seen(V3.patched((HEADER_LENGTH, u32(length))))) == ["bad-header"]

    def test_incompatible_features_that_are_not_known(self) -> None:
        header = seen(V3.patched((INCOMPATIBLE, u64(1 << 63 | 32))))
        assert codes(header) == ["unknown-feature"]
        assert "0x8000000000000020" in header.faults[0].text

    def test_compatible_and_autoclear_features_that_are_not_known_are_no_fault(self) -> None:
        assert codes(seen(V3.patched((COMPATIBLE, u64(1 << 40)), (AUTOCLEAR, u64(1 << 40))))) == []

    def test_the_mark_of_corruption(self) -> None:
        header = seen(V3.patched((INCOMPATIBLE, u64(2))))
        assert (header.features, codes(header)) == (("corrupt",), ["corrupt"])

    def test_a_compression_type_that_is_not_known(self) -> None:
        assert codes(seen(V3.patched((INCOMPATIBLE, u64(8)), (COMPRESSION, b"\2")))) == ["unknown-feature"]

    @pytest.mark.parametrize(("bit", "kind"), [(8, b"\0"), (0, b"\1")])
    def test_a_compression_type_that_contradicts_its_feature_bit(self, bit: int, kind: bytes) -> None:
        assert codes(seen(V3.patched((INCOMPATIBLE, u64(bit)), (COMPRESSION, kind)))) == ["bad-header"]

    def test_encryption_that_is_not_known_is_still_encryption(self) -> None:
        header = seen(V3.patched((CRYPT_METHOD, u32(3))))
        assert (header.encryption, codes(header)) == ("unknown", ["unknown-feature"])

    def test_a_data_file_without_a_name(self) -> None:
        assert codes(seen(V3.patched((INCOMPATIBLE, u64(4))))) == ["bad-header"]

    def test_a_data_files_name_without_the_feature_is_no_data_file(self) -> None:
        header = seen(V3.patched((EXTENSIONS, extension(0x44415441, b"/etc/shadow")), (AUTOCLEAR, u64(2))))
        assert (header.data_file, header.data_file_raw, codes(header)) == ("", False, [])


class TestNames:
    def test_without_an_offset_there_is_no_name(self) -> None:
        assert seen(V3.patched((BACKING_SIZE, u32(4)))).parent is None

    @pytest.mark.parametrize(
        "name", [b"/etc/shadow", b'json:{"driver":"nbd"}', b"nbd://host:10809/x", b"../../up"]
    )
    def test_a_name_is_data_and_told_as_it_is(self, name: bytes) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(1024) + u32(len(name))), (1024, name)))
        assert header.parent == Parent(names=(name.decode(),))

    def test_control_characters_and_broken_utf_8_are_escaped(self) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(1024) + u32(8)), (1024, b"a\x1b[2J\xff%z")))
        assert header.parent == Parent(names=("a%1B[2J%FF%25z",))

    def test_a_name_ends_at_its_first_nul_as_for_qemu(self) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(1024) + u32(9)), (1024, b"base\0evil")))
        assert header.parent == Parent(names=("base",))

    @pytest.mark.parametrize(
        ("offset", "length"), [(1024, 1024), (65536 - 8, 9), (2**64 - 1, 8), (1024, 2**32 - 1)]
    )
    def test_a_name_that_is_too_long_or_outside_of_the_first_cluster(self, offset: int, length: int) -> None:
        header = seen(V3.patched((BACKING_OFFSET, u64(offset) + u32(length))))
        assert (header.parent, codes(header)) == (None, ["bad-header"])

    def test_an_extension_that_goes_past_the_first_cluster(self) -> None:
        lying = V3.patched((EXTENSIONS, extension(0xE2792ACA, b"raw", claimed=2**32 - 1)))
        assert codes(seen(lying)) == ["bad-header"]

    def test_an_extension_that_goes_into_the_backing_files_name(self) -> None:
        lying = V3.patched(
            (BACKING_OFFSET, u64(120) + u32(4)), (EXTENSIONS, extension(0xE2792ACA, b"secret!!", claimed=8))
        )
        assert codes(seen(lying)) == ["bad-header"]

    @pytest.mark.parametrize(("kind", "length"), [(0xE2792ACA, 16), (0x44415441, 4097)])
    def test_a_name_in_an_extension_that_is_too_long(self, kind: int, length: int) -> None:
        lying = V3.patched((INCOMPATIBLE, u64(4)), (EXTENSIONS, extension(kind, b"x" * length)))
        assert "bad-header" in codes(seen(lying))

    def test_endless_extensions_are_not_followed(self) -> None:
        file = V3.patched((EXTENSIONS, extension(0x12345678, b"") * 8000))
        assert codes(seen(file)) == ["bad-header"]
        assert len(file.reads) == 0


class TestSnapshots:
    def test_65535_snapshots_in_256_kib_cost_nothing_and_are_a_lie(self) -> None:
        file = V3.patched((SNAPSHOTS, u32(65535) + u64(3 * 65536)), size=4 * 65536)
        header = seen(file)
        assert (header.internal_snapshots, codes(header)) == (0, ["truncated"])
        assert file.total_read == 0

    def test_more_than_qcow2_permits(self) -> None:
        header = seen(V3.patched((SNAPSHOTS, u32(65537) + u64(65536)), size=2**40))
        assert (header.internal_snapshots, codes(header)) == (0, ["bad-header"])

    def test_a_snapshot_table_past_the_end_of_the_file(self) -> None:
        assert codes(seen(V3.patched((SNAPSHOTS, u32(1) + u64(2**63))))) == ["truncated"]
