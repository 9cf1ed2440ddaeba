"""A real GlusterFS cluster of three nodes on this machine, each a private machine of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from tests.real.private_machine import PrivateMachine, wait_until

NODES = {"flexdev01": "10.77.0.1", "flexdev02": "10.77.0.2", "flexnuc2": "10.77.0.3"}

# Without its geo-replication helper glusterd is up in 1 s: it runs that some fifteen times at its start.
# Bricks lie on a tmpfs: one on an overlay loses the extended attributes of a renamed file.
_PREPARE = f"""
rm -f /usr/lib/*/glusterfs/gsyncd
rm -rf /var/lib/glusterd/*
printf '%s\\n' {" ".join(f"'{address} {name}'" for name, address in NODES.items())} >> /etc/hosts
mkdir -p /data /storekeeper
mount -t tmpfs tmpfs /data
glusterd -p /run/glusterd.pid
"""


class GlusterNode(PrivateMachine):
    """One node, with a running glusterd. Its bricks belong below `/data`."""

    def __init__(self, name: str, switch: PrivateMachine) -> None:
        super().__init__(name)
        try:
            self.join(switch, NODES[name])
            self.start_glusterd(_PREPARE)
        except BaseException:
            self.close()
            raise

    def start_glusterd(self, script: str = "glusterd -p /run/glusterd.pid") -> None:
        """Starts the node's glusterd and waits until it answers."""
        self.shell(script)
        wait_until(self.glusterd_answers, within_s=30, what=f"glusterd on {self.name} answers")

    def glusterd_answers(self) -> bool:
        """Whether the management daemon of this node answers its own tool."""
        return self.run(["gluster", "--mode=script", "pool", "list"], check=False).returncode == 0

    def kill_glusterd(self) -> None:
        """Ends the management daemon alone: bricks and clients of the node go on."""
        self.shell('kill -9 "$(cat /run/glusterd.pid)"')

    def gluster(self, words: str, *, timeout_s: float = 60) -> str:
        """Runs the gluster tool, which must succeed; what it printed."""
        return self.run(["gluster", "--mode=script", *words.split()], timeout_s=timeout_s).stdout


class GlusterCluster:
    """The nodes, joined into one trusted pool. Commands for the whole cluster go to the first node."""

    def __init__(self, nodes: dict[str, GlusterNode]) -> None:
        self._nodes = nodes
        self._bricks: dict[str, set[str]] = {}
        self.first = next(iter(nodes.values()))
        for name in NODES:
            if name != self.first.name:
                self.first.gluster(f"peer probe {name}")
        wait_until(self._all_connected, within_s=30, what="every peer is connected")

    def _all_connected(self) -> bool:
        return all(
            node.gluster("pool list").count("Connected") == len(self._nodes) for node in self._nodes.values()
        )

    def node(self, name: str) -> GlusterNode:
        """The node of that host name."""
        return self._nodes[name]

    def create(self, volume: str, kind: Sequence[str], bricks: Sequence[str], **options: str) -> None:
        """Creates a volume of bricks `host:/path` and starts it. In options' names `__` stands for a dot,
        `_` for a dash.
        """
        self.first.gluster(f"volume create {volume} {' '.join(kind)} {' '.join(bricks)} force")
        for name, value in options.items():
            self.first.gluster(f"volume set {volume} {name.replace('__', '.').replace('_', '-')} {value}")
        self._bricks[volume] = set(bricks)
        self.start_force(volume)

    def start_force(self, volume: str) -> None:
        """`volume start force`: starts what of the volume is down, and waits until all bricks are up."""
        self.first.gluster(f"volume start {volume} force")
        wait_until(lambda: self._is_up(volume), within_s=30, what=f"all bricks of {volume} are online")

    def _is_up(self, volume: str) -> bool:
        online = self.online(volume)
        return all(online.get(brick) for brick in self._bricks[volume])

    def online(self, volume: str) -> dict[str, bool]:
        """Brick to whether it is online, as `volume status` says."""
        root = ET.fromstring(self.first.gluster(f"volume status {volume} --xml"))
        return {
            f"{node.findtext('hostname')}:{node.findtext('path')}": node.findtext("status") == "1"
            for node in root.iter("node")
        }

    def kill_brick(self, brick: str) -> None:
        """Ends the process of a brick `host:/path`, and waits until the cluster knows."""
        host, _, path = brick.partition(":")
        name = path.strip("/").replace("/", "-")
        self._nodes[host].shell(f'kill -9 "$(cat /run/gluster/vols/*/{host}-{name}.pid)"')
        volume = self._nodes[host].shell(f"ls /run/gluster/vols/*/{host}-{name}.pid").split("/")[-2]
        wait_until(lambda: not self.online(volume)[brick], within_s=30, what=f"{brick} is known to be down")

    @contextlib.contextmanager
    def locked(self, volume: str, *, by_hanging: str) -> Iterator[None]:
        """Stops the glusterd of one node while another command holds the lock of `volume`."""
        node = self._nodes[by_hanging]
        node.shell('kill -STOP "$(cat /run/glusterd.pid)"')
        command = ["gluster", "--mode=script", "volume", "set", volume, "cluster.quorum-type", "auto"]
        holder = subprocess.Popen(
            self.first.entering(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: self._is_locked(volume), within_s=30, what=f"{volume} is locked")
            yield
        finally:
            node.shell('kill -CONT "$(cat /run/glusterd.pid)"')
            holder.wait(timeout=30)

    def _is_locked(self, volume: str) -> bool:
        command = ["gluster", "--mode=script", "--timeout=1", "volume", "status", volume, "--xml"]
        return "Another transaction" in self.first.run(command, check=False).stdout

    def mount(self, volume: str, directory: str, node: str = "") -> None:
        """Mounts a volume on a node, the first one unless named."""
        machine = self._nodes[node] if node else self.first
        machine.shell(f"mkdir -p {directory}; mount -t glusterfs {machine.name}:/{volume} {directory}")

    def stop_client(self, directory: str, node: str = "") -> None:
        """Stops the FUSE process behind a mount: it hangs from now on. `continue_client` wakes it."""
        self._signal_client("STOP", directory, node)

    def continue_client(self, directory: str, node: str = "") -> None:
        """Lets a stopped FUSE process go on."""
        self._signal_client("CONT", directory, node)

    def _signal_client(self, signal: str, directory: str, node: str) -> None:
        machine = self._nodes[node] if node else self.first
        machine.run(["pkill", f"-{signal}", "-xf", f".*/glusterfs .* {directory}"])


def make_split_brain(cluster: GlusterCluster, volume: str) -> None:
    """Creates a replica 2 volume on which `win.qcow2` and `team/data.raw` are in split brain: each brick
    was written to while the other was down, and nothing may heal.
    """
    left, right = f"flexdev01:/data/{volume}", f"flexdev02:/data/{volume}"
    cluster.create(
        volume, ["replica", "2"], [left, right], cluster__self_heal_daemon="off",
        cluster__data_self_heal="off", cluster__metadata_self_heal="off", cluster__entry_self_heal="off",
    )  # fmt: skip
    directory = f"/mnt/{volume}"
    write = (
        f"mkdir -p {directory}/team; echo word | tee -a {directory}/win.qcow2 >> {directory}/team/data.raw; "
        f"umount {directory}"
    )
    cluster.mount(volume, directory)
    cluster.first.shell(write)
    for brick in (right, left):
        cluster.kill_brick(brick)
        cluster.mount(volume, directory)
        cluster.first.shell(write)
        cluster.start_force(volume)


@contextlib.contextmanager
def gluster_cluster() -> Iterator[GlusterCluster]:
    """A cluster that lives as long as the context."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(PrivateMachine("switch"))
        switch.shell("ip link add switch type bridge; ip link set switch up")
        yield GlusterCluster({name: stack.enter_context(GlusterNode(name, switch)) for name in NODES})
