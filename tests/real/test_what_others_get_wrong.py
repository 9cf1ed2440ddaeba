"""What other programs get wrong about a directory of images, on a whole server or scan.

libvirt's storage pools and qemu-img are the others; some tests show it of them, so that ours is seen to fail
where they do.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from storekeeper.document import ImageDetail
from storekeeper.host.real import RealHost
from storekeeper.observation import Image
from storekeeper.sources import images
from storekeeper.sources.contract import Scope
from tests.real.private_machine import PrivateMachine
from tests.real.served import declare, external, scan, served

pytestmark = pytest.mark.needs("qemu-img")

FEW_MS = 0.05


def create(path: Path | str, kind: str = "qcow2", size: str = "1G", backing: str = "") -> None:
    """An image; its backing file need not be there."""
    of = ["-u", "-b", backing, "-F", "raw"] if backing else []
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *of, path, size], check=True)


def rows(root: Path, directory: Path) -> dict[str, ImageDetail]:
    """The images route of a server that serves `root`."""
    with served(declare(directory, external("volume", root))) as server:
        assert server.volume("volume").status == "ok"
        return server.images()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    root.mkdir()
    return root


def test_a_vhdx_has_its_own_format_and_virtual_size(root: Path, tmp_path: Path) -> None:
    create(root / "hyperv.vhdx", "vhdx", "40G")
    found = rows(root, tmp_path)["hyperv.vhdx"]
    assert (found.format, found.virtual_bytes) == ("vhdx", 40 << 30)
    assert found.file_bytes == (root / "hyperv.vhdx").stat().st_size < 40 << 30


def test_more_than_16384_images_are_all_listed(root: Path, tmp_path: Path) -> None:
    small = ["-o", "cluster_size=512", str(tmp_path / "one.qcow2"), "3M"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *small], check=True)
    content = (tmp_path / "one.qcow2").read_bytes()
    names = {f"{number}.qcow2" for number in range(16384 + 200)}
    for name in names:
        (root / name).write_bytes(content)
    document = scan(declare(tmp_path, external("volume", root)))
    (volume,) = document.external_volumes
    assert (volume.status, volume.status_msg) == ("ok", "")
    assert {image.image_id for image in volume.images} == names
    assert {image.size_mb for image in volume.images} == {3}


def test_an_image_cut_at_byte_71_is_one_image_with_a_fault_and_its_neighbours_are_exact(
    root: Path, tmp_path: Path
) -> None:
    create(root / "before.qcow2")
    create(root / "cut.qcow2")
    create(root / "later.vmdk", "vmdk", "2G")
    os.truncate(root / "cut.qcow2", 71)
    found = rows(root, tmp_path)
    assert {name: (row.format, row.virtual_bytes) for name, row in found.items()} == {
        "before.qcow2": ("qcow2", 1 << 30),
        "cut.qcow2": ("qcow2", -1),
        "later.vmdk": ("vmdk", 2 << 30),
    }
    assert {name: [fault.code for fault in row.faults] for name, row in found.items()} == {
        "before.qcow2": [],
        "cut.qcow2": ["truncated"],
        "later.vmdk": [],
    }


@pytest.mark.needs("root")
def test_what_is_no_regular_file_neither_hangs_the_scan_nor_is_an_image(root: Path, tmp_path: Path) -> None:
    create(root / "image.qcow2")
    os.mkfifo(root / "fifo.qcow2")
    os.mknod(root / "zero.raw", 0o20600, os.makedev(1, 5))
    os.mknod(root / "disk.raw", 0o60600, os.makedev(7, 250))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket.img"))
    began = time.monotonic()
    found = rows(root, tmp_path)
    listener.close()
    assert found.keys() == {"image.qcow2"}
    assert time.monotonic() - began < 20


# Run in a private machine, where nobody else opens anything: scans, and prints whether a decoy was opened or
# a connection came meanwhile; then, to show that the trap works, whether qemu-img opens them.
_TRAP = """
import json, os, socket, subprocess, sys
from storekeeper.host import libc
command, declaration, decoys, root = sys.argv[1], sys.argv[2], sys.argv[3].split(":"), sys.argv[4]
OPEN, ACCESS = 0x20, 0x1
trap = libc.inotify()
os.set_blocking(trap, False)
names = {libc.add_watch(trap, os.fsencode(decoy), OPEN | ACCESS): decoy for decoy in decoys}
server = socket.create_server(("127.0.0.1", 1))
server.setblocking(False)

def caught():
    found = set()
    try:
        while events := os.read(trap, 1 << 16):
            found |= {names[int.from_bytes(events[at:at + 4], "little")] for at in range(0, len(events), 16)}
    except BlockingIOError:
        pass
    try:
        server.accept()[0].close()
        found.add("nbd")
    except BlockingIOError:
        pass
    return sorted(found)

caught()
# Without HOME Python itself looks into /etc/passwd.
scanned = subprocess.run([command, "scan", "--config", declaration], capture_output=True, check=True,
                         env={**os.environ, "HOME": "/"})
ours = caught()
for name in sorted(os.listdir(root)):
    subprocess.run(["timeout", "1", "qemu-img", "info", "--backing-chain", os.path.join(root, name)],
                   capture_output=True, check=False)
print(json.dumps({"document": json.loads(scanned.stdout), "ours": ours, "theirs": caught()}))
"""


@pytest.mark.needs("root", "netns")
def test_what_a_header_or_a_link_names_outside_the_volume_is_told_and_never_opened(
    root: Path, tmp_path: Path
) -> None:
    decoy = tmp_path / "decoy.qcow2"
    create(decoy)
    named = {
        "passwd.qcow2": "/etc/passwd",
        "shadow.qcow2": "/etc/shadow",
        "json.qcow2": json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(decoy)}}),
        "up.qcow2": "../decoy.qcow2",
        "absolute.qcow2": str(decoy),
        "through_link.qcow2": "link.qcow2",
        "nbd.qcow2": "nbd://127.0.0.1:1/x",
    }
    named["json.qcow2"] = "json:" + named["json.qcow2"]
    for name, backing in named.items():
        create(root / name, backing=backing)
    create(root / "loop.qcow2", backing="pool.qcow2")
    create(root / "pool.qcow2", backing="loop.qcow2")
    (root / "link.qcow2").symlink_to(decoy)
    (root / "link").symlink_to(tmp_path)
    declaration = declare(tmp_path, external("volume", root))
    decoys = ["/etc/passwd", "/etc/shadow", str(decoy)]
    with PrivateMachine("flexdev01") as machine:
        command = str(Path(sys.executable).with_name("storekeeper"))
        argv = [sys.executable, "-c", _TRAP, command, str(declaration), ":".join(decoys), str(root)]
        told = json.loads(machine.run(argv).stdout)
    assert told["ours"] == []
    assert told["theirs"] == sorted([*decoys, "nbd"])
    (volume,) = told["document"]["external_volumes"]
    assert (volume["status"], volume["images"]) == ("ok", [])
    parents = {clone["clone_id"]: clone["image_id"] for clone in volume["clones"]}
    assert parents == {**named, "loop.qcow2": "pool.qcow2", "pool.qcow2": "loop.qcow2"}
    found = rows(root, tmp_path)
    assert {name: [fault.code for fault in row.faults] for name, row in found.items()} == {
        **{name: ["parent-not-found"] for name in named},
        "loop.qcow2": ["loop"],
        "pool.qcow2": ["loop"],
    }


def claiming_snapshots(path: Path, count: int) -> None:
    """A qcow2 of 256 KiB that claims internal snapshots, with a table of zeros."""
    create(path)
    with path.open("r+b") as file:
        file.truncate(256 << 10)
        file.seek(60)  # nb_snapshots, snapshots_offset
        file.write(struct.pack(">IQ", count, 64 << 10))


def test_a_qcow2_that_claims_65535_snapshots_costs_neither_time_nor_memory(
    root: Path, tmp_path: Path
) -> None:
    claiming_snapshots(root / "snapshots.qcow2", 65535)
    scope = Scope(key="s/v", root=str(root))
    images.probe(RealHost(), scope, None)  # what is imported late, and kept by Python
    tracemalloc.start()
    try:
        began = time.process_time()
        seen = images.probe(RealHost(), scope, None)
        took_s = time.process_time() - began
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    fact = seen.facts["snapshots.qcow2"]
    assert isinstance(fact, Image)
    assert (fact.header.virtual_bytes, [fault.code for fault in fact.header.faults]) == (
        1 << 30,
        ["truncated"],
    )
    assert took_s < FEW_MS
    assert peak_bytes < 1 << 20
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(["qemu-img", "info", root / "snapshots.qcow2"], stdout=subprocess.DEVNULL, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before > 10 * took_s
