"""The whole document on a node of a real three-node Gluster cluster, whatever befalls that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storekeeper.document import GlusterVolumeInfo
from tests.real.gluster_cluster import NODES, GlusterCluster, gluster_cluster
from tests.real.served import HOST, STORAGE, Served, declare, external, scan, served

pytestmark = [
    pytest.mark.needs("root", "gluster", "netns", "fuse", "qemu-img"),
    pytest.mark.xdist_group("gluster"),
]

BRICKS = [f"{host}:/data/brick{number}" for host in NODES for number in (1, 2)]
MOUNTED = "/storekeeper/test_vol1"
SOON_S = 1.0
# Gluster's tools are asked every 15 s, and answer in 1 to 3 s; mounts are looked at every 10 s, for 5 s.
CLUSTER_SEEN_S = 15.0 + 8.0
MOUNT_SEEN_S = 10.0 + 5.0 + 3.0

_GLUSTER = f"[image_storages.{STORAGE}.gluster_volumes.test_vol1]\ngvolume_name = 'test_vol1'\n"
_SEED = Path(__file__).resolve().parents[1] / "merge/seed_example.json"


@pytest.fixture(scope="module")
def cluster() -> Iterator[GlusterCluster]:
    """The seed's volume, mounted on its first node with two images, one of another."""
    with gluster_cluster() as made:
        made.create("test_vol1", ["disperse-data", "4", "redundancy", "2"], BRICKS)
        made.mount("test_vol1", MOUNTED)
        made.first.shell(
            f"mkdir /data/local; cd {MOUNTED}; qemu-img create -q -f qcow2 golden.qcow2 20G;"
            "qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 desktop.qcow2"
        )
        yield made


@pytest.fixture(scope="module")
def declaration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return declare(tmp_path_factory.mktemp("server"), external("local", "/data/local") + _GLUSTER)


@pytest.fixture(scope="module")
def server(cluster: GlusterCluster, declaration: Path) -> Iterator[Served]:
    """A server inside the first node."""
    with served(declaration, cluster.node(HOST)) as server:
        yield server


@pytest.fixture(autouse=True)
def whole(cluster: GlusterCluster, server: Served) -> Iterator[None]:
    """All is well before a test, and made well after it."""
    server.until_status("test_vol1", "ok", within_s=CLUSTER_SEEN_S)
    server.until(lambda: sees_its_images(volume(server)), within_s=MOUNT_SEEN_S, what="its images are listed")
    yield
    for name in NODES:
        if not cluster.node(name).glusterd_answers():
            cluster.node(name).start_glusterd()
    cluster.start_force("test_vol1")
    cluster.first.shell(f"rm -f {MOUNTED}/new.qcow2")


def volume(server: Served) -> GlusterVolumeInfo:
    found = server.volume("test_vol1")
    assert isinstance(found, GlusterVolumeInfo)
    return found


def df(cluster: GlusterCluster) -> tuple[int, int]:
    """Total and available KiB of the mounted volume, as `df -k` prints them."""
    printed = cluster.first.shell(f"df -k --output=size,avail {MOUNTED}")
    total, available = printed.splitlines()[1].split()
    return int(total), int(available)


def create(cluster: GlusterCluster, path: str) -> None:
    cluster.first.shell(f"qemu-img create -q -f qcow2 {path} 1G")


def sees_its_images(row: GlusterVolumeInfo) -> bool:
    return (
        [(image.image_id, image.size_mb) for image in row.images] == [("golden.qcow2", 20480)]
        and [(clone.clone_id, clone.image_id) for clone in row.clones] == [("desktop.qcow2", "golden.qcow2")]
    )  # fmt: skip


def test_a_whole_volume_is_ok_and_is_described_as_the_example_of_the_api_page(
    cluster: GlusterCluster, server: Served, declaration: Path
) -> None:
    row = volume(server)
    (example,) = json.loads(_SEED.read_text(encoding="utf-8"))["gluster_volumes"]
    for field in ("gvolume_name", "type", "configuration", "transport", "bricks"):
        assert getattr(row, field) == example[field]
    assert (row.total_space, row.free_space) == df(cluster)
    assert row.status_msg == ""
    assert scan(declaration, cluster.node(HOST)) == server.document()


def test_two_bricks_down_of_six_are_degraded_three_are_broken_and_none_is_ok_again(
    cluster: GlusterCluster, server: Served
) -> None:
    for brick in BRICKS[1:3]:
        cluster.kill_brick(brick)
    message = server.until_status("test_vol1", "degraded", within_s=CLUSTER_SEEN_S)
    assert message.startswith("2 of 6 bricks are offline since ")
    assert message.endswith(f": {BRICKS[1]}, {BRICKS[2]}.")
    assert sees_its_images(volume(server))
    cluster.kill_brick(BRICKS[5])
    lost = "More bricks are offline than the volume can do without since "
    server.until_status("test_vol1", "broken", within_s=CLUSTER_SEEN_S)
    server.until(
        lambda: volume(server).status_msg.startswith(lost),
        within_s=CLUSTER_SEEN_S,
        what="the bricks are told",
    )
    assert volume(server).status == "broken"
    assert sees_its_images(volume(server))
    assert server.volume("local").status == "ok"
    cluster.start_force("test_vol1")
    server.until_status("test_vol1", "ok", within_s=CLUSTER_SEEN_S)
    server.until(
        lambda: sees_its_images(volume(server)), within_s=MOUNT_SEEN_S, what="its images are as before"
    )
    assert volume(server).bricks == BRICKS


def test_a_hung_client_is_unknown_while_another_volume_is_fresh_within_a_second(
    cluster: GlusterCluster, server: Served
) -> None:
    known = volume(server)
    cluster.stop_client(MOUNTED)
    try:
        create(cluster, "/data/local/at_once.qcow2")
        server.until(lambda: "at_once.qcow2" in server.ids("local"), within_s=SOON_S, what="local is fresh")
        message = server.until_status("test_vol1", "unknown", within_s=MOUNT_SEEN_S)
        assert f"{MOUNTED} does not answer on {HOST} since" in message
        create(cluster, "/data/local/meanwhile.qcow2")
        server.until(lambda: "meanwhile.qcow2" in server.ids("local"), within_s=SOON_S, what="local is fresh")
        assert server.volume("local").status == "ok"
        row = volume(server)
        assert sees_its_images(row)
        assert (row.total_space, row.free_space) == (known.total_space, known.free_space)
    finally:
        cluster.continue_client(MOUNTED)
    server.until_status("test_vol1", "ok", within_s=MOUNT_SEEN_S)
    create(cluster, f"{MOUNTED}/new.qcow2")
    server.until(
        lambda: "new.qcow2" in server.ids("test_vol1"), within_s=MOUNT_SEEN_S, what="its changes are seen"
    )


def test_without_any_glusterd_what_was_last_seen_stays_and_the_message_says_since_when(
    cluster: GlusterCluster, server: Served
) -> None:
    known = volume(server)
    for name in NODES:
        cluster.node(name).kill_glusterd()
    message = server.until_status("test_vol1", "degraded", within_s=CLUSTER_SEEN_S)
    assert message.startswith("Gluster cannot be asked about its bricks since ")
    row = volume(server)
    for field in ("type", "configuration", "transport", "bricks", "total_space"):
        assert getattr(row, field) == getattr(known, field)
    # The mount goes on, and what is in it.
    create(cluster, f"{MOUNTED}/new.qcow2")
    server.until(
        lambda: "new.qcow2" in server.ids("test_vol1"), within_s=MOUNT_SEEN_S, what="its changes are seen"
    )
