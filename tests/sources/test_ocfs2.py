"""OCFS2 superblocks and cluster state.

`ocfs2_superblocks/` holds the first 512 bytes of block 2 of filesystems made by mkfs.ocfs2 1.8.7; the
number in a name is the block size. Expected values are what mounted.ocfs2 -d and blkid said of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.errors import TimedOut
from storekeeper.observation import Fault, Ocfs2, Seen
from storekeeper.sources.contract import Scope
from storekeeper.sources.ocfs2 import HEAD_BYTES, parse, probe
from tests.sources.paper_host import PaperHost
from tests.test_naming import shows_as_it_is

SUPERBLOCKS = Path(__file__).with_name("ocfs2_superblocks")
UUID = "93a5cf8a-a521-48e2-a557-a079011e2248"
REGION = "93A5CF8AA52148E2A557A079011E2248"
CLUSTER = "/sys/kernel/config/cluster/flexcluster"
MOUNT = "38 29 8:16 / /storekeeper/samsung_ssd rw,relatime - ocfs2 /dev/sdb rw,heartbeat=local\n"


def head(name: str) -> bytes:
    """The start of the device whose superblock this is."""
    block_bytes = int(name.rpartition("-")[2])
    return (bytes(2 * block_bytes) + (SUPERBLOCKS / name).read_bytes()).ljust(HEAD_BYTES, b"\0")


def machine(
    files: Mapping[str, bytes | str] = {}, *, content: bytes = head("o2cb-4096"), mounts: str = ""
) -> PaperHost:
    """A host with one SCSI disk, sdb, that holds `content`."""
    sysfs: dict[str, bytes | str] = {
        "/sys/block/sdb/dev": "8:16\n",
        "/sys/block/sdb/size": "499000000\n",
        "/sys/block/sdb/device/type": "0\n",
        "/proc/self/mountinfo": mounts,
    }
    return PaperHost({**sysfs, **files}, devices={"/dev/sdb": content})


def seen(host: PaperHost) -> Seen:
    return probe(host, Scope(), None)


def found(host: PaperHost) -> Ocfs2:
    fact = seen(host).facts["sdb"]
    assert isinstance(fact, Ocfs2)
    return fact


@pytest.mark.parametrize("block_bytes", [512, 1024, 2048, 4096])
def test_the_superblock_is_found_at_every_block_size(block_bytes: int) -> None:
    superblock = parse(head(f"local-{block_bytes}"))
    assert superblock
    assert (superblock.block_bytes, superblock.cluster_bytes, superblock.slots) == (block_bytes, 4096, 2)
    assert superblock.label == f"local {block_bytes}"
    assert superblock.total_bytes == 900 << 20
    assert superblock.faults == ()


@pytest.mark.parametrize(
    ("name", "stack", "cluster"),
    [
        ("local-4096", "", ""),
        ("o2cb-4096", "o2cb", "flexcluster"),
        ("pcmk-4096", "pcmk", "hacluster"),
        ("o2cb-unnamed-1024", "o2cb", ""),
    ],
)
def test_the_cluster_is_the_one_that_mounted_ocfs2_names(name: str, stack: str, cluster: str) -> None:
    superblock = parse(head(name))
    assert superblock
    assert (superblock.cluster_stack, superblock.cluster_name) == (stack, cluster)


def test_the_filesystem_is_told_with_its_uuid_as_blkid_writes_it_and_its_place() -> None:
    assert found(machine(mounts=MOUNT)) == Ocfs2(
        key="sdb", device="/dev/sdb", device_number="8:16", filesystem_uuid=UUID, label="samsung_ssd",
        cluster_stack="o2cb", cluster_name="flexcluster", block_bytes=4096, cluster_bytes=1 << 20,
        total_bytes=900 << 20, slots=4, mounted_at="/storekeeper/samsung_ssd", heartbeat_active=False,
    )  # fmt: skip


def test_a_device_without_the_signature_holds_no_ocfs2() -> None:
    assert seen(machine(content=bytes(HEAD_BYTES))).facts == {}
    assert parse(b"") is None


def test_one_read_of_a_device_is_enough() -> None:
    host = machine()
    seen(host)
    assert host.block_reads == [("/dev/sdb", 0, HEAD_BYTES)]


@pytest.mark.parametrize(
    ("offset", "byte", "lie"), [(0x50, 3, "block 3"), (0xF8, 40, "2^40"), (0xFC, 60, "2^60")]
)
def test_a_superblock_that_lies_is_told_with_a_fault(offset: int, byte: int, lie: str) -> None:
    content = bytearray(head("o2cb-4096"))
    content[8192 + offset] = byte
    fact = found(machine(content=bytes(content)))
    assert [fault.code for fault in fact.faults] == ["bad-superblock"]
    assert lie in fact.faults[0].text


def test_a_device_that_does_not_answer_hides_only_itself() -> None:
    host = machine(
        {"/sys/block/sdc/dev": "8:32", "/sys/block/sdc/size": "99999", "/sys/block/sdc/device/type": "0"}
    )
    host.devices = {**host.devices, "/dev/sdc": TimedOut("/dev/sdc", "no answer within 5 s")}
    look = seen(host)
    assert set(look.facts) == {"sdb"}
    assert [(fault.code, fault.hides) for fault in look.faults] == [("timed-out", "sdc")]


def test_a_host_whose_sysfs_is_closed_is_blind_not_empty() -> None:
    assert isinstance(seen(PaperHost({})).blind, Fault)


def test_ocfs2_on_a_device_that_is_no_disk_is_found_by_its_mount() -> None:
    host = machine(mounts=MOUNT.replace("8:16", "147:0"), content=bytes(HEAD_BYTES))
    host.links = {"/sys/dev/block/147:0": "../../devices/virtual/block/drbd0"}
    host.devices = {"/dev/drbd0": head("o2cb-4096")}
    fact = seen(host).facts["drbd0"]
    assert isinstance(fact, Ocfs2)
    assert fact.mounted_at == "/storekeeper/samsung_ssd"


def test_the_node_beats_when_its_region_has_the_device() -> None:
    region = {f"{CLUSTER}/heartbeat/mode": "local\n", f"{CLUSTER}/heartbeat/{REGION}/dev": "sdb\n"}
    assert found(machine(region)).heartbeat_active is True


def test_another_filesystems_region_is_no_heartbeat_of_this_one() -> None:
    other = {f"{CLUSTER}/heartbeat/mode": "local\n", f"{CLUSTER}/heartbeat/{'0' * 32}/dev": "sdc\n"}
    assert found(machine(other)).heartbeat_active is False


def test_with_global_heartbeat_any_region_counts() -> None:
    other = {f"{CLUSTER}/heartbeat/mode": "global\n", f"{CLUSTER}/heartbeat/{'0' * 32}/dev": "sdc\n"}
    assert found(machine(other)).heartbeat_active is True


def test_heartbeat_is_unknown_where_configfs_is_not_mounted_or_another_stack_beats() -> None:
    assert found(machine({"/sys/fs/o2cb/interface_revision": "5"})).heartbeat_active is None
    assert found(machine(content=head("pcmk-4096"))).heartbeat_active is None
    assert found(machine(content=head("local-4096"))).heartbeat_active is None


def test_a_cluster_name_is_never_a_path() -> None:
    content = head("o2cb-4096").replace(b"flexcluster", b"../../../xx")
    host = machine({f"{CLUSTER}/heartbeat/mode": "local\n"}, content=content)
    assert found(host).heartbeat_active is False


@given(
    st.integers(0, 511),
    st.binary(min_size=1, max_size=24),
    st.sampled_from(sorted(p.name for p in SUPERBLOCKS.iterdir())),
)
def test_no_superblock_is_too_broken_to_read(at: int, junk: bytes, name: str) -> None:
    content = bytearray(head(name))
    start = content.index(b"OCFSV2") + at
    content[start : start + len(junk)] = junk
    superblock = parse(bytes(content[:HEAD_BYTES]))
    if superblock:
        assert superblock.total_bytes >= -1
        assert shows_as_it_is(superblock.label)
        assert shows_as_it_is(superblock.cluster_name)
    for cut in (0, start, start + 1, HEAD_BYTES - 1):
        parse(bytes(content[:cut]))
