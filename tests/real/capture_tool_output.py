"""Makes tests/sources/captured_output anew from real daemons: `python -m tests.real.capture_tool_output`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.real.gluster_cluster import NODES, GlusterCluster, gluster_cluster, make_split_brain
from tests.real.libvirt_daemon import IMAGES, LibvirtMachine, disk
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


# Every type of source that libvirt defines for a disk, and what is a disk's but no image.
_ALL_KINDS = """
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/images/a.raw'/>
  <target dev='vda' bus='virtio'/><shareable/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/images/secret.luks'>
  <encryption format='luks'><secret type='passphrase' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/>
  </encryption></source><target dev='vdb' bus='virtio'/></disk>
<disk type='block' device='lun'><driver name='qemu' type='raw'/><source dev='/dev/disk/by-id/wwn-0x5'/>
  <target dev='sda' bus='scsi'/></disk>
<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='templates' volume='b.raw'/>
  <target dev='vdc' bus='virtio'/></disk>
<disk type='network' device='disk'><driver name='qemu' type='raw'/>
  <source protocol='gluster' name='test_vol1/team/c.raw'><host name='flexdev01' port='24007'/>
  <host name='flexdev02'/></source><target dev='vdd' bus='virtio'/></disk>
<disk type='network' device='disk'><driver name='qemu' type='raw'/>
  <source protocol='nbd' name='export'><host transport='unix' socket='/run/nbd.sock'/></source>
  <target dev='vde' bus='virtio'/></disk>
<disk type='dir' device='disk'><driver name='qemu' type='fat'/><source dir='/srv/files'/>
  <target dev='vdf' bus='virtio'/><readonly/></disk>
<disk type='nvme' device='disk'><driver name='qemu' type='raw'/>
  <source type='pci' managed='yes' namespace='1'><address domain='0' bus='1' slot='0' function='0'/></source>
  <target dev='vdg' bus='virtio'/></disk>
<disk type='file' device='cdrom'><source file='/images/install.iso'/><target dev='sdb' bus='scsi'/></disk>
<disk type='file' device='floppy'><source file='/images/drivers.img'/><target dev='fda' bus='fdc'/></disk>
<disk type='file' device='cdrom'><target dev='sdc' bus='scsi'/></disk>
"""


def capture_libvirt() -> None:
    """Definitions of guests: of all kinds of disks, live with a chain, mirrored, in a snapshot; and pools."""
    with LibvirtMachine() as machine, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        machine.shell(f"cd {IMAGES}; qemu-img create -q -f qcow2 corus 16M; mkdir pool")
        machine.shell(f"cd {IMAGES}; qemu-img create -q -f qcow2 -b corus -F qcow2 corus_demo_corus")
        machine.define("all-kinds", _ALL_KINDS, directory)
        overlay = disk("file", f"file='{IMAGES}/corus_demo_corus'", "vda")
        machine.create_paused("corus", overlay, directory)
        machine.define("corus", disk("file", f"file='{IMAGES}/corus'", "vda"), directory)
        for file, words in {
            "all-kinds": "dumpxml --inactive all-kinds",
            "corus-persistent": "dumpxml --inactive corus",
            "corus-live": "dumpxml corus",
        }.items():
            _virsh(machine, file, words)
        machine.virsh(f"blockcopy corus vda {IMAGES}/moved --format qcow2 --wait --transient-job")
        _virsh(machine, "corus-live-mirrored", "dumpxml corus")
        machine.virsh("blockjob corus vda --abort")
        machine.virsh("snapshot-create-as corus before --disk-only")
        _virsh(machine, "corus-snapshot", "snapshot-dumpxml corus before")
        _virsh(machine, "corus-live-after-snapshot", "dumpxml corus")
        machine.virsh(
            "pool-define-as shelved netfs --source-host nas --source-path /export --target /mnt/shelved"
        )
        machine.virsh(f"pool-define-as templates dir --target {IMAGES}/pool")
        machine.virsh("pool-start templates")
        for path in ("/etc/libvirt/storage/shelved.xml", "/run/libvirt/storage/templates.xml"):
            save(f"libvirt/pool-{Path(path).stem}", ["cat", path], 0, machine.shell(f"cat {path}"))


def _virsh(machine: LibvirtMachine, name: str, words: str) -> None:
    save(f"libvirt/{name}", ["virsh", *words.split()], 0, machine.virsh(words))


if __name__ == "__main__":
    capture_gluster()
    capture_libvirt()
