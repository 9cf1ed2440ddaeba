"""Makes the storage that is measured: flat images of every format, and deep chains.

Twenty thousand runs of qemu-img would take minutes: each kind is made once by qemu-img and then copied,
with the name of its parent, which has a fixed length, written over in the header.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KINDS: tuple[tuple[str, str, str], ...] = (
    ("qcow2", "qcow2", ""), ("qcow2", "qcow2", ""), ("qcow2", "qcow2", "cluster_size=2M"),
    ("qcow2", "qcow2", "compat=0.10"), ("vmdk", "vmdk", "subformat=monolithicSparse"), ("vdi", "vdi", ""),
    ("vhd", "vpc", ""), ("vhdx", "vhdx", ""), ("qed", "qed", ""), ("raw", "raw", ""),
)  # fmt: skip
CHAIN = 50
PER_DIRECTORY = 500  # whole chains: a parent lies beside its child
BLOCK = 4096
_PARENT = "chain-000000-00.qcow2"


def qemu_img(*arguments: str) -> None:
    """Runs qemu-img, quietly; it has to succeed."""
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def templates(directory: Path) -> list[tuple[str, bytes, int]]:
    """(suffix, leading bytes, file size) of one image of each kind."""
    made = []
    for number, (suffix, image_format, options) in enumerate(KINDS):
        path = directory / f"template-{number}.{suffix}"
        qemu_img("create", "-q", "-f", image_format, *(("-o", options) if options else ()), str(path), "10G")
        with path.open("rb") as file:
            head = file.read(8 << 20)  # a VHDX keeps its metadata at 2 MiB, its table behind it
        made.append((suffix, head.rstrip(b"\0") or b"\0", path.stat().st_size))
        path.unlink()
    return made


def overlay(directory: Path) -> bytes:
    """A qcow2 overlay whose backing file is called `_PARENT`."""
    path = directory / "overlay.qcow2"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", _PARENT, str(path), "10G")
    content = path.read_bytes().rstrip(b"\0")
    path.unlink()
    return content


def write(path: Path, head: bytes, size: int) -> None:
    """A sparse file of this size that begins with these bytes, without the blocks of zeros among them."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for offset in range(0, len(head), BLOCK):
        block = head[offset : offset + BLOCK]
        if block.count(0) != len(block):
            os.pwrite(file, block, offset)
    os.ftruncate(file, size)
    os.close(file)


def make(root: Path, count: int) -> None:
    """`count` images below `root`: half of them flat, half of them in chains of CHAIN."""
    root.mkdir(parents=True)
    kinds, child = templates(root), overlay(root)
    size = 200 << 10
    base = next(head for suffix, head, _ in kinds if suffix == "qcow2")
    for number in range(count):
        directory = root / f"{number // PER_DIRECTORY:04d}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir()
        chain, link = divmod(number // 2, CHAIN)
        if number % 2:
            suffix, head, file_size = kinds[(number // 2) % len(kinds)]
            write(directory / f"disk-{number:06d}.{suffix}", head, file_size)
        elif link == 0:
            write(directory / f"chain-{chain:06d}-00.qcow2", base, size)
        else:
            parent = f"chain-{chain:06d}-{link - 1:02d}.qcow2"
            write(
                directory / f"chain-{chain:06d}-{link:02d}.qcow2",
                child.replace(_PARENT.encode(), parent.encode()),
                size,
            )
