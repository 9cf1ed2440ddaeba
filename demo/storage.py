"""Makes a small, real storage: images of several formats, a backing chain, a reflink clone.

As root on a loop-mounted XFS, otherwise in a plain directory. Everything it made is gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

# (name, format, size, further options); a name in `backing` makes it an overlay.
IMAGES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("windows11_golden.qcow2", "qcow2", "64G", ("-o", "preallocation=metadata")),
    ("debian12_golden.qcow2", "qcow2", "20G", ("-o", "extended_l2=on,cluster_size=128k")),
    ("appliance.vmdk", "vmdk", "8G", ("-o", "subformat=streamOptimized")),
    ("split.vmdk", "vmdk", "5G", ("-o", "subformat=twoGbMaxExtentSparse")),
    ("legacy.vdi", "vdi", "10G", ()),
    ("hyperv.vhdx", "vhdx", "40G", ()),
    ("azure.vhd", "vpc", "1G", ("-o", "subformat=dynamic")),
    ("database.raw", "raw", "2G", ()),
)
OVERLAYS: tuple[tuple[str, str], ...] = (
    ("desktops/alice.qcow2", "../windows11_golden.qcow2"),
    ("desktops/bob.qcow2", "../windows11_golden.qcow2"),
    ("desktops/alice_update.qcow2", "alice.qcow2"),
)
GUESTS: tuple[tuple[str, str, str], ...] = (
    ("alice", "desktops/alice_update.qcow2", "qcow2"),
    ("bob", "desktops/bob.qcow2", "qcow2"),
    ("database", "database.raw", "raw"),
)


def run(argv: Sequence[str]) -> str:
    """Runs a program that has to succeed; what it printed. Its own complaint is the error's text."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def program(name: str) -> str | None:
    """The path of a program, /usr/sbin included; None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def place(directory: Path, missing: list[str]) -> Iterator[Path]:
    """A directory for the storage: a loop-mounted XFS where that can be had. Says why not in `missing`."""
    mount_point = directory / "storage"
    mount_point.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        missing.append("not root: a plain directory instead of a loop-mounted XFS")
    elif not program("mkfs.xfs") or not Path("/dev/loop-control").exists():
        missing.append("no mkfs.xfs or no loop devices: a plain directory instead of an XFS")
    else:
        disk = directory / "storage.xfs"
        with disk.open("wb") as file:
            file.truncate(2 << 30)
        run([program("mkfs.xfs") or "", "-q", "-f", "-m", "reflink=1", str(disk)])
        run(["mount", "-o", "loop", str(disk), str(mount_point)])
        try:
            yield mount_point
        finally:
            run(["umount", "--lazy", str(mount_point)])
            shutil.rmtree(directory)
        return
    try:
        yield mount_point
    finally:
        shutil.rmtree(directory)


def fill(root: Path, missing: list[str]) -> None:
    """Puts the images there."""
    if not program("qemu-img"):
        missing.append("no qemu-img: only a raw image (apt-get install qemu-utils)")
        with (root / "database.raw").open("wb") as file:
            file.truncate(2 << 30)
        return
    (root / "desktops").mkdir()
    for name, image_format, size, options in IMAGES:
        run(["qemu-img", "create", "-q", "-f", image_format, *options, str(root / name), size])
    for name, backing in OVERLAYS:
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, str(root / name)])
    # A guest wrote something to its disk, then an admin took a copy that shares all of it.
    with (root / "database.raw").open("r+b") as file:
        file.write(os.urandom(8 << 20))
        os.fsync(file.fileno())
    copy = root / "database_before_upgrade.raw"
    try:
        run(["cp", "--reflink=always", str(root / "database.raw"), str(copy)])
    except RuntimeError:
        copy.unlink(missing_ok=True)
        missing.append("this filesystem makes no reflinks: no reflink clone")


@contextmanager
def demo_storage(directory: Path, missing: list[str]) -> Iterator[Path]:
    """The whole storage below `directory`; yields its mount point."""
    with ExitStack() as stack:
        root = stack.enter_context(place(directory, missing))
        fill(root, missing)
        yield root
