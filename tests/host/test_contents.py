"""What of a file that is no image, or a raw one, is captured: what it was judged by, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.formats import FORMATS, content, identify, raw
from storekeeper.formats.contract import SECTOR_BYTES, BoundedFile
from storekeeper.host.capture import BlockRead, content_of
from storekeeper.host.captured import CapturedHost
from storekeeper.host.contents import without_contents, without_device_contents
from storekeeper.host.real import RealHost
from storekeeper.host.recording import RecordingHost
from storekeeper.observation import Header
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope

SIZE = 1 << 20
ENTRY = (
    bytes((0x80, 0, 1, 0, 7, 0, 0, 0)) + (64).to_bytes(4, "little") + (1000).to_bytes(4, "little") + bytes(48)
)
PARTITIONED = [(446, ENTRY), (510, b"\x55\xaa")]
PROTECTIVE = [(446, ENTRY.replace(b"\7", b"\xee")), (510, b"\x55\xaa")]
MARKS: list[list[tuple[int, bytes]]] = [
    *([(0, magic)] for magic in content._AT_START),
    *([(offset, magic)] for offset, magic, _ in content._INSIDE_HEAD),
    *([(offset % SIZE, magic)] for row in FORMATS for offset, magic in row.magic),
    *([(32768 + offset, word)] for offset in (1, 9) for word in content._DESCRIPTOR_IDS),
    [(0, b"MZ"), (60, (128).to_bytes(4, "little")), (128, b"PE\0\0")],
    PARTITIONED,
    [*PARTITIONED, (0, b"\x1f\x8b\x08")],
    [*PROTECTIVE, (512, b"EFI PART")],
    [*PROTECTIVE, (4096, b"EFI PART")],
]


class File(BoundedFile):
    """A file in memory that remembers what was read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data), data[:4096])
        self.reads = [(0, self.head)]
        self._data = data

    def _pread(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, self._data[offset : offset + length]))
        return self.reads[-1][1]


def judged(file: File) -> tuple[Header | None, str | None]:
    header = identify(file)
    return header, None if header else raw.evidence("a.raw", file)


@given(st.lists(st.sampled_from(MARKS), max_size=3))
def test_a_file_is_judged_by_its_capture_as_by_itself(marks: list[list[tuple[int, bytes]]]) -> None:
    data = bytearray(b"secret! " * (SIZE // 8))
    for offset, magic in itertools.chain(*marks):
        data[offset : offset + len(magic)] = magic
    file = File(bytes(data))
    told = judged(file)
    kept = bytearray(SIZE)
    for offset, read in without_contents(file.reads):
        kept[offset : offset + len(read)] = read
    assert judged(File(bytes(kept))) == told
    if told[0] is None:
        assert b"secret" not in kept


@pytest.mark.parametrize("name", ["notes.txt", "disk.raw", "id_ed25519"])
def test_no_byte_of_a_file_that_is_no_image_is_captured(name: str, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    (root / name).write_bytes(b"hunter2 " * 8192)
    recording = RecordingHost(RealHost())
    scope = Scope(key="storage/volume", root=str(root))
    seen = SOURCES["images"].probe(recording, scope, None)
    recording.save(tmp_path / "capture")
    assert not any(b"hunter" in file.read_bytes() for file in (tmp_path / "capture").rglob("*.json"))
    again = SOURCES["images"].probe(CapturedHost.load(tmp_path / "capture"), scope, None)
    assert (again.facts, again.faults) == (seen.facts, seen.faults)


def test_a_fixed_vhd_is_known_by_its_footer_and_its_guests_first_sector_is_not_captured() -> None:
    footer = next(magic for row in FORMATS for offset, magic in row.magic if offset == -SECTOR_BYTES)
    file = File(b"secret! " * 1024 + footer.ljust(SECTOR_BYTES, b"\1"))
    identify(file)
    (head, *further) = without_contents(file.reads)
    assert head == (0, bytes(4096))
    assert further == file.reads[1:]


@pytest.mark.parametrize("kind", ["xfs", "ext4", "btrfs", "ocfs2"])
def test_of_a_device_only_its_superblock_is_captured(kind: str) -> None:
    magic = {
        "xfs": (0, b"XFSB"),
        "ext4": (1080, b"\x53\xef"),
        "btrfs": (65600, b"_BHRfS_M"),
        "ocfs2": (8192, b"OCFSV2"),
    }
    at, word = magic[kind]
    data = bytearray(b"secret! " * 8704)
    start = at & ~0x3FF
    data[start : start + 1024] = bytes(range(256)) * 4
    data[at : at + len(word)] = word
    begin = 65536 if kind == "btrfs" else 0
    read = BlockRead(
        begin, len(data) - begin, False, len(data) - begin, content_of([(begin, bytes(data[begin:]))])
    )
    kept = without_device_contents(read).content
    assert kept.read == read.content.read
    assert b"secret" not in (kept.at(begin, len(data) - begin) or b"")
    assert kept.at(start, 512) == bytes(data[start : start + 512])
