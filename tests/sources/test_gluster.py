"""Gluster's volumes from what its tools really print; see captured_output/gluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.errors import HostError, TimedOut, ToolMissing
from storekeeper.observation import Brick, GlusterVolume, Seen
from storekeeper.sources.contract import Host, Output, Scope
from storekeeper.sources.gluster import (
    INFO_TIMEOUT_S,
    STATUS_TIMEOUT_S,
    answer,
    parse_info,
    parse_status,
    probe,
)
from tests.sources.paper_host import PaperHost
from tests.sources.tool_output import load, names

INFO = ("gluster", "--mode=script", f"--timeout={INFO_TIMEOUT_S}", "volume", "info", "--xml")
NO_MOUNT = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
FUSE_MOUNT = "40 22 0:39 / /storekeeper/test_vol1 rw - fuse.glusterfs flexdev01:/test_vol1 rw\n"


def status_of(volume: str) -> tuple[str, ...]:
    timeout = f"--timeout={STATUS_TIMEOUT_S}"
    return ("gluster", "--mode=script", timeout, "volume", "status", volume, "--xml")


def node(
    info: Output | HostError, status: Mapping[str, Output | HostError] | None = None, *,
    mounts: str = NO_MOUNT, kept: tuple[str, ...] = ("test_vol1",),
) -> PaperHost:  # fmt: skip
    """A host that keeps the volumes `kept` and whose gluster answers so."""
    files: dict[str, bytes | str | HostError] = {"/proc/self/mountinfo": mounts}
    files |= {f"/var/lib/glusterd/vols/{volume}/info": "" for volume in kept}
    programs = {INFO: info} | {status_of(volume): said for volume, said in (status or {}).items()}
    return PaperHost(files, programs=programs)


def seen(host: PaperHost, last: Seen | None = None, *, ask_cluster: bool = True) -> Seen:
    return probe(cast(Host, host), Scope(ask_cluster=ask_cluster), last)


def volume(host: PaperHost, last: Seen | None = None, name: str = "test_vol1") -> GlusterVolume:
    fact = seen(host, last).facts[name]
    assert isinstance(fact, GlusterVolume)
    return fact


def online(fact: GlusterVolume) -> list[bool | None]:
    return [brick.online for brick in fact.bricks]


def all_kinds() -> dict[str, GlusterVolume]:
    volumes, faults = parse_info(answer(load("gluster/info-all-kinds"), "gluster"))
    assert not faults
    return {fact.key: fact for fact in volumes}


def test_the_bricks_come_in_the_order_in_which_gluster_lists_them() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-ok")}))
    assert [f"{brick.host}:{brick.path}" for brick in fact.bricks] == [
        "flexdev01:/data/brick1", "flexdev01:/data/brick2", "flexdev02:/data/brick1",
        "flexdev02:/data/brick2", "flexnuc2:/data/brick1", "flexnuc2:/data/brick2",
    ]  # fmt: skip
    assert online(fact) == [True] * 6


def test_a_dispersed_volume_has_its_counts() -> None:
    fact = all_kinds()["test_vol1"]
    counts = (fact.dist_count, fact.disperse_count, fact.redundancy_count, fact.replica_count)
    assert (fact.type_name, fact.transport, fact.started, *counts) == ("Disperse", "tcp", True, 1, 6, 2, 1)


def test_a_replicated_volume_with_arbiters_knows_which_bricks_they_are() -> None:
    fact = all_kinds()["arbitrated"]
    assert (fact.type_name, fact.dist_count, fact.replica_count, fact.arbiter_count) == (
        "Distributed-Replicate", 2, 3, 1,
    )  # fmt: skip
    assert [brick.arbiter for brick in fact.bricks] == [False, False, True, False, False, True]
    assert fact.options["cluster.quorum-type"] == "auto"


def test_a_distributed_volume_counts_every_brick_as_a_subvolume() -> None:
    assert (all_kinds()["spread"].type_name, all_kinds()["spread"].dist_count) == ("Distribute", 2)


def test_an_old_gluster_that_counts_the_bricks_of_a_subvolume_gives_the_same_counts() -> None:
    old = load("gluster/info-seed").out.replace(b"<distCount>1<", b"<distCount>6<")
    volumes, _ = parse_info(answer(Output(status=0, out=old, err=b""), "gluster"))
    assert volumes[0].dist_count == 1


def test_stopped_and_created_volumes_are_not_started_and_not_asked_for_their_status() -> None:
    started = {name: fact.started for name, fact in all_kinds().items()}
    assert not started["stopped"]
    assert not started["created"]
    said = {name: load("gluster/status-ok") for name, is_started in started.items() if is_started}
    stopped = volume(node(load("gluster/info-all-kinds"), said), name="stopped")
    assert (online(stopped), stopped.faults) == ([None], ())


def test_a_brick_whose_process_died_is_offline() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-two-bricks-down")}))
    assert online(fact) == [True, False, False, True, True, True]


def test_a_brick_of_a_dead_peer_is_missing_from_the_status_and_so_unknown() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-a-peer-dead")}))
    assert online(fact) == [True, True, True, True, None, None]
    assert not fact.faults


def test_the_self_heal_daemons_in_the_status_are_no_bricks() -> None:
    assert len(parse_status(answer(load("gluster/status-ok"), "gluster"))) == 6


def test_a_status_that_does_not_come_in_time_leaves_all_bricks_unknown_with_a_fault() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-timed-out")}))
    assert online(fact) == [None] * 6
    assert [fault.code for fault in fact.faults] == ["timed-out"]


def test_after_one_time_out_no_other_volume_is_asked_for_its_status() -> None:
    silent = TimedOut("gluster", "no answer")
    host = node(load("gluster/info-all-kinds"), {"arbitrated": silent})
    found = seen(host)
    for name in ("arbitrated", "pair", "spread", "test_vol1"):
        fact = found.facts[name]
        assert isinstance(fact, GlusterVolume)
        # A question that was asked would find no gluster on the paper host: tool-missing.
        assert [fault.code for fault in fact.faults] == ["timed-out"]


def test_a_lock_met_once_keeps_what_the_look_before_saw_and_met_twice_it_does_not() -> None:
    sound = node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-two-bricks-down")})
    locked = node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-locked")})
    once = seen(locked, seen(sound))
    fact = volume(locked, seen(sound))
    assert online(fact) == [True, False, False, True, True, True]
    assert (fact.faults, [fault.code for fault in once.faults]) == ((), ["busy"])
    fact = volume(locked, once)
    assert (online(fact), [fault.code for fault in fact.faults]) == ([None] * 6, ["busy"])
    fact = volume(locked, seen(locked, once))
    assert online(fact) == [None] * 6


def test_a_lock_met_at_the_first_look_leaves_the_bricks_unknown() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-locked")}))
    assert (online(fact), [fault.code for fault in fact.faults]) == ([None] * 6, ["busy"])


def test_a_host_that_may_not_ask_the_cluster_tells_the_volumes_without_their_bricks_state() -> None:
    fact = seen(node(load("gluster/info-seed")), ask_cluster=False).facts["test_vol1"]
    assert isinstance(fact, GlusterVolume)
    assert (online(fact), fact.faults) == ([None] * 6, ())


def test_a_cluster_without_volumes_has_none_and_no_fault() -> None:
    found = seen(node(load("gluster/info-no-volumes")))
    assert (found.facts, found.faults) == ({}, ())


def test_a_glusterd_that_does_not_run_hides_the_volumes_that_the_host_keeps() -> None:
    found = seen(node(load("gluster/glusterd-down")))
    assert found.blind
    assert "systemctl status glusterd" in found.blind.text


def test_a_host_that_keeps_no_volume_and_mounts_none_has_none_even_without_gluster() -> None:
    for silent in (ToolMissing("gluster", "not installed"), load("gluster/glusterd-down")):
        found = seen(node(silent, kept=()))
        assert (found.facts, found.faults) == ({}, ())


def test_a_mount_of_gluster_without_its_tools_is_a_fault() -> None:
    found = seen(node(ToolMissing("gluster", "not installed"), mounts=NO_MOUNT + FUSE_MOUNT, kept=()))
    assert found.blind
    assert found.blind.code == "tool-missing"


def test_a_refusal_is_told_in_glusters_own_words() -> None:
    fact = volume(node(load("gluster/info-seed"), {"test_vol1": load("gluster/status-of-a-stopped-volume")}))
    assert fact.faults[0].text == "gluster volume status test_vol1: Volume stopped is not started"


@pytest.mark.parametrize(
    ("sound", "garbled"),
    [
        (b"<brickCount>2<", b"<brickCount>3<"),
        (b"<replicaCount>2<", b"<replicaCount>0x2<"),
        (b"<replicaCount>2<", b"<replicaCount>" + b"9" * 5000 + b"<"),
        (b"<name>flexdev01:/data/pair<", b"<name>flexdev01<"),
    ],
)
def test_a_volume_that_makes_no_sense_is_a_fault_and_its_neighbours_are_exact(
    sound: bytes, garbled: bytes
) -> None:
    whole = load("gluster/info-all-kinds").out
    assert sound in whole
    at = whole.index(b"<name>pair<")
    changed = whole[:at] + whole[at:].replace(sound, garbled, 1)
    volumes, faults = parse_info(answer(Output(status=0, out=changed, err=b""), "gluster"))
    assert {fact.key: fact for fact in volumes} == {k: v for k, v in all_kinds().items() if k != "pair"}
    assert [(fault.code, fault.hides) for fault in faults] == [("tool-failed", "pair")]


@pytest.mark.parametrize(
    ("name", "sound", "hostile"),
    [
        ("test_vol1", b"<redundancyCount>2<", b"<redundancyCount>6<"),
        ("arbitrated", b"<arbiterCount>1<", b"<arbiterCount>3<"),
    ],
)
def test_counts_that_leave_no_brick_with_data_are_refused(name: str, sound: bytes, hostile: bytes) -> None:
    told = load("gluster/info-all-kinds").out.replace(sound, hostile)
    volumes, faults = parse_info(answer(Output(status=0, out=told, err=b""), "gluster"))
    assert name not in {fact.key for fact in volumes}
    assert [fault.hides for fault in faults] == [name]


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><cliOutput><opRet>&e;</opRet></cliOutput>',
        b'<?xml version="1.0" encoding="utf-7"?><cliOutput/>',
        b'<?xml version="1.0" encoding="nonsense"?><cliOutput/>',
        b"<cliOutput>",
        b"<cliOutput>\xff</cliOutput>",
    ],
)
def test_hostile_xml_is_a_fault(hostile: bytes) -> None:
    found = seen(node(Output(status=0, out=hostile, err=b"")))
    assert found.blind
    assert found.blind.code == "tool-failed"


def test_a_name_from_the_cluster_is_made_printable() -> None:
    told = load("gluster/info-seed").out.replace(b"/data/brick1<", "/data/\u202ebrick1<".encode())
    volumes, _ = parse_info(answer(Output(status=0, out=told, err=b""), "gluster"))
    assert volumes[0].bricks[0] == Brick(host="flexdev01", path="/data/%E2%80%AEbrick1")


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(names("gluster")), st.sampled_from(names("gluster")), st.data())
def test_changed_bytes_in_what_gluster_prints_never_raise(
    info: str, status: str, data: st.DataObject
) -> None:
    found = seen(node(_mutated(info, data), {"test_vol1": _mutated(status, data)}))
    for key, fact in found.facts.items():
        assert isinstance(fact, GlusterVolume)
        of_subvolume = max(1, fact.replica_count) * max(1, fact.disperse_count)
        assert len(fact.bricks) == fact.brick_count == fact.dist_count * of_subvolume > 0
        assert key.isprintable()
        assert all(brick.path.startswith("/") and brick.path.isprintable() for brick in fact.bricks)


def _mutated(name: str, data: st.DataObject) -> Output:
    out = bytearray(load(name).out)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(out)))
        out[at : at + data.draw(st.integers(0, 40))] = data.draw(
            st.binary(max_size=8) | st.sampled_from(TOKENS)
        )
    return Output(status=0, out=bytes(out), err=b"")


TOKENS = [b"<brick>", b"</name>", b"-1", b"<!DOCTYPE x>", b"&amp;", b"\0", b"18446744073709551616"]
