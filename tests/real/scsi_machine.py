"""A guest with disks of every kind: SCSI with and without a WWN, SATA, NVMe, virtio, multipath; OCFS2 as one
node of a cluster; a disk that fails every read, one that is to hang.

A disk is known by its serial number, since kernel names change from boot to boot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.real.disk_contents import write_gpt, write_lvm_label
from tests.real.guest import Drive, Ran, boot

CHECKOUT = Path(__file__).parents[2]
SSD_KIB = 250057728  # the size of the disk in the API's own example
MIB = 1 << 20
MODULES = (
    "ahci", "sr_mod", "loop", "ext4", "ocfs2", "ocfs2_dlmfs", "ocfs2_stack_o2cb", "configfs", "dm_multipath",
    "dm_service_time",
)  # fmt: skip
CONTROLLERS = (
    "virtio-scsi-pci,id=scsi0", "virtio-scsi-pci,id=scsi1", "virtio-scsi-pci,id=scsi2", "ahci,id=ahci0",
    "nvme,id=nvme0,serial=nvme1",
)  # fmt: skip


def _file(directory: Path, name: str, size_bytes: int = 64 * MIB) -> Path:
    file = directory / name
    file.touch()
    os.truncate(file, size_bytes)
    return file


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def drives(directory: Path) -> Iterator[Drive]:
    """The guest's disks, with what lies on them."""
    ssd = _file(directory, "ssd", SSD_KIB * 1024)
    cluster = ("--cluster-stack=o2cb", "--cluster-name=flexcluster", "-L", "samsung_ssd")
    _run("mkfs.ocfs2", "-q", "-F", "-N", "4", "-J", "size=32M", "-b", "4K", "-C", "1M", *cluster, ssd)
    yield Drive(ssd, "scsi-hd,bus=scsi0.0,wwn=0x500253887013e77e,vendor=ATA,product=Samsung,serial=ssd")
    yield Drive(_file(directory, "plain"), "scsi-hd,bus=scsi0.0")
    yield Drive(_file(directory, "named"), "scsi-hd,bus=scsi0.0,serial=my serial,vendor=My Ven,product=A B")
    ext4 = _file(directory, "ext4")
    _run("mkfs.ext4", "-q", ext4)
    yield Drive(ext4, "ide-hd,bus=ahci0.0,serial=ext4")
    swap = _file(directory, "swap")
    _run("mkswap", swap)
    yield Drive(swap, "ide-hd,bus=ahci0.1,serial=swap,wwn=0x5000c50015ea71aa")
    yield Drive(_file(directory, "nvme1"), "nvme-ns,bus=nvme0,nsid=1")
    yield Drive(_file(directory, "nvme2"), "nvme-ns,bus=nvme0,nsid=2")
    yield Drive(_file(directory, "virtio1"), "virtio-blk-pci,serial=vdisk1")
    yield Drive(_file(directory, "virtio2"), "virtio-blk-pci")
    shared = "wwn=0x5000c50015ea71bb,vendor=LIO,product=LUN0,serial=path0,share-rw=on"
    yield Drive(_file(directory, "san"), f"scsi-hd,bus=scsi1.0,{shared}")
    yield Drive(directory / "san", f"scsi-hd,bus=scsi2.0,{shared}")
    yield Drive(_file(directory, "readonly"), "scsi-hd,bus=scsi0.0,serial=locked", read_only=True)
    removable = _file(directory, "removable")
    _run(
        "mkfs.ocfs2",
        "-q",
        "-F",
        "-M",
        "local",
        "-J",
        "size=4M",
        "-b",
        "1K",
        "-C",
        "4K",
        "-L",
        "stick",
        removable,
    )
    yield Drive(removable, "scsi-hd,bus=scsi0.0,serial=stick1,removable=on")
    (directory / "fail").write_text('[inject-error]\nevent = "read_aio"\nerrno = "5"\n')
    bad = f"blkdebug:{directory / 'fail'}:{_file(directory, 'bad')}"
    yield Drive(bad, "scsi-hd,bus=scsi0.0,serial=bad,wwn=0x5000c50015ea71ee")
    gpt = _file(directory, "gpt")
    _run("mkfs.ext4", "-q", "-E", "offset=1048576", gpt, "62M")
    write_gpt(gpt)
    yield Drive(gpt, "scsi-hd,bus=scsi0.0,serial=gpt")
    lvm = _file(directory, "lvm")
    write_lvm_label(lvm)
    yield Drive(lvm, "scsi-hd,bus=scsi0.0,serial=lvm")
    both = _file(directory, "both")
    _run("mkfs.ext4", "-q", both)
    with both.open("r+b") as file:
        file.seek(2 * 4096)
        file.write((CHECKOUT / "tests/sources/ocfs2_superblocks/local-4096").read_bytes())
    yield Drive(both, "scsi-hd,bus=scsi0.0,serial=both")
    yield Drive(_file(directory, "hung"), "scsi-hd,bus=scsi0.0,serial=hung,wwn=0x5000c50015ea71ff")
    yield Drive(_file(directory, "cdrom"), "scsi-cd,bus=scsi0.0", read_only=True)


def boot_scsi_machine(directory: Path, script: str) -> Ran:
    """Boots the guest, puts its disks to use, then runs `script` (with `$checkout` set) in it.

    What that leaves is in `directory/exchange`; the disks are gone afterwards.
    """
    setup = Path(__file__).with_name("scsi_machine.sh").read_text()
    (directory / "disks").mkdir(parents=True)
    try:
        return boot(
            directory / "exchange", script=f"checkout={CHECKOUT}\n{setup}\n{script}",
            drives=list(drives(directory / "disks")), devices=CONTROLLERS, modules=MODULES,
        )  # fmt: skip
    finally:
        shutil.rmtree(directory / "disks")
