"""The scenario's images, clones and fillers, and the libvirt guests that own them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from uuid import NAMESPACE_DNS, uuid5
from xml.sax.saxutils import quoteattr

from lab.host import LabHost
from lab.scenario import GuestTable, ImageTable, Scenario


def make_images(scenario: Scenario, hosts: Mapping[str, LabHost]) -> None:
    """Makes the images in the scenario's order, parents before their clones, then the fillers."""
    for image in scenario.images:
        formats = _formats(scenario, image.host)
        hosts[image.host].run(f"set -eu\n{_image(image, formats)}")
    for filler in scenario.fillers:
        place = shlex.quote(filler.path)
        hosts[filler.host].run(f"set -eu\n{_make_room(filler.path)}\n{_fill(place, filler.leaves_free_kib)}")


def _formats(scenario: Scenario, host: str) -> dict[str, str]:
    """The format of each of a host's images, by path."""
    return {image.path: image.format for image in scenario.images if image.host == host}


def _image(image: ImageTable, formats: Mapping[str, str]) -> str:
    place = shlex.quote(image.path)
    lines = [_make_room(image.path)]
    if image.format == "raw":
        if image.allocated:
            lines.append(f"fallocate -l {image.size_mib}M {place}")
        elif image.leaves_free_kib is not None:
            lines.append(_fill(place, image.leaves_free_kib))
        lines.append(f"truncate -s {image.size_mib}M {place}")
        return "\n".join(lines)
    if image.backing:
        backing = f"-b {shlex.quote(image.backing)} -F {formats[image.backing]}"
        lines.append(f"qemu-img create -q -f {image.format} {backing} {place}")
    else:
        lines.append(f"qemu-img create -q -f {image.format} {place} {image.size_mib}M")
    return "\n".join(lines)


def _make_room(path: str) -> str:
    return f"mkdir -p {shlex.quote(path.rpartition('/')[0])}"


def _fill(place: str, leaves_free_kib: int) -> str:
    """Lets a file take all that is available, save so much."""
    return (
        f": > {place}\nsync -f {place}\n"
        f"available=$(($(stat -f -c '%a * %S / 1024' {place})))\n"
        f"fallocate -l $(((available - {leaves_free_kib}) * 1024)) {place}"
    )


def define_guests(scenario: Scenario, host: LabHost) -> None:
    """Starts a host's libvirtd where the scenario has guests on it, and defines those."""
    guests = [guest for guest in scenario.guests if guest.host == host.name]
    if not guests:
        return
    host.run("virtlogd -d; libvirtd -d", timeout_s=180)
    host.wait_until("virsh -q list", within_s=240, what="libvirtd answers")
    formats = _formats(scenario, host.name)
    for guest in guests:
        if guest.live_disks:
            _virsh(host, "create --paused", _definition(guest, guest.live_disks, formats))
        _virsh(host, "define", _definition(guest, guest.disks, formats))


def _virsh(host: LabHost, command: str, definition: str) -> None:
    text = shlex.quote(definition)
    host.run(f"printf %s {text} > /run/guest.xml && virsh -q {command} /run/guest.xml", timeout_s=240)


def _definition(guest: GuestTable, disks: tuple[str, ...], formats: Mapping[str, str]) -> str:
    devices = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='{formats[path]}'/>"
        f"<source file={quoteattr(path)}/><target dev='vd{'abcdefghijklmnop'[number]}' bus='virtio'/></disk>"
        for number, path in enumerate(disks)
    )
    return (
        f"<domain type='qemu'><name>{guest.name}</name><uuid>{uuid5(NAMESPACE_DNS, guest.name)}</uuid>"
        "<memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"
    )
