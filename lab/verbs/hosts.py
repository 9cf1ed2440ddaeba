"""Verbs that happen to a whole host, and the one that runs any command in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.verbs.contract import AnyVerb, OnHost

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class PowerOff(OnHost, tag="power-off"):
    """The plug is pulled."""

    def do(self, lab: Lab) -> None:
        """Ends the guest."""
        lab.hosts[self.host].guest.power_off()


class Boot(AnyVerb, tag="boot"):
    """Hosts boot, and come up as at first."""

    hosts: tuple[str, ...]

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """One of the hosts is not there."""
        known = {host.name for host in scenario.hosts}
        yield from (f"there is no host {host!r}" for host in self.hosts if host not in known)

    def do(self, lab: Lab) -> None:
        """Boots the guests anew: what they had in memory is gone."""
        for host in self.hosts:
            lab.hosts[host].guest.power_off()
        lab.bring_up(self.hosts)


class WaitForReset(OnHost, tag="wait-for-reset"):
    """The host resets itself, as OCFS2 does when it loses its disk. A guest of the lab is off then."""

    within_s: float = 120

    def do(self, lab: Lab) -> None:
        """Waits for its end."""
        guest = lab.hosts[self.host].guest
        deadline = time.monotonic() + self.within_s
        while guest.is_up:
            if time.monotonic() > deadline:
                raise LabError(f"{self.host} has not reset itself within {self.within_s:g} s")
            time.sleep(0.5)


class Run(OnHost, tag="run"):
    """Any shell command in a host, where no verb says it better."""

    command: str

    def do(self, lab: Lab) -> None:
        """Runs it; it must succeed."""
        lab.hosts[self.host].run(self.command)
