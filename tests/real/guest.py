"""A QEMU guest with the host's own root filesystem and any disks: real SCSI, NVMe, OCFS2, multipath.

The guest boots Debian's kernel under TCG in a few seconds, with every program and this checkout at the
same paths as here (9p, read-only, a tmpfs laid over it). It runs one script and powers off. Script and
results travel through a directory that both see, `/run/exchange` in the guest.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.guest import build_kernel

BOOT_MODULES = ("9p", "9pnet_virtio", "virtio_pci", "overlay", "virtio_blk", "virtio_scsi", "sd_mod", "nvme")
SCRIPT = Path(__file__).with_name("guest_script.sh")


class Drive(NamedTuple):
    """One disk of a guest: the file that holds it and the QEMU device that shows it.

    `device` is the text of QEMU's `-device`, without its `drive=` (`scsi-hd,bus=scsi0.0,wwn=…`). A `file`
    that is no path is a QEMU protocol (`blkdebug:…`).
    """

    file: Path | str
    device: str
    read_only: bool = False


class Ran(NamedTuple):
    """What came of a guest's script: its exit status, what it printed, the directory it left."""

    status: int
    output: str
    exchange: Path


class GuestFailed(AssertionError):
    """The guest did not come to the end of its script: its console tells why."""


def boot(
    exchange: Path,
    *,
    script: str,
    drives: Sequence[Drive] = (),
    devices: Sequence[str] = (),
    modules: Sequence[str] = (),
    memory_mib: int = 768,
    deadline_s: float = 420,
) -> Ran:
    """Boots a guest, runs `script` (sh -eu) in its `exchange` directory, and waits until it is off.

    `devices` are QEMU devices that drives hang on (`virtio-scsi-pci,id=scsi0`), `modules` are loaded
    before the script.
    """
    exchange.mkdir(parents=True, exist_ok=True)
    console = exchange / "console"
    kernel = build_kernel(exchange, BOOT_MODULES, SCRIPT)
    load = f"modprobe -a {shlex.join(modules)}\n" if modules else ""
    (exchange / "script").write_text(load + script, encoding="utf-8")
    argv = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
        "-m", str(memory_mib), "-nodefaults", "-no-reboot", "-display", "none",
        "-serial", f"file:{console}",
        "-kernel", str(kernel.image), "-initrd", str(kernel.initramfs),
        "-append", "console=ttyS0 quiet panic=-1",
        "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
        "-virtfs", f"local,path={exchange},mount_tag=exchange,security_model=none,multidevs=remap",
    ]  # fmt: skip
    for device in devices:
        argv += ["-device", device]
    for number, drive in enumerate(drives):
        shared = ",file.locking=off" if isinstance(drive.file, Path) else ""
        read_only = ",readonly=on" if drive.read_only else ""
        argv += ["-drive", f"if=none,id=d{number},file={drive.file},format=raw,cache=none{shared}{read_only}"]
        argv += ["-device", f"{drive.device},drive=d{number}"]
    try:
        subprocess.run(argv, check=True, timeout=deadline_s, capture_output=True)
    except (subprocess.SubprocessError, OSError) as error:
        tail = console.read_text(errors="replace")[-3000:] if console.exists() else ""
        printed = getattr(error, "stderr", b"") or b""
        raise GuestFailed(f"{printed.decode(errors='replace') or error}\n{tail}") from None
    return ran(exchange)


def ran(exchange: Path) -> Ran:
    """What came of the script that a guest ran in this directory."""
    output = (exchange / "output").read_text(errors="replace") if (exchange / "output").exists() else ""
    if not (exchange / "status").exists():
        console = (exchange / "console").read_text(errors="replace")
        raise GuestFailed(f"the script did not end:\n{output}\n{console[-3000:]}")
    return Ran(int((exchange / "status").read_text()), output, exchange)


@contextmanager
def shared_directory(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A directory of this test run, the same for all its workers, for one of them at a time.

    Whoever finds it empty boots the guest, the others find what that left.
    """
    base = factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
