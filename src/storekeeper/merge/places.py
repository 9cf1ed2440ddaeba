"""Every path under which the volumes of one image storage are known, as text.

Names in image headers and in guests' definitions are compared with these paths; none is ever opened.
Paths are escaped, as observations are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from storekeeper.declaration import ImageStorage, Volume
from storekeeper.merge.truth import HostView
from storekeeper.naming import escape, join
from storekeeper.observation import GlusterVolume, Mount, Pool, Space

# What the space source says in place of a Gluster volume's id.
_GLUSTER_ID = "gluster:"

# An image of the storage: (volume id, path below the volume's root).
Ref = tuple[str, str]


class Places(Struct, frozen=True):
    """`by_path`: directory to (volume id, prefix of the ids of what lies in it); `roots`: each volume's
    own place; `by_gluster_name`: the Gluster volumes. Equal places resolve every name equally.
    """

    by_path: dict[str, Ref]
    roots: dict[str, str]
    by_gluster_name: dict[str, str]

    def find(self, path: str) -> Ref | None:
        """The image that an absolute path names; None when it lies in no volume."""
        if not path.startswith("/"):
            return None
        path = normal(path)
        end = path.rfind("/")
        while end > 0:
            place = self.by_path.get(path[:end])
            if place is not None:
                return place[0], join(place[1], path[end + 1 :])
            end = path.rfind("/", 0, end)
        return None

    def find_from(self, ref: Ref, name: str) -> Ref | None:
        """The image that a name relative to the directory of the image `ref` names."""
        volume_id, key = ref
        directory = key.rpartition("/")[0]
        if "/" not in name and name not in {".", ".."}:
            return volume_id, join(directory, name)
        path = posixpath.normpath(join(directory, name))
        if path.startswith("../") or path in {"..", "."}:
            return self.find(f"{self.roots[volume_id]}/{directory}/{name}")
        return volume_id, path


def normal(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes, textually."""
    return "/" + posixpath.normpath(path).lstrip("/")


def places_of(storage: ImageStorage, views: Mapping[str, HostView]) -> Places:
    """All that is known of where the storage's volumes lie, from the declaration and from every host."""
    known: dict[str, Ref] = {}
    for host_id in storage.hosts:
        view = views.get(host_id)
        if view is not None:
            for volume in storage.volumes:
                known.update(_seen_places(volume, view))
    for volume in storage.volumes:
        known.update((escape(alias), (volume.volume_id, "")) for alias in volume.aliases)
    # The declared places go before all others.
    roots = {volume.volume_id: escape(volume.mount_point) for volume in storage.volumes}
    known.update((root, (volume_id, "")) for volume_id, root in roots.items())
    return Places(
        by_path=known,
        roots=roots,
        by_gluster_name={
            volume.gvolume_name: volume.volume_id for volume in storage.volumes if volume.gvolume_name
        },
    )


def gluster_name(mount: Mount) -> str:
    """The Gluster volume of a fuse.glusterfs mount, `""` when it is none. Sources are `HOST:/VOL` or
    `HOST:VOL`; of a mounted subdirectory (`HOST:/VOL/DIR`) it is none of the volume as a whole.
    """
    if mount.filesystem_type != "fuse.glusterfs":
        return ""
    name = mount.source.rpartition(":")[2].strip("/")
    return "" if "/" in name else name


def mounts(view: HostView) -> Iterable[Mount]:
    """The mounts of a host, in the order of mountinfo."""
    look = view.looks.get(("mounts", ""))
    return (fact for fact in look.seen.facts.values() if isinstance(fact, Mount)) if look else ()


def space(view: HostView, volume: Volume) -> Space | None:
    """The last look at a volume's place on a host, with the identity of a Gluster volume filled in."""
    look = view.looks.get(("space", volume.key))
    fact = look.seen.facts.get(volume.key) if look else None
    if not isinstance(fact, Space):
        return None
    if fact.filesystem_id.startswith(_GLUSTER_ID):
        return replace(fact, filesystem_id=_gluster_id(view, fact.filesystem_id.removeprefix(_GLUSTER_ID)))
    return fact


def _gluster_id(view: HostView, name: str) -> str:
    """The id of a Gluster volume, which the mount does not tell but Gluster's tools do."""
    look = view.looks.get(("gluster", ""))
    fact = look.seen.facts.get(name) if look else None
    return fact.unique_id if isinstance(fact, GlusterVolume) else ""


def pools(view: HostView) -> dict[str, Pool]:
    """The storage pools of a host's libvirt, by name."""
    look = view.looks.get(("guests", ""))
    facts = look.seen.facts.values() if look else ()
    return {fact.name: fact for fact in facts if isinstance(fact, Pool)}


def _seen_places(volume: Volume, view: HostView) -> Iterable[tuple[str, Ref]]:
    """Where a host knows the volume beside its declared place."""
    root: Ref = (volume.volume_id, "")
    here = space(view, volume)
    if here is not None:
        yield from ((normal(path), root) for path in (here.path, *here.other_paths) if path.startswith("/"))
        if here.mount is not None:
            yield from _binds(volume, here.mount, view)
    if volume.gvolume_name:
        yield from (
            (mount.mount_point, root) for mount in mounts(view) if gluster_name(mount) == volume.gvolume_name
        )
    if volume.source:
        yield from (
            (normal(pool.target), root)
            for pool in pools(view).values()
            if pool.source == volume.source and pool.target
        )


def _binds(volume: Volume, covering: Mount, view: HostView) -> Iterable[tuple[str, Ref]]:
    """Other mounts of the same filesystem (bind mounts) that show the volume, or a part of it."""
    place = escape(volume.mount_point)
    if not _lies_in(place, covering.mount_point):
        return
    below = posixpath.relpath(place, covering.mount_point)
    inside = normal(f"{covering.root}/{below}")
    for mount in mounts(view):
        if mount.device_number != covering.device_number or mount.key == covering.key:
            continue
        if _lies_in(mount.root, inside):
            yield (
                mount.mount_point,
                (volume.volume_id, posixpath.relpath(mount.root, inside).removeprefix(".")),
            )
        elif _lies_in(inside, mount.root):
            yield (
                normal(f"{mount.mount_point}/{posixpath.relpath(inside, mount.root)}"),
                (volume.volume_id, ""),
            )


def _lies_in(path: str, directory: str) -> bool:
    return directory in {path, "/"} or path.startswith(f"{directory}/")
