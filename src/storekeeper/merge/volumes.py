"""What each linked host sees of a volume: one sight a host, the first check that fails names it.

`status` makes one status of all sights; `scopes` asks them whether a volume may be walked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from storekeeper.declaration import Volume
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.places import gluster_name, space
from storekeeper.merge.truth import HostView, Look, Remembered
from storekeeper.naming import escape
from storekeeper.observation import Disk, Fault, Space
from storekeeper.sources.space import IDENTIFIED

# What may be wrong with a sight, worst first: the volume cannot be used there, or nothing is known of it.
BAD = ("disk-gone", "io-error", "other-filesystem", "not-mounted", "absent", "read-only")
DARK = ("hung", "silent", "stale", "untold", "unseen")
# Names of a device that mountinfo does not repeat: whether they name the mounted one cannot be told.
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")


class Sight(Struct, frozen=True, kw_only=True):
    """What one host sees of a volume. `code` is `""` when all is well, else one of `BAD` or `DARK`;
    `text` says it, without a full stop; `at` is when that was seen (for silence: the last sign of life).
    """

    host_id: str
    code: str
    text: str
    at: float
    space: Space | None


class Expected(Struct, frozen=True, kw_only=True):
    """What must be at a volume's place: whether a mount, and which filesystem (`""`: any)."""

    mount: bool
    filesystem_id: str


def sights_of(
    volume: Volume,
    hosts: Sequence[str],
    views: Mapping[str, HostView],
    remembered: Remembered,
    horizon: Horizon,
) -> tuple[Sight, ...]:
    """One sight for each linked host, in the declared order."""
    expected = expected_of(volume, hosts, views, remembered)
    return tuple(
        sight(volume, views[host_id], expected, horizon)
        if host_id in views
        else Sight(host_id=host_id, code="silent", text=f"no report from {host_id} yet", at=0.0, space=None)
        for host_id in hosts
    )


def expected_of(
    volume: Volume, hosts: Sequence[str], views: Mapping[str, HostView], remembered: Remembered
) -> Expected:
    """What is remembered of the first good look; before one, what most hosts see."""
    seen = [here for host_id in hosts if host_id in views and (here := space(views[host_id], volume))]
    was_a_mount = remembered.is_mount_point or any(here.is_mount_point or here.must_be_mount for here in seen)
    said = volume.mounted is True or bool(volume.source)
    must = volume.kind != "external" or said or (volume.mounted is None and was_a_mount)
    filesystem_id = remembered.filesystem_id
    if not filesystem_id:
        there = (
            here.filesystem_id for here in seen if here.filesystem_id and (here.is_mount_point or not must)
        )
        # Of equals the first host's: Counter keeps the order in which they were counted.
        filesystem_id = next((each for each, _ in Counter(there).most_common(1)), "")
    return Expected(mount=must, filesystem_id=filesystem_id)


def sight(volume: Volume, view: HostView, expected: Expected, horizon: Horizon) -> Sight:
    """What this host sees, freshness first: an old answer says nothing about now."""
    host = view.host_id
    look = view.looks.get(("space", volume.key))
    here = space(view, volume)

    def is_(code: str, text: str, at: float) -> Sight:
        return Sight(host_id=host, code=code, text=text, at=at, space=here)

    if not horizon.reported(view):
        text = f"no report from {host}" + ("" if view.reported_at else " yet")
        return is_("silent", text, view.reported_at)
    if look is None:
        return is_("unseen", f"not looked at on {host} yet", 0.0)
    if not horizon.answered(look):
        return is_("stale", f"not looked at on {host}", look.at)
    if (fault := _hiding(look, volume)) is not None:
        # Why it does not answer, where that is known, says more than that it does not.
        return is_(*(_disk_gone(volume, view, horizon) or _of_fault(volume, host, fault)), look.good_at)
    if here is None:
        return is_("unseen", f"not looked at on {host} yet", 0.0)
    trouble = (
        place_trouble(volume, host, here, expected)
        or _disk_trouble(volume, view, here, horizon)
        or _health_trouble(volume, host, here)
    )
    return is_(*(trouble or ("", "")), look.at)


def _hiding(look: Look, volume: Volume) -> Fault | None:
    return next((fault for fault in look.seen.faults if fault.hides in {"*", volume.key}), None)


def _of_fault(volume: Volume, host: str, fault: Fault) -> tuple[str, str]:
    if fault.code == "timed-out":
        return "hung", f"{volume.mount_point} does not answer on {host}"
    if fault.code == "io-error":
        return "io-error", f"it cannot be read on {host} ({fault.text.rstrip('.')})"
    return "untold", f"nothing can be told of it on {host} ({fault.text.rstrip('.')})"


def place_trouble(volume: Volume, host: str, here: Space, expected: Expected) -> tuple[str, str] | None:
    """Why what stands at the volume's place is not the volume; None when it is, as far as can be told.

    While there is trouble, the directory there is neither walked nor measured.
    """
    place = volume.mount_point
    if not here.exists:
        return "absent", f"{place} does not exist on {host}"
    if expected.mount and not here.is_mount_point:
        return "not-mounted", f"it is not mounted at {place} on {host}"
    mount = here.mount
    if mount is not None and (wanted := _other_kind(volume, here)):
        return "other-filesystem", f"instead of {wanted}, {mount.source} is mounted at {place} on {host}"
    if expected.filesystem_id and here.filesystem_id and here.filesystem_id != expected.filesystem_id:
        return (
            "other-filesystem",
            f"another filesystem is at {place} on {host}, {here.filesystem_id} instead of "
            f"{expected.filesystem_id},",
        )
    if expected.filesystem_id and mount is not None and mount.filesystem_type not in IDENTIFIED:
        return (
            "other-filesystem",
            f"another filesystem is at {place} on {host}, {mount.filesystem_type} instead of "
            f"{expected.filesystem_id},",
        )
    return None


def _other_kind(volume: Volume, here: Space) -> str:
    """What should be mounted, when the mount that is there is plainly something else; else `""`."""
    mount = here.mount
    if mount is None:
        return ""
    if volume.kind == "gluster":
        return (
            "" if gluster_name(mount) == volume.gvolume_name else f"the Gluster volume {volume.gvolume_name}"
        )
    if volume.kind == "ocfs2":
        return "" if mount.filesystem_type == "ocfs2" else "an OCFS2 filesystem"
    if not volume.source or _is_source(volume.source, here):
        return ""
    return volume.source


def _is_source(declared: str, here: Space) -> bool:
    """Whether a declared source is what is mounted. Tags but `UUID=` cannot be told from a mount."""
    source = here.mount.source if here.mount is not None else ""
    wanted = escape(declared).rstrip("/")
    if wanted in {source.rstrip("/"), here.filesystem_id.rstrip("/")}:
        return True
    if not source.startswith("/dev/"):
        return False  # all that is declared otherwise names a device
    uuid = wanted.removeprefix("UUID=").removeprefix("/dev/disk/by-uuid/").strip('"')
    if uuid != wanted:
        return not here.filesystem_id or uuid.lower() == here.filesystem_id.lower()
    return wanted.startswith((*_TAGS, "/dev/disk/", "/dev/mapper/"))


def _disk_gone(volume: Volume, view: HostView, horizon: Horizon) -> tuple[str, str] | None:
    """Whether a host that tells its disks now does not have an OCFS2 volume's."""
    look = view.looks.get(("disks", ""))
    if volume.kind != "ocfs2" or look is None or look.seen.blind is not None or not horizon.answered(look):
        return None
    if disks_with_id(look, volume.primary_disk_id):
        return None
    return "disk-gone", f"its disk {volume.primary_disk_id} is not on {view.host_id}"


def _disk_trouble(volume: Volume, view: HostView, here: Space, horizon: Horizon) -> tuple[str, str] | None:
    """An OCFS2 volume must lie on its primary disk, where this host's disks are known."""
    look = view.looks.get(("disks", ""))
    if volume.kind != "ocfs2" or look is None or look.seen.blind is not None:
        return None
    if (gone := _disk_gone(volume, view, horizon)) is not None:
        return gone
    disks = disks_with_id(look, volume.primary_disk_id)
    numbers = {number for disk in disks for number in disk.device_numbers}
    number = here.device_number or (here.mount.device_number if here.mount is not None else "")
    if numbers and number and number not in numbers:
        return (
            "other-filesystem",
            f"what is mounted at {volume.mount_point} on {view.host_id} does not lie on its disk "
            f"{volume.primary_disk_id}",
        )
    return None


def disks_with_id(look: Look, physical_disk_id: str) -> list[Disk]:
    """The disks of a host that have this id."""
    return [
        fact
        for fact in look.seen.facts.values()
        if isinstance(fact, Disk) and fact.physical_disk_id == physical_disk_id
    ]


def _health_trouble(volume: Volume, host: str, here: Space) -> tuple[str, str] | None:
    fault = here.read_fault
    if fault is not None:
        return _of_fault(volume, host, fault)
    if here.read_only or _mounted_read_only(here):
        return "read-only", f"it is read-only on {host}"
    return None


def _mounted_read_only(here: Space) -> bool:
    mount = here.mount
    return mount is not None and ("ro" in mount.options or "ro" in mount.super_options)


# --- what is taken from which host --------------------------------------------------------------


def look_of(
    source: str, volume: Volume, sights: Iterable[Sight], views: Mapping[str, HostView]
) -> Look | None:
    """The look of a source at a volume that counts: the latest good one of a host that, as far as is known,
    has the volume; else the latest good one of any. None when no host has ever looked.
    """
    best: tuple[bool, float] = (False, -1.0)
    found: Look | None = None
    for each in sights:
        view = views.get(each.host_id)
        look = view.looks.get((source, volume.key)) if view is not None else None
        if look is None:
            continue
        # A host that is silent looked at the right place while it still spoke.
        right = bool(look.good_at) and (each.code not in BAD or each.code == "read-only")
        if (right, look.good_at) > best:
            best, found = (right, look.good_at), look
    return found
