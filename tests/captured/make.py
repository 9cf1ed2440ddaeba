"""Captures machines for tests: `python -m tests.captured.make NAME`, from the checkout's root, as root.

Each machine is a folder beside this file: what `storekeeper capture` wrote, the declaration with which it
looked, and the document that it made of it there. Making one anew overwrites it; `git diff` then shows
what changed.
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
"$checkout/.venv/bin/storekeeper" scan --config storekeeper.toml > document.json
"""


def scsi_ocfs2(directory: Path) -> Path:
    """A host with disks of every kind, one of them dead, and an OCFS2 volume with images."""
    exchange = directory / "exchange"
    images = exchange / "images"
    images.mkdir(parents=True)
    _image(images / "windows7_020216", "20G")
    _image(images / "windows7_public", "40G")
    _image(images / "voidlinux_slp_home", "60G", "-b", "windows7_public", "-F", "qcow2")
    (exchange / "storekeeper.toml").write_text(SCSI_DECLARATION)
    ran = boot_scsi_machine(directory, SCSI_SCRIPT)
    if ran.status:
        sys.exit(ran.output)
    return exchange


def _image(file: Path, size: str, *options: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, file, size], check=True)


MACHINES: dict[str, Callable[[Path], Path]] = {"scsi-ocfs2": scsi_ocfs2}


def main(names: list[str]) -> None:
    """Captures the machines of these names."""
    for name in names or MACHINES:
        with tempfile.TemporaryDirectory() as directory:
            made = MACHINES[name](Path(directory))
            folder = HERE / name
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made / "capture", folder)
            for file in ("storekeeper.toml", "document.json"):
                shutil.copy(made / file, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
