"""The scenario's disks as sparse files, made into filesystems out here, and as QEMU shows them to a host."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.errors import LabError
from lab.scenario import DiskTable, FilesystemTable, Scenario

OCFS2_CLUSTER = "lab"
STATE_MIB = 256
_MKFS = {
    "ocfs2": ("mkfs.ocfs2", "-q", "-F", "--cluster-stack=o2cb", f"--cluster-name={OCFS2_CLUSTER}"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}


def disk_file(directory: Path, disk: str) -> Path:
    """The file that holds a disk."""
    return directory / f"{disk}.raw"


def state_file(directory: Path, host: str) -> Path:
    """The file of a host's state disk: what it must not forget when it boots again."""
    return directory / f"{host}.state"


def make_disks(scenario: Scenario, directory: Path) -> None:
    """Makes all disks, and the filesystems on them. They take next to no room.

    Raises:
        LabError: a mkfs fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for disk in scenario.disks:
        _sparse(disk_file(directory, disk.name), disk.size_kib * 1024)
    for host in scenario.hosts:
        _sparse(state_file(directory, host.name), STATE_MIB << 20)
        _run(*_MKFS["ext4"], str(state_file(directory, host.name)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda filesystem: _mkfs(filesystem, directory), scenario.filesystems))


def _sparse(file: Path, size_bytes: int) -> None:
    file.touch()
    os.truncate(file, size_bytes)


def _mkfs(filesystem: FilesystemTable, directory: Path) -> None:
    label = ("-L", filesystem.label) if filesystem.label else ()
    _run(*_MKFS[filesystem.kind], *label, *filesystem.mkfs, str(disk_file(directory, filesystem.disk)))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")


def drive_id(disk: DiskTable, path: int = 0) -> str:
    """The name that QEMU knows a path of a disk by."""
    return f"{disk.name}-{path}"


def qemu_disks(scenario: Scenario, host: str, directory: Path) -> list[str]:
    """QEMU's arguments for all disks of a host, on one SCSI bus; the state disk is a virtio one beside it."""
    argv = ["-device", "virtio-scsi-pci,id=scsi0"]
    argv += _drive("state", state_file(directory, host), "virtio-blk-pci")
    target = 0
    for disk in scenario.disks_of(host):
        for path in range(disk.paths):
            argv += _drive(drive_id(disk, path), disk_file(directory, disk.name), scsi_device(disk, target))
            target += 1
    return argv


def scsi_device(disk: DiskTable, target: int) -> str:
    """QEMU's `scsi-hd` of a disk. One without a WWN has an id that is the same in every VM."""
    words = [f"scsi-hd,bus=scsi0.0,scsi-id={target},vendor={disk.vendor},product={disk.product},share-rw=on"]
    words += [f"wwn={disk.wwn}"] if disk.wwn else []
    words += [f"serial={disk.serial}"] if disk.serial else []
    return ",".join(words)


def _drive(name: str, file: Path, device: str) -> list[str]:
    # Several guests on one file are several hosts on one SAN: no lock, no cache of this machine between them.
    node = f"if=none,id={name},file={file},format=raw,file.locking=off,cache=none"
    return ["-drive", node, "-device", f"{device},drive={name},id=dev-{name}"]
