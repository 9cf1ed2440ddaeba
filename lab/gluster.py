"""The scenario's Gluster volumes: one trusted pool of all hosts with bricks."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from lab.errors import LabError
from lab.host import LabHost
from lab.scenario import GlusterVolumeTable, Scenario

# One brick is enough to write to, and nobody mends what two sides come to hold; clients do not by default.
_QUORUM, _DAEMON = "cluster.quorum-type", "cluster.self-heal-daemon"
_TURN_S = 60.0


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


def kill(hosts: Mapping[str, LabHost], brick: str) -> None:
    """Kills the process of a brick `HOST:/path`."""
    host, _, path = brick.partition(":")
    # The trailing end keeps /data/brick1 from being /data/brick10 too.
    hosts[host].run(f"pkill -9 -f -- '--brick-name {path}( |$)'")


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
    """Lets two bricks hold different contents of a file, each sure that all others' are old.

    `path` is the file's in the volume. It is written to twice, each time with one side alone up.
    """
    gluster(hosts[_host_of(sides[0])], f"volume set {volume.name} {_QUORUM} none {_DAEMON} off")
    for side in sides:
        host = hosts[_host_of(side)]
        _kill_all_but(hosts, volume, side)
        _write(host, volume, path, side)
        start(host, volume)


def heal(hosts: Mapping[str, LabHost], volume: GlusterVolumeTable, path: str, sides: Sequence[str]) -> None:
    """Makes what the first side holds of a file the truth, and waits until all bricks have it.

    `path` is the file's in the volume.
    """
    host = hosts[_host_of(sides[0])]
    # Where they did not come up after the split, the volume cannot be set.
    start(host, volume)
    tool = f"gluster --mode=script volume heal {volume.name}"
    chosen = f"{tool} split-brain source-brick {sides[0]} {shlex.quote(path)}"
    none = f"[ $({tool} info split-brain | grep -c 'in split-brain: 0$') = {len(volume.bricks)} ]"
    # Its client may not have found the bricks that have just come up, or have failed at the last of them.
    host.wait_until(f"{chosen} || {none}", within_s=120, what=f"{path} is what {sides[0]} holds")
    _reset(host, volume, _DAEMON)
    gluster(host, f"volume heal {volume.name}")
    count = f"$({tool} info | grep -c '^Number of entries: 0$')"
    host.wait_until(f"[ {count} = {len(volume.bricks)} ]", within_s=120, what=f"{volume.name} is healed")
    # Last: of three bricks, two that blame each other are no split brain to a quorum, and both stay.
    _reset(host, volume, _QUORUM)
    if len({hosts[_host_of(side)].run(f"md5sum < {_held(side, path)}") for side in sides}) > 1:
        raise LabError(f"{path} of {volume.name} is healed, and still differs on {' and '.join(sides)}")


def _reset(host: LabHost, volume: GlusterVolumeTable, option: str) -> None:
    """Gives an option the value that the scenario gives it, or its default."""
    if option in volume.options:
        gluster(host, f"volume set {volume.name} {option} {shlex.quote(volume.options[option])}")
    else:
        gluster(host, f"volume reset {volume.name} {option}")


def _kill_all_but(hosts: Mapping[str, LabHost], volume: GlusterVolumeTable, kept: str) -> None:
    """Kills all bricks but one, and waits until the cluster knows."""
    for brick in volume.bricks:
        if brick != kept:
            kill(hosts, brick)
    deadline = time.monotonic() + 60
    while (online := bricks_online(hosts[_host_of(kept)], volume)) != {kept}:
        if time.monotonic() > deadline:
            raise LabError(f"{volume.name}: not {kept} alone is online, but {online or 'none'}")
        time.sleep(0.5)


def _write(host: LabHost, volume: GlusterVolumeTable, path: str, side: str) -> None:
    """Writes to a file of a volume, of which one brick of this host is up, by a client of its own.

    The client tells that brick what the others lack a while after its write. Where client or brick ends
    before, the brick knows only that it was written to: the file waits to be healed, and no side is to blame.
    """
    told = f"getfattr -d -e hex -m '^trusted.afr.{volume.name}-client-' {_held(side, path)}"
    blames = f"{told} | grep -q '=0x0*[1-9a-f]'"
    command = f"""
mount -t glusterfs {host.name}:/{volume.name} /mnt && mountpoint -q /mnt || exit 1
dd if=/dev/urandom of=/mnt{shlex.quote(path)} bs=4k count=1 conv=notrunc,nocreat,fsync
tries=0; until {blames}; do tries=$((tries + 1)); [ $tries -lt 100 ] || break; sleep 0.1; done
umount /mnt
{blames}"""
    alone = f"unshare --mount sh -c {shlex.quote(command)}"
    host.wait_until(alone, within_s=60, what=f"{path} of {volume.name} is written to on {side} alone")


def _held(brick: str, path: str) -> str:
    """Where a brick holds a file of its volume, quoted for a shell."""
    return shlex.quote(f"{brick.partition(':')[2]}{path}")


def _host_of(brick: str) -> str:
    return brick.partition(":")[0]
