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


class SplitBrain(OnHost, tag="split-brain"):
    """Two bricks, the first of them of `host`, come to hold different contents of the file at `path`, as
    `host` mounts it.
    """

    volume: str
    path: str
    sides: tuple[str, str]

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The volume, a brick, or the mount is not there."""
        yield from OnHost.wrong(self, scenario)
        volumes = {volume.name: volume for volume in scenario.gluster_volumes}
        if self.volume not in volumes:
            yield f"there is no Gluster volume {self.volume!r}"
            return
        known = volumes[self.volume].bricks
        yield from (f"there is no brick {brick!r}" for brick in self.sides if brick not in known)
        if not self.sides[0].startswith(f"{self.host}:"):
            yield f"sides: {self.sides[0]!r} is no brick of {self.host!r}"
        if self._mount(scenario) is None:
            yield f"{self.host!r} mounts {self.volume!r} nowhere above {self.path!r}"

    def _mount(self, scenario: Scenario) -> str | None:
        """Where the host mounts the volume."""
        for volume, mount in scenario.gluster_mounts_of(self.host):
            if volume.name == self.volume and self.path.startswith(f"{mount.at}/"):
                return mount.at
        return None

    def do(self, lab: Lab) -> None:
        """Writes to one side while the other is down, and the other way round."""
        lab.split(self.volume, self.path, self.sides)


class HealSplitBrain(SplitBrain, tag="heal-split-brain"):
    """What the first side holds is the truth."""

    def do(self, lab: Lab) -> None:
        """Lets Gluster copy it, and waits until all bricks have it."""
        within = self.path.removeprefix(self._mount(lab.scenario) or "")
        lab.heal(self.volume, within, self.sides[0])
