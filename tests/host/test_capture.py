"""Captures: a captured machine answers as the recorded one did, and holds no more than was read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper import errors
from storekeeper.host.capture import Machine, content_of, load, save
from storekeeper.host.captured import CapturedHost
from storekeeper.host.real import RealHost
from storekeeper.host.recording import RecordingHost
from storekeeper.naming import escape
from storekeeper.observation import Fact, Space
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Host, OpenImage, Scope

NOTHING: frozenset[bytes] = frozenset()


def heads(host: Host, root: Path, *paths: bytes) -> dict[bytes, object]:
    """What opening these images gives: row, birth time, head, a read further on; or the error."""
    found: dict[bytes, object] = {}

    def inspect(path: bytes, image: OpenImage) -> None:
        found[path] = (image.row, image.born_ns, image.size, image.head, image.read(5000, 200))

    host.open_images(
        str(root), paths, inspect, failed=lambda path, error: found.__setitem__(path, repr(error))
    )
    return found


def answer(ask: Callable[[Host], Any], host: Host) -> object:
    try:
        told = ask(host)
        return told if isinstance(told, tuple | bytes | str | dict) or told is None else list(told)
    except errors.HostError as error:
        return (type(error), error.subject, error.text)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    (root / "team").mkdir(parents=True)
    (root / "team/a.raw").write_bytes(b"QFI\xfb" + os.urandom(6000) + bytes(9_996))
    (root / b"50%\xff\n.raw".decode("utf-8", "surrogateescape")).write_bytes(b"QFI\xfb")
    (root / "link").symlink_to("team")
    os.mkfifo(root / "pipe")
    return root


def questions(volume: Path) -> list[Callable[[Host], Any]]:
    root = str(volume)
    return [
        lambda host: host.name,
        lambda host: host.read("/proc/sys/kernel/osrelease"),
        lambda host: host.read("/proc/no such thing"),
        lambda host: host.read("/proc/sys/kernel/osrelease", 1),
        lambda host: host.names(root),
        lambda host: host.names(root + "/gone"),
        lambda host: host.target(root + "/link"),
        lambda host: host.resolve(root + "/link"),
        lambda host: host.kind(root),
        lambda host: host.kind(root + "/gone"),
        lambda host: [host.space("/proc")],  # its numbers stand still
        lambda host: host.read_uncached(root),
        lambda host: [host.run(["sh", "-c", "printf '\\377 out'; echo err >&2; exit 2"], 10)],
        lambda host: [host.run(["no-such-program"], 10)],
        lambda host: host.block(root + "/team/a.raw", 100, 9000),
        lambda host: host.block(root + "/team/a.raw", 200, 300),
        lambda host: host.block(root + "/team/a.raw", 15_999, 100),
        lambda host: host.block("/dev/gone", 0, 10),
        lambda host: host.walk(root, skip=NOTHING, depth_limit=8),
        lambda host: host.walk(root, skip=NOTHING, depth_limit=8, below=b"team"),
        lambda host: host.walk(root + "/gone", skip=NOTHING, depth_limit=8),
        lambda host: host.look(root, [b"team/a.raw", b"pipe", b"50%\xff\n.raw", b"gone"]),
        lambda host: heads(host, volume, b"team/a.raw", b"50%\xff\n.raw", b"gone", b"pipe"),
        lambda host: host.extents(root, b"team/a.raw", 10),
        lambda host: host.extents(root, b"gone", 10),
    ]


def test_a_captured_machine_answers_as_the_recorded_one_did(volume: Path, tmp_path: Path) -> None:
    recording = RecordingHost(RealHost())
    asked = questions(volume)
    told = [answer(ask, recording) for ask in asked]
    assert told == [answer(ask, RealHost()) for ask in asked]
    assert told == [answer(ask, CapturedHost(recording.machine)) for ask in asked]
    save(recording.machine, tmp_path / "capture")
    loaded = CapturedHost.load(tmp_path / "capture")
    assert told == [answer(ask, loaded) for ask in asked]


def test_a_question_asked_twice_gets_its_first_answer(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("first")
    recording = RecordingHost(RealHost())
    assert recording.read(str(tmp_path / "x")) == b"first"
    with pytest.raises(errors.Absent):
        recording.read(str(tmp_path / "y"))
    (tmp_path / "x").write_text("second")
    (tmp_path / "y").write_text("late")
    assert recording.read(str(tmp_path / "x")) == b"first"
    with pytest.raises(errors.Absent):
        recording.read(str(tmp_path / "y"))


def test_what_was_not_asked_is_not_captured(tmp_path: Path) -> None:
    host = CapturedHost(Machine(name="host", captured_at=1.0))
    asks: list[Callable[[], object]] = [
        lambda: host.read("/x"),
        lambda: host.names("/x"),
        lambda: host.kind("/x"),
        lambda: host.space("/x"),
        lambda: host.run(["x"], 1),
        lambda: host.block("/x", 0, 1),
        host.domains,
        lambda: list(host.walk("/x", skip=NOTHING, depth_limit=1)),
        lambda: list(host.look("/x", [b"y"])),
        lambda: host.extents("/x", b"y", 1),
        lambda: host.read_uncached("/x"),
    ]
    for ask in asks:
        with pytest.raises(errors.NotCaptured):
            ask()
    assert "NotCaptured" in str(heads(host, tmp_path, b"y")[b"y"])


def test_bytes_of_an_image_that_were_not_read_are_not_captured(volume: Path, tmp_path: Path) -> None:
    recording = RecordingHost(RealHost())
    heads(recording, volume, b"team/a.raw")
    seen: list[Exception] = []

    def inspect(_: bytes, image: OpenImage) -> None:
        image.read(5500, 500)

    CapturedHost(recording.machine).open_images(
        str(volume), [b"team/a.raw"], inspect, failed=lambda _, error: seen.append(error)
    )
    assert isinstance(seen[0], errors.NotCaptured)
    save(recording.machine, tmp_path / "capture")
    written = b"".join(file.read_bytes() for file in (tmp_path / "capture").rglob("*.json"))
    unread = (volume / "team/a.raw").read_bytes()[5300:5400]
    assert escape(unread).encode() not in written


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=8), st.randoms())
def test_content_gives_back_what_was_read_and_nothing_else(reads: list[tuple[int, int]], random: Any) -> None:
    whole = bytes(random.choice([0] * 50 + [1, 2]) for _ in range(500))
    content = content_of((offset, whole[offset : offset + length]) for offset, length in reads)
    for offset, length in reads:
        assert content.at(offset, length) == whole[offset : offset + length]
    read = {at for offset, length in reads for at in range(offset, offset + length)}
    for at in range(500):
        assert content.at(at, 1) == (whole[at : at + 1] if at in read else None)


def test_a_capture_is_not_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(errors.Refused, match="not empty"):
        save(Machine(name="host", captured_at=1.0), tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"name": 3}', '{"name": "h", "captured_at": 1.0, "layout": 99}']
)
def test_a_folder_that_is_no_capture_is_refused_with_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "capture.json").write_text(content)
    with pytest.raises(errors.UsageError):
        load(tmp_path)


def test_a_path_that_leads_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(errors.Refused, match="plain path"):
        save(Machine(name="host", captured_at=1.0, files={"/../../escaped": b"x"}), tmp_path / "capture")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize(
    "source", ["mounts", "disks", "machine", "guests", "ocfs2", "space", "images", "extents"]
)
def test_a_source_sees_the_same_on_the_machine_and_on_its_capture(source: str, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    for kind in ("qcow2", "vmdk", "vdi", "vpc", "vhdx", "raw"):
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, root / f"a.{kind}", "10M"], check=True)
    backing = ["-b", "a.qcow2", "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, root / "b"], check=True)
    row = SOURCES[source]
    scope = Scope(key="storage/volume", root=str(root)) if row.of == "volume" else Scope()
    recording = RecordingHost(RealHost())
    seen = row.probe(recording, scope, None)
    save(recording.machine, tmp_path / "capture")
    again = row.probe(CapturedHost.load(tmp_path / "capture"), scope, None)
    assert again.faults == seen.faults
    assert list(map(timeless, again.facts.values())) == list(map(timeless, seen.facts.values()))


def timeless(fact: Fact) -> Fact:
    """The fact without the time that seeing it took."""
    return replace(fact, took_s=0.0) if isinstance(fact, Space) else fact
