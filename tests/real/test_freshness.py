"""A running server on real filesystems: what changes there is in the document, soon and surely."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storekeeper.host import libc
from storekeeper.host.watching import ONLYDIR
from tests.real.conftest import loop_mount
from tests.real.private_machine import wait_until
from tests.real.served import Served, declare, external, served, workers

pytestmark = pytest.mark.needs("root", "loop", "xfs", "ext4", "qemu-img")

SOON_S = 1.0
# The longest pause between two walks of a small volume, and some time to walk on a busy machine.
NEXT_WALK_S = 10.0 + 5.0
ACCESS = 0x1  # IN_ACCESS of linux/inotify.h


def create(path: Path, size: str = "64M", backing: str = "") -> Path:
    """A qcow2 image."""
    of = ["-b", backing, "-F", "qcow2"] if backing else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *of, path, size], check=True)
    return path


def parents(server: Served, volume_id: str = "watched") -> dict[str, str]:
    """The volume's clones, and whose they are."""
    return {clone.clone_id: clone.image_id for clone in server.volume(volume_id).clones}


def size_mb(server: Served, volume_id: str, image_id: str) -> int:
    (found,) = [image for image in server.volume(volume_id).images if image.image_id == image_id]
    return found.size_mb


@pytest.fixture(scope="module")
def root(xfs_mount: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of an XFS, with two images and a directory in it."""
    root = xfs_mount / tmp_path_factory.mktemp("freshness").name
    (root / "team").mkdir(parents=True)
    create(root / "golden.qcow2")
    create(root / "other.qcow2")
    return root


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests that need no other."""
    declaration = declare(tmp_path_factory.mktemp("server"), external("watched", root))
    with served(declaration) as server:
        server.until(lambda: len(server.ids("watched")) >= 2, within_s=10, what="all is listed")
        yield server


def test_an_image_that_comes_moves_and_goes_is_in_the_document_within_a_second(
    server: Served, root: Path
) -> None:
    first = create(root / "team/new.qcow2")
    server.until(lambda: "team/new.qcow2" in server.ids("watched"), within_s=SOON_S, what="it came")
    first.rename(root / "moved.qcow2")
    server.until(
        lambda: {"team/new.qcow2", "moved.qcow2"} & server.ids("watched") == {"moved.qcow2"},
        within_s=SOON_S,
        what="it moved",
    )
    (root / "moved.qcow2").unlink()
    server.until(lambda: "moved.qcow2" not in server.ids("watched"), within_s=SOON_S, what="it went")


def test_a_tree_that_comes_moves_and_goes_takes_its_images_with_it_within_a_second(
    server: Served, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    create(tmp_path / "a/b/deep.qcow2")
    shutil.copytree(tmp_path / "a", root / "a")
    server.until(lambda: "a/b/deep.qcow2" in server.ids("watched"), within_s=SOON_S, what="it came")
    (root / "a").rename(root / "team/c")
    server.until(
        lambda: {"a/b/deep.qcow2", "team/c/b/deep.qcow2"} & server.ids("watched") == {"team/c/b/deep.qcow2"},
        within_s=SOON_S,
        what="it moved",
    )
    create(root / "team/c/b/later.qcow2")
    server.until(
        lambda: "team/c/b/later.qcow2" in server.ids("watched"), within_s=SOON_S, what="it is watched"
    )
    shutil.rmtree(root / "team/c")
    server.until(
        lambda: not any(name.startswith("team/c/") for name in server.ids("watched")),
        within_s=SOON_S,
        what="it went",
    )


def test_a_rebased_clone_has_its_new_parent_within_a_second(server: Served, root: Path) -> None:
    clone = create(root / "clone.qcow2", backing="golden.qcow2")
    server.until(
        lambda: parents(server).get("clone.qcow2") == "golden.qcow2", within_s=SOON_S, what="it is a clone"
    )
    for backing, parent in (("other.qcow2", "other.qcow2"), ("", None)):
        of = ["-b", backing, "-F", "qcow2"] if backing else ["-b", ""]
        subprocess.run(["qemu-img", "rebase", "-q", "-u", *of, clone], check=True)
        server.until(
            lambda parent=parent: parents(server).get("clone.qcow2") == parent,  # type: ignore[misc]
            within_s=SOON_S,
            what=f"its parent is {parent}",
        )
    clone.unlink()


def test_a_reflink_copy_is_a_clone_within_a_second_and_its_own_once_it_shares_nothing(
    server: Served, root: Path
) -> None:
    disk = root / "disk.raw"
    disk.write_bytes(os.urandom(4 << 20))
    subprocess.run(["sync", "-f", disk], check=True)
    subprocess.run(["cp", "--reflink=always", disk, root / "copy.raw"], check=True)
    server.until(
        lambda: parents(server).get("copy.raw") == "disk.raw", within_s=SOON_S, what="the copy is a clone"
    )
    with (root / "copy.raw").open("r+b") as copy:
        copy.write(os.urandom(4 << 20))
        os.fsync(copy.fileno())
    server.until(
        lambda: "copy.raw" in server.ids("watched") - parents(server).keys(),
        within_s=SOON_S,
        what="the copy is an image",
    )


def test_a_truncation_that_sends_no_event_is_seen_by_the_next_walk(server: Served, root: Path) -> None:
    disk = root / "grown.raw"
    disk.write_bytes(bytes(1 << 20))
    server.until(lambda: "grown.raw" in server.ids("watched"), within_s=SOON_S, what="it came")
    os.truncate(disk, 7 << 20)  # truncate(2): no descriptor that could be closed after writing
    server.until(
        lambda: size_mb(server, "watched", "grown.raw") == 7, within_s=NEXT_WALK_S, what="it has grown"
    )


def test_more_events_than_the_kernel_keeps_are_made_good_at_once(server: Served, root: Path) -> None:
    queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    flood = root / "flood"
    flood.mkdir()
    create(flood / "before.qcow2")
    server.until(lambda: "flood/before.qcow2" in server.ids("watched"), within_s=SOON_S, what="it is watched")
    stopped = workers(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        for number in range(queued // 2 + 100):  # two events each
            (flood / f"{number}.raw").write_bytes(bytes(512))
        (root / "late").mkdir()
        create(root / "late/first.qcow2")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    wanted = {f"flood/{number}.raw" for number in range(queued // 2 + 100)} | {"late/first.qcow2"}
    server.until(lambda: server.ids("watched") >= wanted, within_s=5, what="all that was created is there")
    create(root / "late/second.qcow2")
    server.until(
        lambda: "late/second.qcow2" in server.ids("watched"),
        within_s=SOON_S,
        what="what came during the flood is watched",
    )
    shutil.rmtree(flood)
    server.until(
        lambda: not server.ids("watched") & wanted - {"late/first.qcow2"}, within_s=5, what="all went"
    )


def test_with_too_few_watches_the_next_walk_sees_what_no_event_tells(root: Path, tmp_path: Path) -> None:
    volume = root / "wide"
    for number in range(8):
        (volume / f"{number}").mkdir(parents=True)
    # A user namespace has a limit of its own.
    within = (
        "unshare",
        "-Ur",
        "bash",
        "-c",
        'echo 4 > /proc/sys/user/max_inotify_watches; exec "$@"',
        "limit",
    )
    with served(declare(tmp_path, external("wide", volume)), within=within) as server:
        for number in range(8):
            create(volume / f"{number}/new.qcow2")
        wanted = {f"{number}/new.qcow2" for number in range(8)}
        server.until(
            lambda: bool(server.ids("wide")), within_s=SOON_S, what="what is watched is seen at once"
        )
        assert "max_user_watches" in (tmp_path / "storekeeper.log").read_text(encoding="utf-8")
        server.until(lambda: server.ids("wide") == wanted, within_s=NEXT_WALK_S, what="all is there")


@contextmanager
def mounted_at(place: Path, base: Path) -> Iterator[None]:
    """Another filesystem, at `place`."""
    base.mkdir()
    with loop_mount(base, "ext4") as other:
        subprocess.run(["mount", "--bind", other, place], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", place], check=True)


def unmount(place: Path) -> None:
    """Unmounts a place that a look may be holding right now."""
    wait_until(
        lambda: subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0,
        within_s=5,
        what=f"{place} is unmounted",
    )


@contextmanager
def mounted_volume(base: Path) -> Iterator[tuple[Path, Path]]:
    """A filesystem with one image, mounted over a directory that holds another; its place and its device."""
    place, device = base / "place", base / "device"
    place.mkdir()
    create(place / "beneath.qcow2")
    with device.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    subprocess.run(["mount", "-o", "loop", device, place], check=True)
    try:
        create(place / "image.qcow2")
        yield place, device
    finally:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def test_a_volume_that_is_unmounted_is_broken_keeps_its_images_and_shows_nothing_beneath(
    tmp_path: Path,
) -> None:
    with mounted_volume(tmp_path) as (place, device):
        declaration = declare(tmp_path, external("mounted", place, "mounted = true"))
        with served(declaration) as server:
            server.until(lambda: server.ids("mounted") == {"image.qcow2"}, within_s=5, what="it is listed")
            space = (server.volume("mounted").total_space, server.volume("mounted").free_space)
            unmount(place)
            message = server.until_status("mounted", "broken", within_s=2)
            assert "is not mounted" in message
            create(place / "new beneath.qcow2")
            # What stands there is another filesystem: this one stays broken and as it was.
            with mounted_at(place, tmp_path / "other"):
                server.until(
                    lambda: "Another filesystem" in server.volume("mounted").status_msg,
                    within_s=5,
                    what="another filesystem is seen",
                )
                create(place / "new on another.qcow2")
                assert server.volume("mounted").status == "broken"
                assert server.ids("mounted") == {"image.qcow2"}
            row = server.volume("mounted")
            assert (row.total_space, row.free_space) == space
            assert server.ids("mounted") == {"image.qcow2"}
            subprocess.run(["mount", "-o", "loop", device, place], check=True)
            create(place / "later.qcow2")
            server.until_status("mounted", "ok", within_s=5)
            server.until(
                lambda: server.ids("mounted") == {"image.qcow2", "later.qcow2"},
                within_s=NEXT_WALK_S,
                what="its images are seen again",
            )
            create(place / "watched.qcow2")
            server.until(
                lambda: "watched.qcow2" in server.ids("mounted"), within_s=SOON_S, what="it is watched again"
            )


def test_a_restart_reads_only_the_headers_that_changed_meanwhile(ext4_mount: Path, tmp_path: Path) -> None:
    root = ext4_mount / tmp_path.name
    root.mkdir()
    names = [f"{number}.qcow2" for number in range(20)]
    for name in names:
        create(root / name)
    declaration = declare(tmp_path, external("kept", root))
    with served(declaration) as server:
        assert server.ids("kept") == set(names)
    subprocess.run(["qemu-img", "resize", "-q", root / "3.qcow2", "128M"], check=True)
    create(root / "new.qcow2")
    with read_in(root) as read, served(declaration) as server:
        server.until(lambda: "new.qcow2" in server.ids("kept"), within_s=5, what="the new one is listed")
        assert size_mb(server, "kept", "3.qcow2") == 128
        assert server.ids("kept") == {*names, "new.qcow2"}
    # One more file is read past the cache, to see that the filesystem lives.
    assert {"3.qcow2", "new.qcow2"} <= read
    assert len(read) <= 3


@contextmanager
def read_in(directory: Path) -> Iterator[set[str]]:
    """The names of the files that anybody read in a directory, complete once the block has ended."""
    names: set[str] = set()
    descriptor = libc.inotify()
    try:
        libc.add_watch(descriptor, os.fsencode(directory), ACCESS | ONLYDIR)
        yield names
        os.set_blocking(descriptor, False)
        try:
            while events := os.read(descriptor, 1 << 16):
                while events:
                    length = int.from_bytes(events[12:16], "little")
                    names.add(events[16 : 16 + length].rstrip(b"\0").decode())
                    events = events[16 + length :]
        except BlockingIOError:
            names.discard("")  # the directory itself
    finally:
        os.close(descriptor)
