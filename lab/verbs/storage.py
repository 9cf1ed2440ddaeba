"""Verbs that happen to disks, filesystems and mounts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class Unplug(OnHost, tag="unplug"):
    """A disk is pulled from one host."""

    disk: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host or the disk is not there."""
        yield from OnHost.wrong(self, scenario)
        if self.disk not in {disk.name for disk in scenario.disks_of(self.host)}:
            yield f"{self.host!r} sees no disk {self.disk!r}"

    def do(self, lab: Lab) -> None:
        """Removes every path of the disk."""
        lab.hosts[self.host].unplug(self.disk)


class Remount(OnHost, tag="remount"):
    """A mount is remounted with other options, `ro` or `rw`."""

    at: str
    options: str

    def do(self, lab: Lab) -> None:
        """Runs mount in the host."""
        lab.hosts[self.host].run(f"mount -o remount,{self.options} {shlex.quote(self.at)}")
