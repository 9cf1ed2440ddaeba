"""qcow: what its header says, and each lie it may tell."""

from __future__ import annotations

from struct import pack

import pytest

from storekeeper.observation import UNKNOWN, Parent
from tests.formats.seeds import codes, seeds, seen

QCOW = seeds()["qcow"]
BACKING_OFFSET, BACKING_SIZE, SIZE, CLUSTER_BITS, L2_BITS, CRYPT_METHOD, L1_OFFSET = 8, 16, 24, 32, 33, 36, 40


def u32(value: int) -> bytes:
    return pack(">I", value)


def u64(value: int) -> bytes:
    return pack(">Q", value)


def test_size_cluster_size_and_backing_file() -> None:
    header = seen(QCOW.file())
    assert (header.format, header.version, header.virtual_bytes) == ("qcow", "1", 20 << 30)
    assert header.cluster_bytes == 512
    assert header.parent == Parent(names=("base.qcow2",))


def test_without_a_backing_file_there_is_no_parent() -> None:
    assert seen(QCOW.patched((BACKING_OFFSET, u64(0)))).parent is None


@pytest.mark.parametrize(
    ("method", "encryption", "faults"), [(1, "aes", []), (2, "unknown", ["unknown-feature"])]
)
def test_encryption(method: int, encryption: str, faults: list[str]) -> None:
    header = seen(QCOW.patched((CRYPT_METHOD, u32(method))))
    assert (header.encryption, codes(header)) == (encryption, faults)


@pytest.mark.parametrize("size", [8, 47])
def test_cut_within_the_header(size: int) -> None:
    assert codes(seen(QCOW.file(size))) == ["truncated"]


def test_cut_within_the_l1_table_the_size_is_still_told() -> None:
    header = seen(QCOW.file(1000))
    assert (header.virtual_bytes, codes(header)) == (20 << 30, ["truncated"])


@pytest.mark.parametrize(
    "patch", [(CLUSTER_BITS, b"\x08"), (CLUSTER_BITS, b"\x11"), (L2_BITS, b"\x05"), (L2_BITS, b"\x0e")]
)
def test_clusters_or_l2_tables_of_a_size_that_qcow_has_not(patch: tuple[int, bytes]) -> None:
    header = seen(QCOW.patched(patch))
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["bad-header"])


@pytest.mark.parametrize("size", [0, 1, 2**63, 2**64 - 1])
def test_a_size_that_qcow_cannot_hold(size: int) -> None:
    header = seen(QCOW.patched((SIZE, u64(size))))
    assert (header.virtual_bytes, codes(header)) == (UNKNOWN, ["size-lies"])


def test_an_l1_table_past_the_end_of_the_file() -> None:
    assert codes(seen(QCOW.patched((L1_OFFSET, u64(2**64 - 8))))) == ["truncated"]


def test_a_backing_files_name_that_is_too_long() -> None:
    header = seen(QCOW.patched((BACKING_SIZE, u32(1024))))
    assert (header.parent, codes(header)) == (None, ["bad-header"])


def test_a_backing_files_name_past_the_end_of_the_file() -> None:
    header = seen(QCOW.patched((BACKING_OFFSET, u64(2**64 - 1))))
    assert (header.parent, codes(header)) == (None, ["truncated"])
    assert header.virtual_bytes == 20 << 30


@pytest.mark.parametrize(("cluster_bits", "l2_bits"), [(9, 6), (16, 13)])
def test_clusters_and_l2_tables_at_their_limits_are_no_fault(cluster_bits: int, l2_bits: int) -> None:
    shape = (CLUSTER_BITS, bytes((cluster_bits, l2_bits)))
    assert seen(QCOW.patched(shape, (SIZE, u64(2)))).faults == ()


def test_the_largest_size_is_no_fault() -> None:
    largest = ((2**31 - 1) // 8) << (9 + 6)
    shape = (CLUSTER_BITS, b"\x09\x06")
    assert seen(QCOW.patched(shape, (SIZE, u64(largest)), size=2**40)).faults == ()
    assert codes(seen(QCOW.patched(shape, (SIZE, u64(largest + 1)), size=2**40))) == ["size-lies"]


def test_a_backing_files_name_of_1023_bytes_at_the_end_of_the_file_is_no_fault() -> None:
    name = (BACKING_OFFSET, u64(2000) + u32(1023)), (2000, b"x" * 1023), (SIZE, u64(2))
    header = seen(QCOW.patched(*name, (L1_OFFSET, u64(512)), size=3023))
    assert (header.parent, header.faults) == (Parent(names=("x" * 1023,)), ())


def test_a_length_without_an_offset_is_no_name() -> None:
    header = seen(QCOW.patched((BACKING_OFFSET, u64(0) + u32(2**32 - 1))))
    assert (header.parent, header.faults) == (None, ())
