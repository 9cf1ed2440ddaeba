"""One host of the lab: a guest, and what is done in it after each boot."""

from __future__ import annotations

import shlex
from hashlib import md5
from pathlib import Path

from lab import maps
from lab.disks import OCFS2_CLUSTER, drive_id, qemu_disks
from lab.errors import LabError
from lab.guest import Guest, Kernel
from lab.manager import Manager
from lab.scenario import DiskTable, ExportTable, FilesystemTable, MountTable, Scenario
from lab.serving import STOREKEEPER

CHECKOUT = Path(__file__).resolve().parents[1]
AGENT_LOG = "/run/agent.log"
_AGENT_PID = "/run/agent.pid"
_AGENT_STATE = "/var/lib/storekeeper/agent"
_CLAIM_PID, _CLAIM_STATE = "/run/claim.pid", "/run/claim"
DECLARATION = "/etc/storekeeper/storekeeper.toml"
OCFS2_PORT = 7777
_STORAGE_MAC, _OUTSIDE_MAC = "52:54:00:77:00", "52:54:00:78:00"
# The machine's loopback, seen through QEMU's user network.
OUTSIDE_ADDRESS = "10.0.2.2"


class LabHost:
    """A host: boot it, bring up what the scenario gives it, run commands in it."""

    def __init__(
        self,
        scenario: Scenario,
        name: str,
        results: Path,
        disks: Path,
        sockets: Path,
        kernel: Kernel,
        port: int,
    ) -> None:
        """`port` is the multicast port that all hosts of one lab share: their storage network."""
        self._scenario = scenario
        self._table = scenario.host(name)
        self.name = name
        number = scenario.hosts.index(self._table) + 1
        self._macs = (f"{_STORAGE_MAC}:{number:02x}", f"{_OUTSIDE_MAC}:{number:02x}")
        argv = [
            "qemu-system-x86_64", "-name", name, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
            "-m", str(self._table.memory_mib), "-nodefaults", "-no-reboot", "-display", "none",
            "-kernel", str(kernel.image), "-initrd", str(kernel.initramfs),
            "-append", f"console=ttyS0 quiet panic=-1 no_timer_check lab.control={CHECKOUT}/lab/control.py",
            "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
            "-netdev", f"socket,id=storage,mcast=230.0.0.1:{port},localaddr=127.0.0.1",
            "-device", f"virtio-net-pci,netdev=storage,mac={self._macs[0]}",
            "-netdev", "user,id=outside", "-device", f"virtio-net-pci,netdev=outside,mac={self._macs[1]}",
            *qemu_disks(scenario, name, disks),
        ]  # fmt: skip
        self.guest = Guest(name, results / name, argv, sockets)
        self._join_token = ""
        self.run, self.wait_until = self.guest.run, self.guest.wait_until

    def boot(self) -> None:
        """Boots, and makes it the host that the scenario describes: network, disks, mounts, glusterd."""
        self.guest.boot()
        self.run(self._identity())
        self._name_disks()
        if self.name in self._scenario.ocfs2_hosts:
            self.run(self._join_ocfs2())
        for filesystem, mount in self._scenario.mounts_of(self.name):
            self.mount(filesystem, mount)
        if self.name in self._scenario.gluster_hosts:
            self._start_glusterd()

    def device(self, disk: DiskTable) -> str:
        """The device of a disk in this host."""
        if disk.paths > 1:
            return f"/dev/mapper/3{disk.wwn.removeprefix('0x')}"
        before = 0
        for other in self._scenario.disks_of(self.name):
            if other is disk:
                break
            before += other.paths
        return f"/dev/sd{'abcdefghijklmnopqrstuvwxyz'[before]}"

    def mount(self, filesystem: FilesystemTable, mount: MountTable) -> None:
        """Mounts a filesystem at its place."""
        disk = next(disk for disk in self._scenario.disks if disk.name == filesystem.disk)
        device = maps.node(disk) if filesystem.mapped else self.device(disk)
        place = shlex.quote(mount.at)
        argv = f"mount -t {filesystem.kind} -o {mount.options} {device} {place}"
        self.run(f"mkdir -p {place} && {argv}", timeout_s=180)

    def mount_again(self, place: str) -> None:
        """Mounts the filesystem or export that the scenario has at that place of this host."""
        for filesystem, mount in self._scenario.mounts_of(self.name):
            if mount.at == place:
                self.mount(filesystem, mount)
        for export, mount in self._scenario.exports_mounted_on(self.name):
            if mount.at == place:
                self.mount_export(export, mount)

    def mount_export(self, export: ExportTable, mount: MountTable) -> None:
        """Mounts what another host serves by NFS."""
        place = shlex.quote(mount.at)
        argv = f"mount -t nfs4 -o {mount.options} {export.host}:/ {place}"
        self.run(f"modprobe nfsv4 && mkdir -p {place} && {argv}")

    def mount_served(self) -> None:
        """Mounts what other hosts serve, NFS and Gluster, as soon as it can be."""
        for export, mount in self._scenario.exports_mounted_on(self.name):
            self.mount_export(export, mount)
        for volume, mount in self._scenario.gluster_mounts_of(self.name):
            place = shlex.quote(mount.at)
            servers = {brick.partition(":")[0]: None for brick in volume.bricks}
            server = self.name if self.name in servers else next(iter(servers))
            options = "" if mount.options == "defaults" else f"-o {mount.options}"
            # mount.glusterfs ends well when the volume cannot be had, too.
            argv = f"mount -t glusterfs {options} {server}:/{volume.name} {place} && mountpoint -q {place}"
            self.wait_until(
                f"mkdir -p {place}; {argv}", within_s=120, what=f"{volume.name} is mounted at {mount.at}"
            )

    def unplug(self, disk: str) -> None:
        """Pulls a disk, all its paths."""
        table = next(table for table in self._scenario.disks_of(self.name) if table.name == disk)
        for path in range(table.paths):
            self.guest.qmp("device_del", id=f"dev-{drive_id(table, path)}")

    def declare(self, declaration: str) -> None:
        """Writes the declaration that `storekeeper scan` reads here."""
        text = f'[host]\nid = "{self.name}"\n{declaration}'
        self.run(f"mkdir -p {Path(DECLARATION).parent}; printf %s {shlex.quote(text)} > {DECLARATION}")

    def scan(self, image_storage: str) -> str:
        """The document as `storekeeper scan` prints it in this host."""
        printed = self.run(f"{STOREKEEPER} scan {image_storage} 2>/run/scan.err", timeout_s=240)
        complained = self.run("cat /run/scan.err")
        if complained:
            raise LabError(f"{self.name}: scan complained:\n{complained}")
        return printed

    def report_to(self, manager: Manager) -> None:
        """Starts the agent, which joins at its first start."""
        self._join_token = self._join_token or manager.join_token(self.name)
        argv = self._agent(manager, "--join", self._join_token)
        self.run(f"setsid {shlex.join(argv)} > {AGENT_LOG} 2>&1 & echo $! > {_AGENT_PID}")

    @staticmethod
    def _agent(manager: Manager, *words: str) -> list[str]:
        url = f"https://{OUTSIDE_ADDRESS}:{manager.port}"
        return [str(STOREKEEPER), "agent", "--manager", url, "--fingerprint", manager.fingerprint, *words]

    def stop_agent(self) -> None:
        """Stops the agent as an administrator does."""
        self.run(_ended(_AGENT_PID))

    def report_as(self, other: LabHost, manager: Manager) -> None:
        """Starts an agent beside this host's own, with a copy of what another host's has."""
        copied = other.run(f"tar -C {_AGENT_STATE} -cz --exclude lock . | base64 -w0")
        argv = self._agent(manager, "--state", _CLAIM_STATE)
        self.run(f"""
set -eu
mkdir -p -m 700 {_CLAIM_STATE}
printf %s {copied} | base64 -d | tar -C {_CLAIM_STATE} -xz
setsid {shlex.join(argv)} > /run/claim.log 2>&1 & echo $! > {_CLAIM_PID}
""")

    def stop_claim(self) -> None:
        """Ends what `report_as` started."""
        self.run(f"{_ended(_CLAIM_PID)}\nrm -rf {_CLAIM_STATE}")

    def card(self, network: str) -> str:
        """The name in this host of its card to the `storage` network, or `outside`."""
        mac = self._macs[0 if network == "storage" else 1]
        return self.run(f"basename $(dirname $(grep -l {mac} /sys/class/net/*/address))").strip()

    def agent_log(self) -> str:
        """What the agent printed since the host's last boot."""
        return self.guest.try_run(f"cat {AGENT_LOG}", timeout_s=10).output if self.guest.is_up else ""

    def _identity(self) -> str:
        """Names, addresses, and modules; what the machine outside keeps is not this host's."""
        hosts = "".join(f"{host.address} {host.name}\n" for host in self._scenario.hosts)
        return f"""
set -eu
hostname {self.name}
echo {self.name} > /etc/hostname
echo {md5(self.name.encode(), usedforsecurity=False).hexdigest()} > /etc/machine-id
printf '127.0.0.1 localhost\\n%s' {shlex.quote(hosts)} > /etc/hosts
for card in /sys/class/net/*; do
    case $(cat "$card/address") in
        {self._macs[0]}) address={self._table.address} ;;
        {self._macs[1]}) address=10.0.2.15 ;;
        *) continue ;;
    esac
    ip address add "$address/24" dev "${{card##*/}}"
    ip link set "${{card##*/}}" up
done
rm -rf /etc/storekeeper /var/lib/storekeeper
rm -rf /etc/libvirt/qemu/*.xml /etc/libvirt/storage /var/lib/libvirt/qemu
mkdir -p /storekeeper
"""

    def _name_disks(self) -> None:
        """Binds the SCSI disks one by one: by themselves, they race for their names."""
        disks = self._scenario.disks_of(self.name)
        paths = sum(disk.paths for disk in disks)
        self.run(f"""
set -eu
modprobe -a scsi_mod
echo 0 > /sys/bus/scsi/drivers_autoprobe
modprobe -a virtio_blk virtio_scsi sd_mod
tries=0
until [ "$(ls /sys/bus/scsi/devices | grep -c '^[0-9]*:')" = {paths} ]; do
    tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1
done
for disk in $(ls /sys/bus/scsi/devices | grep '^[0-9]*:' | sort -t: -n -k3); do
    echo "$disk" > /sys/bus/scsi/drivers/sd/bind
done
""")
        # What a host must not forget when it boots again; the rest of its root does.
        self.run("""
set -eu
mkdir -p /state /var/lib/glusterd /var/lib/storekeeper
mount -t ext4 /dev/vda /state
for kept in glusterd storekeeper; do
    mkdir -p /state/$kept
    mount --bind /state/$kept /var/lib/$kept
done
""")
        multipath = [disk for disk in disks if disk.paths > 1]
        if multipath:
            self.run(_multipath([disk.wwn.removeprefix("0x") for disk in multipath]))
            for disk in multipath:
                self.wait_until(
                    f"[ -b {self.device(disk)} ]", within_s=60, what=f"{disk.name} is a multipath disk"
                )
        for disk in self._scenario.maps_of(self.name):
            self.run(maps.create(disk, self.device(disk)))

    def _join_ocfs2(self) -> str:
        nodes = self._scenario.ocfs2_hosts
        lines = [f"cluster:\n\tnode_count = {len(nodes)}\n\tname = {OCFS2_CLUSTER}\n"]
        lines += [
            f"node:\n\tip_port = {OCFS2_PORT}\n\tip_address = {self._scenario.host(node).address}\n"
            f"\tnumber = {number}\n\tname = {node}\n\tcluster = {OCFS2_CLUSTER}\n"
            for number, node in enumerate(nodes)
        ]
        cluster = f"/sys/kernel/config/cluster/{OCFS2_CLUSTER}"
        return f"""
set -eu
modprobe -a ocfs2 ocfs2_dlmfs ocfs2_stack_o2cb configfs
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
mkdir -p /dlm /etc/ocfs2
mount -t ocfs2_dlmfs ocfs2_dlmfs /dlm
printf %s {shlex.quote("".join(lines))} > /etc/ocfs2/cluster.conf
echo o2cb > /sys/fs/ocfs2/cluster_stack
o2cb register-cluster {OCFS2_CLUSTER}
echo {self._scenario.o2cb_dead_threshold} > {cluster}/heartbeat/dead_threshold
echo 10000 > {cluster}/idle_timeout_ms
echo 1000 > {cluster}/keepalive_delay_ms
"""

    def _start_glusterd(self) -> None:
        # Its geo-replication helper runs some fifteen times at its start, each a Python over 9p.
        ping = f"option ping-timeout {self._scenario.gluster_ping_timeout_s}"
        self.run(f"""
set -eu
modprobe fuse
rm -f /usr/lib/*/glusterfs/gsyncd
mkdir -p /var/log/glusterfs
sed -i 's/option ping-timeout .*/{ping}/' /etc/glusterfs/glusterd.vol
glusterd -p /run/glusterd.pid
""")
        self.wait_until("gluster --mode=script pool list", within_s=120, what="glusterd answers")


def _ended(pid_file: str) -> str:
    """Commands that end the process of that id, if it is still there, and wait for its end."""
    return f"""
process=$(cat {pid_file}); kill $process || true
tries=0; while [ -e /proc/$process ]; do tries=$((tries + 1)); [ $tries -lt 200 ]; sleep 0.1; done"""


def _multipath(wwns: list[str]) -> str:
    """multipath.conf of those disks only; multipathd needs udev to have looked at the paths."""
    exceptions = "".join(f'    wwid "3{wwn}"\n' for wwn in wwns)
    text = (
        "defaults {\n    find_multipaths no\n    user_friendly_names no\n    polling_interval 2\n}\n"
        'blacklist {\n    wwid ".*"\n}\n'
        f"blacklist_exceptions {{\n{exceptions}}}\n"
    )
    return f"""
set -eu
modprobe -a dm_mod dm_multipath dm_service_time
printf %s {shlex.quote(text)} > /etc/multipath.conf
/lib/systemd/systemd-udevd --daemon
udevadm trigger --settle -c add --subsystem-match=block
multipath -v2
multipathd
"""
