"""A capture of a real machine: every source, and the document, see on it what they see on the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.captured import machines
from tests.captured.make import MACHINES, found_in, of_this_machine
from tests.real.private_machine import CHECKOUT, PrivateMachine

pytestmark = pytest.mark.needs("root", "qemu-img", "loop", "xfs")


def seen_twice(machine: PrivateMachine, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is seen on a machine and on its capture, which is left in `folder`."""
    script = f"cd {CHECKOUT}; {sys.executable} -m tests.real.seen_twice {folder}"
    live, captured = json.loads(machine.shell(script))
    return live, captured


def check(machine: PrivateMachine, folder: Path, name: str) -> dict[str, Any]:
    """That a machine and its capture show the same, and that the capture holds no name of the machine."""
    live, captured = seen_twice(machine, folder)
    assert live.keys() == captured.keys()
    for key, told in live.items():
        assert captured[key] == told, key
    assert found_in(folder, {*MACHINES[name].names, *of_this_machine()}) == set()
    return captured


def test_a_host_without_guests(tmp_path: Path) -> None:
    with machines.plain_demo() as machine:
        told = check(machine, tmp_path / "capture", "plain-demo")
    (volume,) = told["document demo"]["external_volumes"]
    assert (len(volume["images"]), len(volume["clones"])) == (8, 4)


@pytest.mark.needs("libvirt", "qemu-system")
@pytest.mark.xdist_group("libvirt")
def test_a_host_with_guests_of_every_kind(tmp_path: Path) -> None:
    with machines.libvirt_guests() as machine:
        told = check(machine, tmp_path / "capture", "libvirt-guests")
    rows = [row for volume in told["document local"]["external_volumes"] for row in volume["images"]]
    assert len({row["guest_id"] for row in rows}) == 6


@pytest.mark.needs("gluster", "netns", "fuse")
@pytest.mark.xdist_group("gluster")
def test_a_node_of_a_gluster_cluster_with_a_brick_down(tmp_path: Path) -> None:
    with machines.gluster_node() as machine:
        told = check(machine, tmp_path / "capture", "gluster-node")
    assert [row["status"] for row in told["document internal"]["gluster_volumes"]] == ["degraded", "ok"]
