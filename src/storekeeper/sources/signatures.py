"""What lies on a disk, by `blkid -p`: the partition table, filesystem or other signature.

Read from the device at each look, never from udev's or blkid's own cache: a mkfs on another host raises
no event here. blkid is not to be believed when it finds nothing: of a disk that answers every read with
an error it says the same as of an empty one. So nothing found counts only where both ends can be read.
"""

from __future__ import annotations

from typing import NamedTuple

from storekeeper.errors import ToolFailed, Unreadable
from storekeeper.naming import escape
from storekeeper.observation import Use
from storekeeper.sources.contract import Host, Output

_DEADLINE_S = 5.0
_END_BYTES = 4096

# blkid(8), EXIT STATUS
_FOUND, _NOTHING, _AMBIVALENT = 0, 2, 8


class Signatures(NamedTuple):
    """The uses that a disk's content shows, and the filesystem on the whole of it."""

    uses: tuple[Use, ...] = ()
    filesystem_uuid: str = ""
    filesystem_type: str = ""


def look(host: Host, device: str, size_bytes: int) -> Signatures:
    """What lies on a device.

    Raises:
        HostError: the device cannot be read, does not answer in time, or blkid is not installed.
    """
    if not size_bytes:
        raise Unreadable(device, "no medium, or its size cannot be told")
    found = parse(host.run(("blkid", "-p", "-o", "export", device), _DEADLINE_S), device)
    if not found.uses:
        host.block(device, 0, _END_BYTES, direct=True)
        host.block(device, max(0, size_bytes // _END_BYTES - 1) * _END_BYTES, _END_BYTES, direct=True)
    return found


def parse(output: Output, device: str) -> Signatures:
    """What `blkid -p -o export DEVICE` said.

    Raises:
        ToolFailed: it could not open the device, or failed.
    """
    complaint = escape(output.err.strip())
    if output.status == _AMBIVALENT:
        return Signatures((Use("signature", "several signatures that exclude each other"),))
    if output.status == _NOTHING and not complaint:
        return Signatures()
    if output.status != _FOUND:
        raise ToolFailed(device, complaint or f"blkid failed with exit status {output.status}")
    lines = output.out.decode("utf-8", "surrogateescape").splitlines()
    said = {name: escape(value) for name, _, value in (line.partition("=") for line in lines)}
    uses = []
    if table := said.get("PTTYPE"):
        uses.append(Use("partition-table", f"{table} partition table"))
    kind, usage = said.get("TYPE", ""), said.get("USAGE", "")
    if kind or usage:
        uses.append(_use(kind, usage))
    if not uses:
        uses.append(Use("signature", "a signature that blkid does not name"))
    if usage != "filesystem":
        return Signatures(tuple(uses))
    return Signatures(tuple(uses), said.get("UUID", ""), kind)


def _use(kind: str, usage: str) -> Use:
    """The use that blkid's TYPE and USAGE (libblkid: filesystem, raid, crypto, other) stand for."""
    if kind.startswith("LVM"):
        return Use("lvm", f"{kind} signature")
    if usage == "filesystem":
        return Use("filesystem", f"{kind} filesystem")
    if usage == "raid":
        return Use("raid", f"{kind} signature")
    return Use("signature", f"{kind or usage} signature")
