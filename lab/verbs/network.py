"""Verbs that happen to the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab


class CutOff(OnHost, tag="cut-off"):
    """A host's card loses its link: to the hosts' `storage` network, or `outside`, to the manager."""

    network: Literal["storage", "outside"]

    def do(self, lab: Lab) -> None:
        """Takes the link away."""
        lab.hosts[self.host].guest.qmp("set_link", name=self.network, up=False)


class Reconnect(OnHost, tag="reconnect"):
    """The link is there again."""

    network: Literal["storage", "outside"]

    def do(self, lab: Lab) -> None:
        """Gives the link back."""
        lab.hosts[self.host].guest.qmp("set_link", name=self.network, up=True)
