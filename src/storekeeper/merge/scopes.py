"""Where each host is to look: the scope that travels back to the agents."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec.structs import replace

from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.merge.clusters import Clusters
from storekeeper.merge.freshness import Horizon
from storekeeper.merge.owners import GuestUses
from storekeeper.merge.places import gluster_name, mounts, places_of
from storekeeper.merge.scanners import scanner_of
from storekeeper.merge.storages import StorageBasis
from storekeeper.merge.truth import HostView, Memory, Truth
from storekeeper.merge.volumes import Expected, Sight, expected_of, place_trouble, sights_of
from storekeeper.naming import escape, unescape
from storekeeper.sources import INSIDE, SOURCES
from storekeeper.sources.contract import Scope
from storekeeper.sources.images import SHARING_FILESYSTEMS

_OF_VOLUMES = [source.name for source in SOURCES.values() if source.of == "volume"]
# Sources that look into a volume, and those that look at its place only.
_INSIDE = [name for name in _OF_VOLUMES if name in INSIDE]
_AT_THE_PLACE = [name for name in _OF_VOLUMES if name not in _INSIDE]
_ASKING, _NOT_ASKING = (
    [(source.name, Scope(ask_cluster=asks)) for source in SOURCES.values() if source.of == "host"]
    for asks in (True, False)
)


def scopes(
    declaration: Declaration, views: Mapping[str, HostView], truth: Truth | None = None
) -> dict[str, list[tuple[str, Scope]]]:
    """By host: every source with every scope in which it is to look.

    A volume's images and extents are looked at by one host only, of those whose last look at its place
    showed that the volume is really there. `truth`, made of the same views, brings what is remembered of
    first looks, saves resolving every guest's disks again, and keeps what was made of it.
    """
    hosts = {declaration.host_id: None}
    for storage in declaration.image_storages.values():
        hosts.update(dict.fromkeys(storage.hosts))
    asking = Clusters(views).askers(declaration)
    found = {host_id: list(_ASKING if host_id in asking else _NOT_ASKING) for host_id in hosts}
    for storage in declaration.image_storages.values():
        for host_id, wanted in _of_storage(storage, declaration, views, truth).items():
            found[host_id] += wanted
    return found


def _of_storage(
    storage: ImageStorage, declaration: Declaration, views: Mapping[str, HostView], truth: Truth | None
) -> dict[str, list[tuple[str, Scope]]]:
    """By host: where it is to look for one storage. A function of the views of the storage's hosts alone."""
    known = truth.storages.get(storage.image_storage_id) if truth is not None else None
    basis = known.basis if known is not None and isinstance(known.basis, StorageBasis) else None
    if basis is not None and basis.scopes is not None:
        return basis.scopes
    memory = truth.memory if truth is not None else Memory()
    used = (basis.uses if basis is not None else _uses(storage, views)).used
    # The time is that of the last report: while none comes, nobody is there to be told anything.
    latest = max((views[host_id].reported_at for host_id in storage.hosts if host_id in views), default=0.0)
    horizon = Horizon(latest, declaration.host_timeout_s, declaration.every_s)
    found: dict[str, list[tuple[str, Scope]]] = {host_id: [] for host_id in storage.hosts}
    for volume in storage.volumes:
        remembered = memory.of(volume.key)
        expected = expected_of(volume, storage.hosts, views, remembered)
        sights = sights_of(volume, storage.hosts, views, remembered, horizon)
        scanner = scanner_of(
            volume, [sight for sight in sights if _is_there(volume, sight, views, expected)], views, horizon
        )
        inside = used.get(volume.volume_id, {})
        for sight in sights:
            scope = _place(volume, views.get(sight.host_id), expected)
            found[sight.host_id] += ((name, scope) for name in _AT_THE_PLACE)
            if sight.host_id == scanner:
                walk = replace(scope, used=inside)
                found[scanner] += ((name, walk) for name in _INSIDE if _applies(name, sight))
    if basis is not None:
        basis.scopes = found
    return found


def _place(volume: Volume, view: HostView | None, expected: Expected) -> Scope:
    return Scope(
        key=volume.key, root=root_of(volume, view) if view is not None else volume.mount_point,
        source=volume.source, must_be_mount=expected.mount, gluster_name=volume.gvolume_name,
    )  # fmt: skip


def _is_there(volume: Volume, sight: Sight, views: Mapping[str, HostView], expected: Expected) -> bool:
    """Whether the volume is at its place on the host, as far as the last look there tells."""
    here, view = sight.space, views.get(sight.host_id)
    return (
        here is not None
        and view is not None
        and here.path == escape(root_of(volume, view))
        and place_trouble(volume, sight.host_id, here, expected) is None
    )


def _applies(source: str, sight: Sight) -> bool:
    """Whether the source has anything to look for on the filesystem that the host sees."""
    mount = sight.space.mount if sight.space is not None else None
    return source != "extents" or (mount is not None and mount.filesystem_type in SHARING_FILESYSTEMS)


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


def _uses(storage: ImageStorage, views: Mapping[str, HostView]) -> GuestUses:
    return GuestUses().updated(storage, views, places_of(storage, views))
