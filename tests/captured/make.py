"""Captures machines for tests: `python -m tests.captured.make NAME`, from the checkout's root, as root.

Each machine is a folder beside this file: what `storekeeper capture` wrote there, declaration included, and
`document.json`, the document that this version makes of it. Making one anew overwrites both; `git diff`
shows what changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.real.scsi_machine import boot_scsi_machine

HERE = Path(__file__).parent

SCSI_DECLARATION = """\
[host]
id = "flexdev01"

[image_storages.internal]
hosts = ["flexdev01"]

[image_storages.internal.volumes.samsung_ssd]
primary_disk_id = "3500253887013e77e"
mount_point = "/storekeeper/samsung_ssd"
"""

SCSI_SCRIPT = """
cp --reflink=never images/* /storekeeper/samsung_ssd/
cp --reflink=always /storekeeper/samsung_ssd/windows7_public /storekeeper/samsung_ssd/windows7_copy
sync
"$checkout/.venv/bin/storekeeper" capture capture --config storekeeper.toml
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


MACHINES: dict[str, Callable[[Path], Path]] = {"scsi-ocfs2": scsi_ocfs2}


def main(names: list[str]) -> None:
    """Captures the machines of these names."""
    for name in names or MACHINES:
        with tempfile.TemporaryDirectory() as directory:
            made = MACHINES[name](Path(directory))
            folder = HERE / name
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made, folder)
        document = _run(Path(sys.executable).with_name("storekeeper"), "scan", "--captured", folder)
        (folder / "document.json").write_bytes(document)


if __name__ == "__main__":
    main(sys.argv[1:])
