"""Verbs that happen to Gluster volumes and bricks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.verbs.contract import AnyVerb

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class KillBricks(AnyVerb, tag="kill-bricks"):
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


class StartBricks(AnyVerb, tag="start-bricks"):
    """`gluster volume start force`: bricks that are down come up."""

    volume: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """There is no such volume."""
        if self.volume not in {volume.name for volume in scenario.gluster_volumes}:
            yield f"there is no Gluster volume {self.volume!r}"

    def do(self, lab: Lab) -> None:
        """Starts the volume and waits for its bricks."""
        lab.start_volume(self.volume)
