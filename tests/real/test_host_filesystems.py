"""The host on real filesystems: subvolumes, mounts within mounts, reflinks, a device that fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest

from storekeeper import errors
from storekeeper.host import events
from storekeeper.host.real import RealHost
from storekeeper.host.wire import Hint, Unwatched, Watch
from storekeeper.sources.contract import Host, Scope

pytestmark = pytest.mark.needs("root", "loop")

HOST: Host = RealHost()
NOTHING: frozenset[bytes] = frozenset()
SHARED = 0x2000  # FIEMAP_EXTENT_SHARED

Make = Callable[[str], Path]


def run(*argv: object) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True).stdout


@contextmanager
def mounted(filesystem: str, folder: Path) -> Iterator[Path]:
    image, place = folder / f"{filesystem}.disk", folder / filesystem
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    run(f"mkfs.{filesystem}", "-q", image)
    run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        run("umount", "-R", place)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes and mounts a filesystem of a kind."""
    with ExitStack() as stack:
        yield lambda filesystem: stack.enter_context(mounted(filesystem, tmp_path))


def paths_and_skipped(root: Path) -> tuple[set[bytes], int]:
    found = list(HOST.walk(str(root), skip=NOTHING, depth_limit=8))
    return {directory.path for directory in found}, sum(directory.skipped for directory in found)


@pytest.mark.needs("btrfs")
def test_a_walk_stays_in_one_btrfs_subvolume(make: Make) -> None:
    root = make("btrfs")
    run("btrfs", "subvolume", "create", root / "inner")
    (root / "inner/disk.raw").touch()
    (root / "plain").mkdir()
    assert paths_and_skipped(root) == ({b"", b"plain"}, 1)
    faults: list[Exception] = []
    HOST.open_images(
        str(root), [b"inner/disk.raw"], lambda *_: pytest.fail("it was opened"),
        failed=lambda _, error: faults.append(error),
    )  # fmt: skip
    assert "another filesystem" in str(faults[0])


@pytest.mark.needs("xfs")
def test_a_walk_stays_in_one_mount_even_of_the_same_filesystem(make: Make) -> None:
    root = make("xfs")
    (root / "images/disk").mkdir(parents=True)
    (root / "elsewhere").mkdir()
    (root / "other").mkdir()
    run("mount", "-t", "tmpfs", "none", root / "other")
    run("mount", "--bind", root / "images", root / "elsewhere")
    assert paths_and_skipped(root) == ({b"", b"images", b"images/disk"}, 2)


def test_a_file_of_an_overlay_is_one_of_its_volume_though_it_shows_another_device(tmp_path: Path) -> None:
    lower, top, root = (tmp_path / name for name in ("lower", "top", "overlay"))
    for directory in (lower, top, root):
        directory.mkdir()
    (lower / "disk.raw").write_text("x")
    run("mount", "-t", "tmpfs", "none", top)
    opened: list[bytes] = []
    try:
        (top / "upper").mkdir()
        (top / "work").mkdir()
        layers = f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work"
        run("mount", "-t", "overlay", "-o", layers, "none", root)
        assert (root / "disk.raw").stat().st_dev != root.stat().st_dev
        HOST.open_images(
            str(root), [b"disk.raw"], lambda path, _: opened.append(path),
            failed=lambda _, error: pytest.fail(str(error)),
        )  # fmt: skip
    finally:
        run("umount", "-l", root, top)
    assert opened == [b"disk.raw"]


@pytest.mark.needs("xfs")
def test_extents_of_a_reflink_copy_are_those_of_its_original(make: Make) -> None:
    root = make("xfs")
    (root / "a").write_bytes(os.urandom(1 << 20))
    run("cp", "--reflink=always", root / "a", root / "b")
    os.sync()
    first, second = (HOST.extents(str(root), name, 1000) for name in (b"a", b"b"))
    assert sum(row.length for row in first) == 1 << 20
    assert [row[:3] for row in first] == [row[:3] for row in second]
    assert all(row.flags & SHARED for row in first)


@pytest.mark.needs("xfs")
def test_many_extents_are_all_told_in_order_up_to_the_limit(make: Make) -> None:
    root = make("xfs")
    (root / "a").write_bytes(b"x" * 700 * 8192)
    punch = [f"-c fpunch {number * 8192 + 4096} 4096" for number in range(700)]
    run("xfs_io", "-c", "fsync", *punch, "-c", "fsync", root / "a")
    rows = HOST.extents(str(root), b"a", 10_000)
    assert [row.logical for row in rows] == [number * 8192 for number in range(700)]
    assert HOST.extents(str(root), b"a", 300) == rows[:300]


def test_a_filesystem_without_extents_says_so() -> None:
    with pytest.raises(errors.Absent, match="does not tell extents"):
        HOST.extents("/proc/self", b"status", 10)


@pytest.mark.needs("xfs")
def test_an_uncached_read_fails_when_the_filesystem_has_shut_down(make: Make) -> None:
    root = make("xfs")
    (root / "disk.raw").write_bytes(b"x" * 65536)
    os.sync()
    HOST.read_uncached(str(root))
    run("xfs_io", "-x", "-c", "shutdown", root)
    with pytest.raises(errors.Unreadable, match="Input/output error"):
        HOST.read_uncached(str(root))


@pytest.mark.needs("ext4")
def test_an_uncached_read_of_an_empty_filesystem_reads_its_device(make: Make) -> None:
    HOST.read_uncached(str(make("ext4")))


@pytest.mark.needs("xfs")
def test_a_mount_hints_at_mounts(make: Make) -> None:
    told: SimpleQueue[Hint | Unwatched] = SimpleQueue()
    watch = Watch(source="mounts", scope=Scope())
    Thread(target=events.watch, args=(watch, told.put), daemon=True).start()
    root = make("xfs")
    (root / "x").mkdir()
    for _ in range(1000):
        run("mount", "-t", "tmpfs", "none", root / "x")
        run("umount", root / "x")
        if not told.empty():
            break
    assert told.get(timeout=10) == Hint(source="mounts", scope="")


@pytest.mark.needs("xfs")
def test_a_watch_says_that_its_volume_was_unmounted(make: Make) -> None:
    root = make("xfs")
    inner = root / "inner"
    inner.mkdir()
    run("mount", "-t", "tmpfs", "none", inner)
    told: SimpleQueue[Hint | Unwatched] = SimpleQueue()
    watch = Watch(source="images", scope=Scope(key="storage/volume", root=str(inner)))
    Thread(target=events.watch, args=(watch, told.put), daemon=True).start()
    for number in range(1000):
        (inner / str(number)).touch()
        if not told.empty():
            break
    run("umount", inner)
    while not isinstance(message := told.get(timeout=10), Unwatched):
        pass
    assert "unmounted" in message.text
