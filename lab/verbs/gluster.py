"""Verbs that happen to Gluster volumes and bricks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.verbs.contract import AnyVerb, OnHost

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
            lab.kill_brick(brick)


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


class _OnClient(OnHost):
    """A verb that happens to the client of a Gluster mount, which a host has at `at`."""

    at: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The host mounts nothing there."""
        yield from OnHost.wrong(self, scenario)
        if self.at not in {mount.at for _, mount in scenario.gluster_mounts_of(self.host)}:
            yield f"{self.host!r} mounts no Gluster volume at {self.at!r}"


class HangClient(_OnClient, tag="hang-client"):
    """The client of a Gluster mount hangs, and with it whoever looks there."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGSTOP."""
        lab.hosts[self.host].run(f"pkill -STOP -f -- '--process-name fuse .*{self.at}$'")


class ResumeClient(_OnClient, tag="resume-client"):
    """The client of a Gluster mount goes on."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGCONT."""
        lab.hosts[self.host].run(f"pkill -CONT -f -- '--process-name fuse .*{self.at}$'")


class SplitBrain(AnyVerb, tag="split-brain"):
    """Two bricks of a replicated volume come to hold different contents of the file that is `path` in it."""

    volume: str
    path: str
    sides: tuple[str, str]

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The volume or a brick is not there, or the path is none."""
        volumes = {volume.name: volume for volume in scenario.gluster_volumes}
        if self.volume not in volumes:
            yield f"there is no Gluster volume {self.volume!r}"
            return
        known = volumes[self.volume].bricks
        yield from (f"{self.volume!r} has no brick {brick!r}" for brick in self.sides if brick not in known)
        if len(set(self.sides)) < len(self.sides):
            yield f"sides: {self.sides[0]!r} is there 2 times"
        if not self.path.startswith("/"):
            yield f"{self.path!r} is no path in a volume; write one such as '/win.raw'"

    def do(self, lab: Lab) -> None:
        """Writes to each side while all other bricks are down."""
        lab.split(self.volume, self.path, self.sides)


class HealSplitBrain(SplitBrain, tag="heal-split-brain"):
    """What the first side holds is the truth."""

    def do(self, lab: Lab) -> None:
        """Lets Gluster copy it, and waits until all bricks have it."""
        lab.heal(self.volume, self.path, self.sides)
