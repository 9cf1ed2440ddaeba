"""Physical disks on paper: which devices are disks, what they are called, what keeps one from being free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from storekeeper.errors import Denied, HostError, TimedOut, ToolMissing
from storekeeper.observation import Disk, Seen
from storekeeper.sources.contract import Output, Scope
from storekeeper.sources.disks import parse_in_use, probe
from tests.sources.paper_host import Answer, PaperHost

Files = dict[str, bytes | str | HostError]

NAA_PAGE = bytes.fromhex("0083000c01030008500253887013e77e")
SSD: Files = {
    "/sys/block/sdb/dev": "8:16\n",
    "/sys/block/sdb/size": "500118192\n",
    "/sys/block/sdb/ro": "0\n",
    "/sys/block/sdb/removable": "0\n",
    "/sys/block/sdb/hidden": "0\n",
    "/sys/block/sdb/device/vendor": "ATA     \n",
    "/sys/block/sdb/device/model": "Samsung         \n",
    "/sys/block/sdb/device/vpd_pg83": NAA_PAGE,
    "/sys/block/sdb/device/vpd_pg80": b"\x00\x80\x00\x05S1234",
    "/proc/self/mountinfo": "29 1 0:24 / / rw,relatime - overlay root rw\n",
    "/proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
}
LINKS = {"/sys/block/sdb": "../devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sdb"}


def empty(argv: Sequence[str]) -> Answer:
    """What blkid says of an empty disk."""
    return Output(2, b"", b"")


def machine(
    files: Mapping[str, bytes | str | HostError] = {},
    *,
    said: Answer | None = None,
    links: Mapping[str, str] = LINKS,
    devices: Mapping[str, bytes | HostError] = {},
) -> PaperHost:
    """A host with one SATA disk, sdb, on which blkid finds what it `said`."""
    programs: dict[tuple[str, ...], Answer] = {}
    if said:
        programs["blkid", "-p", "-o", "export", "/dev/sdb"] = said
    return PaperHost({**SSD, **files}, links=dict(links), programs=programs, devices=devices, unasked=empty)


def seen(host: PaperHost) -> Seen:
    return probe(host, Scope(), None)


def disk(host: PaperHost, name: str = "sdb") -> Disk:
    fact = seen(host).facts[name]
    assert isinstance(fact, Disk)
    return fact


def kinds(found: Disk) -> list[str]:
    return [use.kind for use in found.uses]


def test_a_free_disk_is_told_with_its_id_and_without_a_use() -> None:
    assert disk(machine()) == Disk(
        key="sdb", device="/dev/sdb", physical_disk_id="3500253887013e77e", matchable=True, vendor="ATA",
        product_number="Samsung", serial="S1234", size_bytes=500118192 * 512, transport="sata",
        device_numbers=("8:16",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({"/sys/block/sdb/ro": "1\n"}, "read-only", "the kernel has it read-only"),
        ({"/sys/block/sdb/removable": "1\n"}, "removable", "a removable medium"),
        ({"/sys/block/sdb/holders/md0": ""}, "held", "held by md0"),
        (
            {
                "/sys/block/sdb/holders/dm-1": "",
                "/sys/block/dm-1/dm/uuid": "LVM-abc",
                "/sys/block/dm-1/dm/name": "vg-lv\n",
            },
            "held",
            "held by dm-1 (vg-lv)",
        ),
        (
            {"/proc/self/mountinfo": "38 29 8:16 / /a\\040b rw - ext4 /dev/sdb rw\n"},
            "mounted",
            "mounted at /a b",
        ),
        (
            {"/proc/self/mountinfo": "38 29 0:45 / /btrfs rw - btrfs /dev/sdb rw\n"},
            "mounted",
            "mounted at /btrfs",
        ),
        ({"/proc/swaps": "Filename Type\n/dev/sdb partition 1 0 -2\n"}, "swap", "swap on /dev/sdb"),
    ],
)
def test_whoever_uses_a_disk_is_named(changed: Files, kind: str, text: str) -> None:
    uses = disk(machine(changed)).uses
    assert [(use.kind, use.text) for use in uses] == [(kind, text)]


PARTITIONED: Files = {
    "/sys/block/sdb/sdb1/partition": "1\n",
    "/sys/block/sdb/sdb1/dev": "8:17\n",
    "/sys/block/sdb/sdb1/size": "2048\n",
}


def test_what_uses_a_partition_uses_the_disk() -> None:
    mounted = "38 29 8:17 / /srv rw - ext4 /dev/sdb1 rw\n"
    found = disk(
        machine({**PARTITIONED, "/proc/self/mountinfo": mounted, "/sys/block/sdb/sdb1/holders/md0": ""})
    )
    assert kinds(found) == ["partition-table", "mounted", "held"]
    assert found.device_numbers == ("8:16", "8:17")


def test_a_filesystem_on_the_whole_disk_is_named_with_its_uuid() -> None:
    said = b"DEVNAME=/dev/sdb\nUUID=1652669f-19d9-45ca-93a2-43e6c7ad80c4\nTYPE=ocfs2\nUSAGE=filesystem\n"
    found = disk(machine(said=Output(0, said, b"")))
    assert (found.filesystem_type, found.filesystem_uuid) == ("ocfs2", "1652669f-19d9-45ca-93a2-43e6c7ad80c4")
    assert kinds(found) == ["filesystem"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimedOut("blkid", "did not end within 5 s and was killed"), "timed-out"),
        (ToolMissing("blkid", "not installed"), "tool-missing"),
        (Denied("/dev/sdb", "Permission denied"), "denied"),
    ],
)
def test_a_disk_that_cannot_be_looked_at_is_not_free_and_says_why(error: HostError, code: str) -> None:
    found = disk(machine(said=error))
    assert kinds(found) == ["unreadable"]
    assert found.uses[0].text == error.text
    assert [fault.code for fault in found.faults] == [code]
    assert found.physical_disk_id == "3500253887013e77e"


def test_a_dead_disk_hides_nothing_of_the_others() -> None:
    other: Files = {
        "/sys/block/vda/dev": "254:0",
        "/sys/block/vda/size": "2048",
        "/sys/block/vda/device/vendor": "0x1af4",
    }
    look = seen(machine(other, said=TimedOut("blkid", "did not end")))
    assert look.faults == ()
    assert isinstance(look.facts["vda"], Disk)
    assert look.facts["vda"].uses == ()


def test_a_host_whose_sysfs_is_closed_is_blind_not_without_disks() -> None:
    assert seen(PaperHost({})).blind
    assert seen(machine({"/proc/self/mountinfo": Denied("/proc/self/mountinfo", "closed")})).blind


@pytest.mark.parametrize(
    "name", ["loop0", "ram0", "zram0", "sr0", "fd0", "nbd0", "md127", "drbd0", "rbd0", "dm-0"]
)
def test_devices_without_hardware_behind_them_are_no_disks(name: str) -> None:
    device: Files = {
        f"/sys/block/{name}/dev": "7:0",
        f"/sys/block/{name}/size": "9",
        f"/sys/block/{name}/device/x": "",
    }
    assert set(seen(machine(device)).facts) == {"sdb"}


def test_a_device_of_an_unknown_kind_without_hardware_is_no_disk() -> None:
    assert set(seen(machine({"/sys/block/bcache0/dev": "251:0", "/sys/block/bcache0/size": "9"})).facts) == {
        "sdb"
    }


def test_nvme_has_the_wwid_of_its_namespace() -> None:
    nvme: Files = {
        "/sys/block/nvme0n1/dev": "259:0",
        "/sys/block/nvme0n1/size": "2048",
        "/sys/block/nvme0n1/hidden": "0",
        "/sys/block/nvme0n1/wwid": "eui.0025385b61b0d5c1\n",
        "/sys/block/nvme0n1/device/model": "Samsung SSD 970 EVO 1TB                 \n",
        "/sys/block/nvme0n1/device/serial": "S467NX0M        \n",
    }
    links = {**LINKS, "/sys/block/nvme0n1": "../devices/pci0000:00/0000:00:08.0/nvme/nvme0/nvme0n1"}
    found = disk(machine(nvme, links=links), "nvme0n1")
    assert (found.physical_disk_id, found.matchable) == ("eui.0025385b61b0d5c1", True)
    assert (found.vendor, found.product_number, found.serial) == ("", "Samsung SSD 970 EVO 1TB", "S467NX0M")
    assert found.transport == "nvme"


def test_the_hidden_paths_of_an_nvme_are_not_disks_of_their_own() -> None:
    path: Files = {
        "/sys/block/nvme0c0n1/dev": "259:1",
        "/sys/block/nvme0c0n1/size": "2048",
        "/sys/block/nvme0c0n1/hidden": "1",
        "/sys/block/nvme0c0n1/device/model": "x",
    }
    assert set(seen(machine(path)).facts) == {"sdb"}


@pytest.mark.parametrize(("serial", "physical_id"), [("VS1", "virtio-VS1"), ("", "")])
def test_a_virtio_disk_never_matches_across_hosts(serial: str, physical_id: str) -> None:
    virtio: Files = {
        "/sys/block/vda/dev": "254:0",
        "/sys/block/vda/size": "2048",
        "/sys/block/vda/serial": serial,
        "/sys/block/vda/device/vendor": "0x1af4\n",
    }
    found = disk(machine(virtio), "vda")
    assert (found.physical_disk_id, found.matchable) == (physical_id, False)


MULTIPATH: Files = {
    **{path.replace("sdb", "sdc"): content for path, content in SSD.items() if "sdb" in path},
    "/sys/block/sdc/dev": "8:32\n",
    "/sys/block/dm-0/dev": "253:0\n",
    "/sys/block/dm-0/size": "500118192\n",
    "/sys/block/dm-0/dm/uuid": "mpath-3500253887013e77e\n",
    "/sys/block/dm-0/dm/name": "san1\n",
    "/sys/block/dm-0/slaves/sdb": "",
    "/sys/block/dm-0/slaves/sdc": "",
    "/sys/block/sdb/holders/dm-0": "",
    "/sys/block/sdc/holders/dm-0": "",
}


def test_a_multipath_disk_and_its_paths_are_one() -> None:
    look = seen(machine(MULTIPATH))
    assert set(look.facts) == {"dm-0"}
    found = look.facts["dm-0"]
    assert isinstance(found, Disk)
    assert (found.device, found.paths) == ("/dev/mapper/san1", ("/dev/sdb", "/dev/sdc"))
    assert (found.physical_disk_id, found.vendor, found.product_number) == (
        "3500253887013e77e",
        "ATA",
        "Samsung",
    )
    assert found.uses == ()
    assert found.device_numbers == ("253:0", "8:16", "8:32")


@pytest.mark.parametrize("left", ["", "/sys/block/dm-0/slaves/"])
def test_a_multipath_disk_whose_paths_are_gone_is_gone(left: str) -> None:
    gone = {
        path: content
        for path, content in MULTIPATH.items()
        if ("/sdb" not in path and "/sdc" not in path) or (left and path.startswith(left))
    }
    assert seen(PaperHost(gone, unasked=empty)).facts == {}


def test_partitions_of_a_multipath_disk_are_its_own_and_not_its_holders() -> None:
    partition: Files = {
        "/sys/block/dm-0/holders/dm-1": "",
        "/sys/block/dm-1/dev": "253:1",
        "/sys/block/dm-1/size": "2048",
        "/sys/block/dm-1/dm/uuid": "part1-mpath-3500253887013e77e",
        "/sys/block/dm-1/dm/name": "san1-part1",
        "/sys/block/dm-1/holders/dm-2": "",
        "/sys/block/dm-2/dm/uuid": "LVM-x",
        "/sys/block/dm-2/dm/name": "vg-lv",
    }
    found = disk(machine({**MULTIPATH, **partition}), "dm-0")
    assert [use.text for use in found.uses] == ["has partition dm-1", "held by dm-2 (vg-lv)"]
    assert "253:1" in found.device_numbers


def test_mountinfo_that_is_cut_says_what_it_can() -> None:
    whole = b"38 29 8:16 / /a rw - ext4 /dev/sdb rw\n"
    for cut in range(len(whole)):
        assert set(parse_in_use(whole[:cut], b"").mounted) <= {"8:16", "/dev/sdb", "/dev/sd", "/dev/s"}
