"""The scenario's Gluster volumes: one trusted pool of all hosts with bricks."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from lab.errors import LabError
from lab.host import LabHost
from lab.scenario import GlusterVolumeTable, Scenario


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
    """Runs the gluster tool on a host; what it printed."""
    return host.run(f"gluster --mode=script {words}", timeout_s=240)
