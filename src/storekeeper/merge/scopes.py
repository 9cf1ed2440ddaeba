"""Where each host is to look: the scope that travels back to the agents."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.merge.owners import GuestUses
from storekeeper.merge.places import gluster_name, mounts, places_of, space
from storekeeper.merge.storages import StorageBasis
from storekeeper.merge.truth import HostView, Memory, Truth
from storekeeper.merge.volumes import expected_of, place_trouble
from storekeeper.naming import escape, unescape
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope
from storekeeper.sources.images import SHARING_FILESYSTEMS

# Sources that look into a volume, not only at its place.
_INSIDE = frozenset({"images", "extents"})
# Another host is asked about Gluster when the one in charge is silent for longer than the others by this.
_GLUSTER_SILENCE_S = 60.0


def scopes(
    declaration: Declaration, views: Mapping[str, HostView], truth: Truth | None = None
) -> dict[str, list[tuple[str, Scope]]]:
    """By host: every source with every scope in which it is to look.

    A volume's images and extents are looked at only where the last look at its place showed that the
    volume is really there. `truth`, made of the same views, brings what is remembered of first looks and
    saves resolving every guest's disks again.
    """
    memory = truth.memory if truth is not None else Memory()
    hosts = {declaration.host_id: None}
    for storage in declaration.image_storages.values():
        hosts.update(dict.fromkeys(storage.hosts))
    asking = _gluster_askers(declaration, views)
    found: dict[str, list[tuple[str, Scope]]] = {
        host_id: [
            (source.name, Scope(ask_cluster=host_id in asking))
            for source in SOURCES.values()
            if source.of == "host"
        ]
        for host_id in hosts
    }
    for storage in declaration.image_storages.values():
        used = _uses(storage, views, truth).used
        for host_id in storage.hosts:
            view = views.get(host_id) or HostView(host_id=host_id, looks={})
            for volume in storage.volumes:
                found[host_id] += _of_volume(volume, storage, view, views, memory, used)
    return found


def _of_volume(
    volume: Volume,
    storage: ImageStorage,
    view: HostView,
    views: Mapping[str, HostView],
    memory: Memory,
    used: Mapping[str, dict[str, str]],
) -> Iterator[tuple[str, Scope]]:
    root = root_of(volume, view)
    expected = expected_of(volume, storage.hosts, views, memory)
    here = space(view, volume)
    there = (
        here is not None
        and here.path == escape(root)
        and place_trouble(volume, view.host_id, here, expected) is None
    )
    filesystem = here.mount.filesystem_type if here is not None and here.mount is not None else ""
    place = Scope(
        key=volume.key, root=root, source=volume.source, must_be_mount=expected.mount,
        gluster_name=volume.gvolume_name,
    )  # fmt: skip
    for source in SOURCES.values():
        if source.of == "host" or (source.name in _INSIDE and not there):
            continue
        if source.name != "extents" or filesystem in SHARING_FILESYSTEMS:
            inside = source.name in _INSIDE
            yield source.name, replace(place, used=used.get(volume.volume_id, {})) if inside else place


def root_of(volume: Volume, view: HostView) -> str:
    """A volume's directory on a host, as the host's own calls take it: its mount point, or, for a Gluster
    volume that is not mounted there, the first place where it is.
    """
    if volume.kind != "gluster":
        return volume.mount_point
    places = [mount.mount_point for mount in mounts(view) if gluster_name(mount) == volume.gvolume_name]
    elsewhere = [os.fsdecode(unescape(place)) for place in places]
    if not elsewhere or volume.mount_point in elsewhere:
        return volume.mount_point
    return elsewhere[0]


def _uses(storage: ImageStorage, views: Mapping[str, HostView], truth: Truth | None) -> GuestUses:
    """Who uses what, by the truth's own account where it has one."""
    known = truth.storages.get(storage.image_storage_id) if truth is not None else None
    if known is not None and isinstance(known.basis, StorageBasis):
        return known.basis.uses
    return GuestUses().updated(storage, views, places_of(storage, views))


def _gluster_askers(declaration: Declaration, views: Mapping[str, HostView]) -> frozenset[str]:
    """One host a storage asks the cluster, since its commands take a lock of all of it: the first linked
    one that reports and whose tools work, as far as is known.
    """
    latest = max((view.reported_at for view in views.values()), default=0.0)
    askers = set()
    for storage in declaration.image_storages.values():
        if not any(volume.kind == "gluster" for volume in storage.volumes):
            continue
        able = [host_id for host_id in storage.hosts if _can_ask(views.get(host_id), latest)]
        askers.add((able or list(storage.hosts))[0])
    return frozenset(askers or {declaration.host_id})


def _can_ask(view: HostView | None, latest: float) -> bool:
    if view is None or view.reported_at < latest - _GLUSTER_SILENCE_S:
        return False
    look = view.looks.get(("gluster", ""))
    return look is None or look.seen.blind is None
