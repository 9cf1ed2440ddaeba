"""Captures machines for tests: `python -m tests.captured.make [NAME ...]`, from the checkout's root, as root.

Each machine is a folder beside this file: what `storekeeper capture` wrote there, declaration included, and
`golden.json`, the documents of its storages. Making one anew overwrites both; `git diff` shows what changed.
`--golden` writes only the documents anew, from the captures as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from storekeeper.agent.asking import DirectAsker
from storekeeper.cli.looking import declaration_of, look_at_storages
from storekeeper.document import ImageStorageInfo
from storekeeper.host.captured import CapturedHost
from tests.real.gluster_cluster import NODES, gluster_cluster
from tests.real.libvirt_daemon import CD_ROM, IMAGES, LibvirtMachine, disk
from tests.real.private_machine import CHECKOUT, PrivateMachine
from tests.real.scsi_machine import boot_scsi_machine

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("storekeeper")

SCSI_DECLARATION = """\
[host]
id = "flexdev01"

[image_storages.internal]
hosts = ["flexdev01"]

[image_storages.internal.volumes.samsung_ssd]
primary_disk_id = "3500253887013e77e"
mount_point = "/storekeeper/samsung_ssd"
"""

NO_LIBVIRT = """
rm -rf /etc/libvirt /var/lib/libvirt
"""

SCSI_SCRIPT = f"""{NO_LIBVIRT}
cp --reflink=never images/* /storekeeper/samsung_ssd/
cp --reflink=always /storekeeper/samsung_ssd/windows7_public /storekeeper/samsung_ssd/windows7_copy
sync
"$checkout/.venv/bin/storekeeper" capture capture --config storekeeper.toml
"""

GLUSTER_DECLARATION = """\
[image_storages.internal]
hosts = ["flexdev01"]

[image_storages.internal.gluster_volumes.test_vol1]
gvolume_name = "test_vol1"

[image_storages.internal.gluster_volumes.desktops]
gvolume_name = "desktops"
"""

GLUSTER_IMAGES = """
cd /storekeeper/test_vol1
mkdir team
qemu-img create -q -f qcow2 windows10_public 40G
qemu-img create -q -f qcow2 -b ../windows10_public -F qcow2 team/flexdev01_clone
cd /storekeeper/desktops
qemu-img create -q -f raw debian12.raw 2G
qemu-img create -q -f qcow2 -b debian12.raw -F raw alice.qcow2
"""

PLAIN_DECLARATION = """\
[image_storages.demo]
hosts = ["flexdev01"]

[image_storages.demo.external_volumes.storage]
mount_point = "/storekeeper/storage"
"""

XFS = "/storekeeper/storage"
FILL = f"""
truncate -s 2G /var/storage.xfs
mkfs.xfs -q -m reflink=1 /var/storage.xfs
mkdir -p {XFS}
mount -o loop /var/storage.xfs {XFS}
cd {CHECKOUT}
{sys.executable} -c 'from demo.storage import *; fill(Path("{XFS}"), missing := []); assert not missing'
"""

# A passphrase of the daemon's secrets is not needed: its guest is not started. qemu-img measures how fast it
# derives a key, and fails on a busy machine; without an end to its time-out it is tried again.
ENCRYPTED = f"""
mkdir {IMAGES}/secret
cd {IMAGES}/secret
truncate -s 20M archive.luks laptop.luks
format() {{ printf passphrase | cryptsetup luksFormat -q --pbkdf-force-iterations 1000 "$@" -; }}
format --type luks1 archive.luks
format --type luks2 --pbkdf pbkdf2 laptop.luks
until qemu-img create -q -f qcow2 --object secret,id=s,data=passphrase -o \\
    encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 vault.qcow2 20M; do :; done
"""
ENCRYPTION = """<encryption format='luks'>
<secret type='passphrase' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></encryption>"""
GUESTS = ("accounting", "webportal", "corus", "voidlinux", "opensuse", "twinning", "payroll")


# Run in a namespace of its own. What is not the private machine's is out of sight: the disks, the directory
# of temporary files, and the checkout's own mount (the overlay shows the same files, read-only).
_CAPTURE = """
umount "$1" /tmp
mount -t tmpfs tmpfs /sys/block
"$2" capture /capture
"""


def scsi_ocfs2(directory: Path) -> Path:
    """A host with disks of every kind, one of them dead, and an OCFS2 volume with images."""
    exchange = directory / "exchange"
    images = exchange / "images"
    images.mkdir(parents=True)
    _image(images / "windows7_020216", "20G")
    _image(images / "windows7_public", "40G")
    _run("qemu-io", "-c", "write -P 1 0 4M", images / "windows7_public")
    _image(images / "voidlinux_slp_home", "60G", "-b", "windows7_public", "-F", "qcow2")
    (exchange / "storekeeper.toml").write_text(SCSI_DECLARATION)
    ran = boot_scsi_machine(directory, SCSI_SCRIPT)
    if ran.status:
        sys.exit(ran.output)
    return exchange / "capture"


def _image(file: Path, size: str, *options: str) -> None:
    _run("qemu-img", "create", "-q", "-f", "qcow2", *options, file, size)


def _run(*argv: str | Path) -> bytes:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout


def gluster_node(directory: Path) -> Path:
    """A node of three: the volume of the API page's example with a brick down, a replica with an arbiter."""
    bricks = [f"{host}:/data/brick{number}" for host in NODES for number in (1, 2)]
    with gluster_cluster() as cluster:
        cluster.create("test_vol1", ["disperse-data", "4", "redundancy", "2"], bricks)
        cluster.create("desktops", ["replica", "3", "arbiter", "1"], [f"{host}:/data/c" for host in NODES])
        for volume in ("test_vol1", "desktops"):
            cluster.mount(volume, f"/storekeeper/{volume}")
        cluster.first.shell(NO_LIBVIRT + GLUSTER_IMAGES)
        cluster.kill_brick(bricks[2])
        return captured(cluster.first, directory, GLUSTER_DECLARATION)


def libvirt_guests(directory: Path) -> Path:
    """Guests with chains, a snapshot, a block copy, a pool, a shared image, encrypted disks; undeclared."""
    with LibvirtMachine() as machine:
        machine.shell(FILL + ENCRYPTED)
        define_guests(machine, directory)
        return captured(machine, directory)


def define_guests(machine: LibvirtMachine, directory: Path) -> None:
    """Guests of every kind on images in IMAGES, and on those of XFS and ENCRYPTED. `directory`: for XML."""

    def image(name: str, backing: str = "") -> str:
        below = f"-b {backing} -F qcow2" if backing else ""
        machine.shell(f"cd {IMAGES}; qemu-img create -q -f qcow2 {below} {name} 1G")
        return f"file='{IMAGES}/{name}'"

    image("base.qcow2")
    image("webportal_before", "base.qcow2")
    machine.create_paused("webportal", disk("file", image("webportal", "webportal_before"), "vda"), directory)
    corus, overlay = image("corus"), image("corus_demo_corus", "corus")
    machine.create_paused("corus", disk("file", overlay, "vda"), directory)
    machine.define("corus", disk("file", corus, "vda"), directory)
    machine.define("voidlinux", disk("file", image("voidlinux.qcow2"), "vda"), directory)
    machine.virsh("snapshot-create-as voidlinux monday --disk-only")
    machine.create_paused("opensuse", disk("file", image("opensuse.qcow2"), "vda"), directory)
    machine.virsh(f"blockcopy opensuse vda {IMAGES}/moved.qcow2 --format qcow2 --wait --transient-job")
    machine.shell(f"mkdir {IMAGES}/pool")
    image("pool/volume.qcow2")
    machine.virsh(f"pool-define-as templates dir --target {IMAGES}/pool")
    machine.virsh("pool-start templates")
    shared = disk("file", f"file='{XFS}/database.raw'", "vda", "raw")
    pooled = disk("volume", "pool='templates' volume='volume.qcow2'", "vdb")
    machine.define("accounting", shared + pooled + CD_ROM.format(f"{IMAGES}/install.iso"), directory)
    machine.define("twinning", shared, directory)
    secrets = {"archive.luks": "raw", "laptop.luks": "raw", "vault.qcow2": "qcow2"}
    machine.define(
        "payroll",
        disk("file", f"file='{XFS}/desktops/bob.qcow2'", "vda")
        + "".join(
            disk("file", f"file='{IMAGES}/secret/{name}'", f"vd{letter}", kind, ENCRYPTION)
            for letter, (name, kind) in zip("bcd", secrets.items(), strict=True)
        ),
        directory,
    )


def plain_demo(directory: Path) -> Path:
    """The demo's storage, on a host without libvirt."""
    with PrivateMachine("flexdev01") as machine:
        machine.shell(NO_LIBVIRT + FILL)
        return captured(machine, directory, PLAIN_DECLARATION)


def captured(machine: PrivateMachine, directory: Path, declaration: str = "") -> Path:
    """What `storekeeper capture` writes on a private machine, copied into `directory`."""
    if declaration:
        machine.shell(f"mkdir /etc/storekeeper; echo '{declaration}' > /etc/storekeeper/storekeeper.toml")
    machine.run(["unshare", "-m", "bash", "-ec", _CAPTURE, "capture", str(CHECKOUT), str(COMMAND)])
    machine.shell(f"cp -r /capture {directory}")
    return directory / "capture"


class Machine(NamedTuple):
    """How a capture is made in a directory, and names that the machine has and its capture has not."""

    make: Callable[[Path], Path]
    names: tuple[str, ...]


MACHINES = {
    "scsi-ocfs2": Machine(scsi_ocfs2, ("flexdev01",)),
    "gluster-node": Machine(gluster_node, (*NODES, *NODES.values())),
    "libvirt-guests": Machine(libvirt_guests, ("flexdev01", *GUESTS)),
    "plain-demo": Machine(plain_demo, ("flexdev01",)),
}


def documents(folder: Path) -> dict[str, ImageStorageInfo]:
    """The document of each storage that a captured machine declares, or has."""
    host = CapturedHost.load(folder)
    truth = asyncio.run(look_at_storages(host, DirectAsker(host), declaration_of(None, host)))
    return {storage_id: storage.document for storage_id, storage in truth.storages.items()}


def found_in(folder: Path, names: Iterable[str]) -> set[str]:
    """The names that a capture holds, in whatever case and encoding."""
    places = list(folder.rglob("*"))
    texts = [bytes(place.relative_to(folder)) for place in places]
    texts += [unquote_to_bytes(place.read_bytes()) for place in places if place.is_file()]
    return {
        name
        for name in names
        for encoding in ("utf-8", "utf-16-le", "utf-16-be")
        if any(name.lower().encode(encoding) in text.lower() for text in texts)
    }


def of_this_machine() -> set[str]:
    """Names, addresses and serial numbers of the machine that captures the private ones."""
    found = {os.uname().nodename, *_run("hostname", "-I").decode().split()}
    places = ("class/net/*/address", "class/dmi/id/*serial", "class/dmi/id/product_uuid", "block/*/serial")
    for place in places:
        found |= {file.read_text().strip() for file in Path("/sys").glob(place)}
    return {name for name in found if len(name) > 3 and name != "00:00:00:00:00:00"}


def main() -> None:
    """Captures the machines that are named, all without a name."""
    arguments = argparse.ArgumentParser(prog="python -m tests.captured.make", description=__doc__)
    arguments.add_argument("names", nargs="*", choices=[[], *MACHINES], metavar="NAME")
    arguments.add_argument("--golden", action="store_true", help="only the documents, from the captures")
    told = arguments.parse_args()
    for name in told.names or MACHINES:
        folder = HERE / name
        if not told.golden:
            with tempfile.TemporaryDirectory() as directory:
                made = MACHINES[name].make(Path(directory))
                if left := found_in(made, {*MACHINES[name].names, *of_this_machine()}):
                    sys.exit(f"{name}: the capture still holds {', '.join(left)}")
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(made, folder)
        golden = json.dumps(msgspec.to_builtins(documents(folder)), indent=1)
        (folder / "golden.json").write_text(f"{golden}\n", encoding="ascii")


if __name__ == "__main__":
    main()
