"""Commands for the linear map over a disk, by dmsetup(8). None waits for udevd, which most hosts lack."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.scenario import DiskTable

_ALONE = "--noudevsync"


def node(disk: DiskTable) -> str:
    """The device that the map is."""
    return f"/dev/mapper/{disk.name}"


def create(disk: DiskTable, device: str) -> str:
    """Maps the whole of `device`, which is the disk in this host."""
    made = f"modprobe dm_mod && dmsetup create {_ALONE} {disk.name} --table {_linear(disk, device)}"
    return f"{made} && dmsetup mknodes {disk.name}"


def suspend(disk: DiskTable) -> str:
    """Holds back all that is asked of the map, without a word to the filesystem on it."""
    return f"dmsetup suspend --nolockfs --noflush {disk.name}"


def resume(disk: DiskTable) -> str:
    """Lets it answer again."""
    return f"dmsetup resume {_ALONE} {disk.name}"


def fail(disk: DiskTable) -> str:
    """Lets all that is asked of it fail."""
    return f"dmsetup wipe_table --noflush --nolockfs {_ALONE} {disk.name}"


def repair(disk: DiskTable, device: str) -> str:
    """Gives it back the table that it had at first."""
    # By itself, resume freezes the filesystem first, which fails.
    load = f"dmsetup load {disk.name} --table {_linear(disk, device)}"
    return f"{load} && {suspend(disk)} && {resume(disk)}"


def _linear(disk: DiskTable, device: str) -> str:
    return shlex.quote(f"0 {disk.size_kib * 2} linear {device} 0")
