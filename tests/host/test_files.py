"""Small files, places and devices: each failure has its error, and none hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storekeeper import errors
from storekeeper.host import files
from storekeeper.host.real import RealHost
from storekeeper.sources.contract import Host

HOST: Host = RealHost()


def test_a_file_of_procfs_is_read_whole() -> None:
    assert HOST.read("/proc/self/mountinfo").count(b"\n") == len(
        Path("/proc/self/mountinfo").read_text().splitlines()
    )


def test_a_file_over_the_limit_is_unreadable_and_never_cut(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert HOST.read(str(tmp_path / "x"), 5) == b"12345"
    with pytest.raises(errors.Unreadable, match="more than 4 bytes"):
        HOST.read(str(tmp_path / "x"), 4)


def test_what_is_not_there_is_absent(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for ask in (HOST.read, HOST.names, HOST.target, HOST.resolve, HOST.space, HOST.read_uncached):
        with pytest.raises(errors.Absent):
            ask(gone)
    with pytest.raises(errors.Absent):
        HOST.block(gone, 0, 1)
    with pytest.raises(errors.Absent):
        HOST.read("a\0b")
    assert HOST.kind(gone) == "absent"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.Unreadable, match="no regular file"):
        HOST.read(str(tmp_path / "pipe"))


def test_a_loop_of_symbolic_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(errors.Unreadable, match="symbolic link"):
        HOST.resolve(str(tmp_path / "a"))


def test_links_are_read_and_resolved(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").mkdir()
    assert HOST.target(str(tmp_path / "a")) == "b"
    assert HOST.resolve(str(tmp_path / "a")) == os.path.realpath(tmp_path / "b")
    assert HOST.kind(str(tmp_path / "a")) == "directory"
    assert HOST.names(str(tmp_path)) == ("a", "b")


def test_space_is_what_statvfs_says(tmp_path: Path) -> None:
    told = os.statvfs(tmp_path)
    space = HOST.space(str(tmp_path))
    assert (space.block_bytes, space.blocks) == (told.f_frsize, told.f_blocks)
    device = tmp_path.stat().st_dev
    assert space.device_number == f"{os.major(device)}:{os.minor(device)}"


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, 512), (1000, 1), (4095, 2), (8000, 4096), (99_999, 10)])
def test_a_block_is_read_at_any_offset_past_the_cache_or_not(
    tmp_path: Path, direct: bool, offset: int, length: int
) -> None:
    content = bytes(range(256)) * 392  # ends at 100,352, which is no multiple of a sector
    (tmp_path / "disk").write_bytes(content)
    read = HOST.block(str(tmp_path / "disk"), offset, length, direct=direct)
    assert read == content[offset : offset + length]


def test_an_uncached_read_of_an_empty_directory_claims_nothing(tmp_path: Path) -> None:
    HOST.read_uncached("/proc/self/fdinfo")


def test_an_uncached_read_of_a_file_that_can_be_read_reads_the_device_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").write_bytes(b"x" * 8192)
    HOST.read_uncached(str(tmp_path))
    monkeypatch.setattr(files, "_device_node", lambda number: f"{tmp_path}/none")
    HOST.read_uncached(str(tmp_path))
    (tmp_path / "device").mkdir()
    monkeypatch.setattr(files, "_device_node", lambda number: f"{tmp_path}/device")
    with pytest.raises(errors.Unreadable, match="device"):
        HOST.read_uncached(str(tmp_path))


def test_an_error_names_the_path_printably(tmp_path: Path) -> None:
    with pytest.raises(errors.Absent) as raised:
        HOST.read(f"{tmp_path}/\x1b[2J\udcff")
    assert "\x1b" not in str(raised.value)
    assert str(raised.value).encode()


@pytest.mark.needs("root")
def test_what_the_rights_do_not_allow_is_denied(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    pid = os.fork()
    if not pid:
        os.setuid(65534)
        try:
            HOST.names(str(tmp_path))
        except errors.Denied:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
