"""A real libvirtd of its own, in a private machine: its guests and pools are nobody else's."""

from __future__ import annotations

from pathlib import Path

from tests.real.private_machine import PrivateMachine, wait_until

IMAGES = "/images"

# What this machine's own libvirt keeps is not this one's. virtlogd keeps the guests' consoles.
_START = f"""
rm -rf /etc/libvirt/qemu/*.xml /etc/libvirt/storage /var/lib/libvirt/qemu
mkdir -p {IMAGES}
virtlogd -d
libvirtd -d
"""


class LibvirtMachine(PrivateMachine):
    """A private machine with a libvirtd that answers. Guests run under TCG; images belong in IMAGES."""

    def __init__(self, name: str = "flexdev01") -> None:
        super().__init__(name)
        try:
            self.shell(_START)
            wait_until(self._answers, within_s=30, what="libvirtd answers")
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        return self.run(["virsh", "list"], check=False).returncode == 0

    def virsh(self, words: str) -> str:
        """Runs virsh, which must succeed; what it printed."""
        return self.run(["virsh", *words.split()]).stdout

    def domblklist(self, guest: str, *, inactive: bool = False) -> dict[str, tuple[str, str, str]]:
        """Target to (type, device, source) as `virsh domblklist --details` prints it."""
        printed = self.virsh(f"domblklist {guest} --details {'--inactive' if inactive else ''}")
        rows = [line.split(None, 3) for line in printed.splitlines()[2:] if line.strip()]
        return {target: (kind, device, source) for kind, device, target, source in rows}

    def define(self, guest: str, disks: str, directory: Path) -> None:
        """Defines a guest with these `<disk>` elements. `directory`: of this machine, for its XML."""
        self.virsh(f"define {self._xml(guest, disks, directory)}")

    def create_paused(self, guest: str, disks: str, directory: Path) -> None:
        """Starts a guest that is not defined, and does not let it run a single instruction."""
        self.virsh(f"create --paused {self._xml(guest, disks, directory)}")

    def _xml(self, guest: str, disks: str, directory: Path) -> Path:
        path = directory / f"{guest}.xml"
        path.write_text(
            f"<domain type='qemu'><name>{guest}</name><uuid>{_unique_id(guest)}</uuid>"
            "<memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>"
            f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}</devices></domain>",
            encoding="utf-8",
        )
        return path


def _unique_id(guest: str) -> str:
    """A UUID that belongs to the name, so that a guest can be defined again under it."""
    digits = guest.encode().hex().ljust(32, "0")[:32]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def disk(kind: str, source: str, target: str, image_format: str = "qcow2", more: str = "") -> str:
    """A `<disk>` element; `source` holds the attributes of its `<source>`."""
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{image_format}'/>"
        f"<source {source}/><target dev='{target}' bus='virtio'/>{more}</disk>"
    )


CD_ROM = "<disk type='file' device='cdrom'><source file='{}'/><target dev='hda' bus='ide'/></disk>"
