"""Real SCSI, SATA, NVMe, virtio and multipath disks in a guest: what we see equals what its tools say.

One guest for all tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storekeeper.observation import Disk, Ocfs2, Seen
from tests.real.guest import ran, shared_directory
from tests.real.scsi_machine import SSD_KIB, boot_scsi_machine

pytestmark = [
    pytest.mark.needs("root", "qemu-system", "ocfs2", "multipath"),
    pytest.mark.guest,
    pytest.mark.timeout(600),
]

# serial number: the kinds of use that keep it from being free
USES = {
    "ssd": ["filesystem", "mounted"],
    "my serial": [],
    "ext4": ["filesystem"],
    "swap": ["signature", "swap"],
    "vdisk1": [],
    "path0": [],
    "locked": ["read-only"],
    "stick1": ["filesystem", "removable"],
    "bad": ["unreadable"],
    "gpt": ["partition-table", "mounted"],
    "lvm": ["lvm", "held"],
    "both": ["signature"],
    "hung": ["unreadable"],
}


class Machine(msgspec.Struct):
    """What the guest's tools said and what we saw."""

    directory: Path
    disks: dict[str, Disk]
    ocfs2: dict[str, Ocfs2]
    looks: dict[str, Seen]

    def disk(self, serial: str) -> Disk:
        (found,) = (disk for disk in self.disks.values() if disk.serial == serial)
        return found

    def said(self, tool: str) -> str:
        return (self.directory / tool).read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    with shared_directory(tmp_path_factory, "scsi") as directory:
        exchange = directory / "exchange"
        if not exchange.exists():
            boot_scsi_machine(directory, Path(__file__).with_name("scsi_questions.sh").read_text())
    ended = ran(exchange)
    assert ended.status == 0, ended.output
    looks = {
        name: msgspec.json.decode((exchange / f"{name}.json").read_bytes(), type=Seen)
        for name in ("disks-1", "disks-2", "ocfs2-1", "ocfs2-2")
    }
    return Machine(
        directory=exchange,
        disks={key: fact for key, fact in looks["disks-1"].facts.items() if isinstance(fact, Disk)},
        ocfs2={key: fact for key, fact in looks["ocfs2-1"].facts.items() if isinstance(fact, Ocfs2)},
        looks=looks,
    )


def lsblk(machine: Machine) -> dict[str, dict[str, Any]]:
    """lsblk's rows by kernel name, those below others too."""
    rows = list(json.loads(machine.said("lsblk"))["blockdevices"])
    found = {}
    while rows:
        row = rows.pop()
        rows += row.get("children", [])
        found[row["kname"]] = row
    return found


def test_every_id_is_what_scsi_id_prints(machine: Machine) -> None:
    asked = {
        key: disk for key, disk in machine.disks.items() if key.startswith("sd") or disk.serial == "path0"
    }
    assert len(asked) == 12
    for key, disk in asked.items():
        assert disk.physical_disk_id == machine.said(f"scsi_id/{key}").strip(), key


def test_ids_of_all_kinds_are_there(machine: Machine) -> None:
    ids = {serial: machine.disk(serial).physical_disk_id for serial in USES}
    assert ids["ssd"] == "3500253887013e77e"
    assert ids["my serial"] == "0My_Ven_A_B_my_serial"
    assert ids["ext4"] == "1ATA_QEMU_HARDDISK_ext4"
    assert ids["path0"] == "35000c50015ea71bb"
    assert ids["vdisk1"] == "virtio-vdisk1"
    nvme = sorted(disk.physical_disk_id for disk in machine.disks.values() if disk.transport == "nvme")
    assert [name.rpartition("-")[2] for name in nvme] == ["00000001", "00000002"]


def test_only_ids_that_are_the_same_everywhere_are_matchable(machine: Machine) -> None:
    for disk in machine.disks.values():
        assert disk.matchable == (disk.physical_disk_id[:1] in {"1", "3", "n"}), disk


@pytest.mark.parametrize(
    ("serial", "kinds"), [(serial, kinds) for serial, kinds in USES.items() if serial != "nvme1"]
)
def test_what_keeps_a_disk_from_being_free(machine: Machine, serial: str, kinds: list[str]) -> None:
    assert [use.kind for use in machine.disk(serial).uses] == kinds


def test_every_disk_is_told_and_nothing_else(machine: Machine) -> None:
    told = {row["kname"] for row in lsblk(machine).values() if row["type"] == "disk"}
    maps = (machine.disk("path0"), machine.disk("hung"))
    paths = {path.removeprefix("/dev/") for disk in maps for path in disk.paths}
    assert set(machine.disks) == (told - paths) | {disk.key for disk in maps}


def test_sizes_numbers_and_names_are_those_of_lsblk(machine: Machine) -> None:
    rows = lsblk(machine)
    for key, disk in machine.disks.items():
        if key not in rows:
            continue
        row = rows[key]
        assert disk.size_bytes == row["size"], key
        assert disk.device_numbers[0] == row["maj:min"], key
        assert any(use.kind == "read-only" for use in disk.uses) == row["ro"], key
        assert any(use.kind == "removable" for use in disk.uses) == row["rm"], key
        if row["type"] == "disk":
            said = tuple((row[name] or "").strip() for name in ("vendor", "model"))
            assert (disk.vendor, disk.product_number) == said, key
            assert not row["tran"] or disk.transport == row["tran"], key


def test_a_multipath_disk_and_its_two_paths_are_one(machine: Machine) -> None:
    disk = machine.disk("path0")
    assert disk.device == "/dev/mapper/35000c50015ea71bb"
    assert len(disk.paths) == 2
    assert (disk.vendor, disk.product_number) == ("LIO", "LUN0")


def test_filesystems_are_those_of_blkid(machine: Machine) -> None:
    for key, disk in machine.disks.items():
        if key in {machine.disk("bad").key, machine.disk("hung").key}:
            continue
        said = dict(line.split("=", 1) for line in machine.said(f"blkid/{key}").splitlines() if line)
        filesystem = said.get("USAGE") == "filesystem"
        assert disk.filesystem_type == (said.get("TYPE", "") if filesystem else ""), key
        assert disk.filesystem_uuid == (said.get("UUID", "") if filesystem else ""), key


def test_a_disk_that_fails_every_read_is_not_free_though_blkid_finds_it_empty(machine: Machine) -> None:
    disk = machine.disk("bad")
    assert machine.said(f"blkid/{disk.key}") == ""
    assert "Input/output error" in disk.uses[0].text
    assert disk.physical_disk_id == "35000c50015ea71ee"


def test_a_disk_that_hangs_costs_one_bounded_call_and_the_next_look_none(machine: Machine) -> None:
    texts = []
    for look in (machine.looks["disks-1"], machine.looks["disks-2"]):
        disk = look.facts[machine.disk("hung").key]
        assert isinstance(disk, Disk)
        assert [fault.code for fault in disk.faults] == ["timed-out"]
        assert look.faults == ()
        texts.append(disk.uses[0].text)
    assert "did not end within 5 s" in texts[0]
    assert "has still not ended" in texts[1]


def test_a_device_that_hangs_or_fails_hides_no_ocfs2_but_its_own(machine: Machine) -> None:
    bad, hung = machine.disk("bad").key, machine.disk("hung").key
    for look, text in (("ocfs2-1", "no answer within 5 s"), ("ocfs2-2", "has not returned")):
        faults = {fault.hides: fault for fault in machine.looks[look].faults}
        assert {key: fault.code for key, fault in faults.items()} == {bad: "io-error", hung: "timed-out"}
        assert text in faults[hung].text


def test_ocfs2_is_found_as_mounted_ocfs2_finds_it(machine: Machine) -> None:
    head, *lines = machine.said("mounted.ocfs2").splitlines()
    said = {}
    for line in lines:
        device, stack, *_ = line.split()
        said[device.removeprefix("/dev/")] = (stack, line[head.index("UUID") :].split(maxsplit=1))
    # of a disk that fails every read it shows what it had read of the one before
    said.pop(machine.disk("bad").key, None)
    assert set(said) >= {machine.disk("ssd").key, machine.disk("stick1").key}
    assert set(machine.ocfs2) == set(said)
    for key, found in machine.ocfs2.items():
        uuid = found.filesystem_uuid.replace("-", "").upper()
        assert (found.cluster_stack or "None", [uuid, found.label]) == said[key]


def test_the_mounted_ocfs2_is_the_one_of_the_example(machine: Machine) -> None:
    found = machine.ocfs2[machine.disk("ssd").key]
    assert found.mounted_at == "/storekeeper/samsung_ssd"
    assert found.heartbeat_active is True
    assert found.cluster_name == "flexcluster"
    assert found.filesystem_uuid == machine.disk("ssd").filesystem_uuid
    assert found.total_bytes == SSD_KIB * 1024 == int(machine.said("df").split("\n")[1].split()[1]) * 1024
