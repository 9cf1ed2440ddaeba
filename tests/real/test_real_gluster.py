"""Gluster's sources on a real cluster of three nodes; what `gluster` itself says is the measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from storekeeper.observation import GlusterHeal, GlusterVolume, Seen
from storekeeper.sources.gluster import STATUS_TIMEOUT_S
from tests.real.gluster_cluster import NODES, GlusterCluster, GlusterNode, gluster_cluster, make_split_brain
from tests.real.private_machine import PrivateMachine

pytestmark = [pytest.mark.needs("root", "gluster", "netns", "fuse"), pytest.mark.xdist_group("gluster")]

BRICKS = [f"{host}:/data/brick{number}" for host in NODES for number in (1, 2)]

# Run on a node, by this environment's Python: the real host, seen from within.
_PROBE = """
import sys, msgspec
from importlib import import_module
from storekeeper.host.real import RealHost
from storekeeper.sources.contract import Scope
probe = import_module(f"storekeeper.sources.{sys.argv[1]}").probe
sys.stdout.buffer.write(msgspec.json.encode(probe(RealHost(), Scope(), None)))
"""


def look(node: GlusterNode, source: str = "gluster") -> Seen:
    """What the source sees on that node."""
    return msgspec.json.decode(node.run([sys.executable, "-c", _PROBE, source]).stdout, type=Seen)


def volume(node: GlusterNode, name: str) -> GlusterVolume:
    fact = look(node).facts[name]
    assert isinstance(fact, GlusterVolume)
    return fact


def heal(node: GlusterNode, name: str) -> GlusterHeal:
    fact = look(node, "gluster_heals").facts[name]
    assert isinstance(fact, GlusterHeal)
    return fact


def offline(fact: GlusterVolume) -> list[str]:
    return [f"{brick.host}:{brick.path}" for brick in fact.bricks if brick.online is False]


def unknown(fact: GlusterVolume) -> list[str]:
    return [f"{brick.host}:{brick.path}" for brick in fact.bricks if brick.online is None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[GlusterCluster]:
    """One cluster for the module, with the seed's volume and two more."""
    with gluster_cluster() as made:
        made.create("test_vol1", ["disperse-data", "4", "redundancy", "2"], BRICKS)
        arbitrated = [f"{host}:/data/arbitrated{number}" for number in (1, 2) for host in NODES]
        made.create("arbitrated", ["replica", "3", "arbiter", "1"], arbitrated)
        made.create("spread", [], ["flexdev01:/data/spread", "flexdev02:/data/spread"])
        yield made


@pytest.fixture
def whole(cluster: GlusterCluster) -> Iterator[GlusterCluster]:
    """The cluster, made whole again after the test."""
    yield cluster
    cluster.start_force("test_vol1")


def test_every_node_tells_the_same_volume_with_all_bricks_online(cluster: GlusterCluster) -> None:
    told = [volume(cluster.node(name), "test_vol1") for name in NODES]
    assert told[0] == told[1] == told[2]
    assert [f"{brick.host}:{brick.path}" for brick in told[0].bricks] == BRICKS
    assert (offline(told[0]), unknown(told[0]), told[0].faults) == ([], [], ())


def test_the_counts_are_those_that_gluster_prints(cluster: GlusterCluster) -> None:
    printed = {
        "test_vol1": "1 x (4 + 2) = 6",
        "arbitrated": "2 x (2 + 1) = 6",
        "spread": "2",
    }
    for name, configuration in printed.items():
        assert f"Number of Bricks: {configuration}\n" in cluster.first.gluster(f"volume info {name}")
    dispersed, arbitrated, spread = (volume(cluster.first, name) for name in printed)
    assert (dispersed.dist_count, dispersed.disperse_count, dispersed.redundancy_count) == (1, 6, 2)
    assert (arbitrated.dist_count, arbitrated.replica_count, arbitrated.arbiter_count) == (2, 3, 1)
    assert [brick.host for brick in arbitrated.bricks if brick.arbiter] == ["flexnuc2", "flexnuc2"]
    assert (spread.dist_count, spread.replica_count, spread.disperse_count) == (2, 1, 0)


def test_bricks_that_die_are_offline_and_come_back(whole: GlusterCluster) -> None:
    for brick in BRICKS[1:3]:
        whole.kill_brick(brick)
    assert offline(volume(whole.first, "test_vol1")) == BRICKS[1:3]
    whole.kill_brick(BRICKS[5])
    assert offline(volume(whole.node("flexnuc2"), "test_vol1")) == [*BRICKS[1:3], BRICKS[5]]
    whole.start_force("test_vol1")
    assert offline(volume(whole.first, "test_vol1")) == []


def test_bricks_of_a_peer_whose_glusterd_died_are_unknown_until_it_is_back(whole: GlusterCluster) -> None:
    peer = whole.node("flexnuc2")
    peer.kill_glusterd()
    seen = volume(whole.first, "test_vol1")
    assert (unknown(seen), offline(seen)) == (BRICKS[4:], [])
    assert look(peer).blind
    peer.start_glusterd()
    whole.start_force("test_vol1")
    assert unknown(volume(whole.first, "test_vol1")) == []


def test_a_hung_peer_costs_one_time_out_and_a_lock_none(whole: GlusterCluster) -> None:
    with whole.locked("arbitrated", by_hanging="flexdev02"):
        began = time.monotonic()
        found = look(whole.first)
        took_s = time.monotonic() - began
    codes = {}
    for name, fact in found.facts.items():
        assert isinstance(fact, GlusterVolume)
        assert unknown(fact) == [f"{brick.host}:{brick.path}" for brick in fact.bricks]
        codes[name] = [fault.code for fault in fact.faults]
    assert codes["arbitrated"] == ["busy"]
    assert codes["spread"] == codes["test_vol1"] == ["timed-out"]
    assert took_s < 2 * STATUS_TIMEOUT_S


def test_a_mount_that_hangs_holds_up_no_question_about_the_cluster(whole: GlusterCluster) -> None:
    whole.mount("test_vol1", "/storekeeper/test_vol1")
    whole.stop_client("/storekeeper/test_vol1")
    try:
        ended = whole.first.run(["timeout", "-s", "KILL", "1", "df", "/storekeeper/test_vol1"], check=False)
        assert ended.returncode != 0
        assert offline(volume(whole.first, "test_vol1")) == []
    finally:
        whole.continue_client("/storekeeper/test_vol1")
        whole.first.shell("umount /storekeeper/test_vol1")


def test_writes_that_a_dead_brick_missed_are_entries_to_heal_on_the_others(whole: GlusterCluster) -> None:
    assert {brick.entries for brick in heal(whole.first, "test_vol1").bricks} == {0}
    whole.kill_brick(BRICKS[0])
    whole.mount("test_vol1", "/storekeeper/test_vol1")
    whole.first.shell("echo word > /storekeeper/test_vol1/new.raw; umount /storekeeper/test_vol1")
    told = [brick.entries for brick in heal(whole.first, "test_vol1").bricks]
    assert told[0] == -1
    assert all(entries > 0 for entries in told[1:])


def test_files_in_split_brain_are_named(cluster: GlusterCluster) -> None:
    make_split_brain(cluster, "pair")
    fact = heal(cluster.first, "pair")
    assert fact.split_brain_files == ("/team/data.raw", "/win.qcow2")
    assert [brick.split_brain_entries for brick in fact.bricks] == [2, 2]


def test_a_machine_with_gluster_installed_but_no_volume_has_none() -> None:
    with PrivateMachine("alone") as machine:
        found = msgspec.json.decode(machine.run([sys.executable, "-c", _PROBE, "gluster"]).stdout, type=Seen)
    assert (found.facts, found.faults) == ({}, ())
