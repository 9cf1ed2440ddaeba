"""Every value of the document and of the images route equals what the tools say of the same storage."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from storekeeper.document import ExternalVolumeInfo, ImageDetail
from tests.real.libvirt_daemon import LibvirtMachine, disk
from tests.real.private_machine import CHECKOUT, PATH, PrivateMachine, wait_until
from tests.real.served import Served, declare, external, scan, served
from tests.real.test_formats_match_qemu_img import QEMU_NAMES, RECIPES, qemu_img
from tests.real.told_by_tools import MIB, Told, disks, members, parent, rows, space, told

pytestmark = [
    pytest.mark.needs("root", "loop", "xfs", "libvirt", "qemu-system", "qemu-img"),
    pytest.mark.xdist_group("libvirt"),
]

HAND = "/srv/hand"
_VMDK_EXTENT = re.compile(r"-(flat|[sf]\d{3})\.vmdk$")


def ours(found: Mapping[str, ImageDetail]) -> dict[str, Mapping[str, object]]:
    """The images route in the same words; what the tools cannot tell of a format is None there."""
    return {
        name: {
            "image_id": row.image_id,
            "guests": row.guests,
            "format": row.format,
            "format_version": row.format_version if row.format == "qcow2" else None,
            "virtual_bytes": row.virtual_bytes,
            "file_bytes": row.file_bytes,
            "allocated_bytes": row.allocated_bytes,
            "encryption": row.encryption if row.format == "qcow2" else None,
            "encrypted": bool(row.encryption),
            "internal_snapshots": row.internal_snapshots,
            "parent_image_id": row.parent_image_id,
            "parent_format": row.parent_format if row.format in {"qcow2", "qed"} else None,
            "data_file": row.data_file,
            "faults": [fault.code for fault in row.faults],
            "thin": row.thin,
            "modified_at": int(datetime.fromisoformat(row.modified_at).timestamp()),
        }
        for name, row in found.items()
    }


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What differs, by name."""
    return {
        key: (one.get(key), other.get(key))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    }


def listed(volume: ExternalVolumeInfo) -> dict[str, object]:
    """The volume's images and clones: size and owner, or parent and owner."""
    found: dict[str, object] = {image.image_id: (image.size_mb, image.guest_id) for image in volume.images}
    return found | {clone.clone_id: (clone.image_id, clone.guest_id) for clone in volume.clones}


def expected(seen: Told, images: set[str], copies: Mapping[str, str]) -> dict[str, object]:
    """The same by the tools. `copies`: reflink copies, and of which image."""
    found: dict[str, object] = {}
    for name in images:
        owner = (seen.owners.get(name) or [""])[0]
        above = parent(seen, name) or copies.get(name, "")
        size_mb = -(-seen.infos[name]["virtual-size"] // MIB)
        found[name] = (above, owner) if above else (size_mb, owner)
    return found


def own_images(seen: Told) -> set[str]:
    """The images that are no part of another one. A file that is no whole number of sectors is no raw one."""
    parts = {part for name in seen.infos for part in members(seen, name)}
    cut = {
        name for name, info in seen.infos.items() if info["format"] == "raw" and seen.files[name].size % 512
    }
    return seen.infos.keys() - parts - cut


# --- a storage made by hand -------------------------------------------------------------------------


def format_of(name: str) -> str | None:
    """The format of a file of the storage made by hand, where qemu-img cannot guess it."""
    of, _, file = name.partition("/")
    if of not in RECIPES:
        return ""
    if file.endswith(".raw"):
        return "raw"
    if file.endswith(".data") or _VMDK_EXTENT.search(file):
        return None
    return QEMU_NAMES.get(of, "")


def preallocated() -> set[str]:
    """The images that a recipe makes with all their space."""
    words = ("static=on", "subformat=fixed", "Flat")
    return {
        f"{of}/{number}.{of}"
        for of, recipes in RECIPES.items()
        for number, recipe in enumerate(recipes)
        if any(word in recipe[0] for word in words)
    }


def make(machine: PrivateMachine, of: str) -> None:
    """Makes the images of all recipes of a format below HAND."""
    directory = Path(f"/proc/{machine.pid}/root{HAND}/{of}")

    def make_one(number: int) -> None:
        for line in RECIPES[of][number]:
            qemu_img(line.replace("{f}", f"{number}.{of}").replace("{n}", str(number)), directory)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make_one, range(len(RECIPES[of]))))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtMachine]:
    """A machine with images of every recipe, and guests that have some of them."""
    directory = tmp_path_factory.mktemp("hand")
    with LibvirtMachine() as made:
        made.shell(
            f"truncate -s 2G {directory}/disk; mkfs.xfs -q {directory}/disk; mkdir -p {HAND};"
            f"mount -o loop {directory}/disk {HAND}; cd {HAND}; mkdir {' '.join(RECIPES)}"
        )
        for of in RECIPES:
            make(made, of)
        made.shell(f"cd {HAND}; qemu-img create -q -f qcow2 -b qcow2/0.qcow2 -F qcow2 overlay 3G")
        made.define("stopped", disk("file", f"file='{HAND}/vdi/2.vdi'", "vda", "vdi"), directory)
        made.create_paused("desktop", disk("file", f"file='{HAND}/overlay'", "vda"), directory)
        made.define("desktop", disk("file", f"file='{HAND}/qcow2/3.qcow2'", "vda"), directory)
        yield made


@pytest.fixture(scope="module")
def hand(machine: LibvirtMachine) -> Told:
    return told(machine, HAND, format_of)


def test_every_value_of_a_storage_made_by_hand_is_what_the_tools_say(
    machine: LibvirtMachine, hand: Told, tmp_path: Path
) -> None:
    declaration = declare(tmp_path, external("hand", HAND, "mounted = true"))
    with served(declaration, machine) as server:
        server.until(lambda: len(server.ids("hand")) > 1, within_s=20, what="all is listed")
        document, found = server.document(), server.images()
        assert scan(declaration, machine) == document
        devices = {row.device: row.size_bytes for row in server.disks()}
    images = own_images(hand)
    assert len(images) > 200
    (volume,) = document.external_volumes
    assert differences(listed(volume), expected(hand, images, {})) == {}
    assert differences(ours(found), rows(hand, images, preallocated())) == {}
    assert (volume.status, volume.status_msg, volume.mount_point) == ("ok", "", HAND)
    assert (volume.total_space, volume.free_space) == space(machine, HAND)
    assert devices == disks(machine)
    assert document.disks == []


# --- the demo ---------------------------------------------------------------------------------------


@contextmanager
def demo(machine: PrivateMachine, directory: Path) -> Iterator[tuple[Served, Path]]:
    """`make run` on a machine that has no storage: its server, and the place of its storage."""
    argv = [
        "env",
        f"--chdir={directory}",
        f"PYTHONPATH={CHECKOUT}",
        "setsid",
        "bash",
        "-c",
        'echo $$; exec "$@"',
        "demo",
    ]
    log = directory / "demo.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            machine.entering([*argv, sys.executable, "-m", "demo"]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env={"PATH": PATH, "LC_ALL": "C"},
        )  # fmt: skip
    assert process.stdout
    pid = process.stdout.readline().strip()
    try:
        wait_until(
            lambda: "Answering at" in log.read_text(encoding="utf-8"), within_s=60, what="the demo answers"
        )
        printed = log.read_text(encoding="utf-8")
        url = re.search(r"curl (http://\S+)/imagestorages/demo", printed)
        assert url
        assert "note: " not in printed
        yield Served(url[1], int(pid), machine), directory / "build/demo/storage"
    finally:
        # As a terminal does: Ctrl-C reaches everything that the demo has started.
        machine.run(["bash", "-c", f"kill -INT -{pid}"], check=False)
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[PrivateMachine]:
    """A machine on which nobody ever made a guest or an image."""
    with PrivateMachine("bare") as machine:
        machine.shell(
            "rm -rf /etc/libvirt/qemu/*.xml /etc/libvirt/storage /var/lib/libvirt /etc/storekeeper;"
            "virtlogd -d"
        )
        yield machine


def test_every_value_of_the_demo_is_what_the_tools_say_and_nothing_is_left_of_it(
    bare: PrivateMachine, tmp_path: Path
) -> None:
    with demo(bare, tmp_path) as (server, place):
        wait_until(server.answers, within_s=20, what="the document is there")

        def volume() -> ExternalVolumeInfo:
            (found,) = server.document("demo").external_volumes
            return found

        wait_until(lambda: len(volume().clones) == 4, within_s=10, what="all is listed")
        seen = told(bare, str(place), lambda name: None if _VMDK_EXTENT.search(name) else "")
        images = own_images(seen)
        copies = {"database_before_upgrade.raw": "database.raw"}
        assert differences(listed(volume()), expected(seen, images, copies)) == {}
        assert sorted(guest for owners in seen.owners.values() for guest in owners) == [
            "demo-alice", "demo-bob", "demo-database",
        ]  # fmt: skip
        found = server.images("demo")
        theirs = rows(seen, images, ())
        theirs["database_before_upgrade.raw"] |= {"parent_image_id": "database.raw"}
        assert differences(ours(found), theirs) == {}
        for name in ("database.raw", "database_before_upgrade.raw"):
            assert found[name].shared_bytes == shared_bytes(bare, place / name) == 8 << 20
        assert (volume().status, volume().status_msg, volume().mount_point) == ("ok", "", str(place))
        assert (volume().total_space, volume().free_space) == space(bare, str(place))
    assert not place.parent.exists()
    assert str(place) not in bare.shell("cat /proc/mounts")
    assert not bare.shell("ls /etc/libvirt/qemu/*.xml 2>/dev/null || true")


def shared_bytes(machine: PrivateMachine, path: Path) -> int:
    """The bytes of a file in extents that filefrag marks as shared."""
    printed = machine.shell(f"filefrag -b1 -v {path}")
    rows = [
        line.split(":") for line in printed.splitlines() if line.rstrip().endswith(("shared", "shared,eof"))
    ]
    return sum(int(row[3]) for row in rows)
