"""QED: what its header says, and each lie it may tell."""

from __future__ import annotations

from struct import pack

import pytest

from storekeeper.observation import UNKNOWN, Parent
from tests.formats.seeds import codes, seeds, seen

QED = seeds()["qed"]
CLUSTER_SIZE, TABLE_SIZE, HEADER_SIZE, FEATURES, L1_OFFSET, IMAGE_SIZE, NAME_OFFSET, NAME_SIZE = (
    4, 8, 12, 16, 40, 48, 56, 60,
)  # fmt: skip


def u32(value: int) -> bytes:
    return pack("<I", value)


def u64(value: int) -> bytes:
    return pack("<Q", value)


def test_size_cluster_size_and_a_raw_backing_file() -> None:
    header = seen(QED.file())
    assert (header.format, header.virtual_bytes, header.cluster_bytes) == ("qed", 20 << 30, 65536)
    assert header.parent == Parent(names=("base.raw",), format="raw")


def test_a_backing_file_whose_format_is_to_be_guessed_declares_none() -> None:
    assert seen(QED.patched((FEATURES, u64(1)))).parent == Parent(names=("base.raw",))


def test_a_backing_files_name_without_its_feature_is_no_parent() -> None:
    assert seen(QED.patched((FEATURES, u64(0)))).parent is None


def test_an_image_that_needs_a_check_is_dirty() -> None:
    header = seen(QED.patched((FEATURES, u64(2))))
    assert (header.features, header.faults) == (("dirty",), ())


def test_features_that_are_not_known() -> None:
    assert codes(seen(QED.patched((FEATURES, u64(8))))) == ["unknown-feature"]


@pytest.mark.parametrize("size", [4, 63])
def test_cut_within_the_header(size: int) -> None:
    assert codes(seen(QED.file(size))) == ["truncated"]


def test_cut_within_the_l1_table_the_size_is_still_told() -> None:
    header = seen(QED.file(70000))
    assert (header.virtual_bytes, codes(header)) == (20 << 30, ["truncated"])


@pytest.mark.parametrize(
    "patch",
    [
        (CLUSTER_SIZE, u32(0)), (CLUSTER_SIZE, u32(2048)), (CLUSTER_SIZE, u32(65537)),
        (CLUSTER_SIZE, u32(1 << 27)),
        (TABLE_SIZE, u32(0)), (TABLE_SIZE, u32(3)), (TABLE_SIZE, u32(32)),
    ],
)  # fmt: skip
def test_clusters_or_tables_of_a_size_that_qed_has_not(patch: tuple[int, bytes]) -> None:
    header = seen(QED.patched(patch))
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])


@pytest.mark.parametrize("size", [1000, 2**63, 2**64 - 512, 2**46 + 512])
def test_a_size_of_broken_sectors_or_more_than_the_tables_map(size: int) -> None:
    small = (TABLE_SIZE, u32(1))
    header = seen(QED.patched(small, (IMAGE_SIZE, u64(size))))
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


def test_a_size_over_what_any_file_can_have_even_where_tables_would_map_it() -> None:
    large = (CLUSTER_SIZE, u32(64 << 20)), (TABLE_SIZE, u32(16)), (L1_OFFSET, u64(64 << 20))
    assert codes(seen(QED.patched(*large, (IMAGE_SIZE, u64(2**63)), size=2**40))) == ["size-lies"]


@pytest.mark.parametrize("offset", [0, 65536 + 512])
def test_an_l1_table_within_the_header_or_a_cluster(offset: int) -> None:
    assert codes(seen(QED.patched((L1_OFFSET, u64(offset)), size=1 << 20))) == ["bad-header"]


@pytest.mark.parametrize(("offset", "length"), [(64, 1024), (65536 - 4, 8), (2**32 - 1, 2**32 - 1)])
def test_a_backing_files_name_that_is_too_long_or_outside_of_the_header(offset: int, length: int) -> None:
    header = seen(QED.patched((NAME_OFFSET, u32(offset) + u32(length))))
    assert (header.parent, codes(header)) == (None, ["bad-header"])


def test_the_largest_size_is_no_fault() -> None:
    small = (CLUSTER_SIZE, u32(4096)), (TABLE_SIZE, u32(1)), (L1_OFFSET, u64(4096)), (FEATURES, u64(0))
    assert seen(QED.patched(*small, (IMAGE_SIZE, u64(512 * 512 * 4096)))).faults == ()


def test_a_backing_files_name_at_all_its_limits_is_no_fault() -> None:
    name = (NAME_OFFSET, u32(65536 - 1023) + u32(1023)), (65536 - 1023, b"x" * 1023)
    header = seen(QED.patched(*name))
    assert (header.parent, header.faults) == (Parent(names=("x" * 1023,), format="raw"), ())


def test_a_backing_files_name_at_the_end_of_the_file_is_read() -> None:
    header = seen(QED.patched((NAME_OFFSET, u32(5000) + u32(4)), (5000, b"base"), size=5004))
    assert (header.parent, codes(header)) == (Parent(names=("base",), format="raw"), ["truncated"])


def test_a_backing_files_name_past_the_end_of_the_file() -> None:
    header = seen(QED.patched((NAME_OFFSET, u32(60000)), size=50000))
    assert (header.parent, codes(header)) == (None, ["truncated", "truncated"])
