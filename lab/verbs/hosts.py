"""Verbs that happen to a whole host, and the one that runs any command in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab


class PowerOff(OnHost, tag="power-off"):
    """The plug is pulled."""

    def do(self, lab: Lab) -> None:
        """Ends the guest."""
        lab.hosts[self.host].guest.power_off()


class Boot(OnHost, tag="boot"):
    """The host boots, and comes up as at first."""

    def do(self, lab: Lab) -> None:
        """Boots the guest anew: what it had in memory is gone."""
        lab.hosts[self.host].guest.power_off()
        lab.bring_up(self.host)


class Run(OnHost, tag="run"):
    """Any shell command in a host, where no verb says it better."""

    command: str

    def do(self, lab: Lab) -> None:
        """Runs it; it must succeed."""
        lab.hosts[self.host].run(self.command)
