"""Without a declaration: one image storage `local` of what this host is seen to have.

Mounted Gluster volumes and OCFS2 filesystems, and the directories of libvirt's guests and pools.
"""

from __future__ import annotations

import os
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from msgspec.structs import replace

from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.merge.places import gluster_name, mounts, normal, pools
from storekeeper.merge.truth import HostView
from storekeeper.naming import unescape
from storekeeper.observation import Disk, Guest, Mount, Ocfs2

STORAGE = "local"
# Where libvirt keeps images unless told otherwise; given to `discover` when it is there.
DEFAULT_DIRECTORY = "/var/lib/libvirt/images"

_DIRECTORY_POOLS = frozenset({"dir", "netfs", "fs"})
# Never walked for images, whatever a definition says: these, with all below them ...
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin",
           "/sys", "/usr", "/var/log", "/var/run")  # fmt: skip
# ... and these themselves.
_TOO_WIDE = frozenset({"/", "/home", "/opt", "/var", "/var/lib", "/var/lib/libvirt", "/var/lib/glusterd"})
# The order in which a declaration lists them.
_KINDS = ("ocfs2", "external", "gluster")
_ID_LENGTH = 63
_STORAGE_ROOT = "/storekeeper/"


def discover(declaration: Declaration, view: HostView, directories: Collection[str] = ()) -> Declaration:
    """`declaration` with what its host has. `directories`: known to be there, and to hold images."""
    filesystems = _apart([*_ocfs2(view), *_gluster(view)])
    taken = [volume.mount_point for volume in filesystems]
    found = sorted({*_guests_directories(view), *_pools_directories(view), *directories})
    plain = [
        Volume(volume_id="", image_storage_id=STORAGE, kind="external", mount_point=place)
        for place in _outermost(place for place in found if _may_hold_images(place))
        # A directory that holds another volume would show that one's images twice.
        if not any(_nested(place, other) for other in taken)
    ]
    volumes = sorted([*filesystems, *plain], key=lambda volume: _KINDS.index(volume.kind))
    storage = ImageStorage(
        image_storage_id=STORAGE, hosts=(declaration.host_id,), volumes=tuple(_with_ids(volumes))
    )
    return replace(declaration, image_storages={STORAGE: storage}, found=True)


def _gluster(view: HostView) -> Iterator[Volume]:
    """Each mounted Gluster volume, once, at the first of its places."""
    seen = set()
    for mount in _on_top(view):
        name = gluster_name(mount)
        if name and name not in seen:
            seen.add(name)
            place = _place(mount.mount_point)
            yield Volume(
                volume_id="", image_storage_id=STORAGE, kind="gluster", mount_point=place, gvolume_name=name
            )


def _ocfs2(view: HostView) -> Iterator[Volume]:
    """Each mounted OCFS2 filesystem, once; an external volume where its disk has no id."""
    seen = set()
    for mount in _on_top(view):
        if mount.filesystem_type != "ocfs2" or mount.device_number in seen:
            continue
        seen.add(mount.device_number)
        disk_id = _disk_below(view, mount)
        volume = Volume(
            volume_id="", image_storage_id=STORAGE, kind="external", mount_point=_place(mount.mount_point),
            mounted=True,
        )  # fmt: skip
        yield replace(volume, kind="ocfs2", mounted=None, primary_disk_id=disk_id) if disk_id else volume


def _on_top(view: HostView) -> list[Mount]:
    """Whole filesystems at places that a declaration may name; of several at one place the last."""
    covering = {mount.mount_point: mount for mount in mounts(view)}
    return [
        mount
        for mount in covering.values()
        if mount.root == "/" and _may_hold_images(_place(mount.mount_point))
    ]


def _apart(volumes: list[Volume]) -> list[Volume]:
    """Those that lie in none before them: nested ones cannot be declared."""
    kept: list[Volume] = []
    for volume in volumes:
        if not any(_nested(volume.mount_point, other.mount_point) for other in kept):
            kept.append(volume)
    return kept


def _disk_below(view: HostView, mount: Mount) -> str:
    """The id of the disk on which a mounted OCFS2 filesystem lies, by device number or superblock UUID."""
    look = view.looks.get(("ocfs2", ""))
    uuids = {
        fact.filesystem_uuid
        for fact in (look.seen.facts.values() if look else ())
        if isinstance(fact, Ocfs2) and fact.device_number == mount.device_number
    }
    look = view.looks.get(("disks", ""))
    ids = [
        fact.physical_disk_id
        for fact in (look.seen.facts.values() if look else ())
        if isinstance(fact, Disk)
        and (mount.device_number in fact.device_numbers or fact.filesystem_uuid in uuids - {""})
    ]
    return min((disk_id for disk_id in ids if disk_id), default="")


def _guests_directories(view: HostView) -> Iterator[str]:
    """The directories of the files that guests use."""
    look = view.looks.get(("guests", ""))
    known = pools(view)
    for fact in look.seen.facts.values() if look else ():
        if not isinstance(fact, Guest):
            continue
        for disk in fact.disks:
            pool = known.get(disk.pool)
            if disk.path.startswith("/") and disk.kind != "block":
                yield posixpath.dirname(_place(disk.path))
            elif pool is not None and pool.kind in _DIRECTORY_POOLS and pool.target and disk.volume:
                yield posixpath.dirname(_place(f"{pool.target}/{disk.volume}"))


def _pools_directories(view: HostView) -> Iterator[str]:
    return (
        _place(pool.target) for pool in pools(view).values() if pool.kind in _DIRECTORY_POOLS and pool.target
    )


def _place(path: str) -> str:
    """A path of an observation as a declaration writes it."""
    return normal(os.fsdecode(unescape(path)))


def _may_hold_images(place: str) -> bool:
    system = any(place == directory or place.startswith(f"{directory}/") for directory in _SYSTEM)
    # What cannot be written into a declaration cannot be looked at either.
    return not system and place not in _TOO_WIDE and place.startswith("/") and place.isprintable()


def _nested(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _outermost(places: Iterable[str]) -> list[str]:
    """The places that lie in no other one of them."""
    kept: list[str] = []
    for place in sorted(places, key=lambda each: each.count("/")):
        if not any(_nested(place, other) for other in kept):
            kept.append(place)
    return sorted(kept)


def _with_ids(volumes: list[Volume]) -> Iterator[Volume]:
    """Ids made from the whole path (of Gluster volumes, the name), so that an id does not change when
    another volume comes; of those that would be equal, each gets a checksum of its path.
    """
    wished = [_id(volume.gvolume_name or volume.mount_point) for volume in volumes]
    often = Counter(wished)
    for volume, name in zip(volumes, wished, strict=True):
        unique = name if often[name] == 1 else f"{name[: _ID_LENGTH - 9]}-{_checksum(volume.mount_point)}"
        yield replace(volume, volume_id=unique)


def _id(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", path.removeprefix(_STORAGE_ROOT)).strip("_.-")
    if not name or len(name) > _ID_LENGTH:
        return f"{name[: _ID_LENGTH - 9] or 'volume'}-{_checksum(path)}"
    return name


def _checksum(path: str) -> str:
    return f"{zlib.crc32(os.fsencode(path)):08x}"
