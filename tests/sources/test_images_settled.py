"""A directory in which nothing changed is not gone through again, and nothing is missed by that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from storekeeper.errors import Denied, Unreadable
from storekeeper.observation import Seen
from storekeeper.sources import images
from storekeeper.sources.contract import Directory, Scope
from tests.sources.test_images import Volume, volume
from tests.sources.test_images_of_several_files import DESCRIPTOR

__all__ = ["volume"]

CLAIMS_X = DESCRIPTOR.format(extents='RW 8 FLAT "x.img" 0').encode()


def settle(volume: Volume) -> None:
    """The first look opens all, the second one sees each row, the third one finds them unchanged."""
    for _ in range(3):
        volume.look()


def test_a_look_that_finds_nothing_changed_has_the_very_same_facts(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("team/b.qcow2", "qcow2-v3")
    volume.write("team/notes.txt", b"hello")
    volume.look()
    facts = volume.look()
    assert volume.last is not None
    last = volume.last.facts
    assert volume.look() == facts
    assert volume.last.facts is last
    assert volume.host.opened == []


def test_beside_a_directory_that_changed_the_others_are_as_known(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("team/b.qcow2", "qcow2-v3")
    volume.write("notes.txt", b"hello")
    settle(volume)
    volume.seed("team/c.qcow2", "vdi")
    assert set(volume.look()) == {"a.qcow2", "team/b.qcow2", "team/c.qcow2"}
    assert volume.host.opened == [b"team/c.qcow2"]
    volume.seed("d.qcow2", "vdi")
    assert set(volume.look()) == {"a.qcow2", "d.qcow2", "team/b.qcow2", "team/c.qcow2"}
    assert volume.host.opened == [b"d.qcow2"]


def test_the_last_files_go_like_any_other(volume: Volume) -> None:
    path = volume.seed("team/a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    path.unlink()
    assert set(volume.look()) == {"b.qcow2"}
    (volume.root / "b.qcow2").unlink()
    assert volume.look() == {}


def test_after_a_restart_a_volume_that_was_emptied_is_empty(volume: Volume) -> None:
    path = volume.seed("a.qcow2", "qcow2-v3")
    volume.look()
    assert volume.last is not None
    volume.last = Seen(source="images", scope="s/v", facts=dict(volume.last.facts))
    path.unlink()
    assert volume.look() == {}


def test_a_directory_that_left_and_came_back_while_only_its_leaving_was_told_is_seen(volume: Volume) -> None:
    volume.seed("team/a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    (volume.root / "team").rename(volume.root / ".elsewhere")
    assert set(volume.look("team")) == {"b.qcow2"}
    (volume.root / ".elsewhere").rename(volume.root / "team")
    assert set(volume.look()) == {"b.qcow2", "team/a.qcow2"}


def test_an_image_that_failed_when_only_it_was_looked_at_is_tried_again(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    settle(volume)
    volume.seed("a.qcow2", "vdi")
    volume.host.unreadable[b"a.qcow2"] = Unreadable("a.qcow2", "Input/output error")
    assert volume.look("a.qcow2")["a.qcow2"].faults
    volume.host.unreadable.clear()
    assert volume.look()["a.qcow2"].header.format == "vdi"


def test_a_file_that_never_could_be_read_is_tried_at_each_look(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    volume.host.unreadable[b"a.qcow2"] = Denied("a.qcow2", "Permission denied")
    settle(volume)
    volume.host.unreadable.clear()
    assert set(volume.look()) == {"a.qcow2", "b.qcow2"}


def test_what_an_unreadable_directory_hid_goes_with_the_directory(volume: Volume) -> None:
    path = volume.seed("team/a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    volume.host.unreadable[b"team"] = Denied("team", "Permission denied")
    for _ in range(2):
        assert set(volume.look()) == {"b.qcow2", "team/a.qcow2"}
    volume.host.unreadable.clear()
    path.unlink()
    path.parent.rmdir()
    assert set(volume.look()) == {"b.qcow2"}
    assert volume.faults == ()


def test_what_the_end_of_a_directory_hid_goes_once_all_of_it_was_read(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    path.unlink()
    walk = volume.host.walk

    def in_part(root: str, **options: Any) -> Iterator[Directory]:
        for directory in walk(root, **options):
            yield replace(directory, fault="io-error", fault_text="Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(volume.host, "walk", in_part)
        assert set(volume.look()) == {"a.qcow2", "b.qcow2"}
    assert set(volume.look()) == {"b.qcow2"}


def test_a_file_that_seemed_to_be_gone_for_a_moment_is_seen_again(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    with monkeypatch.context() as patched:
        patched.setattr(volume.host, "look", lambda _root, paths: iter([None] * len(paths)))
        assert set(volume.look("a.qcow2")) == {"b.qcow2"}
    assert set(volume.look()) == {"a.qcow2", "b.qcow2"}


def test_what_changed_within_a_tick_of_a_look_is_read_until_it_is_older(volume: Volume) -> None:
    now_ns = volume.seed("a.qcow2", "qcow2-v3").stat().st_ctime_ns
    for _ in range(4):
        volume.look(now_ns=now_ns)
        assert volume.host.opened == [b"a.qcow2"]
    volume.look(now_ns=sys.maxsize)
    volume.look()
    assert volume.host.opened == []


def test_what_took_more_space_since_is_seen(volume: Volume) -> None:
    path = volume.write("a.raw", size=1 << 20)
    settle(volume)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"x" * 65536)
    assert volume.look()["a.raw"].allocated_bytes == path.stat().st_blocks * 512 > before.st_blocks * 512


def test_an_image_that_claims_files_no_more_gives_them_back(volume: Volume) -> None:
    volume.write("a.vmdk", CLAIMS_X)
    volume.write("x.img", size=4096)
    settle(volume)
    assert set(volume.look()) == {"a.vmdk"}
    volume.seed("a.vmdk", "qcow2-v3")
    assert set(volume.look()) == {"a.vmdk", "x.img"}


def test_who_begins_to_use_a_file_of_an_unchanged_directory_makes_it_an_image(volume: Volume) -> None:
    volume.write("team/disk", b"hello")
    volume.seed("b.qcow2", "qcow2-v3")
    settle(volume)
    volume.used = {"team/disk": "raw"}
    assert set(volume.look()) == {"b.qcow2", "team/disk"}


def test_a_first_look_asks_for_no_more_than_names(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    assert [walked.files for walked in volume.host.walk(
        str(volume.root), skip=frozenset(), depth_limit=1, names_only=True
    )] == [[]]  # fmt: skip
    images.probe(volume.host, Scope(key="s/v", root=str(volume.root)), None)
    assert volume.host.opened == [b"a.qcow2"]
