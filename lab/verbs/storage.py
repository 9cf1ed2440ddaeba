"""Verbs that happen to disks, filesystems and mounts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab import maps
from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import DiskTable, Scenario


class _OnDisk(OnHost):
    """A verb that happens to a disk that a host sees."""

    disk: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host or the disk is not there."""
        yield from OnHost.wrong(self, scenario)
        if self.disk not in {disk.name for disk in scenario.disks_of(self.host)}:
            yield f"{self.host!r} sees no disk {self.disk!r}"

    def device(self, lab: Lab) -> str:
        """The disk's device in the host."""
        table = next(disk for disk in lab.scenario.disks_of(self.host) if disk.name == self.disk)
        return lab.hosts[self.host].device(table)


class Unplug(_OnDisk, tag="unplug"):
    """A disk is pulled from one host."""

    def do(self, lab: Lab) -> None:
        """Removes every path of the disk."""
        lab.hosts[self.host].unplug(self.disk)


class _OnFreeDisk(_OnDisk):
    """A verb that overwrites a disk, which must hold no filesystem of the scenario."""

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host or the disk is not there, or the disk is not free."""
        yield from _OnDisk.wrong(self, scenario)
        if self.disk in {filesystem.disk for filesystem in scenario.filesystems}:
            yield f"{self.disk!r} holds a filesystem"


class Format(_OnFreeDisk, tag="format"):
    """A free disk is taken: somebody makes a filesystem on it."""

    def do(self, lab: Lab) -> None:
        """Runs mkfs in the host."""
        lab.hosts[self.host].run(f"mkfs.ext4 -q -F {self.device(lab)}")


class Wipe(_OnFreeDisk, tag="wipe"):
    """A disk is free again: nothing on it is recognised."""

    def do(self, lab: Lab) -> None:
        """Runs wipefs in the host."""
        lab.hosts[self.host].run(f"wipefs -qa {self.device(lab)}")


class _AtPlace(OnHost):
    """A verb that happens to a mount of a host."""

    at: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host is not there, or mounts nothing there, Gluster volumes aside."""
        yield from OnHost.wrong(self, scenario)
        mounts = [mount for _, mount in scenario.mounts_of(self.host)]
        mounts += [mount for _, mount in scenario.exports_mounted_on(self.host)]
        if self.at not in {mount.at for mount in mounts}:
            yield f"{self.host!r} mounts nothing at {self.at!r}"


class Remount(_AtPlace, tag="remount"):
    """A mount is remounted with other options, `ro` or `rw`."""

    options: str

    def do(self, lab: Lab) -> None:
        """Runs mount in the host."""
        lab.hosts[self.host].run(f"mount -o remount,{self.options} {shlex.quote(self.at)}")


class Unmount(_AtPlace, tag="unmount"):
    """What is mounted at a place is unmounted, whatever it is."""

    def do(self, lab: Lab) -> None:
        """Unmounts it, when the agent's look at it is over."""
        lab.hosts[self.host].wait_until(
            f"umount {shlex.quote(self.at)}", within_s=60, what=f"{self.at} is unmounted"
        )


class Mount(_AtPlace, tag="mount"):
    """The filesystem that a place should have is mounted there."""

    def do(self, lab: Lab) -> None:
        """Mounts it as after a boot."""
        lab.hosts[self.host].mount_again(self.at)


class Cover(_AtPlace, tag="cover"):
    """An empty filesystem of another kind is mounted over a place."""

    def do(self, lab: Lab) -> None:
        """Mounts a tmpfs there."""
        lab.hosts[self.host].run(f"mount -t tmpfs other {shlex.quote(self.at)}")


class _OnMap(OnHost):
    """A verb that happens to the map over a disk."""

    disk: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host is not there, or has no such map."""
        yield from OnHost.wrong(self, scenario)
        if self.disk not in {disk.name for disk in scenario.maps_of(self.host)}:
            yield f"{self.host!r} has no map over a disk {self.disk!r}"

    def table(self, lab: Lab) -> DiskTable:
        """The disk."""
        return next(disk for disk in lab.scenario.maps_of(self.host) if disk.name == self.disk)


class Suspend(_OnMap, tag="suspend"):
    """A device stops answering; who reads from it cannot even be killed."""

    def do(self, lab: Lab) -> None:
        """Suspends the map."""
        lab.hosts[self.host].run(maps.suspend(self.table(lab)))


class Resume(_OnMap, tag="resume"):
    """A suspended device answers again."""

    def do(self, lab: Lab) -> None:
        """Resumes the map."""
        lab.hosts[self.host].run(maps.resume(self.table(lab)))


class FailIo(_OnMap, tag="fail-io"):
    """All that is read from a device or written to it fails."""

    def do(self, lab: Lab) -> None:
        """Replaces the map's table by one of errors."""
        lab.hosts[self.host].run(maps.fail(self.table(lab)))


class Repair(_OnMap, tag="repair"):
    """A device works again; a filesystem that has seen its errors does not."""

    def do(self, lab: Lab) -> None:
        """Gives the map its table back."""
        host, disk = lab.hosts[self.host], self.table(lab)
        host.run(maps.repair(disk, host.device(disk)))
