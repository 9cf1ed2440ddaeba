"""Places on real filesystems, against what findmnt, df and blkid say of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storekeeper.host.real import RealHost
from storekeeper.observation import Space
from storekeeper.sources import mounts, space
from storekeeper.sources.contract import Scope

pytestmark = pytest.mark.needs("root", "loop")


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def look(place: Path) -> Space:
    seen = space.probe(RealHost(), Scope(key="s/v", root=str(place)), None)
    assert seen.faults == ()
    found = seen.facts["s/v"]
    assert isinstance(found, Space)
    return found


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("xfs", "btrfs", "ext4")]
)
def mount(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_mount")
    return found


def test_a_place_is_what_the_tools_say_it_is(mount: Path) -> None:
    found = look(mount)
    assert found.is_mount_point
    assert found.mount is not None
    source, kind, uuid = said("findmnt", "-n", "-o", "SOURCE,FSTYPE,UUID", "--mountpoint", mount).split()
    device = said("losetup", "-n", "-O", "NAME", "-j", mount.with_name(f"{kind}.device"))
    assert (found.mount.source, found.mount.filesystem_type) == (source, kind)
    assert device == source
    assert found.filesystem_id == said("blkid", "-p", "-s", "UUID", "-o", "value", device)
    assert not uuid or found.filesystem_id == uuid
    total, available = said("df", "-k", "--output=size,avail", mount).splitlines()[1].split()
    assert (-(-found.total_bytes // 1024), -(-found.available_bytes // 1024)) == (int(total), int(available))
    assert (found.read_only, found.read_fault) == (False, None)


def test_a_bind_mount_is_another_path_of_the_same_place(mount: Path, tmp_path: Path) -> None:
    inside, bound = mount / tmp_path.name, tmp_path / "bound"
    inside.mkdir()
    bound.mkdir()
    subprocess.run(["mount", "--bind", inside, bound], check=True)
    try:
        assert look(inside).other_paths == (str(bound),)
        assert look(bound).other_paths == (str(inside),)
        assert look(bound).filesystem_id == look(mount).filesystem_id
        assert not look(inside).is_mount_point
        subprocess.run(["mount", "-o", "remount,bind,ro", bound], check=True)
        assert look(bound).read_only
        assert not look(inside).read_only
    finally:
        subprocess.run(["umount", "-l", bound], check=True)


@pytest.mark.parametrize("place", ["/", "/proc", "/proc/sys", "/sys", "/dev/shm", "/usr/bin"])
def test_the_covering_mount_is_the_one_that_findmnt_finds(place: str) -> None:
    found = mounts.covering(mounts.mounted(RealHost()), place)
    assert found is not None
    assert found.key == said("findmnt", "-n", "-o", "ID", "-T", place).split()[-1]
