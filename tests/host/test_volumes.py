"""Walking volumes and opening images: nothing outside, nothing special, nothing lost without a word."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper import errors
from storekeeper.formats.contract import HEAD_BYTES, READ_LIMIT_BYTES
from storekeeper.host.real import RealHost
from storekeeper.sources.contract import Directory, FileRow, Host, OpenImage

HOST: Host = RealHost()
NOTHING: frozenset[bytes] = frozenset()


def walk(
    root: Path, *, skip: frozenset[bytes] = NOTHING, depth_limit: int = 8, threads: int = 1
) -> dict[str, Directory]:
    found = HOST.walk(str(root), skip=skip, depth_limit=depth_limit, threads=threads)
    return {os.fsdecode(directory.path): directory for directory in found}


def file_names(directory: Directory) -> set[str]:
    return {os.fsdecode(row.name) for row in directory.files}


def open_one(root: Path, path: bytes) -> tuple[bytes | None, Exception | None]:
    """The head of one file, or why it was not opened."""
    heads: list[bytes] = []
    faults: list[Exception] = []
    HOST.open_images(
        str(root), [path], lambda _, image: heads.append(image.head),
        failed=lambda _, error: faults.append(error),
    )  # fmt: skip
    assert len(heads) + len(faults) == 1
    return next(iter(heads), None), next(iter(faults), None)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_walk_finds_every_regular_file_with_what_lstat_says(tmp_path: Path, threads: int) -> None:
    for name in ("a.raw", "one/b.raw", "one/two/c.raw", "other/d.raw"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 1000)
    for number in range(600):
        (tmp_path / "one" / f"file{number}").touch()
    found = walk(tmp_path, threads=threads)
    assert set(found) == {"", "one", "one/two", "other"}
    assert next(iter(found)) == ""
    assert len(found["one"].files) == 601
    row = next(iter(found["one/two"].files))
    status = (tmp_path / "one/two/c.raw").lstat()
    assert row == FileRow(
        b"c.raw", status.st_ino, status.st_size, status.st_blocks, status.st_mtime_ns, status.st_ctime_ns, 1,
    )  # fmt: skip


def test_a_walk_counts_what_is_no_file_and_goes_into_none_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.raw").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "link.raw").symlink_to(outside / "secret.raw")
    os.mkfifo(root / "pipe.raw")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket.raw"))
    found = walk(root)
    assert set(found) == {""}
    assert (found[""].files, found[""].skipped) == ([], 4)


def test_a_walk_leaves_out_the_directories_that_it_is_told_to(tmp_path: Path) -> None:
    for name in ("images", ".glusterfs", "images/.glusterfs"):
        (tmp_path / name).mkdir()
    assert set(walk(tmp_path, skip=frozenset({b".glusterfs"}))) == {"", "images"}


def test_a_walk_goes_as_deep_as_it_is_told_and_says_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "1/2/3/4").mkdir(parents=True)
    found = walk(tmp_path, depth_limit=2)
    assert set(found) == {"", "1", "1/2", "1/2/3"}
    assert [path for path, directory in found.items() if directory.fault == "too-deep"] == ["1/2/3"]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree of 1500 directories in each other, removed by what can: shutil.rmtree recurses."""
    root = tmp_path / "deep"
    root.mkdir()
    above = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=above)
        below = os.open("deeper", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


def test_a_walk_of_a_tree_deeper_than_pythons_stack_and_paths_ends(deep: Path) -> None:
    assert len(walk(deep, depth_limit=1501)) == 1501


def test_what_vanishes_during_a_walk_is_just_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    going = HOST.walk(str(tmp_path), skip=NOTHING, depth_limit=8)
    assert next(going).path == b""
    (tmp_path / "a").rmdir()
    (tmp_path / "b").rmdir()
    assert list(going) == []


def test_a_directory_that_became_a_symbolic_link_during_a_walk_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.raw").touch()
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    going = HOST.walk(str(root), skip=NOTHING, depth_limit=8)
    next(going)
    (root / "images").rmdir()
    (root / "images").symlink_to(outside)
    assert list(going) == []


def test_a_root_that_is_not_there_is_an_error_and_no_empty_volume(tmp_path: Path) -> None:
    with pytest.raises(errors.Absent):
        walk(tmp_path / "gone")


@pytest.mark.parametrize(
    "way_out", [b"../secret", b"link/secret", b"sub/../../secret", b"link.raw", b"/secret", b""]
)
def test_no_path_leads_out_of_the_volume(tmp_path: Path, way_out: bytes) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (root / "link.raw").symlink_to(tmp_path / "secret")
    head, error = open_one(root, way_out)
    assert head is None
    assert isinstance(error, errors.HostError)
    assert "secret" not in str(error).replace(way_out.decode(), "")
    with suppress(errors.HostError):
        assert list(HOST.look(str(root), [way_out])) == [None]


@pytest.mark.parametrize("special", ["pipe", "directory", "device", "socket"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, special: str) -> None:
    if special == "pipe":
        os.mkfifo(tmp_path / "x")
    elif special == "directory":
        (tmp_path / "x").mkdir()
    elif special == "device":
        if os.geteuid():
            (tmp_path / "x").symlink_to("/dev/null")
        else:
            os.mknod(tmp_path / "x", 0o20600, os.makedev(1, 3))
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "x"))
    head, error = open_one(tmp_path, b"x")
    assert head is None
    assert isinstance(error, errors.HostError)
    assert list(HOST.look(str(tmp_path), [b"x"])) == [None]


def test_one_bad_file_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).write_text(name)
    heads: dict[bytes, bytes] = {}
    faults: dict[bytes, Exception] = {}

    def inspect(path: bytes, image: OpenImage) -> None:
        if path == b"c":
            raise RuntimeError("a bug")
        heads[path] = image.head

    HOST.open_images(str(tmp_path), [b"gone", b"c", b"a"], inspect, failed=faults.__setitem__)
    assert heads == {b"a": b"a"}
    assert isinstance(faults[b"gone"], errors.Absent)
    assert isinstance(faults[b"c"], RuntimeError)


@pytest.mark.parametrize("threads", [1, 8])
def test_a_thousand_hostile_names_are_walked_looked_at_and_opened(tmp_path: Path, threads: int) -> None:
    names = {b"\xff\xfe%d" % number for number in range(250)} | {
        b"-rf %d\n" % number for number in range(250)
    }
    names |= {b"\x1b[2J%d" % number for number in range(250)} | {
        b"'; %d %%00" % number for number in range(248)
    }
    names |= {b"n" * 255, b"\xe2\x80\xaegnp.exe"}
    directory = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(directory)
    for name in names:
        with open(directory + b"/" + name, "wb") as file:
            file.write(name)
    paths = [b"\xff/" + row.name for row in walk(tmp_path, threads=threads)["\udcff"].files]
    assert {path[2:] for path in paths} == names
    assert None not in HOST.look(str(tmp_path), paths)
    heads: dict[bytes, bytes] = {}
    HOST.open_images(
        str(tmp_path), paths, lambda path, image: heads.__setitem__(path, image.head),
        failed=lambda path, error: pytest.fail(f"{path!r}: {error}"), threads=threads,
    )  # fmt: skip
    assert all(heads[path] == path[2:] for path in paths)


def test_an_open_image_has_the_row_that_the_walk_gave_and_its_birth_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    rows = []

    def inspect(_: bytes, image: OpenImage) -> None:
        rows.append((image.row, image.born_ns, image.size, image.head))

    HOST.open_images(str(tmp_path), [b"a"], inspect, failed=lambda path, error: pytest.fail(str(error)))
    row, born_ns, size, head = rows[0]
    assert row == walk(tmp_path)[""].files[0]
    assert 0 < born_ns <= row.modified_ns
    assert (size, head) == (10_000, b"x" * HEAD_BYTES)


@given(
    content=st.binary(max_size=HEAD_BYTES * 2),
    reads=st.lists(st.tuples(st.integers(-(1 << 70), 1 << 70), st.integers(-(1 << 70), 1 << 70)), max_size=8),
)
def test_a_read_gives_what_is_there_and_never_fails_past_the_end(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, reads: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("volume")
    (root / "image").write_bytes(content)

    def inspect(_: bytes, image: OpenImage) -> None:
        for offset, length in [*reads, *((offset % 9000, length % 9000) for offset, length in reads)]:
            wanted = content[offset : offset + length] if offset >= 0 and length > 0 else b""
            assert image.read(offset, length) == wanted

    def failed(_: bytes, error: Exception) -> None:
        raise error

    HOST.open_images(str(root), [b"image"], inspect, failed=failed)


@pytest.mark.parametrize("length", [1, 65536])
def test_the_reads_of_one_inspection_are_bounded(tmp_path: Path, length: int) -> None:
    with (tmp_path / "image").open("wb") as file:
        file.truncate(1 << 30)
    reads = 0

    def inspect(_: bytes, image: OpenImage) -> None:
        nonlocal reads
        while True:
            image.read(HEAD_BYTES + reads * length, length)
            reads += 1

    faults: list[Exception] = []
    HOST.open_images(str(tmp_path), [b"image"], inspect, failed=lambda _, error: faults.append(error))
    assert isinstance(faults[0], errors.BadHeader)
    assert faults[0].fault_code == "too-much"
    assert reads <= READ_LIMIT_BYTES // 512


def test_descriptors_are_closed_whatever_happens(tmp_path: Path) -> None:
    for directory in range(20):
        (tmp_path / str(directory)).mkdir()
        (tmp_path / str(directory) / "x").touch()
    before = os.listdir("/proc/self/fd")
    paths = [b"%d/x" % number for number in range(25)] + [b"1", b"../x"]
    HOST.open_images(str(tmp_path), paths, lambda *_: None, failed=lambda *_: None)
    walk(tmp_path, threads=4)
    next(HOST.walk(str(tmp_path), skip=NOTHING, depth_limit=8))
    next(HOST.look(str(tmp_path), paths))
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_vanishes_between_reading_its_directory_and_looking_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").touch()
    (tmp_path / "goes").touch()
    scandir = os.scandir

    def late(directory: int) -> AbstractContextManager[list[os.DirEntry[str]]]:
        with scandir(directory) as entries:
            found = list(entries)
        (tmp_path / "goes").unlink()
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", late)
    found = walk(tmp_path)[""]
    assert (file_names(found), found.fault) == ({"stays"}, "")
