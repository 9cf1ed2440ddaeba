"""What a fault does and undoes. A verb is a table with its name under `verb` and its words beside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class _Verb(Struct, forbid_unknown_fields=True, tag_field="verb"):
    """One thing to do: `wrong` says what of its words the scenario does not have; `do` does it."""

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        raise NotImplementedError

    def do(self, lab: Lab) -> None:
        raise NotImplementedError


class _OnHost(_Verb):
    """A verb that happens to one host."""

    host: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        if self.host not in {host.name for host in scenario.hosts}:
            yield f"there is no host {self.host!r}"


class _Anywhere(_Verb):
    """A verb without words."""

    def wrong(self, scenario: Scenario) -> Iterator[str]:  # noqa: ARG002
        yield from ()


class PowerOff(_OnHost, tag="power-off"):
    """The plug is pulled."""

    def do(self, lab: Lab) -> None:
        """Ends the guest."""
        lab.hosts[self.host].guest.power_off()


class Boot(_OnHost, tag="boot"):
    """The host boots, and comes up as at first."""

    def do(self, lab: Lab) -> None:
        """Boots the guest anew: what it had in memory is gone."""
        lab.hosts[self.host].guest.power_off()
        lab.bring_up(self.host)


class Unplug(_OnHost, tag="unplug"):
    """A disk is pulled from one host."""

    disk: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host or the disk is not there."""
        yield from _OnHost.wrong(self, scenario)
        if self.disk not in {disk.name for disk in scenario.disks_of(self.host)}:
            yield f"{self.host!r} sees no disk {self.disk!r}"

    def do(self, lab: Lab) -> None:
        """Removes every path of the disk."""
        lab.hosts[self.host].unplug(self.disk)


class Remount(_OnHost, tag="remount"):
    """A mount is remounted with other options, `ro` or `rw`."""

    at: str
    options: str

    def do(self, lab: Lab) -> None:
        """Runs mount in the host."""
        lab.hosts[self.host].run(f"mount -o remount,{self.options} {shlex.quote(self.at)}")


class CutOff(_OnHost, tag="cut-off"):
    """A host's card loses its link: to the hosts' `storage` network, or `outside`, to the manager."""

    network: Literal["storage", "outside"]

    def do(self, lab: Lab) -> None:
        """Takes the link away."""
        lab.hosts[self.host].guest.qmp("set_link", name=self.network, up=False)


class Reconnect(_OnHost, tag="reconnect"):
    """The link is there again."""

    network: Literal["storage", "outside"]

    def do(self, lab: Lab) -> None:
        """Gives the link back."""
        lab.hosts[self.host].guest.qmp("set_link", name=self.network, up=True)


class KillManager(_Anywhere, tag="kill-manager"):
    """The manager is killed."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGKILL."""
        lab.manager.kill()


class StartManager(_Anywhere, tag="start-manager"):
    """The manager starts again, on its database."""

    def do(self, lab: Lab) -> None:
        """Starts it and waits until it answers."""
        lab.manager.start()


class KillBricks(_Verb, tag="kill-bricks"):
    """The processes of bricks `HOST:/path` are killed."""

    bricks: tuple[str, ...]

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """No volume has such a brick."""
        known = {brick for volume in scenario.gluster_volumes for brick in volume.bricks}
        yield from (f"there is no brick {brick!r}" for brick in self.bricks if brick not in known)

    def do(self, lab: Lab) -> None:
        """Kills them in their hosts."""
        for brick in self.bricks:
            host, _, path = brick.partition(":")
            # The trailing end keeps /data/brick1 from being /data/brick10 too.
            lab.hosts[host].run(f"pkill -9 -f -- '--brick-name {path}( |$)'")


class StartBricks(_Verb, tag="start-bricks"):
    """`gluster volume start force`: bricks that are down come up."""

    volume: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """There is no such volume."""
        if self.volume not in {volume.name for volume in scenario.gluster_volumes}:
            yield f"there is no Gluster volume {self.volume!r}"

    def do(self, lab: Lab) -> None:
        """Starts the volume and waits for its bricks."""
        lab.start_volume(self.volume)


class Run(_OnHost, tag="run"):
    """Any shell command in a host, where no verb says it better."""

    command: str

    def do(self, lab: Lab) -> None:
        """Runs it; it must succeed."""
        lab.hosts[self.host].run(self.command)


Verb = (
    PowerOff | Boot | Unplug | Remount | CutOff | Reconnect | KillBricks | StartBricks | KillManager
    | StartManager | Run
)  # fmt: skip
