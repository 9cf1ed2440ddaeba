"""Which disks are usable on a storage, and why the others are not."""

from __future__ import annotations

import pytest

from storekeeper.document import DiskDetail
from storekeeper.merge.truth import HostView, Truth
from storekeeper.observation import Disk, Use
from tests.merge.builders import (
    TIMED_OUT,
    declared,
    disk,
    disk_of,
    disks,
    document,
    guest,
    guests,
    host,
    look,
    merged,
    ocfs2,
    spaced,
)

SAN = ocfs2(disk="35000")
FREE = disk("sdc", "35001")
MOUNTED = Use("mounted", "mounted at /")


def usable(*views: HostView) -> dict[str, str]:
    """Of each usable disk the volume for which it is reserved."""
    truth = _merged(*views)
    return {row.physical_disk_id: row.volume_id for row in document(truth).disks}


def reasons(*views: HostView, host_id: str = "h1") -> dict[str, list[str]]:
    return {row.device: row.reasons for row in _merged(*views).storages["s"].disks if row.host_id == host_id}


def _merged(*views: HostView) -> Truth:
    return merged(declared(SAN, hosts=tuple(view.host_id for view in views)), *views)


def on(name: str, *found: Disk) -> HostView:
    return host(spaced(SAN), disks(*found), name=name)


def test_reserved_and_free_disks_are_listed_sorted_by_id() -> None:
    assert usable(on("h1", FREE, disk(uses=(MOUNTED,)))) == {"35000": "v", "35001": ""}


USES = ("partition-table", "filesystem", "raid", "lvm", "signature", "mounted", "held", "read-only",
        "removable", "unreadable", "swap")  # fmt: skip


@pytest.mark.parametrize("kind", USES)
def test_a_disk_that_is_used_for_anything_is_not_free(kind: str) -> None:
    used = disk("sdc", "35001", uses=(Use(kind, "because"),))  # type: ignore[arg-type]
    assert usable(on("h1", used)) == {}
    assert reasons(on("h1", used)) == {"/dev/sdc": ["because"]}


def test_a_disk_is_usable_when_every_linked_host_sees_it() -> None:
    assert usable(on("h1", disk(), FREE), on("h2", disk(), FREE)) == {"35000": "v", "35001": ""}
    assert usable(on("h1", disk(), FREE), on("h2")) == {}
    assert reasons(on("h1", FREE), on("h2")) == {"/dev/sdc": ["not seen by h2"]}


def test_a_disk_used_on_one_host_is_free_on_none() -> None:
    views = on("h1", FREE), on("h2", disk("sdz", "35001", uses=(MOUNTED,)))
    assert usable(*views) == {}
    assert reasons(*views) == {"/dev/sdc": ["mounted at / (on h2)"]}


def test_the_first_host_names_the_device() -> None:
    views = on("h1", disk("sdb")), on("h2", disk("sdz"))
    assert [row.host_device for row in document(_merged(*views)).disks] == ["/dev/sdb"]


@pytest.mark.parametrize("path", ["/dev/sdc", "/dev/disk/by-id/scsi-35001", "/dev/disk/by-id/wwn-0x5001"])
def test_a_disk_given_to_a_guest_is_not_free(path: str) -> None:
    view = host(disks(FREE), guests(guest("g", disk_of(path, kind="raw"))))
    assert reasons(view) == {"/dev/sdc": ["given to a guest"]}


def test_a_multipath_disk_given_to_a_guest_by_one_of_its_paths_is_not_free() -> None:
    multipath = disk("dm-0", "35001", device="/dev/mapper/mpatha", paths=("/dev/sdc", "/dev/sdd"))
    assert reasons(host(disks(multipath), guests(guest("g", "/dev/sdd")))) == {
        "/dev/mapper/mpatha": ["given to a guest"]
    }


def test_an_id_that_means_nothing_elsewhere_counts_only_as_declared_or_on_one_host() -> None:
    local = disk("vda", "virtio-1", matchable=False)
    assert usable(on("h1", local)) == {"virtio-1": ""}
    assert usable(on("h1", local), on("h2", local)) == {}
    reserved = disk(matchable=False)
    assert usable(on("h1", reserved), on("h2", reserved)) == {"35000": "v"}


def test_a_disk_without_an_id_and_two_with_the_same_are_not_usable() -> None:
    twins = disk("sdc", "35001"), disk("sdd", "35001")
    assert reasons(on("h1", disk("vda", ""), *twins)) == {
        "/dev/vda": ["it has no id by which it could be named"],
        "/dev/sdc": ["another disk of h1 has the same id"],
        "/dev/sdd": ["another disk of h1 has the same id"],
    }


def test_a_silent_host_counts_with_what_it_saw_last() -> None:
    blind = host(look("disks", "", FREE, faults=[TIMED_OUT], good_at=1.0), name="h2", reported_at=1.0)
    assert usable(on("h1", FREE), blind) == {"35001": ""}


def test_while_a_linked_host_never_told_its_disks_no_free_one_is_listed() -> None:
    assert usable(on("h1", disk(), FREE), host(name="h2", reported_at=0.0)) == {"35000": "v"}
    never = host(look("disks", "", faults=[TIMED_OUT]), name="h2")
    assert usable(on("h1", disk(), FREE), never) == {"35000": "v"}


def test_a_disk_of_another_storage_is_reserved_for_that() -> None:
    one, other = declared(ocfs2(disk="35001")), declared(ocfs2("w", disk="35000"), storage="t")
    both = one.__class__(host_id="h1", image_storages={**one.image_storages, **other.image_storages})
    rows: list[DiskDetail] = merged(both, on("h1", disk())).storages["s"].disks
    assert rows[0].reasons == ["reserved for t/w"]
