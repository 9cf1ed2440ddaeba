"""Watching directories: every change that inotify tells of becomes a hint, and every loss is said."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from storekeeper.host import libc
from storekeeper.host.watching import DirectoryWatch
from storekeeper.host.wire import Hint, Unwatched, Watch
from storekeeper.sources.contract import Scope


class Told:
    """What a watch of `root` sent, and whether it has been set up."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Hint | Unwatched] = SimpleQueue()
        self.open = threading.Event()
        self.open.set()

    def put(self, message: Hint | Unwatched) -> None:
        self.open.wait()
        self.queue.put(message)

    def next(self) -> Hint:
        told = self.queue.get(timeout=10)
        assert isinstance(told, Hint), told
        return told

    def unwatched(self) -> Unwatched:
        told = self.queue.get(timeout=10)
        assert isinstance(told, Unwatched), told
        return told

    def until_hinted(self, path: str, *others: str) -> None:
        """Waits for hints that together name these paths, or everything."""
        wanted = {path, *others}
        while wanted:
            told = self.next()
            if not told.paths:
                return
            wanted -= set(told.paths)

    def nothing_more(self) -> None:
        with pytest.raises(Empty):
            self.queue.get(timeout=0.05)


@contextmanager
def watched(root: Path) -> Iterator[Told]:
    """A watch of `root` that is set up, in a thread which ends when `root` is moved away."""
    told = Told()
    watch = DirectoryWatch(
        Watch(source="images", scope=Scope(key="storage/volume", root=str(root))), told.put
    )
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    set_up(root, told)
    try:
        yield told
    finally:
        if root.exists():
            root.rename(root.with_name(f"{root.name} moved"))
        thread.join(10)
        assert not thread.is_alive()


def set_up(root: Path, told: Told) -> None:
    """Waits until the watch sends hints for `root`."""
    end = time.monotonic() + 10
    for number in range(1_000_000):
        (root / f".probe{number}").touch()
        try:
            told.queue.get(timeout=0.02)
        except Empty:
            assert time.monotonic() < end
        else:
            break
    (root / ".done").touch()
    told.until_hinted(".done")
    while not told.queue.empty():
        told.queue.get()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    (root / "team/a").mkdir(parents=True)
    return root


def test_every_kind_of_change_hints_at_its_path(root: Path) -> None:
    with watched(root) as told:
        disk = root / "team/a/disk.raw"
        disk.write_bytes(b"x")
        told.until_hinted("team/a/disk.raw")
        disk.chmod(0o600)
        told.until_hinted("team/a/disk.raw")
        disk.rename(root / "moved.raw")
        told.until_hinted("team/a/disk.raw", "moved.raw")
        os.link(root / "moved.raw", root / "team/linked.raw")
        told.until_hinted("team/linked.raw")
        (root / "moved.raw").unlink()
        told.until_hinted("moved.raw")


def test_a_name_in_a_hint_is_escaped(root: Path) -> None:
    with watched(root) as told:
        (root / "50%\n").touch()
        told.until_hinted("50%25%0A")


def test_a_new_directory_is_watched_with_all_below_it(root: Path) -> None:
    with watched(root) as told:
        (root / "new/b").mkdir(parents=True)
        told.until_hinted("new")
        (root / "new/b/disk.raw").touch()
        told.until_hinted("new/b/disk.raw")


def test_a_directory_that_was_moved_is_known_by_its_new_name_only(root: Path) -> None:
    with watched(root) as told:
        (root / "team").rename(root / "crew")
        told.until_hinted("team", "crew")
        (root / "crew/a/disk.raw").touch()
        told.until_hinted("crew/a/disk.raw")
        (root / "crew").rename(root.parent / "outside")
        told.until_hinted("crew")
        (root.parent / "outside/a/other.raw").touch()
        (root / "end").touch()
        hints: list[str] = []
        while "end" not in hints:
            hints += told.next().paths
        assert not [path for path in hints if "other" in path]


def test_a_symbolic_link_to_a_directory_is_not_watched(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    with watched(root) as told:
        (outside / "disk.raw").touch()
        told.nothing_more()


def test_gluster_s_own_directory_is_not_watched(root: Path) -> None:
    (root / ".glusterfs").mkdir()
    with watched(root) as told:
        (root / ".glusterfs/x").touch()
        told.nothing_more()


def test_events_that_wait_together_are_one_hint_with_each_path_once(root: Path) -> None:
    with watched(root) as told:
        told.open.clear()  # the watch stands still at its next hint
        for _ in range(300):
            (root / "busy.raw").write_bytes(b"x")
        told.open.set()
        hints = [told.next()]
        (root / "end").touch()
        while "end" not in (hint := told.next()).paths:
            hints.append(hint)
        assert all(hint.paths == ("busy.raw",) for hint in hints)
        assert len(hints) <= 4


def test_a_root_that_was_moved_or_removed_is_said_to_be_unwatched(root: Path) -> None:
    with watched(root) as told:
        root.rename(root.with_name("elsewhere"))
        assert told.next() == Hint(source="images", scope="storage/volume")
        assert "moved or removed" in told.unwatched().text


def test_a_root_that_is_not_there_is_said_to_be_unwatched(tmp_path: Path) -> None:
    told: list[Hint | Unwatched] = []
    scope = Scope(key="storage/volume", root=str(tmp_path / "gone"))
    DirectoryWatch(Watch(source="images", scope=scope), told.append).run()
    assert len(told) == 1
    assert isinstance(told[0], Unwatched)
    assert "No such file" in told[0].text


def test_an_overflow_hints_at_everything_and_finds_the_directories_that_came_meanwhile(root: Path) -> None:
    queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with watched(root) as told:
        told.open.clear()  # the watch stands still at its next hint
        for number in range(queued):  # two events each
            (root / str(number)).touch()
        (root / "late").mkdir()
        told.open.set()
        while told.next() != Hint(source="images", scope="storage/volume"):
            pass
        (root / "late/disk.raw").touch()
        told.until_hinted("late/disk.raw")


def test_too_few_watches_is_said_with_what_to_set_and_the_rest_stays_watched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = libc.add_watch

    def limited(descriptor: int, path: bytes, mask: int) -> int:
        if limited.left == 0:  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        limited.left -= 1  # type: ignore[attr-defined]
        return add(descriptor, path, mask)

    limited.left = 1  # type: ignore[attr-defined]
    monkeypatch.setattr(libc, "add_watch", limited)
    told = Told()
    scope = Scope(key="storage/volume", root=str(root))
    watch = DirectoryWatch(Watch(source="images", scope=scope), told.put)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    unwatched = told.unwatched()
    assert "/proc/sys/fs/inotify/max_user_watches" in unwatched.text
    assert "sysctl fs.inotify.max_user_watches=" in unwatched.text
    (root / "disk.raw").touch()
    told.until_hinted("disk.raw")
    root.rename(root.with_name("moved"))
    thread.join(10)
    assert not thread.is_alive()
