"""The machines that are captured, while they live. Real tests capture them as well."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.real.gluster_cluster import NODES, gluster_cluster
from tests.real.libvirt_daemon import CD_ROM, IMAGES, LibvirtMachine, disk
from tests.real.private_machine import CHECKOUT, PrivateMachine
from tests.real.scsi_machine import boot_scsi_machine

NO_LIBVIRT = """
rm -rf /etc/libvirt /var/lib/libvirt
"""

SCSI_DECLARATION = """\
[host]
id = "flexdev01"

[image_storages.internal]
hosts = ["flexdev01"]

[image_storages.internal.volumes.samsung_ssd]
primary_disk_id = "3500253887013e77e"
mount_point = "/storekeeper/samsung_ssd"
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

# qemu-img measures how fast it derives a key; now and then it is too fast for its own clock, and it fails.
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


@contextlib.contextmanager
def gluster_node() -> Iterator[PrivateMachine]:
    """A node of three: the volume of the API page's example with a brick down, a replica with an arbiter."""
    bricks = [f"{host}:/data/brick{number}" for host in NODES for number in (1, 2)]
    with gluster_cluster() as cluster:
        cluster.create("test_vol1", ["disperse-data", "4", "redundancy", "2"], bricks)
        cluster.create("desktops", ["replica", "3", "arbiter", "1"], [f"{host}:/data/c" for host in NODES])
        for volume in ("test_vol1", "desktops"):
            cluster.mount(volume, f"/storekeeper/{volume}")
        cluster.first.shell(NO_LIBVIRT + GLUSTER_IMAGES)
        cluster.kill_brick(bricks[2])
        _declare(cluster.first, GLUSTER_DECLARATION)
        yield cluster.first


@contextlib.contextmanager
def libvirt_guests() -> Iterator[PrivateMachine]:
    """Guests with chains, a snapshot, a block copy, a pool, a shared image, encrypted disks; undeclared."""
    with LibvirtMachine() as machine, tempfile.TemporaryDirectory() as directory:
        machine.shell(FILL + ENCRYPTED)
        _define_guests(machine, Path(directory))
        yield machine


def _define_guests(machine: LibvirtMachine, directory: Path) -> None:
    """Guests of every kind on images in IMAGES, and on those of FILL and ENCRYPTED. `directory`: for XML."""

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


@contextlib.contextmanager
def plain_demo() -> Iterator[PrivateMachine]:
    """The demo's storage, on a host without libvirt."""
    with PrivateMachine("flexdev01") as machine:
        machine.shell(NO_LIBVIRT + FILL)
        _declare(machine, PLAIN_DECLARATION)
        yield machine


def _declare(machine: PrivateMachine, declaration: str) -> None:
    machine.shell(f"mkdir /etc/storekeeper; echo '{declaration}' > /etc/storekeeper/storekeeper.toml")
