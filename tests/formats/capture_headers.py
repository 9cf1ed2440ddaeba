"""Makes headers/*.bin anew: `python -m tests.formats.capture_headers` (qemu-img and cryptsetup, as root).

Kept of each image is what `identify` reads of it, so no contents and no key material.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from storekeeper.formats import identify
from tests.formats.disk_file import DiskFile
from tests.formats.seeds import HEADERS, Seed

KEY = "--object secret,id=s,data=x -o encrypt.key-secret=s"
LUKS = "cryptsetup luksFormat -q --pbkdf-force-iterations 1000 --key-file key"
COMMANDS: dict[str, tuple[str, ...]] = {
    "qcow2-v2": ("qemu-img create -f qcow2 -o compat=0.10 {f} 20G",),
    "qcow2-v3": ("qemu-img create -f qcow2 {f} 20G",),
    "qcow2-backing": ("qemu-img create -f qcow2 -u -b base.qcow2 -F qcow2 {f} 20G",),
    "qcow2-all-features": (
        "qemu-img create -f qcow2 -o extended_l2=on,compression_type=zstd,lazy_refcounts=on {f} 20G",
        "qemu-img bitmap --add {f} changes",
    ),
    "qcow2-data-file": ("qemu-img create -f qcow2 -o data_file={f}.data,data_file_raw=on {f} 1M",),
    "qcow2-snapshots": (
        "qemu-img create -f qcow2 {f} 1M", "qemu-img snapshot -c one {f}", "qemu-img snapshot -c two {f}",
    ),
    "qcow2-aes": (f"qemu-img create -f qcow2 {KEY},encrypt.format=aes {{f}} 1M",),
    "qcow2-luks": (f"qemu-img create -f qcow2 {KEY},encrypt.format=luks {{f}} 1M",),
    "qcow": ("qemu-img create -f qcow -u -b base.qcow2 -F qcow2 {f} 20G",),
    "qed": ("qemu-img create -f qed -u -b base.raw -F raw {f} 20G",),
    "parallels": ("qemu-img create -f parallels {f} 20G",),
    "luks-1": (
        "truncate -s 20M {f}",
        f"{LUKS} --type luks1 {{f}}",
    ),
    "luks-2": (
        "truncate -s 20M {f}",
        f"{LUKS} --type luks2 --pbkdf pbkdf2 {{f}}",
    ),
    "vmdk-sparse": ("qemu-img create -f vmdk {f} 20G",),
    "vmdk-clone": (
        "qemu-img create -f vmdk base.vmdk 20G", "qemu-img create -f vmdk -b base.vmdk -F vmdk {f}",
    ),
    "vmdk-stream": ("qemu-img create -f vmdk -o subformat=streamOptimized {f} 20G",),
    "vmdk-flat": ("qemu-img create -f vmdk -o subformat=monolithicFlat {f} 20G",),
    "vmdk-2gb": ("qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse {f} 20G",),
    "vdi": ("qemu-img create -f vdi {f} 20G",),
    "vdi-static": ("qemu-img create -f vdi -o static=on {f} 1M",),
    "vhd-dynamic": ("qemu-img create -f vpc {f} 20G",),
    "vhd-fixed": ("qemu-img create -f vpc -o subformat=fixed {f} 1M",),
    "vhdx": ("qemu-img create -f vhdx {f} 20G",),
    "vhdx-fixed": ("qemu-img create -f vhdx -o subformat=fixed {f} 1M",),
}  # fmt: skip


class RecordingFile(DiskFile):
    """Keeps what is read."""

    __slots__ = ("pieces",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.pieces = {0: self.head}

    def _pread(self, offset: int, length: int) -> bytes:
        found = super()._pread(offset, length)
        self.pieces[offset] = found
        return found


def capture(name: str, commands: tuple[str, ...], directory: Path) -> None:
    """Makes one image and keeps its header, when its format is in FORMATS by now."""
    for command in commands:
        subprocess.run(
            command.replace("{f}", name).split(), cwd=directory, check=True, stdout=subprocess.DEVNULL
        )
    descriptor = os.open(directory / name, os.O_RDONLY)
    file = RecordingFile(descriptor)
    header = identify(file)
    os.close(descriptor)
    if header is None or header.faults:
        print(f"{name}: not kept, {header}", file=sys.stderr)  # noqa: T201
        return
    pieces = {at: piece.rstrip(b"\0") for at, piece in file.pieces.items() if piece.strip(b"\0")}
    (HEADERS / f"{name}.bin").write_bytes(msgspec.msgpack.encode(Seed(header.format, file.size, pieces)))


def main() -> None:
    """Captures all."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "key").write_text("x", encoding="ascii")
        for image, commands in COMMANDS.items():
            capture(image, commands, directory)


if __name__ == "__main__":
    main()
