"""The scenario's Gluster volumes: one trusted pool of all hosts with bricks."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from lab.errors import LabError
from lab.host import LabHost
from lab.scenario import GlusterVolumeTable, Scenario

# Nobody mends what the two sides of a split brain hold, and one brick is enough to write to.
_UNHEALED = "cluster.quorum-type none cluster.self-heal-daemon off"
_HEALED = "cluster.quorum-type auto cluster.self-heal-daemon on"
_TURN_S = 60.0
_KEPT = "/run/brick.command"


def make_gluster_volumes(scenario: Scenario, hosts: Mapping[str, LabHost]) -> None:
    """Joins the peers, then creates, sets and starts the volumes."""
    members = scenario.gluster_hosts
    if not members:
        return
    first = hosts[members[0]]
    for name in members[1:]:
        gluster(first, f"peer probe {name}")
    for name in members:
        hosts[name].wait_until(
            f'[ "$(gluster --mode=script pool list | grep -c Connected)" = {len(members)} ]',
            within_s=120, what="all peers are connected",
        )  # fmt: skip
    for volume in scenario.gluster_volumes:
        words = [volume.name, *volume.layout, *volume.bricks]
        gluster(first, f"volume create {shlex.join(words)} force")
        for option, value in volume.options.items():
            gluster(first, f"volume set {volume.name} {option} {shlex.quote(value)}")
        start(first, volume)


def start(host: LabHost, volume: GlusterVolumeTable) -> None:
    """Starts what of a volume is down, and waits until all its bricks are online."""
    gluster(host, f"volume start {volume.name} force")
    deadline = time.monotonic() + 120
    while (online := bricks_online(host, volume)) < set(volume.bricks):
        if time.monotonic() > deadline:
            raise LabError(f"{volume.name}: these bricks stay offline: {set(volume.bricks) - online}")
        time.sleep(0.5)


def bricks_online(host: LabHost, volume: GlusterVolumeTable) -> set[str]:
    """The bricks that are online, as `gluster volume status` on a host says."""
    ran = host.guest.try_run(f"gluster --mode=script volume status {volume.name} --xml", timeout_s=60)
    try:
        root = ET.fromstring(ran.output)
    except ET.ParseError:
        return set()
    return {
        f"{node.findtext('hostname')}:{node.findtext('path')}"
        for node in root.iter("node")
        if node.findtext("status") == "1"
    } & set(volume.bricks)


def gluster(host: LabHost, words: str) -> str:
    """Runs the gluster tool on a host, in its turn where agents ask the cluster; what it printed."""
    deadline = time.monotonic() + _TURN_S
    while True:
        ran = host.guest.try_run(f"gluster --mode=script {words}", timeout_s=240)
        if ran.status == 0:
            return ran.output
        if "Another transaction is in progress" not in ran.output or time.monotonic() > deadline:
            raise LabError(f"{host.name}: exit status {ran.status} of gluster {words}\n{ran.output[-3000:]}")
        time.sleep(0.5)


def split(hosts: Mapping[str, LabHost], volume: GlusterVolumeTable, path: str, sides: Sequence[str]) -> None:
    """Lets two bricks hold different contents of a file, each sure that the other's are old.

    `path` is where a host mounts it. All bricks but one side are killed, then that one and not the other:
    what is written meanwhile is on one brick alone.
    """
    first, second = sides
    gluster(hosts[_host_of(first)], f"volume set {volume.name} {_UNHEALED}")
    for brick in volume.bricks:
        if brick != second:
            hosts[_host_of(brick)].run(_kill(brick, _KEPT if brick == first else "/dev/null"))
    writer = hosts[_host_of(first)]
    _write(writer, path, "/dev/zero")
    hosts[_host_of(second)].run(_kill(second, "/dev/null"))
    writer.run(f"xargs -0 setsid < {_KEPT}")
    _write(writer, path, "/dev/urandom")
    start(writer, volume)


def heal(host: LabHost, volume: GlusterVolumeTable, path: str, side: str) -> None:
    """Makes what one brick holds of a file the truth, and waits until all have it.

    `path` is the file's in the volume.
    """
    # Where they did not come up after the split, the volume cannot be set.
    start(host, volume)
    gluster(host, f"volume set {volume.name} {_HEALED}")
    tool = f"gluster --mode=script volume heal {volume.name}"
    chosen = f"{tool} split-brain source-brick {side} {shlex.quote(path)}"
    none = f"[ $({tool} info split-brain | grep -c 'in split-brain: 0$') = {len(volume.bricks)} ]"
    # Its client may not have found the bricks that have just come up, or have failed at the last of them.
    host.wait_until(f"{chosen} || {none}", within_s=120, what=f"{path} is what {side} holds")
    gluster(host, f"volume heal {volume.name}")
    count = f"$({tool} info | grep -c '^Number of entries: 0$')"
    host.wait_until(f"[ {count} = {len(volume.bricks)} ]", within_s=120, what=f"{volume.name} is healed")


def _kill(brick: str, keep: str) -> str:
    """Commands that kill a brick's process, and keep its command line in a file."""
    path = brick.partition(":")[2]
    return f"""
set -eu
process=$(pgrep -f -- '--brick-name {path}( |$)')
cat /proc/$process/cmdline > {keep}
kill -9 $process"""


def _write(host: LabHost, path: str, source: str) -> None:
    """Writes to a file as soon as a brick of it can be reached."""
    written = f"dd if={source} of={shlex.quote(path)} bs=4k count=1 conv=notrunc,fsync"
    host.wait_until(written, within_s=60, what=f"{path} can be written")


def _host_of(brick: str) -> str:
    return brick.partition(":")[0]
