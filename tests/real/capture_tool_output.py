"""Makes tests/sources/captured_output anew from real daemons: `python -m tests.real.capture_tool_output`."""

from __future__ import annotations

from tests.real.gluster_cluster import NODES, GlusterCluster, gluster_cluster, make_split_brain
from tests.sources.tool_output import save


def _gluster(cluster: GlusterCluster, name: str, words: str) -> None:
    argv = ["gluster", "--mode=script", "--timeout=3", *words.split(), "--xml"]
    done = cluster.first.run(argv, check=False)
    save(f"gluster/{name}", argv, done.returncode, done.stdout)


def capture_gluster() -> None:
    """Volumes of every kind, whole and with everything that was seen to break."""
    bricks = [f"{host}:/data/brick{number}" for host in NODES for number in (1, 2)]
    with gluster_cluster() as cluster:
        _gluster(cluster, "info-no-volumes", "volume info")
        cluster.create("test_vol1", ["disperse-data", "4", "redundancy", "2"], bricks)
        _gluster(cluster, "info-seed", "volume info")
        cluster.create(
            "arbitrated", ["replica", "3", "arbiter", "1"],
            [f"{host}:/data/arbitrated{number}" for number in (1, 2) for host in NODES],
            cluster__quorum_type="auto",
        )  # fmt: skip
        cluster.create("spread", [], ["flexdev01:/data/spread", "flexdev02:/data/spread"])
        cluster.create("stopped", [], ["flexdev02:/data/stopped"])
        cluster.first.gluster("volume stop stopped")
        cluster.first.gluster("volume create created flexdev01:/data/created force")
        make_split_brain(cluster, "pair")
        _gluster(cluster, "info-all-kinds", "volume info")
        _gluster(cluster, "status-ok", "volume status test_vol1")
        _gluster(cluster, "status-of-a-stopped-volume", "volume status stopped")
        _gluster(cluster, "heal-ok", "volume heal test_vol1 info summary")
        _gluster(cluster, "heal-of-a-distributed-volume", "volume heal spread info summary")
        _gluster(cluster, "heal-in-split-brain", "volume heal pair info summary")
        _gluster(cluster, "split-brain-files", "volume heal pair info split-brain")
        for brick in bricks[1:3]:
            cluster.kill_brick(brick)
        cluster.mount("test_vol1", "/mnt/test_vol1")
        cluster.first.shell("echo word > /mnt/test_vol1/new.raw; umount /mnt/test_vol1")
        _gluster(cluster, "status-two-bricks-down", "volume status test_vol1")
        _gluster(cluster, "heal-two-bricks-down", "volume heal test_vol1 info summary")
        cluster.start_force("test_vol1")
        cluster.node("flexnuc2").kill_glusterd()
        _gluster(cluster, "status-a-peer-dead", "volume status test_vol1")
        cluster.node("flexnuc2").start_glusterd()
        with cluster.locked("arbitrated", by_hanging="flexnuc2"):
            _gluster(cluster, "status-locked", "volume status arbitrated")
            _gluster(cluster, "status-timed-out", "volume status test_vol1")
        cluster.first.kill_glusterd()
        _gluster(cluster, "glusterd-down", "volume info")


if __name__ == "__main__":
    capture_gluster()
