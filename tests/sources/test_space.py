"""What stands at a volume's place. A place that is not there is seen, and is no fault."""

from __future__ import annotations

import struct
from typing import Literal
from uuid import UUID

import pytest
from msgspec.structs import replace

from storekeeper.errors import Absent, Denied, HostError, Unreadable
from storekeeper.observation import Seen, Space
from storekeeper.sources import space
from storekeeper.sources.contract import FilesystemSpace, Scope
from tests.sources.paper_host import PaperHost

ROOT = "27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,discard\n"
NFS = "36 27 0:30 / /home/flexvdi rw,relatime - nfs4 nas:/export/flexvdi rw,vers=4.2\n"
XFS = "37 27 8:17 / /srv rw,relatime - xfs /dev/sdb1 rw,attr2\n"
SCOPE = Scope(key="internal/home_flexvdi", root="/home/flexvdi")
UUID_BYTES = bytes.fromhex("0a3407de014b458bb5c1848e92a327a3")
TOLD = FilesystemSpace(
    block_bytes=4096, blocks=1000, available_blocks=100, read_only=False, device_number="0:30"
)


class PlacesHost(PaperHost):
    """A paper host with places: `kinds` and `spaces` by path, `links` resolve; what is not said is a
    directory of TOLD space. `measured`: the paths that statvfs or an uncached read were asked of.
    """

    def __init__(self, *mountinfo: str, fstab: str = "", **files: str) -> None:
        super().__init__({"/proc/self/mountinfo": "".join(mountinfo), "/etc/fstab": fstab, **files})
        self.kinds: dict[str, Literal["absent", "directory", "other"] | HostError] = {}
        self.spaces: dict[str, FilesystemSpace | HostError] = {}
        self.uncached: HostError | None = None
        self.measured: list[str] = []

    def resolve(self, path: str) -> str:  # type: ignore[override]
        if self.kinds.get(path) == "absent":
            raise Absent(path, "No such file or directory")
        return self.links.get(path, path)

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        found = self.kinds.get(path, "directory")
        if isinstance(found, HostError):
            raise found
        return found

    def space(self, path: str) -> FilesystemSpace:
        self.measured.append(path)
        found = self.spaces.get(path, TOLD)
        if isinstance(found, HostError):
            raise found
        return found

    def read_uncached(self, path: str) -> None:
        self.measured.append(path)
        if self.uncached is not None:
            raise self.uncached


def look(host: PlacesHost, scope: Scope = SCOPE) -> Space:
    seen: Seen = space.probe(host, scope, None)
    assert seen.faults == ()
    found = seen.facts[scope.key]
    assert isinstance(found, Space)
    return found


def test_a_mounted_volume_is_measured() -> None:
    found = look(PlacesHost(ROOT, NFS))
    assert found.mount is not None
    assert (found.exists, found.is_mount_point, found.must_be_mount, found.read_only) == (
        True, True, False, False,
    )  # fmt: skip
    assert (found.path, found.mount.key, found.filesystem_id) == (
        "/home/flexvdi",
        "36",
        "nas:/export/flexvdi",
    )
    assert (found.total_bytes, found.available_bytes) == (4096000, 409600)
    assert (found.other_paths, found.read_fault, found.device_number) == ((), None, "0:30")


def test_a_plain_directory_is_measured_too() -> None:
    found = look(PlacesHost(ROOT))
    assert (found.is_mount_point, found.must_be_mount, found.total_bytes) == (False, False, 4096000)


@pytest.mark.parametrize(
    ("fstab", "scope"),
    [
        ("nas:/export/flexvdi /home/flexvdi nfs noauto\n", SCOPE),
        ("nas:/home /home nfs defaults\n", SCOPE),
        ("", replace(SCOPE, source="nas:/export/flexvdi")),
        ("", replace(SCOPE, must_be_mount=True)),
    ],
)
def test_beneath_a_missing_mount_nothing_is_measured(fstab: str, scope: Scope) -> None:
    host = PlacesHost(ROOT, fstab=fstab)
    found = look(host, scope)
    assert (found.exists, found.is_mount_point, found.total_bytes, found.filesystem_id) == (
        True, False, -1, "",
    )  # fmt: skip
    assert found.must_be_mount is bool(fstab)
    assert host.measured == []


def test_a_place_in_a_mount_that_is_there_need_not_be_one_itself() -> None:
    host = PlacesHost(ROOT, NFS, fstab="nas:/export/flexvdi /home/flexvdi nfs defaults\nx / ext4 defaults\n")
    found = look(host, Scope(key="s/v", root="/home/flexvdi/images"))
    assert (found.must_be_mount, found.is_mount_point, found.total_bytes) == (False, False, 4096000)


def test_a_unit_of_systemd_makes_a_place_a_mount_too() -> None:
    unit = "[Mount]\nWhat=nas:/x\nWhere=/home/flexvdi\n"
    assert look(PlacesHost(ROOT, **{"/etc/systemd/system/home-flexvdi.mount": unit})).must_be_mount


@pytest.mark.parametrize("kind", ["absent", "other"])
def test_a_place_that_is_absent_or_no_directory_is_seen(kind: Literal["absent", "other"]) -> None:
    host = PlacesHost(ROOT)
    host.kinds["/home/flexvdi"] = kind
    found = look(host)
    assert (found.exists, found.total_bytes, found.read_fault) == (False, -1, None)


def test_an_automount_point_is_asked_so_that_it_is_mounted() -> None:
    autofs = "35 27 0:29 / /home/flexvdi rw - autofs systemd-1 rw,fd=50\n"

    class Automounting(PlacesHost):
        def space(self, path: str) -> FilesystemSpace:
            self.files = {"/proc/self/mountinfo": ROOT + autofs + NFS.replace("36 27", "36 35")}
            return super().space(path)

    assert look(Automounting(ROOT, autofs)).is_mount_point
    host = PlacesHost(ROOT, autofs, fstab="nas:/x /home/flexvdi nfs x-systemd.automount\n")
    found = look(host)
    assert (found.is_mount_point, found.must_be_mount, found.total_bytes) == (False, True, -1)


def test_a_mount_that_answers_with_an_error_is_seen_as_one_that_cannot_read() -> None:
    host = PlacesHost(ROOT, NFS)
    host.kinds["/home/flexvdi"] = Unreadable("/home/flexvdi", "Transport endpoint is not connected")
    found = look(host)
    assert found.is_mount_point
    assert found.read_fault is not None
    assert "Transport endpoint" in found.read_fault.text


def test_what_this_process_may_not_look_at_is_a_fault() -> None:
    host = PlacesHost(ROOT, NFS)
    host.spaces["/home/flexvdi"] = Denied("/home/flexvdi", "Permission denied")
    seen = space.probe(host, SCOPE, None)
    assert seen.blind is not None
    assert seen.blind.code == "denied"


def test_a_read_that_this_process_may_not_make_says_nothing_of_the_filesystem() -> None:
    host = PlacesHost(ROOT, XFS)
    host.uncached = Denied("/dev/sdb1", "Operation not permitted")
    found = look(host, Scope(key="internal/srv", root="/srv"))
    assert (found.read_fault, found.total_bytes) == (None, 4096 * 1000)


@pytest.mark.parametrize(
    ("mountinfo", "told"),
    [
        (NFS.replace(" rw,relatime -", " ro,relatime -"), TOLD),
        (NFS.replace(" rw,vers", " ro,vers"), TOLD),
        (NFS, replace(TOLD, read_only=True)),
    ],
)
def test_read_only_is_what_the_mount_the_superblock_or_statvfs_calls_so(
    mountinfo: str, told: FilesystemSpace
) -> None:
    host = PlacesHost(ROOT, mountinfo)
    host.spaces["/home/flexvdi"] = told
    assert look(host).read_only


def test_other_paths_are_resolved_links_bind_mounts_and_the_same_export_once_more() -> None:
    host = PlacesHost(
        ROOT, NFS,
        "40 27 0:30 / /mnt/bind rw - nfs4 nas:/export/flexvdi rw\n",
        "41 27 0:30 /images /mnt/images rw - nfs4 nas:/export/flexvdi rw\n",
        "42 27 0:31 / /mnt/again rw - nfs4 nas:/export/flexvdi rw\n",
        "43 27 0:32 / /mnt/other rw - nfs4 nas:/export/other rw\n",
        "44 27 8:1 /home /mnt/homes rw - ext4 /dev/sda1 rw\n",
    )  # fmt: skip
    assert look(host).other_paths == ("/mnt/again", "/mnt/bind")
    images = Scope(key="s/v", root="/home/flexvdi/images")
    assert look(host, images).other_paths == ("/mnt/again/images", "/mnt/bind/images", "/mnt/images")
    host.links["/link"] = "/home/flexvdi"
    found = look(host, Scope(key="s/v", root="/link"))
    assert found.is_mount_point
    assert found.other_paths == ("/home/flexvdi", "/mnt/again", "/mnt/bind")
    assert look(host, Scope(key="s/v", root="/home/local")).other_paths == ("/mnt/homes/local",)


def test_a_mount_point_is_not_touched_to_resolve_it() -> None:
    class Unresolved(PlacesHost):
        def resolve(self, path: str) -> str:  # type: ignore[override]
            raise AssertionError("was resolved")

    assert look(Unresolved(ROOT, NFS)).is_mount_point


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("nfs", "nas:/", "nas:/"),
        ("nfs4", "nas:/export/flexvdi/", "nas:/export/flexvdi"),
        ("cifs", "//server/share", "//server/share"),
        ("smb3", "//server/share/", "//server/share"),
        ("fuse.glusterfs", "flexdev01:/test_vol1", "gluster:test_vol1"),
        ("fuse.glusterfs", "flexdev01:test_vol1", "gluster:test_vol1"),
        ("fuse.glusterfs", "flexdev01:/test_vol1/team", "gluster:test_vol1"),
        ("tmpfs", "tmpfs", ""),
        ("fuse.sshfs", "user@host:/x", ""),
    ],
)
def test_a_network_filesystem_is_what_it_is_mounted_from(kind: str, source: str, told: str) -> None:
    host = PlacesHost(ROOT, f"36 27 0:30 / /home/flexvdi rw - {kind} {source} rw\n")
    assert look(host).filesystem_id == told


def superblock(kind: str) -> bytes:
    if kind == "xfs":
        return b"XFSB" + bytes(28) + UUID_BYTES
    if kind == "btrfs":
        return bytes(65536 + 32) + UUID_BYTES + bytes(16) + b"_BHRfS_M"
    return bytes(1024 + 56) + struct.pack("<H", 0xEF53) + bytes(46) + UUID_BYTES


@pytest.mark.parametrize("kind", ["xfs", "ext2", "ext3", "ext4", "btrfs"])
def test_a_local_filesystem_is_the_uuid_in_its_superblock(kind: str) -> None:
    host = PlacesHost(ROOT, f"37 27 0:44 / /home/flexvdi rw - {kind} /dev/sdb1 rw\n")
    host.devices = {"/dev/sdb1": superblock(kind)}
    assert look(host).filesystem_id == str(UUID(bytes=UUID_BYTES))
    host.devices = {"/dev/sdb1": b""}
    assert look(host).filesystem_id == ""
    host.devices = {"/dev/sdb1": Unreadable("/dev/sdb1", "Input/output error")}
    assert look(host).filesystem_id == ""


@pytest.mark.parametrize("kind", ["xfs", "ext4", "btrfs"])
def test_a_superblock_that_is_cut_is_none(kind: str) -> None:
    whole = superblock(kind)[space._SUPERBLOCKS[kind].at :]
    for length in range(len(whole)):
        told = space.parse_uuid(kind, whole[:length])
        assert told in {"", str(UUID(bytes=UUID_BYTES))}
        assert not told or length >= 48


def test_the_device_is_known_by_its_number_rather_than_by_what_mount_was_told() -> None:
    host = PlacesHost(ROOT, "37 27 8:17 / /home/flexvdi rw - xfs /dev/root rw\n")
    host.links["/sys/dev/block/8:17"] = "../../devices/pci0000:00/ata1/block/sdb/sdb1"
    host.devices = {"/dev/sdb1": superblock("xfs")}
    assert look(host).filesystem_id == str(UUID(bytes=UUID_BYTES))


def test_a_block_filesystem_that_cannot_read_says_so_though_statvfs_answers() -> None:
    host = PlacesHost(ROOT, XFS)
    host.uncached = Unreadable("/srv", "Input/output error")
    found = look(host, Scope(key="s/v", root="/srv"))
    assert found.total_bytes == 4096000
    assert found.read_fault is not None
    assert found.read_fault.code == "io-error"


def test_no_network_filesystem_is_read_past_its_cache() -> None:
    host = PlacesHost(ROOT, NFS)
    host.uncached = Unreadable("/home/flexvdi", "Input/output error")
    assert look(host).read_fault is None


@pytest.mark.parametrize(("count", "sound"), [("0\n", True), ("3\n", False)])
def test_errors_that_the_kernel_recorded_in_an_ext4_are_told(count: str, sound: bool) -> None:
    host = PlacesHost(ROOT, **{"/sys/fs/ext4/sda1/errors_count": count})
    found = look(host)
    assert (found.read_fault is None) is sound
    if found.read_fault is not None:
        assert found.read_fault.text == ("The kernel has recorded 3 errors on /dev/sda1; run e2fsck on it.")
