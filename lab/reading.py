"""Reading a scenario file, and telling everything that is wrong with it, before anything is made."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from lab.errors import ScenarioError
from lab.scenario import HostSightTable, MountTable, Scenario, SightTable
from lab.verbs import Verb
from storekeeper import declaration_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,30}\Z")
_WWN = re.compile(r"0x[0-9a-f]{16}\Z")


def read(path: Path) -> Scenario:
    """The scenario in a file.

    Raises:
        ScenarioError: it cannot be read, or something is wrong with it: all that is.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} cannot be read: {error}") from error
    scenario = parse(text, str(path))
    for name in scenario.expected.documents.values():
        if not (document := path.parent / name).is_file():
            raise ScenarioError(f"{path}: expected.documents: there is no {document}")
    return scenario


def parse(text: str, name: str = "scenario") -> Scenario:
    """The scenario in a TOML text.

    Raises:
        ScenarioError: something is wrong with it: all that is, a line each, with its key.
    """
    try:
        scenario = msgspec.convert(tomllib.loads(text), Scenario)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}; correct the TOML there") from error
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {error}") from error
    wrong = list(_wrong(scenario))
    if wrong:
        raise ScenarioError("\n".join(f"{name}: {line}" for line in wrong))
    return scenario


def _wrong(scenario: Scenario) -> Iterator[str]:
    """Everything that is wrong with a scenario whose shape is right."""
    yield from _wrong_hosts(scenario)
    yield from _wrong_disks(scenario)
    yield from _wrong_names(scenario)
    disks = {disk.name for disk in scenario.disks}
    for number, filesystem in enumerate(scenario.filesystems):
        key = f"filesystems[{number}]"
        if filesystem.disk not in disks:
            yield f"{key}.disk: there is no disk {filesystem.disk!r}"
            continue
        disk = next(disk for disk in scenario.disks if disk.name == filesystem.disk)
        for mount in filesystem.mounts:
            for host in mount.hosts:
                if host not in disk.seen_by:
                    yield f"{key}.mounts: {host} mounts it, but does not see the disk {filesystem.disk!r}"
        if (
            filesystem.mapped
            and next(disk.paths for disk in scenario.disks if disk.name == filesystem.disk) > 1
        ):
            yield f"{key}.mapped: {filesystem.disk!r} has several paths, and so a map already"
    yield from _twice("exports", (export.host for export in scenario.exports))
    yield from _wrong_paths(scenario)
    for place, verbs in _verbs(scenario):
        for verb in verbs:
            yield from (f"{place}: {text}" for text in verb.wrong(scenario))
    if scenario.manager.count < 1 or (scenario.manager.count > 1 and scenario.manager.database == "sqlite"):
        yield "manager.count: several managers share a server; write database = 'postgresql', or 1"
    if not scenario.expected.documents:
        yield "expected.documents: is empty; name an image storage and the file of its document"
    for number, fault in enumerate(scenario.faults):
        sights: list[SightTable | HostSightTable] = [*fault.expect, *fault.expect_hosts]
        if not (sights or fault.expect_unlisted or fault.checks or fault.unharmed):
            yield f"faults[{number}]: says of nothing that it must be seen; write expect, or unharmed = true"
        for sight in sights:
            try:
                re.compile(sight.message)
            except re.error as wrong:
                yield f"faults[{number}].expect: {sight.message!r} is no pattern: {wrong}"
    for error in declaration_toml.check(scenario.declaration):
        yield f"declaration: {error}"


def _wrong_hosts(scenario: Scenario) -> Iterator[str]:
    if not scenario.hosts:
        yield "hosts: is empty; describe at least one host"
    yield from _twice("hosts", (host.name for host in scenario.hosts))
    yield from _twice("hosts", (host.address for host in scenario.hosts))
    for number, host in enumerate(scenario.hosts):
        if not _NAME.match(host.name):
            yield f"hosts[{number}].name: {host.name!r} is no host name; write letters, digits and hyphens"
        if host.memory_mib < 256:
            yield f"hosts[{number}].memory_mib: {host.memory_mib} is too little to boot; write 512 or more"
        try:
            ipaddress.IPv4Address(host.address)
        except ValueError:
            yield f"hosts[{number}].address: {host.address!r} is no address; write one such as '10.77.0.1'"


def _wrong_disks(scenario: Scenario) -> Iterator[str]:
    yield from _twice("disks", (disk.name for disk in scenario.disks))
    yield from _twice("disks", (disk.wwn for disk in scenario.disks if disk.wwn))
    yield from _twice("filesystems", (filesystem.disk for filesystem in scenario.filesystems))
    for number, disk in enumerate(scenario.disks):
        key = f"disks[{number}]"
        if not _NAME.match(disk.name):
            yield f"{key}.name: {disk.name!r} is no name; write letters, digits and hyphens"
        if disk.wwn and not _WWN.match(disk.wwn):
            yield f"{key}.wwn: {disk.wwn!r} is no WWN; write 0x and 16 digits of 0-9a-f"
        if not 0 < disk.size_kib <= 1 << 36:
            yield f"{key}.size_kib: {disk.size_kib} is no size; write KiB, up to 64 TiB"
        if disk.paths not in {1, 2, 3, 4}:
            yield f"{key}.paths: write 1 to 4"
        if disk.paths > 1 and not disk.wwn:
            yield f"{key}.wwn: a multipath disk needs one"
        for word, length in ((disk.vendor, 8), (disk.product, 16), (disk.serial, 36)):
            if len(word) > length or "," in word:
                yield f"{key}: {word!r} does not fit an INQUIRY field of {length} characters, without commas"


def _wrong_names(scenario: Scenario) -> Iterator[str]:
    """Hosts that are named but not described."""
    hosts = {host.name for host in scenario.hosts}
    named: list[tuple[str, Iterable[str]]] = []
    named += [(f"disks[{number}].seen_by", disk.seen_by) for number, disk in enumerate(scenario.disks)]
    mounting: list[tuple[str, tuple[MountTable, ...]]] = []
    mounting += [(f"filesystems[{number}]", row.mounts) for number, row in enumerate(scenario.filesystems)]
    mounting += [(f"exports[{number}]", row.mounts) for number, row in enumerate(scenario.exports)]
    mounting += [
        (f"gluster_volumes[{number}]", row.mounts) for number, row in enumerate(scenario.gluster_volumes)
    ]
    named += [(f"{key}.mounts", mount.hosts) for key, mounts in mounting for mount in mounts]
    for number, volume in enumerate(scenario.gluster_volumes):
        bricks = [brick.partition(":")[0] for brick in volume.bricks]
        named.append((f"gluster_volumes[{number}].bricks", bricks))
    named += [(f"exports[{number}].host", (row.host,)) for number, row in enumerate(scenario.exports)]
    named += [(f"images[{number}].host", (row.host,)) for number, row in enumerate(scenario.images)]
    named += [(f"fillers[{number}].host", (row.host,)) for number, row in enumerate(scenario.fillers)]
    named += [(f"guests[{number}].host", (row.host,)) for number, row in enumerate(scenario.guests)]
    for number, fault in enumerate(scenario.faults):
        named.append((f"faults[{number}].checks", [check.host for check in fault.checks]))
        named.append((f"faults[{number}].expect_hosts", [sight.host for sight in fault.expect_hosts]))
    for key, names in named:
        for name in dict.fromkeys(names):
            if name not in hosts:
                yield f"{key}: there is no host {name!r}"


def _wrong_paths(scenario: Scenario) -> Iterator[str]:
    """Paths that are not absolute, and disks of guests that no image is."""
    images = {(image.host, image.path): image for image in scenario.images}
    for number, image in enumerate(scenario.images):
        if image.backing and (image.host, image.backing) not in images:
            yield f"images[{number}].backing: no image of {image.host} has the path {image.backing!r}"
        if image.format != "raw" and (image.allocated or image.leaves_free_kib is not None):
            yield f"images[{number}]: only a raw image is allocated"
    for number, guest in enumerate(scenario.guests):
        for disk in (*guest.disks, *guest.live_disks):
            if (guest.host, disk) not in images:
                yield f"guests[{number}]: no image of {guest.host} has the path {disk!r}"
    paths = [mount.at for filesystem in scenario.filesystems for mount in filesystem.mounts]
    paths += [mount.at for export in scenario.exports for mount in export.mounts]
    paths += [export.path for export in scenario.exports]
    paths += [mount.at for volume in scenario.gluster_volumes for mount in volume.mounts]
    paths += [brick.partition(":")[2] for volume in scenario.gluster_volumes for brick in volume.bricks]
    paths += [image.path for image in scenario.images]
    paths += [filler.path for filler in scenario.fillers]
    for path in paths:
        if not path.startswith("/"):
            yield f"{path!r} is no absolute path"


def _verbs(scenario: Scenario) -> Iterator[tuple[str, tuple[Verb, ...]]]:
    for number, fault in enumerate(scenario.faults):
        yield f"faults[{number}].do", fault.do
        yield f"faults[{number}].undo", fault.undo


def _twice(key: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{key}: {name!r} is there {times} times"
