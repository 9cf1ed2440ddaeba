"""Captures machines for tests: `python -m tests.captured.make [NAME ...]`, from the checkout's root, as root.

Each machine is a folder beside this file: what `storekeeper capture` wrote there, declaration included, and
`golden.json`, the documents of its storages. Making one anew overwrites both; `git diff` shows what changed.
`--golden` writes only the documents anew, from the captures as they are.

What the source `machine` reads (cpuinfo, meminfo, the kernel's release, QEMU's version) was not captured but
put into these folders when the source came, from one host; so in `scsi-ocfs2`, a guest, it is not the guest's
own. Made anew, they have it of themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from storekeeper.agent.asking import DirectAsker
from storekeeper.cli.looking import declaration_of, look_at_storages
from storekeeper.document import ImageStorageInfo
from storekeeper.host.captured import CapturedHost
from storekeeper.rows import plain
from tests.captured import machines
from tests.real.gluster_cluster import NODES
from tests.real.private_machine import CHECKOUT, PrivateMachine

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("storekeeper")

# Run in a namespace of its own. What is not the private machine's is out of sight: the disks, the directory
# of temporary files, and the checkout's own mount (the overlay shows the same files, read-only).
_CAPTURE = """
umount "$1" /tmp
mount -t tmpfs tmpfs /sys/block
"$2" capture /capture
"""


class Machine(NamedTuple):
    """How a capture is made in a directory, and names that the machine has and its capture has not."""

    make: Callable[[Path], Path]
    names: tuple[str, ...]


def captured(machine: Callable[[], AbstractContextManager[PrivateMachine]]) -> Callable[[Path], Path]:
    """What makes a private machine and copies into a directory what `storekeeper capture` writes there."""

    def capture(directory: Path) -> Path:
        with machine() as made:
            made.run(["unshare", "-m", "bash", "-ec", _CAPTURE, "capture", str(CHECKOUT), str(COMMAND)])
            made.shell(f"cp -r /capture {directory}")
        return directory / "capture"

    return capture


MACHINES = {
    "scsi-ocfs2": Machine(machines.scsi_ocfs2, ("flexdev01",)),
    "gluster-node": Machine(captured(machines.gluster_node), (*NODES, *NODES.values())),
    "libvirt-guests": Machine(captured(machines.libvirt_guests), ("flexdev01", *machines.GUESTS)),
    "plain-demo": Machine(captured(machines.plain_demo), ("flexdev01",)),
}


def documents(folder: Path) -> dict[str, ImageStorageInfo]:
    """The document of each storage that a captured machine declares, or has."""
    host = CapturedHost.load(folder)
    truth = asyncio.run(look_at_storages(host, DirectAsker(host), declaration_of(None, host)))
    return {storage_id: storage.document for storage_id, storage in truth.storages.items()}


def found_in(folder: Path, names: Iterable[str]) -> set[str]:
    """The names that a capture holds, in whatever case and encoding."""
    places = list(folder.rglob("*"))
    texts = [bytes(place.relative_to(folder)) for place in places]
    texts += [unquote_to_bytes(place.read_bytes()) for place in places if place.is_file()]
    return {
        name
        for name in names
        for encoding in ("utf-8", "utf-16-le", "utf-16-be")
        if any(name.lower().encode(encoding) in text.lower() for text in texts)
    }


def of_this_machine() -> set[str]:
    """Names, addresses and serial numbers of the machine that captures the private ones."""
    addresses = subprocess.run(["hostname", "-I"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {os.uname().nodename, *addresses.split()}
    places = ("class/net/*/address", "class/dmi/id/*serial", "class/dmi/id/product_uuid", "block/*/serial")
    for place in places:
        found |= {file.read_text().strip() for file in Path("/sys").glob(place)}
    return {name for name in found if len(name) > 3 and name != "00:00:00:00:00:00"}


def folders() -> list[str]:
    """The names of all captured machines."""
    return sorted(folder.parent.name for folder in HERE.glob("*/capture.json"))


def make(name: str) -> None:
    """Captures a machine anew."""
    with tempfile.TemporaryDirectory() as directory:
        made = MACHINES[name].make(Path(directory))
        if left := found_in(made, {*MACHINES[name].names, *of_this_machine()}):
            sys.exit(f"{name}: the capture still holds {', '.join(left)}")
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(made, HERE / name)


def write_golden(name: str) -> None:
    """Writes the documents of a captured machine beside it."""
    golden = json.dumps(msgspec.to_builtins(documents(HERE / name), enc_hook=plain), indent=1)
    (HERE / name / "golden.json").write_text(f"{golden}\n", encoding="ascii")


def main() -> None:
    """Captures the machines that are named, all without a name."""
    parser = argparse.ArgumentParser(prog="python -m tests.captured.make", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--golden", action="store_true", help="only the documents, from the captures")
    told = parser.parse_args()
    known = folders() if told.golden else list(MACHINES)
    if unknown := set(told.names).difference(known):
        parser.error(f"no machine {', '.join(unknown)}; there is {', '.join(known)}")
    for name in told.names or known:
        if not told.golden:
            make(name)
        write_golden(name)


if __name__ == "__main__":
    main()
