"""What qemu-img, stat, df, virsh and lsblk say of a storage on a machine, in the words of the API."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tests.real.private_machine import PrivateMachine

MIB = 1 << 20
OUR_NAMES = {"vpc": "vhd"}
VERSIONS = {"0.10": "2", "1.1": "3"}

Info = dict[str, Any]


class File(NamedTuple):
    """A file as stat(1) sees it; `modified_at` in seconds."""

    size: int
    allocated: int
    modified_at: int


class Told(NamedTuple):
    """All files below a root, what qemu-img says of those that are images of their own, and who owns them."""

    root: str
    files: dict[str, File]
    infos: dict[str, Info]
    owners: dict[str, list[str]]


def told(machine: PrivateMachine, root: str, format_of: Callable[[str], str | None]) -> Told:
    """Asks the tools about all below `root`. `format_of`: the format of a file where qemu-img cannot guess
    it, `""` where it can, None for what is no image of its own.
    """
    files = _stat(machine, root)
    formats = {name: found for name in files if (found := format_of(name)) is not None}
    with ThreadPoolExecutor(2) as pool:
        infos = pool.map(lambda name: _info(machine, root, name, formats[name]), formats)
        return Told(root, files, dict(zip(formats, infos, strict=True)), _owners(machine, root))


def space(machine: PrivateMachine, place: str) -> tuple[int, int]:
    """Total and available KiB, as `df -k` prints them."""
    printed = machine.shell(f"df -k --output=size,avail {place}")
    total, available = printed.splitlines()[1].split()
    return int(total), int(available)


def disks(machine: PrivateMachine) -> dict[str, int]:
    """The size of each whole disk that has one, by its device, as lsblk prints them."""
    printed = json.loads(machine.shell("lsblk --json -b -d -o PATH,SIZE,TYPE"))
    return {
        row["path"]: row["size"] for row in printed["blockdevices"] if row["type"] == "disk" and row["size"]
    }


def _stat(machine: PrivateMachine, root: str) -> dict[str, File]:
    printed = machine.shell(
        f"cd {root}; find . -type f -print0 | xargs -0 -r stat --printf '%s %b %B %Y %n\\0'"
    )
    files = {}
    for line in printed.split("\0")[:-1]:
        size, blocks, block_bytes, modified_at, name = line.split(" ", 4)
        files[name.removeprefix("./")] = File(int(size), int(blocks) * int(block_bytes), int(modified_at))
    return files


def _info(machine: PrivateMachine, root: str, name: str, of: str) -> Info:
    probing = ["-f", of] if of else []
    argv = ["qemu-img", "info", "-U", "--output=json", *probing, os.path.join(root, name)]
    info: Info = json.loads(machine.run(argv).stdout)
    return info


def _owners(machine: PrivateMachine, root: str) -> dict[str, list[str]]:
    """By image: the guests of which `virsh domblklist` shows it, in their live or persistent definition."""
    owners: dict[str, list[str]] = {}
    for guest in sorted(machine.run(["virsh", "list", "--all", "--name"]).stdout.split()):
        for inactive in ([], ["--inactive"]):
            argv = ["virsh", "domblklist", guest, "--details", *inactive]
            for line in machine.run(argv, check=not inactive).stdout.splitlines()[2:]:
                if not line.strip():
                    continue
                kind, device, _, source = line.split(None, 3)
                name = posixpath.relpath(source, root)
                if (kind, device) == ("file", "disk") and guest not in owners.setdefault(name, []):
                    owners[name].append(guest)
    return owners


# --- in the words of the API ----------------------------------------------------------------------


def members(told: Told, name: str) -> list[str]:
    """The further files of an image: a VMDK's extents, a qcow2's data file."""
    data = _data(told.infos[name])
    names = [extent["filename"] for extent in data.get("extents", [])] + [data.get("data-file", "")]
    found = {_path(told, name, each) for each in names if each}
    return sorted(each for each in found if each != name and each in told.files)


def parent(told: Told, name: str) -> str:
    """The direct parent's id by the header; `""` for none; one that is not there as the header names it."""
    header = _header_parent(told, name)
    found = _path(told, name, header)
    return found if header and found in told.infos else header.replace("%", "%25").replace("\n", "%0A")


def rows(told: Told, of: Iterable[str], preallocated: Collection[str]) -> dict[str, dict[str, object]]:
    """The fields of the images route that tools can tell of, for each of these images. `preallocated`: those
    made so, which qemu-img does not show of every format.
    """
    return {name: _row(told, name) | {"thin": _thin(told, name, preallocated)} for name in of}


def _row(told: Told, name: str) -> dict[str, object]:
    info = told.infos[name]
    data = _data(info)
    of = OUR_NAMES.get(info["format"], info["format"])
    qcow2 = of == "qcow2"
    above = parent(told, name)
    return {
        "image_id": name,
        "guests": told.owners.get(name, []),
        "format": of,
        "format_version": VERSIONS[data["compat"]] if qcow2 else None,
        "virtual_bytes": info["virtual-size"],
        "file_bytes": told.files[name].size,
        "allocated_bytes": _allocated(told, name),
        "encryption": data.get("encrypt", {}).get("format", "") if qcow2 else None,
        "encrypted": info.get("encrypted", False),
        "internal_snapshots": len(info.get("snapshots", [])),
        "parent_image_id": above,
        "parent_format": info.get("backing-filename-format", "") if of in {"qcow2", "qed"} else None,
        "data_file": data.get("data-file", ""),
        "modified_at": told.files[name].modified_at,
        "faults": ["parent-not-found"] if above and above not in told.infos else [],
    }


def _allocated(told: Told, name: str) -> int:
    return sum(told.files[each].allocated for each in (name, *members(told, name)))


def _thin(told: Told, name: str, preallocated: Collection[str]) -> bool:
    virtual_bytes: int = told.infos[name]["virtual-size"]
    return name not in preallocated and _allocated(told, name) < virtual_bytes


def _header_parent(told: Told, name: str) -> str:
    return str(told.infos[name].get("backing-filename", ""))


def _path(told: Told, image: str, name: str) -> str:
    """The path below the root that a name in an image's header means."""
    return posixpath.relpath(posixpath.join(told.root, posixpath.dirname(image), name), told.root)


def _data(info: Info) -> Info:
    data: Info = info.get("format-specific", {}).get("data", {})
    return data
