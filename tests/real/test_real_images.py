"""Images that qemu-img makes, on real filesystems."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storekeeper.host.real import RealHost
from storekeeper.observation import Image, Seen
from storekeeper.sources import images
from storekeeper.sources.contract import Scope

pytestmark = pytest.mark.needs("root", "loop")


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def look(root: Path, last: Seen | None = None, *paths: str) -> Seen:
    seen = images.probe(RealHost(), Scope(key="s/v", root=str(root), paths=paths), last)
    assert seen.faults == ()
    return seen


def image(seen: Seen, key: str) -> Image:
    found = seen.facts[key]
    assert isinstance(found, Image)
    return found


def taken(*paths: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in paths)


@pytest.fixture
def xfs(xfs_mount: Path, tmp_path: Path) -> Path:
    place = xfs_mount / tmp_path.name
    place.mkdir()
    return place


@pytest.mark.needs("xfs", "qemu-img")
@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"])
def test_a_vmdk_of_several_files_is_one_image(xfs: Path, subformat: str) -> None:
    qemu_img("create", "-f", "vmdk", "-o", f"subformat={subformat}", xfs / "win.vmdk", "5G")
    files = sorted(xfs.iterdir())
    assert len(files) > 1
    subprocess.run(["qemu-io", "-c", "write 0 1M", xfs / "win.vmdk"], check=True, capture_output=True)
    subprocess.run(["sync", "-f", xfs], check=True)
    seen = look(xfs)
    assert set(seen.facts) == {"win.vmdk"}
    found = image(seen, "win.vmdk")
    assert found.header.virtual_bytes == 5 << 30
    assert found.allocated_bytes == taken(*files) >= 1 << 20
    assert found.faults == ()
    gone = next(path for path in files if path.name != "win.vmdk")
    gone.unlink()
    assert [fault.code for fault in image(look(xfs, seen, gone.name), "win.vmdk").faults] == ["missing-file"]


@pytest.mark.needs("xfs", "qemu-img")
@pytest.mark.parametrize("absolute", [False, True])
def test_a_qcow2_and_its_data_file_are_one_image(xfs: Path, absolute: bool) -> None:
    data = xfs / "data.raw" if absolute else Path("data.raw")
    options = f"data_file={data},data_file_raw=on"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "1G"], check=True, cwd=xfs
    )
    seen = look(xfs)
    assert set(seen.facts) == {"a.qcow2"}
    assert image(seen, "a.qcow2").allocated_bytes == taken(xfs / "a.qcow2", xfs / "data.raw")
    assert image(seen, "a.qcow2").faults == ()


@pytest.mark.needs("xfs")
def test_on_a_filesystem_with_reflinks_whole_sectors_may_be_a_copy(xfs: Path) -> None:
    with (xfs / "nothing tells").open("wb") as file:
        file.truncate(1 << 20)
    assert image(look(xfs), "nothing tells").evidence == "none"


@pytest.mark.needs("ext4")
def test_on_one_without_they_are_nothing(ext4_mount: Path, tmp_path: Path) -> None:
    place = ext4_mount / tmp_path.name
    place.mkdir()
    with (place / "nothing tells").open("wb") as file:
        file.truncate(1 << 20)
    assert look(place).facts == {}


@pytest.mark.needs("xfs")
def test_birth_times_are_those_of_the_filesystem(xfs: Path) -> None:
    with (xfs / "a.raw").open("wb") as file:
        file.truncate(1 << 20)
    said = subprocess.run(["stat", "-c", "%W", xfs / "a.raw"], check=True, capture_output=True, text=True)
    assert image(look(xfs), "a.raw").born_ns // 10**9 == int(said.stdout)


@pytest.mark.needs("btrfs", "qemu-img")
def test_another_subvolume_is_another_volume(btrfs_mount: Path, tmp_path: Path) -> None:
    place = btrfs_mount / tmp_path.name
    place.mkdir()
    subprocess.run(["btrfs", "-q", "subvolume", "create", place / "inner"], check=True)
    for directory in (place, place / "inner"):
        qemu_img("create", "-f", "qcow2", directory / "a.qcow2", "1G")
    assert set(look(place).facts) == {"a.qcow2"}
    assert set(look(place / "inner").facts) == {"a.qcow2"}


@pytest.mark.needs("xfs", "qemu-img")
def test_what_a_second_look_finds_is_what_a_first_one_would(xfs: Path) -> None:
    for number in range(5):
        qemu_img("create", "-f", "qcow2", xfs / f"{number}.qcow2", "1G")
    seen = look(xfs)
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", "0.qcow2", xfs / "child.qcow2")
    (xfs / "1.qcow2").rename(xfs / "renamed.qcow2")
    (xfs / "2.qcow2").unlink()
    qemu_img("resize", xfs / "3.qcow2", "2G")
    qemu_img("rebase", "-u", "-F", "qcow2", "-b", "0.qcow2", xfs / "4.qcow2")
    assert look(xfs, seen).facts == look(xfs).facts
