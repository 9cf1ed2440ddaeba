"""Shared extents as real filesystems tell them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from storekeeper.host.real import RealHost
from storekeeper.merge.truth import Look, Truth
from storekeeper.observation import Seen, Sharing
from storekeeper.sources import extents, images
from storekeeper.sources.contract import ExtentRow, Scope
from tests.merge.builders import NOW, declared, external, host, merged, spaced

MIB = 1 << 20
_FIDEDUPERANGE = 0xC0189436  # linux/fs.h


def write(path: Path, size: int, offset: int = 0) -> None:
    """Bytes that nothing else has, on disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(file, os.urandom(size), offset)
    os.fsync(file)
    os.close(file)


def clone(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--reflink=always", source, target], check=True)


def dedupe(source: Path, target: Path, length: int, source_offset: int, target_offset: int) -> None:
    """ioctl_fideduperange(2): makes equal bytes of two files the same bytes."""
    with source.open("rb") as one, target.open("r+b") as other:
        request = bytearray(
            struct.pack("=QQHHI", source_offset, length, 1, 0, 0)
            + struct.pack("=qQQiI", other.fileno(), target_offset, 0, 0, 0)
        )
        fcntl.ioctl(one, _FIDEDUPERANGE, request)
        assert struct.unpack_from("=Q", request, 40)[0] == length


def look(root: Path, last: Seen | None = None, *, later_s: int = 0) -> Seen:
    """A look by a clock that is `later_s` ahead: to it, the files have not been written to for so long."""
    seen = extents.probe(
        RealHost(), Scope(key="s/v", root=str(root)), last, now_ns=lambda: time.time_ns() + later_s * 10**9
    )
    assert not seen.faults
    return seen


def sharing(seen: Seen, key: str) -> Sharing:
    fact = seen.facts[key]
    assert isinstance(fact, Sharing)
    return fact


@pytest.fixture(
    params=[
        pytest.param("xfs", marks=pytest.mark.needs("xfs")),
        pytest.param("btrfs", marks=pytest.mark.needs("btrfs")),
    ]
)
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory of its own on a filesystem that can share."""
    mount: Path = request.getfixturevalue(f"{request.param}_mount")
    place = mount / tmp_path.name
    place.mkdir()
    return place


pytestmark = pytest.mark.needs("root", "loop")


def test_a_reflink_copy_shares_all_bytes_with_what_it_was_made_from(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    clone(volume / "old.raw", volume / "new.raw")
    seen = look(volume)
    for one, other in (("old.raw", "new.raw"), ("new.raw", "old.raw")):
        assert sharing(seen, one) == Sharing(
            key=one, shared_with={other: 4 * MIB}, shared_bytes=4 * MIB, exclusive_bytes=0
        )


def test_what_a_copy_wrote_since_is_its_own(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    clone(volume / "old.raw", volume / "new.raw")
    write(volume / "new.raw", MIB, offset=MIB)
    seen = look(volume)
    assert sharing(seen, "new.raw").shared_with == {"old.raw": 3 * MIB}
    assert sharing(seen, "new.raw").exclusive_bytes == MIB
    assert sharing(seen, "old.raw").exclusive_bytes == MIB


def test_a_copy_made_after_a_look_is_found_though_its_source_did_not_change(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    write(volume / "other.raw", 4 * MIB)
    first = look(volume, later_s=120)
    assert first.facts == {}
    clone(volume / "old.raw", volume / "new.raw")
    second = look(volume, first)
    assert sharing(second, "new.raw").shared_with == {"old.raw": 4 * MIB}
    assert set(second.facts) == {"old.raw", "new.raw"}


def test_a_copy_that_grew_before_the_look_is_found_too(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    first = look(volume, later_s=120)
    clone(volume / "old.raw", volume / "new.raw")
    write(volume / "new.raw", MIB, offset=8 * MIB)
    assert sharing(look(volume, first), "new.raw").shared_with == {"old.raw": 4 * MIB}


def test_a_copy_of_a_copy_is_compared_with_both(volume: Path) -> None:
    write(volume / "one.raw", 4 * MIB)
    clone(volume / "one.raw", volume / "two.raw")
    write(volume / "two.raw", MIB)
    clone(volume / "two.raw", volume / "three.raw")
    assert sharing(look(volume), "three.raw").shared_with == {"two.raw": 4 * MIB, "one.raw": 3 * MIB}


def test_when_its_source_is_gone_a_copy_shares_with_nobody(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    clone(volume / "old.raw", volume / "new.raw")
    first = look(volume)
    (volume / "old.raw").unlink()
    assert look(volume, first).facts == {}


def test_the_same_bytes_at_another_offset_are_deduplication_and_not_told(volume: Path) -> None:
    write(volume / "one.raw", 4 * MIB)
    content = (volume / "one.raw").read_bytes()
    (volume / "other.raw").write_bytes(os.urandom(MIB) + content[:MIB] + os.urandom(2 * MIB))
    os.sync()
    dedupe(volume / "one.raw", volume / "other.raw", MIB, 0, MIB)
    assert look(volume).facts == {}


def test_the_same_bytes_at_the_same_offset_are_told_however_they_came_to_be(volume: Path) -> None:
    write(volume / "one.raw", 4 * MIB)
    (volume / "other.raw").write_bytes((volume / "one.raw").read_bytes())
    os.sync()
    dedupe(volume / "one.raw", volume / "other.raw", MIB, 0, 0)
    assert sharing(look(volume), "other.raw").shared_with == {"one.raw": MIB}


def test_a_second_look_at_what_did_not_change_gives_the_same_facts(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    clone(volume / "old.raw", volume / "new.raw")
    first = look(volume, later_s=120)

    class Unasked(RealHost):
        def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
            raise AssertionError("was asked")

    again = extents.probe(Unasked(), Scope(key="s/v", root=str(volume)), first)
    assert again.facts == first.facts
    assert all(again.facts[key] is fact for key, fact in first.facts.items())


def test_what_is_shared_with_nobody_known_is_sought_once_and_not_at_every_look(volume: Path) -> None:
    """As under a snapshot: its own copy lies where no look comes to."""
    write(volume / "running.raw", 4 * MIB)
    write(volume / "idle.raw", 4 * MIB)
    first = look(volume, later_s=120)
    (volume / ".snapshots").mkdir()
    clone(volume / "running.raw", volume / ".snapshots" / "kept.raw")
    asked: list[bytes] = []

    class Counting(RealHost):
        def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
            asked.append(path)
            return super().extents(root, path, limit)

    def again(last: Seen) -> Seen:
        write(volume / "running.raw", MIB)
        asked.clear()
        return extents.probe(
            Counting(), Scope(key="s/v", root=str(volume)), last, now_ns=lambda: time.time_ns() + 120 * 10**9
        )

    second = again(first)
    assert set(asked) == {b"running.raw", b"idle.raw"}
    again(second)
    assert asked == [b"running.raw"]


@pytest.mark.needs("btrfs")
def test_compressed_extents_are_matched_by_their_start(btrfs_mount: Path, tmp_path: Path) -> None:
    volume = btrfs_mount / tmp_path.name
    volume.mkdir()
    subprocess.run(["btrfs", "property", "set", volume, "compression", "zstd"], check=True)
    (volume / "old.raw").write_bytes(b"compress me " * (4 * MIB // 12) + bytes(4))
    os.sync()
    clone(volume / "old.raw", volume / "new.raw")
    write(volume / "new.raw", 64 << 10, offset=MIB)
    rows = RealHost().extents(str(volume), b"old.raw", 65536)
    assert all(row.flags & 0x8 for row in rows), "not compressed: this test would prove nothing"
    assert sharing(look(volume), "new.raw").shared_with == {"old.raw": 4 * MIB - (64 << 10)}


@pytest.mark.needs("btrfs")
def test_another_subvolume_is_another_volume(btrfs_mount: Path, tmp_path: Path) -> None:
    volume = btrfs_mount / tmp_path.name
    volume.mkdir()
    subprocess.run(["btrfs", "-q", "subvolume", "create", volume / "inner"], check=True)
    write(volume / "old.raw", MIB)
    clone(volume / "old.raw", volume / "inner" / "new.raw")
    assert look(volume).facts == {}


@pytest.mark.needs("ext4")
def test_where_no_extents_can_be_shared_nothing_is_asked(ext4_mount: Path, tmp_path: Path) -> None:
    class Unasked(RealHost):
        def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
            raise AssertionError("was asked")

    volume = ext4_mount / tmp_path.name
    volume.mkdir()
    write(volume / "a.raw", MIB)
    seen = extents.probe(Unasked(), Scope(key="s/v", root=str(volume)), None)
    assert (seen.facts, seen.faults) == ({}, ())


def test_what_was_written_back_late_is_seen_without_a_change_of_times(volume: Path) -> None:
    write(volume / "old.raw", 4 * MIB)
    clone(volume / "old.raw", volume / "new.raw")
    with (volume / "new.raw").open("r+b") as file:
        file.write(os.urandom(MIB))
    before = look(volume)
    os.sync()
    assert sharing(look(volume, before), "new.raw").shared_with == {"old.raw": 3 * MIB}


def merged_after(root: Path, last: Truth | None) -> Truth:
    """The truth of what real looks find, after the one before."""
    scope = Scope(key="s/v", root=str(root))
    seen = (look(root), images.probe(RealHost(), scope, None))
    volume = external("v", str(root))
    view = host(spaced(volume), *(Look(seen=each, at=NOW, good_at=NOW) for each in seen))
    return merged(declared(volume), view, memory=last.memory if last else None, previous=last)


def clones(truth: Truth) -> dict[str, str]:
    found = truth.storages["s"].volumes["v"].images
    assert not any(each.faults for each in found.values())
    return {key: each.parent[1] for key, each in found.items() if each.parent}


def born_later_than(path: Path) -> None:
    """Waits until a file made now has a later time: the kernel's clock for files ticks every few ms."""
    probe = path.with_name(".tick")
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns > path.stat().st_ctime_ns:
            break
    probe.unlink()


@pytest.mark.parametrize("looked_between", [True, False])
def test_an_image_replaced_by_a_copy_of_its_clone_is_the_clone_of_that(
    volume: Path, looked_between: bool
) -> None:
    old, clone_of_it = volume / "p.raw", volume / "k.raw"
    write(old, 4 * MIB)
    born_later_than(old)
    clone(old, clone_of_it)
    first = merged_after(volume, None)
    assert clones(first) == {"k.raw": "p.raw"}

    born_later_than(clone_of_it)
    old.unlink()
    if looked_between:
        first = merged_after(volume, first)
        assert clones(first) == {}
    clone(clone_of_it, old)
    assert clones(merged_after(volume, first)) == {"p.raw": "k.raw"}
