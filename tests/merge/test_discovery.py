"""What a host without a declaration is seen to have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.declaration import Declaration
from storekeeper.declaration_toml import check, load, write
from storekeeper.merge.discovery import discover
from storekeeper.merge.truth import HostView
from storekeeper.observation import Ocfs2, Pool
from tests.merge.builders import disk, disk_of, disks, guest, guests, host, look, mount

NOTHING = Declaration(host_id="h1", image_storages={}, found=True)


def pool(target: str, kind: str = "dir", name: str = "p") -> Pool:
    return Pool(key=f"pool:{name}", name=name, kind=kind, target=target)


def found(view: HostView, *directories: str) -> dict[str, tuple[str, str]]:
    """Of each volume found its kind and place."""
    storage = discover(NOTHING, view, directories).image_storages["local"]
    assert storage.hosts == ("h1",)
    return {volume.volume_id: (volume.kind, volume.mount_point) for volume in storage.volumes}


def of_guests(*paths: str) -> dict[str, tuple[str, str]]:
    return found(host(guests(guest("g", *paths))))


def test_a_host_with_nothing_has_the_storage_local_without_volumes() -> None:
    assert found(host()) == {}
    assert discover(NOTHING, host()).found


def test_libvirts_own_directory_is_a_volume_where_it_is_there() -> None:
    assert found(host(), "/var/lib/libvirt/images") == {
        "var_lib_libvirt_images": ("external", "/var/lib/libvirt/images")
    }


def test_the_directories_of_guests_disks_and_of_directory_pools_are_volumes() -> None:
    using = guest("g", "/srv/vms/a.qcow2", disk_of(pool="q", volume="b"))
    netfs, remote = pool("/pools/q", "netfs", "q"), pool("/pools/r", "gluster", "r")
    view = host(guests(using, pool("/pools/p"), netfs, remote))
    assert found(view) == {
        "pools_p": ("external", "/pools/p"),
        "pools_q": ("external", "/pools/q"),
        "srv_vms": ("external", "/srv/vms"),
    }


def test_nested_directories_are_the_outermost_one() -> None:
    assert of_guests("/srv/a/b/x", "/srv/a/y", "/srv/ab/z") == {
        "srv_a": ("external", "/srv/a"),
        "srv_ab": ("external", "/srv/ab"),
    }


SYSTEM = ("/x", "/dev/shm/x", "/proc/x", "/etc/libvirt/x", "/usr/share/x", "/var/lib/x", "/run/x",
          "/srv/../etc/x", "/home/x")  # fmt: skip


@pytest.mark.parametrize("path", SYSTEM)
def test_system_directories_are_never_walked(path: str) -> None:
    assert of_guests(path) == {}


def test_a_block_device_has_no_directory() -> None:
    assert found(host(guests(guest("g", replace(disk_of("/srv/link"), kind="block"))))) == {}


def test_mounted_gluster_volumes_are_found_once_by_their_name() -> None:
    mounts = look(
        "mounts", "", mount("/mnt/a", "fuse.glusterfs", "h:/gv"), mount("/mnt/b", "fuse.glusterfs", "h:gv")
    )
    assert found(host(mounts)) == {"gv": ("gluster", "/mnt/a")}


def test_a_mounted_ocfs2_filesystem_is_found_with_its_disk_by_device_or_uuid() -> None:
    here = look("mounts", "", mount("/storekeeper/samsung_ssd", "ocfs2"))
    by_number = discover(NOTHING, host(here, disks(disk()))).image_storages["local"].volumes[0]
    assert (by_number.volume_id, by_number.kind, by_number.primary_disk_id) == (
        "samsung_ssd",
        "ocfs2",
        "35000",
    )
    superblock = Ocfs2(key="sdb", device="/dev/sdb", device_number="8:16", filesystem_uuid="u", label="l",
                       cluster_stack="o2cb", cluster_name="c", block_bytes=4096, cluster_bytes=4096,
                       total_bytes=1, slots=2)  # fmt: skip
    other = disks(
        disk("dm-0", "35009", device_numbers=("253:0",), filesystem_uuid="u"),
        disk("sdz", "35008", device_numbers=()),
    )
    by_uuid = (
        discover(NOTHING, host(here, other, look("ocfs2", "", superblock))).image_storages["local"].volumes[0]
    )
    assert by_uuid.primary_disk_id == "35009"


def test_an_ocfs2_filesystem_on_a_disk_without_an_id_is_an_external_volume_that_must_be_mounted() -> None:
    (volume,) = (
        discover(NOTHING, host(look("mounts", "", mount("/srv/o", "ocfs2")))).image_storages["local"].volumes
    )
    assert (volume.kind, volume.mounted) == ("external", True)


def test_directories_in_a_found_filesystem_are_not_volumes_of_their_own() -> None:
    view = host(
        look("mounts", "", mount("/mnt/gv", "fuse.glusterfs", "h:/gv")),
        guests(guest("g", "/mnt/gv/a/x", "/mnt/y")),
    )
    assert found(view) == {"gv": ("gluster", "/mnt/gv")}


def test_an_id_does_not_change_when_another_directory_comes() -> None:
    assert set(of_guests("/a/images/x")) == {"a_images"}
    assert set(of_guests("/a/images/x", "/b/images/x")) == {"a_images", "b_images"}


PATHS = st.lists(st.text("ab_. é%-", min_size=1, max_size=8), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(PATHS, max_size=6), st.lists(PATHS, max_size=3))
def test_whatever_is_found_can_be_written_and_read_as_a_declaration(
    disks_: list[str], mounts: list[str]
) -> None:
    seen = [mount(place, kind, f"h:/gv{number}", key=f"{kind}{number}", device_number=f"8:{number}")
            for number, place in enumerate(mounts) for kind in ("ocfs2", "fuse.glusterfs")]  # fmt: skip
    here = discover(NOTHING, host(guests(guest("g", *disks_)), look("mounts", "", *seen)))
    text = write(here)
    assert check(text) == []
    assert load(text, "h1").image_storages == here.image_storages
