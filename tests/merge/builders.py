"""Small words for large observations: hosts that saw things, so that a rule is a test of three lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.document import ImageStorageInfo
from storekeeper.merge import merge
from storekeeper.merge.truth import HostView, ImageTruth, Look, Memory, Truth
from storekeeper.observation import (
    Brick,
    Disk,
    Extent,
    Fact,
    Fault,
    GlusterVolume,
    Guest,
    GuestDisk,
    Header,
    Image,
    Mount,
    Parent,
    Seen,
    Sharing,
    Space,
)

NOW = 1_800_000_000.0
# 2027-01-15 08:00 UTC, as messages show it.
NOW_SHOWN = "2027-01-15 08:00 UTC"
MIB = 1 << 20
TIMED_OUT = Fault("timed-out", "no answer within 5 s.", hides="*")


# --- declared -----------------------------------------------------------------------------------


def external(volume_id: str = "v", place: str = "", **more: Any) -> Volume:
    return Volume(
        volume_id=volume_id,
        image_storage_id="s",
        kind="external",
        mount_point=place or f"/{volume_id}",
        **more,
    )


def ocfs2(volume_id: str = "v", disk: str = "35000", place: str = "") -> Volume:
    return Volume(
        volume_id=volume_id,
        image_storage_id="s",
        kind="ocfs2",
        mount_point=place or f"/{volume_id}",
        primary_disk_id=disk,
    )


def gluster(volume_id: str = "v", name: str = "gv", place: str = "") -> Volume:
    return Volume(
        volume_id=volume_id,
        image_storage_id="s",
        kind="gluster",
        mount_point=place or f"/{volume_id}",
        gvolume_name=name,
    )


def declared(*volumes: Volume, hosts: tuple[str, ...] = ("h1",), storage: str = "s") -> Declaration:
    volumes = tuple(replace(volume, image_storage_id=storage) for volume in volumes)
    return Declaration(
        host_id=hosts[0],
        image_storages={storage: ImageStorage(image_storage_id=storage, hosts=hosts, volumes=volumes)},
    )


# --- seen ---------------------------------------------------------------------------------------


def look(
    source: str,
    scope: str,
    *facts: Fact,
    at: float = NOW,
    good_at: float | None = None,
    faults: Iterable[Fault] = (),
) -> Look:
    seen = Seen(source=source, scope=scope, facts={fact.key: fact for fact in facts}, faults=tuple(faults))
    if good_at is None:
        good_at = 0.0 if seen.blind else at
    return Look(seen=seen, at=at, good_at=good_at)


def host(*looks: Look, name: str = "h1", reported_at: float = NOW) -> HostView:
    return HostView(
        host_id=name,
        looks={(each.seen.source, each.seen.scope): each for each in looks},
        reported_at=reported_at,
    )


def mount(place: str, kind: str = "xfs", source: str = "/dev/sdb", **more: Any) -> Mount:
    values: dict[str, Any] = {"key": place, "parent": "1", "device_number": "8:16", "root": "/",
                              "options": ("rw",), "super_options": ("rw",)}  # fmt: skip
    return Mount(mount_point=place, filesystem_type=kind, source=source, **{**values, **more})


def space(volume: Volume, **more: Any) -> Space:
    """The volume's place as it should be: mounted for OCFS2 and Gluster, a plain directory else."""
    kind = {"ocfs2": "ocfs2", "gluster": "fuse.glusterfs", "external": "xfs"}[volume.kind]
    mounted = volume.kind != "external" or bool(volume.source) or bool(more.get("is_mount_point"))
    source = f"h1:/{volume.gvolume_name}" if volume.kind == "gluster" else volume.source or "/dev/sdb"
    values: dict[str, Any] = {
        "key": volume.key, "path": volume.mount_point, "exists": True, "is_mount_point": mounted,
        "mount": mount(volume.mount_point if mounted else "/", kind, source), "filesystem_id": "uuid-1",
        "total_bytes": 1000 * MIB, "available_bytes": 400 * MIB, "device_number": "8:16",
    }  # fmt: skip
    return Space(**{**values, **more})


def spaced(
    volume: Volume, at: float = NOW, faults: Iterable[Fault] = (), good_at: float | None = None, **more: Any
) -> Look:
    return look("space", volume.key, space(volume, **more), at=at, faults=faults, good_at=good_at)


def image(
    key: str, kind: str = "qcow2", size_mb: int = 10, parent: str | Parent | None = None, **more: Any
) -> Image:
    """An image with a header of its own, or a raw one known by its name."""
    header: dict[str, Any] = {
        name: more.pop(name) for name in ("unique_id", "data_file", "extents", "preallocated") if name in more
    }
    named = Parent(names=(parent,)) if isinstance(parent, str) else parent
    values: dict[str, Any] = {
        "evidence": "name" if kind == "raw" else "header", "file_bytes": size_mb * MIB,
        "allocated_bytes": MIB, "inode": 0, "modified_ns": 1, "changed_ns": 1,
    }  # fmt: skip
    return Image(
        key=key,
        header=Header(format=kind, virtual_bytes=size_mb * MIB, parent=named, **header),
        **{**values, **more},
    )


def extents(*names: str) -> tuple[Extent, ...]:
    return tuple(Extent(name=name, size_bytes=MIB, kind="FLAT") for name in names)


def images(
    volume: Volume, *found: Image, at: float = NOW, faults: Iterable[Fault] = (), good_at: float | None = None
) -> Look:
    return look("images", volume.key, *found, at=at, faults=faults, good_at=good_at)


def sharing(volume: Volume, *pairs: tuple[str, str, int], at: float = NOW) -> Look:
    """Shared extents, told by both sides: ("a", "b", bytes)."""
    with_: dict[str, dict[str, int]] = {}
    for one, other, shared in pairs:
        with_.setdefault(one, {})[other] = shared
        with_.setdefault(other, {})[one] = shared
    facts = [
        Sharing(key=key, shared_with=peers, shared_bytes=max(peers.values()), exclusive_bytes=0)
        for key, peers in with_.items()
    ]
    return look("extents", volume.key, *facts, at=at)


def disk_of(path: str = "", found_in: str = "persistent", kind: str = "", **more: Any) -> GuestDisk:
    values: dict[str, Any] = {
        "target": "vda",
        "found_in": found_in,
        "kind": "file",
        "format": kind,
        "path": path,
    }
    return GuestDisk(**{**values, **more})


def guest(name: str, *disks: str | GuestDisk, state: str = "stopped") -> Guest:
    return Guest(
        key=name,
        unique_id=f"uuid-{name}",
        state=state,  # type: ignore[arg-type]
        persistent=True,
        disks=tuple(disk_of(disk) if isinstance(disk, str) else disk for disk in disks),
    )


def guests(*found: Fact, at: float = NOW) -> Look:
    return look("guests", "", *found, at=at)


def disk(key: str = "sdb", disk_id: str = "35000", **more: Any) -> Disk:
    values: dict[str, Any] = {
        "device": f"/dev/{key}", "physical_disk_id": disk_id, "matchable": True, "vendor": "ATA",
        "product_number": "Samsung", "serial": "S1", "size_bytes": 1000 * MIB, "device_numbers": ("8:16",),
    }  # fmt: skip
    return Disk(key=key, **{**values, **more})


def disks(*found: Disk, at: float = NOW) -> Look:
    return look("disks", "", *found, at=at)


def bricks(states: str, *, arbiter_of: int = 0) -> tuple[Brick, ...]:
    """One brick a letter: `u` up, `d` down, `?` unknown; each `arbiter_of`th is an arbiter."""
    online = {"u": True, "d": False, "?": None}
    return tuple(
        Brick(
            host=f"g{place}",
            path="/brick",
            online=online[state],
            arbiter=bool(arbiter_of) and place % arbiter_of == arbiter_of - 1,
        )
        for place, state in enumerate(states)
    )


def gluster_volume(states: str = "uuuuuu", name: str = "gv", **more: Any) -> GlusterVolume:
    """A disperse volume of one subvolume 4 + 2, unless said otherwise."""
    values: dict[str, Any] = {
        "unique_id": "gluster-1", "started": True, "type_name": "Disperse", "transport": "tcp",
        "brick_count": len(states), "dist_count": 1, "replica_count": 1, "arbiter_count": 0,
        "disperse_count": 6, "redundancy_count": 2, "options": {},
    }  # fmt: skip
    values = {**values, **more}
    arbiter_of = values["replica_count"] if values["arbiter_count"] else 0
    return GlusterVolume(key=name, bricks=bricks(states, arbiter_of=arbiter_of), **values)


def replicated(states: str, replica: int = 3, arbiter: int = 0, **more: Any) -> GlusterVolume:
    values: dict[str, Any] = {
        "type_name": "Replicate", "disperse_count": 0, "redundancy_count": 0, "replica_count": replica,
        "arbiter_count": arbiter, "dist_count": len(states) // replica,
    }  # fmt: skip
    return gluster_volume(states, **{**values, **more})


def distributed(states: str) -> GlusterVolume:
    return replicated(states, replica=1, type_name="Distribute")


# --- merged -------------------------------------------------------------------------------------


def merged(
    declaration: Declaration,
    *views: HostView,
    memory: Memory | None = None,
    now: float = NOW,
    previous: Truth | None = None,
) -> Truth:
    return merge(declaration, views_of(*views), memory or Memory(), now, previous)


def views_of(*views: HostView) -> Mapping[str, HostView]:
    return {view.host_id: view for view in views}


def document(truth: Truth, storage: str = "s") -> ImageStorageInfo:
    return truth.storages[storage].document


def status(truth: Truth, volume_id: str = "v") -> tuple[str, str]:
    volume = truth.storages["s"].volumes[volume_id]
    return volume.status, volume.status_msg


def truths_of(truth: Truth, volume_id: str = "v") -> Mapping[str, ImageTruth]:
    return truth.storages["s"].volumes[volume_id].images


def truths(volume: Volume, *looks: Look, **more: Any) -> Mapping[str, ImageTruth]:
    """The images of one healthy volume, seen by one host."""
    truth = merged(declared(volume), host(spaced(volume), *looks), **more)
    return truth.storages["s"].volumes[volume.volume_id].images


def parents(volume: Volume, *looks: Look, **more: Any) -> dict[str, str]:
    """Of each clone of one volume its parent; a parent in another volume as `VOLUME:ID`, one outside as
    `:NAME`.
    """
    named = {key: truth.parent for key, truth in truths(volume, *looks, **more).items() if truth.parent}
    return {key: each[1] if each[0] == volume.volume_id else ":".join(each) for key, each in named.items()}
