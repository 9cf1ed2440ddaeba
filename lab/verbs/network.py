"""Verbs that happen to the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab


class CutOff(OnHost, tag="cut-off"):
    """A host is cut off the hosts' `storage` network, or off what is `outside`: the manager.

    Its card loses its link; `silently` it keeps that, and nothing that it sends arrives.
    """

    network: Literal["storage", "outside"]
    silently: bool = False

    def do(self, lab: Lab) -> None:
        """Takes the link away, or lets the packets vanish."""
        host = lab.hosts[self.host]
        if self.silently:
            host.run(f"tc qdisc add dev {host.card(self.network)} root blackhole")
        else:
            host.guest.qmp("set_link", name=self.network, up=False)


class Reconnect(OnHost, tag="reconnect"):
    """What `cut-off` did is over."""

    network: Literal["storage", "outside"]

    def do(self, lab: Lab) -> None:
        """Gives the link back, and lets packets pass."""
        host = lab.hosts[self.host]
        host.guest.qmp("set_link", name=self.network, up=True)
        # Fails when nothing was in their way.
        host.guest.try_run(f"tc qdisc del dev {host.card(self.network)} root")
