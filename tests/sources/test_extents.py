"""What bounds the comparing of extents, and what it keeps when it cannot ask."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storekeeper.errors import Absent, Denied
from storekeeper.observation import Seen, Sharing
from storekeeper.sources import extents
from storekeeper.sources.contract import ExtentRow, Scope
from tests.sources.directory_host import DirectoryHost

MIB = 1 << 20
SHARED = 0x2000
NEVER_NS = 1 << 62


class Volume:
    """A directory on what says it is an XFS, with extents as we say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = DirectoryHost("xfs")
        self.last: Seen | None = None

    def file(self, name: str, *rows: ExtentRow) -> Path:
        path = self.root / name
        with path.open("wb") as file:
            file.truncate(MIB)
        self.host.extent_rows[name.encode()] = list(rows)
        return path

    def look(self, clock: Callable[[], float] = lambda: 0.0) -> dict[str, dict[str, int]]:
        self.host.asked.clear()
        self.last = extents.probe(
            self.host, Scope(key="s/v", root=str(self.root)), self.last, now_ns=lambda: NEVER_NS, clock=clock
        )
        return {key: fact.shared_with for key, fact in self.last.facts.items() if isinstance(fact, Sharing)}

    @property
    def faults(self) -> list[tuple[str, str]]:
        assert self.last is not None
        return [(fault.code, fault.hides) for fault in self.last.faults]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def shared(at: int, length: int = MIB) -> ExtentRow:
    return ExtentRow(0, at, length, SHARED)


def test_only_changed_files_are_asked_again(volume: Volume) -> None:
    volume.file("a", shared(0))
    path = volume.file("b", shared(0))
    assert volume.look() == {"a": {"b": MIB}, "b": {"a": MIB}}
    assert volume.look() == {"a": {"b": MIB}, "b": {"a": MIB}}
    assert volume.host.asked == []
    os.utime(path)
    volume.look()
    assert volume.host.asked == [b"b"]


def test_what_can_be_no_image_is_not_asked(volume: Volume) -> None:
    volume.file("a")
    (volume.root / "tiny").write_bytes(b"x" * 512)
    (volume.root / "odd").write_bytes(b"x" * 5000)
    volume.look()
    assert volume.host.asked == [b"a"]


def test_a_look_ends_in_time_and_the_next_one_goes_on(volume: Volume) -> None:
    for number in range(10):
        volume.file(str(number), shared(0))
    ticks = itertools.count(step=extents.TIME_LIMIT_S / 5)
    volume.look(clock=lambda: next(ticks))
    assert 0 < len(volume.host.asked) < 10
    assert volume.faults == [("timed-out", "")]
    first = set(volume.host.asked)
    assert len(volume.look()) == 10
    assert volume.faults == []
    assert first.isdisjoint(volume.host.asked)


def test_a_file_with_too_many_extents_is_compared_as_far_as_bounded(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extents, "EXTENT_LIMIT", 2)
    rows = [ExtentRow(at * 4096, (9 + 2 * at) * 4096, 4096, SHARED) for at in range(5)]
    volume.file("a", *rows)
    volume.file("b", *rows)
    assert volume.look() == {"a": {"b": 8192}, "b": {"a": 8192}}
    assert volume.faults == [("too-many", ""), ("too-many", "")]


def test_what_cannot_be_asked_any_more_is_as_it_was(volume: Volume) -> None:
    volume.file("a", shared(0))
    path = volume.file("b", shared(0))
    first = volume.look()
    volume.host.unreadable[b"b"] = Denied("b", "Permission denied")
    os.utime(path)
    assert volume.look() == first
    assert volume.faults == [("denied", "b")]


def test_a_file_that_vanishes_while_it_is_looked_at_is_gone(volume: Volume) -> None:
    volume.file("a", shared(0))
    volume.file("b", shared(0))
    volume.host.unreadable[b"b"] = Absent("b", "No such file or directory")
    assert volume.look() == {}
    assert volume.faults == []


def test_an_unreadable_directory_keeps_what_was_known(volume: Volume) -> None:
    (volume.root / "team").mkdir()
    volume.file("a", shared(0))
    volume.file("team/b", shared(0))
    first = volume.look()
    volume.host.unreadable[b"team"] = Denied("team", "Permission denied")
    assert volume.look() == first
    assert volume.faults == [("denied", "team/")]


def test_beneath_a_missing_mount_nothing_is_asked(volume: Volume) -> None:
    volume.file("a", shared(0))
    volume.file("b", shared(0))
    first = volume.look()
    assert volume.last is not None
    seen = extents.probe(
        volume.host, Scope(key="s/v", root=str(volume.root), must_be_mount=True), volume.last
    )
    assert seen.blind is not None
    assert seen.facts == volume.last.facts
    assert len(first) == 2


def test_of_many_older_files_those_with_most_bytes_in_common_are_told(volume: Volume) -> None:
    for number in range(1, 7):
        path = volume.file(f"old{number}", shared(0, number * 4096))
        os.utime(path, ns=(number, number))
    volume.file("new", shared(0))
    told = volume.look()["new"]
    assert told == {f"old{number}": number * 4096 for number in (3, 4, 5, 6)}


def test_a_parent_that_changes_is_compared_with_its_copies_again(volume: Volume) -> None:
    path = volume.file("a", shared(0))
    volume.file("b", shared(0))
    volume.look()
    volume.host.extent_rows[b"a"] = [shared(0, 4096)]
    os.utime(path)
    assert volume.look() == {"a": {"b": 4096}, "b": {"a": 4096}}
