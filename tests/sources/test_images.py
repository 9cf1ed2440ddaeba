"""What is an image, which of them are read again, and what a look that fails half way keeps."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.errors import Denied, Unreadable
from storekeeper.formats import identify
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fault, Header, Image, Seen
from storekeeper.sources import images
from storekeeper.sources.contract import OpenImage, Scope
from storekeeper.sources.looked import Looked
from storekeeper.sources.threads import SAMPLE
from tests.formats.seeds import seeds
from tests.sources.directory_host import DirectoryHost

MBR = bytes(446) + bytes.fromhex("80000200 83000000 01000000 08000000") + bytes(48) + b"\x55\xaa"
ISO = bytes(0x8000) + b"\x01CD001\x01".ljust(2048, b"\0")


class Volume:
    """A directory, looked at again and again; its clock stands far behind every change unless told."""

    def __init__(self, root: Path, filesystem_type: str = "ext4") -> None:
        self.root = root
        self.host = DirectoryHost(filesystem_type)
        self.last: Seen | None = None
        self.used: dict[str, str] = {}

    def write(self, name: str | bytes, content: bytes = b"", size: int = 0) -> Path:
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.truncate(max(size, len(content)))
        return path

    def seed(self, name: str, kind: str) -> Path:
        """A real header of this kind, as a file of the size that it had."""
        seed = seeds()[kind]
        path = self.write(name, size=seed.size)
        with path.open("r+b") as file:
            for at, piece in seed.pieces.items():
                file.seek(at)
                file.write(piece)
        return path

    def look(self, *paths: str, now_ns: int = sys.maxsize) -> dict[str, Image]:
        self.host.opened.clear()
        scope = Scope(key="s/v", root=str(self.root), paths=paths, used=self.used)
        self.last = images.probe(self.host, scope, self.last, now_ns=lambda: now_ns)
        found = {key: fact for key, fact in self.last.facts.items() if isinstance(fact, Image)}
        assert len(found) == len(self.last.facts)
        assert all(key == image.key for key, image in found.items())
        return found

    @property
    def faults(self) -> tuple[Fault, ...]:
        assert self.last is not None
        return self.last.faults


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    root = tmp_path / "volume"
    root.mkdir()
    return Volume(root)


# --- what is an image -----------------------------------------------------------------------------


def test_an_image_is_known_by_its_header_whatever_its_name(volume: Volume) -> None:
    path = volume.seed("no suffix", "qcow2-v3")
    found = volume.look()["no suffix"]
    status = path.stat()
    assert (found.evidence, found.header.format) == ("header", "qcow2")
    assert (found.file_bytes, found.allocated_bytes) == (status.st_size, status.st_blocks * 512)
    assert (found.inode, found.modified_ns, found.changed_ns) == (
        status.st_ino, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "size", "evidence"),
    [
        ("disk.raw", b"", 1 << 20, "name"),
        ("disk.IMG", b"", 512, "name"),
        ("disk", MBR, 1 << 20, "partition-table"),
        ("disk", b"", 1 << 20, None),
        ("disk.raw", b"", 513, None),
        ("disk.raw", ISO, 1 << 20, None),
        ("setup.iso", ISO, 1 << 20, None),
        ("initrd.img", b"070701", 1 << 20, None),
        ("notes.txt", b"hello", 5, None),
    ],
)
def test_a_file_without_a_header(
    volume: Volume, name: str, content: bytes, size: int, evidence: str | None
) -> None:
    volume.write(name, content, size)
    found = volume.look()
    assert [image.evidence for image in found.values()] == ([evidence] if evidence else [])


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ocfs2"])
def test_where_extents_can_be_shared_whole_sectors_may_prove_to_be_a_copy(volume: Volume, kind: str) -> None:
    volume.write("copy", b"", 1 << 20)
    volume.write("setup.iso", ISO)
    volume.host.filesystem_type = kind
    assert {key: image.evidence for key, image in volume.look().items()} == {"copy": "none"}


def test_what_a_guest_uses_is_an_image_whatever_it_holds(volume: Volume) -> None:
    volume.write("odd", b"hello", 5)
    volume.write("win.part", b"", 1 << 20)
    volume.write(".hidden", b"", 1 << 20)
    volume.used = {"odd": "raw", "win.part": "raw", ".hidden": ""}
    found = volume.look()
    assert {key: (image.evidence, image.temporary) for key, image in found.items()} == {
        "odd": ("used", False),
        "win.part": ("used", True),
        ".hidden": ("used", True),
    }
    assert found["odd"].header.virtual_bytes == 512


@pytest.mark.parametrize("name", [".win.qcow2", "a.part", "a.partial", "a.tmp", "a.crdownload", "a.filepart"])
def test_a_temporary_name_that_no_guest_uses_is_not_even_opened(volume: Volume, name: str) -> None:
    volume.seed(name, "qcow2-v3")
    assert volume.look() == {}
    assert volume.host.opened == []


def test_who_begins_or_ends_to_use_a_file_changes_what_it_is(volume: Volume) -> None:
    volume.write("odd", b"hello", 5)
    assert volume.look() == {}
    volume.used = {"odd": "raw"}
    assert volume.look()["odd"].evidence == "used"
    volume.used = {}
    assert volume.look() == {}


def test_other_systems_directories_are_left_out(volume: Volume) -> None:
    for name in (".glusterfs", ".trashcan", ".snapshot", ".snapshots", ".zfs", "lost+found"):
        volume.seed(f"{name}/a.qcow2", "qcow2-v3")
        volume.seed(f"team/{name}/a.qcow2", "qcow2-v3")
    volume.seed("team/a.qcow2", "qcow2-v3")
    assert set(volume.look()) == {"team/a.qcow2"}
    assert set(volume.look("team/.glusterfs/a.qcow2", ".zfs")) == {"team/a.qcow2"}


def test_ids_are_the_escaped_paths(volume: Volume) -> None:
    for name in (b"50%.raw", b"\xff/\n.raw", "ü/é.raw".encode()):
        volume.write(name, b"", 512)
    assert set(volume.look()) == {"50%25.raw", "%FF/%0A.raw", "ü/é.raw"}


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"/" not in name), min_size=1))
def test_names_escaped_together_are_those_escaped_each(names: list[bytes]) -> None:
    assert escape(b"/".join(names)).split("/") == [escape(name) for name in names]


def test_each_hard_link_is_an_image(volume: Volume) -> None:
    path = volume.seed("one.qcow2", "qcow2-v3")
    os.link(path, volume.root / "two.qcow2")
    found = volume.look()
    assert found["one.qcow2"].inode == found["two.qcow2"].inode


def test_equal_headers_are_one_object(volume: Volume) -> None:
    volume.seed("one.qcow2", "qcow2-v3")
    volume.seed("two.qcow2", "qcow2-v3")
    found = volume.look()
    assert found["one.qcow2"].header is found["two.qcow2"].header


def test_only_where_extents_can_be_shared_a_birth_time_is_asked_for(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    assert volume.look()["a.qcow2"].born_ns == UNKNOWN
    assert Volume(volume.root, "xfs").look()["a.qcow2"].born_ns > 0


def test_no_special_file_and_no_link_is_opened(volume: Volume) -> None:
    os.mkfifo(volume.root / "fifo.raw")
    (volume.root / "link.raw").symlink_to("/etc/passwd")
    (volume.root / "dir").symlink_to("/etc")
    volume.used = {"fifo.raw": "raw", "link.raw": "raw", "dir/passwd": "raw"}
    assert volume.look() == {}
    assert volume.look("fifo.raw", "link.raw", "dir/passwd", "dir", "../etc/passwd", "/etc/passwd") == {}
    assert volume.host.opened == []


# --- looking again --------------------------------------------------------------------------------


def test_what_did_not_change_is_the_same_object_and_not_opened(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.write("notes.txt", b"hello")
    first = volume.look()
    second = volume.look()
    assert second["a.qcow2"] is first["a.qcow2"]
    assert volume.host.opened == []


def test_what_changed_is_read_again(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    volume.look()
    volume.seed("a.qcow2", "vdi")
    assert volume.look()["a.qcow2"].header.format == "vdi"
    assert volume.host.opened == [b"a.qcow2"]


def test_space_taken_later_is_seen_without_reading(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    found = volume.look()["a.qcow2"]
    assert isinstance(volume.last, Looked)
    former = replace(found, allocated_bytes=0)
    volume.last = replace(volume.last, facts={"a.qcow2": former}, files={"a.qcow2": former})
    assert volume.look()["a.qcow2"] == found
    assert volume.host.opened == []


def test_what_changed_within_a_tick_of_the_last_look_is_read_again(volume: Volume) -> None:
    path = volume.seed("a.qcow2", "qcow2-v3")
    volume.look(now_ns=path.stat().st_ctime_ns + 5_000_000)
    volume.look()
    assert volume.host.opened == [b"a.qcow2"]


def test_after_a_restart_only_what_changed_is_read(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    first = volume.look()
    assert volume.last is not None
    volume.last = Seen(source="images", scope="s/v", facts=dict(volume.last.facts))
    volume.seed("b.qcow2", "vdi")
    assert volume.look()["a.qcow2"] is first["a.qcow2"]
    assert volume.host.opened == [b"b.qcow2"]


def test_a_look_at_paths_changes_only_those(volume: Volume) -> None:
    for name in ("a.qcow2", "b.qcow2", "team/c.qcow2", "team/d.qcow2"):
        volume.seed(name, "qcow2-v3")
    first = volume.look()
    volume.seed("a.qcow2", "vdi")
    volume.seed("b.qcow2", "vdi")
    (volume.root / "team/c.qcow2").unlink()
    volume.seed("new/e.qcow2", "qcow2-v3")
    second = volume.look("a.qcow2", "team/c.qcow2", "new")
    assert set(volume.host.opened) == {b"a.qcow2", b"new/e.qcow2"}
    assert set(second) == {"a.qcow2", "b.qcow2", "team/d.qcow2", "new/e.qcow2"}
    assert second["a.qcow2"].header.format == "vdi"
    assert second["b.qcow2"] is first["b.qcow2"]


def test_a_directory_that_is_gone_takes_what_lay_in_it(volume: Volume) -> None:
    path = volume.seed("team/a/b.qcow2", "qcow2-v3")
    volume.seed("team-mates.qcow2", "qcow2-v3")
    volume.look()
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    assert set(volume.look("team")) == {"team-mates.qcow2"}


def test_a_file_that_became_a_directory_is_looked_into(volume: Volume) -> None:
    volume.seed("a", "qcow2-v3")
    volume.look()
    (volume.root / "a").unlink()
    volume.seed("a/b", "qcow2-v3")
    assert set(volume.look("a")) == {"a/b"}


# --- what cannot be seen --------------------------------------------------------------------------


def test_an_unreadable_directory_keeps_what_lay_in_it(volume: Volume) -> None:
    volume.seed("team/a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    first = volume.look()
    volume.host.unreadable[b"team"] = Unreadable("team", "Input/output error")
    (volume.root / "b.qcow2").unlink()
    for paths in ((), ("team", "b.qcow2"), ("team/a.qcow2", "b.qcow2")):
        second = volume.look(*paths)
        assert set(second) == {"team/a.qcow2"}
        assert second["team/a.qcow2"] is first["team/a.qcow2"]
        assert [(fault.code, fault.hides) for fault in volume.faults] == [("io-error", "team/")]


def test_a_fault_elsewhere_stays_when_only_a_path_is_looked_at_and_goes_with_its_cause(
    volume: Volume,
) -> None:
    volume.seed("team/a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    volume.host.unreadable[b"team"] = Unreadable("team", "Input/output error")
    volume.look()
    volume.look("b.qcow2")
    assert [fault.hides for fault in volume.faults] == ["team/"]
    volume.host.unreadable.clear()
    assert set(volume.look("team")) == {"team/a.qcow2", "b.qcow2"}
    assert volume.faults == ()


def test_an_image_that_cannot_be_read_any_more_has_a_fault_and_is_tried_again(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    first = volume.look()
    volume.host.unreadable[b"a.qcow2"] = Unreadable("a.qcow2", "Input/output error")
    os.utime(volume.root / "a.qcow2")
    second = volume.look()["a.qcow2"]
    assert second.header == first["a.qcow2"].header
    assert [fault.code for fault in second.faults] == ["io-error"]
    assert volume.faults == ()
    volume.host.unreadable.clear()
    assert volume.look()["a.qcow2"].faults == ()


def test_a_failed_reading_is_repeated_though_the_file_looks_the_same(volume: Volume) -> None:
    path = volume.seed("a.qcow2", "qcow2-v3")
    volume.look(now_ns=path.stat().st_ctime_ns)
    volume.host.unreadable[b"a.qcow2"] = Unreadable("a.qcow2", "Input/output error")
    assert [fault.code for fault in volume.look()["a.qcow2"].faults] == ["io-error"]
    volume.host.unreadable.clear()
    assert volume.look()["a.qcow2"].faults == ()


def test_a_file_that_could_never_be_read_is_a_fault_of_the_look(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    volume.host.unreadable[b"a.qcow2"] = Denied("a.qcow2", "Permission denied")
    assert set(volume.look()) == {"b.qcow2"}
    assert [(fault.code, fault.hides) for fault in volume.faults] == [("denied", "a.qcow2")]


def test_many_unreadable_files_are_counted_not_listed(volume: Volume) -> None:
    for number in range(300):
        volume.write(f"{number}.raw", b"", 512)
        volume.host.unreadable[f"{number}.raw".encode()] = Denied("x", "Permission denied")
    volume.look()
    assert len(volume.faults) == 101
    assert volume.faults[-1].text.startswith("200 more files")


def test_a_root_that_is_gone_hides_everything_and_keeps_it(volume: Volume) -> None:
    path = volume.seed("a.qcow2", "qcow2-v3")
    first = volume.look()
    path.rename(volume.root.parent / "a.qcow2")
    volume.root.rmdir()
    assert volume.look() == first
    assert volume.last is not None
    assert volume.last.blind == Fault(
        code="absent", text=f"{volume.root}: No such file or directory", hides="*"
    )


def test_after_a_blind_look_paths_are_not_enough(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    volume.seed("b.qcow2", "qcow2-v3")
    volume.root.rename(volume.root.parent / "away")
    volume.look()
    (volume.root.parent / "away").rename(volume.root)
    assert set(volume.look("a.qcow2")) == {"a.qcow2", "b.qcow2"}


@pytest.mark.parametrize("says", [{"must_be_mount": True}, {"source": "nas:/export"}])
def test_nothing_is_looked_at_beneath_a_missing_mount(tmp_path: Path, says: dict[str, object]) -> None:
    class Untouched(DirectoryHost):
        walk = None  # type: ignore[assignment]

    seen = images.probe(Untouched(), Scope(key="s/v", root=str(tmp_path), **says), None)  # type: ignore[arg-type]
    assert seen.blind is not None
    assert "must be a mount point" in seen.blind.text
    mounted = DirectoryHost(mounted_at=str(tmp_path))
    assert images.probe(mounted, Scope(key="s/v", root=str(tmp_path), **says), None).faults == ()  # type: ignore[arg-type]


def test_what_is_mounted_over_the_root_meanwhile_makes_the_look_worthless(volume: Volume) -> None:
    volume.seed("a.qcow2", "qcow2-v3")
    first = volume.look()
    (volume.root / "a.qcow2").unlink()
    volume.host.while_walking = lambda: setattr(volume.host, "mounted_at", str(volume.root.parent))

    # The mount beneath has id 1, the one over it id 20.
    volume.host.mounted_at = "/elsewhere"
    assert volume.look() == first
    assert volume.last is not None
    assert volume.last.blind is not None


def test_a_header_that_lies_is_an_image_with_a_fault_and_its_neighbours_are_exact(volume: Volume) -> None:
    volume.write("cut.qcow2", b"QFI\xfb\0\0\0\3" + bytes(63))
    volume.seed("a.qcow2", "qcow2-v3")
    found = volume.look()
    assert [fault.code for fault in found["cut.qcow2"].header.faults] == ["truncated"]
    assert found["a.qcow2"].header.faults == ()


def test_a_bug_in_a_format_costs_one_file(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    volume.write("a.raw", b"boom", 512)
    volume.seed("b.qcow2", "qcow2-v3")

    def failing(file: OpenImage) -> Header | None:
        if file.head.startswith(b"boom"):
            raise ZeroDivisionError
        return identify(file)

    monkeypatch.setattr("storekeeper.sources.images.identify", failing)
    assert set(volume.look()) == {"b.qcow2"}
    assert [(fault.code, fault.hides) for fault in volume.faults] == [("internal", "a.raw")]


def test_a_volume_with_too_many_files_says_so_and_keeps_what_it_knew(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.seed("a/1.qcow2", "qcow2-v3")
    volume.seed("b/2.qcow2", "qcow2-v3")
    first = volume.look()
    monkeypatch.setattr("storekeeper.sources.walking.FILE_LIMIT", 0)
    assert volume.look() == first
    assert [(fault.code, fault.hides) for fault in volume.faults] == [("too-many", "")]


def test_where_latency_rules_more_threads_open_the_files(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(SAMPLE + 40):
        volume.write(f"{number}.raw", b"", 512)
    monkeypatch.setattr(images, "threads_for", lambda open_s: 8)
    volume.host.filesystem_type = "nfs4"
    assert len(volume.look()) == SAMPLE + 40
    assert volume.host.threads == [1, 8]
    volume.host.threads.clear()
    volume.write("new.raw", b"", 512)
    volume.look()
    assert volume.host.threads == [8]
