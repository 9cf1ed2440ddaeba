"""The source of guests on a real libvirtd; what virsh says is the measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from storekeeper.observation import Guest, GuestDisk, Pool, Seen
from tests.real.libvirt_daemon import CD_ROM, IMAGES, LibvirtMachine, disk

pytestmark = [
    pytest.mark.needs("root", "libvirt", "qemu-system", "qemu-img"),
    pytest.mark.xdist_group("libvirt"),
]

# Run in the private machine, by this environment's Python: the real host, seen from within.
_PROBE = """
import sys, msgspec
from storekeeper.host.real import RealHost
from storekeeper.sources.contract import Scope
from storekeeper.sources.guests import probe
sys.stdout.buffer.write(msgspec.json.encode(probe(RealHost(), Scope(), None)))
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[LibvirtMachine]:
    """One libvirtd for the module; each test has a guest of its own."""
    with LibvirtMachine() as made:
        made.shell(f"mkdir -p {IMAGES}/pool")
        made.virsh(f"pool-define-as templates dir --target {IMAGES}/pool")
        made.virsh("pool-start templates")
        yield made


def look(machine: LibvirtMachine) -> Seen:
    return msgspec.json.decode(machine.run([sys.executable, "-c", _PROBE]).stdout, type=Seen)


def guest(machine: LibvirtMachine, name: str) -> Guest:
    seen = look(machine)
    assert not seen.faults
    fact = seen.facts[name]
    assert isinstance(fact, Guest)
    return fact


def told(fact: Guest, found_in: str) -> dict[str, tuple[str, str, str]]:
    """The guest's disks in the words of `virsh domblklist --details`."""
    return {
        disk.target: (disk.kind, "disk", disk.path or disk.volume or disk.name)
        for disk in fact.disks
        if disk.found_in == found_in
    }


def only(fact: Guest, found_in: str) -> GuestDisk:
    (found,) = [disk for disk in fact.disks if disk.found_in == found_in]
    return found


def image(machine: LibvirtMachine, name: str, *, below: str = "") -> str:
    """A qcow2 image of that name; its path."""
    backing = f"-b {IMAGES}/{below} -F qcow2" if below else ""
    machine.shell(f"qemu-img create -q -f qcow2 {backing} {IMAGES}/{name} 16M")
    return f"{IMAGES}/{name}"


def test_a_defined_guest_has_the_disks_of_domblklist_and_no_cd_rom(
    machine: LibvirtMachine, tmp_path: Path
) -> None:
    first = image(machine, "plain.qcow2")
    image(machine, "pool/volume.qcow2")
    machine.virsh("pool-refresh templates")
    disks = (
        disk("file", f"file='{first}'", "vda")
        + disk("volume", "pool='templates' volume='volume.qcow2'", "vdb")
        + disk("network", "protocol='gluster' name='test_vol1/win.raw'", "vdc", "raw").replace(
            "win.raw'/>", "win.raw'><host name='flexdev01' port='24007'/></source>"
        )
        + CD_ROM.format("/images/install.iso")
    )
    machine.define("plain", disks, tmp_path)
    fact = guest(machine, "plain")
    listed = machine.domblklist("plain")
    assert listed.pop("hda") == ("file", "cdrom", "/images/install.iso")
    assert told(fact, "persistent") == listed
    assert (fact.state, fact.persistent, fact.unique_id) == (
        "stopped",
        True,
        machine.virsh("domuuid plain").strip(),
    )
    assert {disk.target: disk.hosts for disk in fact.disks}["vdc"] == ("flexdev01",)


def test_a_running_guest_lists_its_chain_as_qemu_opened_it(machine: LibvirtMachine, tmp_path: Path) -> None:
    image(machine, "chain-base.qcow2")
    image(machine, "chain-middle.qcow2", below="chain-base.qcow2")
    top = image(machine, "chain-top.qcow2", below="chain-middle.qcow2")
    machine.create_paused("chain", disk("file", f"file='{top}'", "vda"), tmp_path)
    fact = guest(machine, "chain")
    assert told(fact, "live") == machine.domblklist("chain")
    assert only(fact, "live").below == (f"{IMAGES}/chain-middle.qcow2", f"{IMAGES}/chain-base.qcow2")
    assert (fact.state, fact.persistent) == ("paused", False)


def test_a_desktop_on_a_throw_away_overlay_has_both_its_images(
    machine: LibvirtMachine, tmp_path: Path
) -> None:
    base = image(machine, "corus")
    overlay = image(machine, "corus_demo_corus", below="corus")
    machine.create_paused("corus", disk("file", f"file='{overlay}'", "vda"), tmp_path)
    machine.define("corus", disk("file", f"file='{base}'", "vda"), tmp_path)
    fact = guest(machine, "corus")
    assert told(fact, "live") == machine.domblklist("corus") == {"vda": ("file", "disk", overlay)}
    assert (
        told(fact, "persistent")
        == machine.domblklist("corus", inactive=True)
        == {"vda": ("file", "disk", base)}
    )
    assert fact.persistent


@pytest.mark.needs("loop")
def test_a_block_device_is_told_by_its_path(machine: LibvirtMachine, tmp_path: Path) -> None:
    machine.shell(f"truncate -s 16M {tmp_path}/disk")
    device = machine.shell(f"losetup -f --show {tmp_path}/disk").strip()
    try:
        machine.create_paused("block", disk("block", f"dev='{device}'", "vda", "raw"), tmp_path)
        assert (
            told(guest(machine, "block"), "live")
            == machine.domblklist("block")
            == {"vda": ("block", "disk", device)}
        )
        machine.virsh("destroy block")
    finally:
        machine.shell(f"losetup -d {device}")


def test_after_an_external_snapshot_the_base_is_named_by_the_snapshot_alone(
    machine: LibvirtMachine, tmp_path: Path
) -> None:
    base = image(machine, "snapped.qcow2")
    machine.define("snapped", disk("file", f"file='{base}'", "vda"), tmp_path)
    machine.virsh("snapshot-create-as snapped before --disk-only")
    fact = guest(machine, "snapped")
    assert (
        told(fact, "persistent")
        == machine.domblklist("snapped")
        == {"vda": ("file", "disk", f"{IMAGES}/snapped.before")}
    )
    assert only(fact, "snapshot").path == base


def test_the_target_of_a_running_block_copy_is_the_guests(machine: LibvirtMachine, tmp_path: Path) -> None:
    source = image(machine, "moved.qcow2")
    machine.create_paused("moved", disk("file", f"file='{source}'", "vda"), tmp_path)
    machine.virsh(f"blockcopy moved vda {IMAGES}/moved-copy.qcow2 --format qcow2 --wait --transient-job")
    fact = guest(machine, "moved")
    assert told(fact, "mirror") == {"vda": ("file", "disk", f"{IMAGES}/moved-copy.qcow2")}
    assert told(fact, "live") == machine.domblklist("moved")
    machine.virsh("blockjob moved vda --abort")
    assert told(guest(machine, "moved"), "mirror") == {}


def test_a_commit_down_the_chain_has_no_new_image(machine: LibvirtMachine, tmp_path: Path) -> None:
    image(machine, "committed-base.qcow2")
    top = image(machine, "committed-top.qcow2", below="committed-base.qcow2")
    machine.create_paused("committed", disk("file", f"file='{top}'", "vda"), tmp_path)
    machine.virsh("blockcommit committed vda --active --wait")
    assert "<mirror" in machine.virsh("dumpxml committed")
    assert told(guest(machine, "committed"), "mirror") == {}


def test_pools_are_read_from_libvirts_own_files(machine: LibvirtMachine) -> None:
    machine.virsh(
        "pool-define-as shelved netfs --source-host nas --source-path /export --target /mnt/shelved"
    )
    pools = {key: fact for key, fact in look(machine).facts.items() if isinstance(fact, Pool)}
    assert pools["pool:templates"] == Pool(
        key="pool:templates", name="templates", kind="dir", target=f"{IMAGES}/pool"
    )
    assert pools["pool:shelved"] == Pool(
        key="pool:shelved", name="shelved", kind="netfs", target="/mnt/shelved", source="nas:/export"
    )


def test_a_daemon_that_does_not_answer_is_a_fault_where_guests_are_defined(tmp_path: Path) -> None:
    with LibvirtMachine("silent") as machine:
        machine.shell('kill -9 "$(cat /run/libvirtd.pid)"; rm -f /run/libvirt/libvirt-sock*')
        assert look(machine).faults == ()
        machine.shell("echo '<domain/>' > /etc/libvirt/qemu/desktop.xml")
        blind = look(machine).blind
    assert blind
    assert "systemctl start libvirtd" in blind.text
