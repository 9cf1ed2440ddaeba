"""What is mounted on this host, and what it means to mount: mountinfo, fstab and systemd's units.

Nothing here touches a mounted path: a dead mount costs nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape
from storekeeper.observation import DeclaredMount, Fact, Fault, Mount, Seen
from storekeeper.sources import mountinfo
from storekeeper.sources.contract import Host, Scope, facts_by_key, fault_of

FSTAB = "/etc/fstab"
# Where an admin's own units lie, by rising precedence (systemd.unit(5)). The generator's directories repeat
# fstab; /usr/lib holds the kernel's own filesystems.
UNIT_DIRECTORIES = ("/usr/local/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system")
_SUFFIXES = (".automount", ".mount")
_MASKED = "/dev/null"
_BLANKS = " \t\r"
_WORD = re.compile(f"[^{_BLANKS}]+")
_SLASHES = re.compile("/+")


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:  # noqa: ARG001
    """All mounts of this host, by mount id, and all that it declares, by place."""
    started = time.monotonic()
    facts: list[Fact] = []
    faults: tuple[Fault, ...] = ()
    try:
        facts += mounted(host)
        declared, faults = declared_mounts(host)
        facts += declared
    except HostError as error:
        faults = (fault_of(error, "*"),)
    return Seen(
        source="mounts", scope=scope.key, facts=facts_by_key(facts), faults=faults,
        took_s=time.monotonic() - started,
    )  # fmt: skip


def mounted(host: Host) -> list[Mount]:
    """Every mount, in the kernel's order.

    Raises:
        HostError: mountinfo cannot be read.
    """
    return mountinfo.parse(host.read(mountinfo.MOUNTINFO, mountinfo.MOUNTINFO_BYTES))


def declared_mounts(host: Host) -> tuple[list[DeclaredMount], tuple[Fault, ...]]:
    """What fstab and the units mount, one a place: a unit goes before fstab, as it does for systemd.

    A file that cannot be read is a fault that hides all of them.
    """
    found: dict[str, DeclaredMount] = {}
    faults = []
    try:
        found.update((row.key, row) for row in parse_fstab(host.read(FSTAB)))
    except Absent:
        pass  # a host without one mounts by units only
    except HostError as error:
        faults.append(fault_of(error, "/"))
    units: dict[str, DeclaredMount | None] = {}
    for directory in UNIT_DIRECTORIES:
        try:
            for name in host.names(directory):
                if name.endswith(_SUFFIXES):
                    units[name] = _unit(host, directory, name)
        except Absent:
            continue
        except HostError as error:
            faults.append(fault_of(error, "/"))
    # Sorted, x.mount comes after x.automount, and knows the source.
    for _, unit in sorted(units.items()):
        if unit is not None:
            found[unit.key] = unit
    return list(found.values()), tuple(faults)


def _unit(host: Host, directory: str, name: str) -> DeclaredMount | None:
    """What one unit mounts; None for a masked one."""
    path = f"{directory}/{name}"
    try:
        if host.target(path) == _MASKED:
            return None
    except HostError:
        pass  # no symbolic link
    return parse_unit(host.read(path), path)


def parse_fstab(fstab: bytes) -> list[DeclaredMount]:
    r"""The places of fstab(5), swap left out. Blanks in a word are written `\040`; `noauto` is a place too:
    what an admin mounts by hand must not be taken for the directory beneath.
    """
    rows = []
    for line in fstab.decode("utf-8", "surrogateescape").split("\n"):
        words = _WORD.findall(line)
        if len(words) < 3 or words[0].startswith("#") or not words[1].startswith("/"):
            continue
        source, place, kind = (mountinfo.name(word) for word in words[:3])
        rows.append(DeclaredMount(key=_place(place), source=source, filesystem_type=kind, declared_in=FSTAB))
    return rows


def parse_unit(unit: bytes, path: str) -> DeclaredMount | None:
    """What a .mount or .automount unit mounts (systemd.mount(5)); None where it says no place."""
    section = ""
    said: dict[str, str] = {}
    text = unit.decode("utf-8", "surrogateescape").replace("\\\n", " ")
    for line in (line.strip(_BLANKS) for line in text.split("\n")):
        if line.startswith("[") and line.endswith("]"):
            section = line
        elif section in {"[Mount]", "[Automount]"} and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            said[name.strip(_BLANKS)] = escape(value.strip(_BLANKS).replace("%%", "%"))
    if not said.get("Where", "").startswith("/"):
        return None
    return DeclaredMount(
        key=_place(said["Where"]), source=said.get("What", ""), filesystem_type=said.get("Type", ""),
        declared_in=escape(path),
    )  # fmt: skip


def _place(path: str) -> str:
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def covering(mounts: Iterable[Mount], path: str) -> Mount | None:
    """The mount on which an absolute path without symbolic links lies, as the kernel finds it: down from
    the root, at each crossing into what was mounted there last.
    """
    below: dict[str, list[Mount]] = {}
    keys = set()
    for mount in mounts:
        keys.add(mount.key)
        if lies_in(path, mount.mount_point):
            below.setdefault(mount.parent, []).append(mount)
    # The topmost mount's parent is not among those that this process sees.
    inner = [mount for parent, found in below.items() if parent not in keys for mount in found][-1:]
    current = None
    while inner:
        nearest = min(len(mount.mount_point) for mount in inner)
        current = [mount for mount in inner if len(mount.mount_point) == nearest][-1]
        inner = below.pop(current.key, [])
    return current


def lies_in(path: str, directory: str) -> bool:
    """Whether an absolute path is `directory` or below it."""
    return directory in {"/", path} or path.startswith(f"{directory}/")
