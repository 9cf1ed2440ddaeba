"""What changed between two documents of one image storage, as the changed objects themselves. Pure.

A client that holds the former document and takes the change holds the new one, byte for byte:
`encode(patched(old, difference(old, new))) == encode(new)`. That rests on the order of a document:
images, clones and disks are sorted by their ids (by code points), each id there once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from storekeeper.document import (
    CloneInfo,
    ExternalVolumeInfo,
    GlusterVolumeInfo,
    ImageInfo,
    ImageStorageInfo,
    PhysicalDiskInfo,
    VolumeInfo,
)
from storekeeper.rows import Rows

AnyVolume = VolumeInfo | ExternalVolumeInfo | GlusterVolumeInfo
Value = str | int | list[str]

V = TypeVar("V", VolumeInfo, ExternalVolumeInfo, GlusterVolumeInfo)
Row = TypeVar("Row", ImageInfo, CloneInfo, PhysicalDiskInfo)

_image_id: Callable[[ImageInfo], str] = attrgetter("image_id")
_clone_id: Callable[[CloneInfo], str] = attrgetter("clone_id")
_disk_id: Callable[[PhysicalDiskInfo], str] = attrgetter("physical_disk_id")
_CONTENTS = ("images", "clones")


class VolumeChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed of one volume, or all of it when it is new.

    `fields`: its own fields that have another value now, with that value. `images` and `clones`: those
    that are new or changed, whole; `images_gone` and `clones_gone`: the ids of those that are no more.
    """

    volume_id: str
    fields: dict[str, Value] = {}
    images: list[ImageInfo] = []
    images_gone: list[str] = []
    clones: list[CloneInfo] = []
    clones_gone: list[str] = []


class VolumesChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed of one of the lists of volumes.

    `changed`: volumes that are new or changed. `order`: the ids of all volumes that are there now, in their
    order; null when neither that nor the order changed.
    """

    changed: list[VolumeChange] = []
    order: list[str] | None = None


class DocumentChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed of a document; what is left out did not change.

    `hosts`: all of them, when any changed. `disks`: those that are new or changed; `disks_gone`: their ids.
    """

    hosts: list[str] | None = None
    volumes: VolumesChange | None = None
    external_volumes: VolumesChange | None = None
    gluster_volumes: VolumesChange | None = None
    disks: list[PhysicalDiskInfo] = []
    disks_gone: list[str] = []


def difference(old: ImageStorageInfo, new: ImageStorageInfo) -> DocumentChange:
    """What makes the new document of the old one.

    Quick where unchanged blocks of rows are the very same objects, as the merge leaves them.
    """
    disks = _rows_between(old.disks, new.disks, _disk_id)
    return DocumentChange(
        hosts=new.hosts if new.hosts != old.hosts else None,
        volumes=_volumes_between(old.volumes, new.volumes),
        external_volumes=_volumes_between(old.external_volumes, new.external_volumes),
        gluster_volumes=_volumes_between(old.gluster_volumes, new.gluster_volumes),
        disks=disks.changed,
        disks_gone=disks.gone,
    )


def patched(document: ImageStorageInfo, change: DocumentChange) -> ImageStorageInfo:
    """The document after the change, which must follow on it. The former one stays as it is.

    Raises:
        msgspec.ValidationError: the change does not fit this document.
    """
    return ImageStorageInfo(
        hosts=change.hosts if change.hosts is not None else document.hosts,
        volumes=_patched_volumes(document.volumes, change.volumes, VolumeInfo),
        external_volumes=_patched_volumes(
            document.external_volumes, change.external_volumes, ExternalVolumeInfo
        ),
        gluster_volumes=_patched_volumes(document.gluster_volumes, change.gluster_volumes, GlusterVolumeInfo),
        disks=[*_patched_rows(document.disks, change.disks, change.disks_gone, _disk_id)],
    )


# --- the difference -------------------------------------------------------------------------------


class _RowsChange(NamedTuple, Generic[Row]):
    changed: list[Row]
    gone: list[str]


def _volumes_between(old: Sequence[AnyVolume], new: Sequence[AnyVolume]) -> VolumesChange | None:
    former = {volume.volume_id: volume for volume in old}
    ids = [volume.volume_id for volume in new]
    changed = [change for volume in new if (change := _volume_between(former.get(volume.volume_id), volume))]
    order = ids if ids != list(former) else None
    return VolumesChange(changed=changed, order=order) if changed or order is not None else None


def _volume_between(old: AnyVolume | None, new: AnyVolume) -> VolumeChange | None:
    if old is new:
        return None
    images = _rows_between(old.images if old is not None else [], new.images, _image_id)
    clones = _rows_between(old.clones if old is not None else [], new.clones, _clone_id)
    fields: dict[str, Value] = {
        name: value
        for name in new.__struct_fields__
        if name not in _CONTENTS and ((value := getattr(new, name)) != getattr(old, name, None))
    }
    change = VolumeChange(
        volume_id=new.volume_id, fields=fields,
        images=images.changed, images_gone=images.gone, clones=clones.changed, clones_gone=clones.gone,
    )  # fmt: skip
    return change if change != VolumeChange(volume_id=new.volume_id) else None


def _rows_between(old: Sequence[Row], new: Sequence[Row], key: Callable[[Row], str]) -> _RowsChange[Row]:
    """Of rows in blocks, only those of the blocks that are not in both are looked at."""
    before, after = old, new
    if isinstance(old, Rows) and isinstance(new, Rows):
        before, after = _beside(old, new), _beside(new, old)
    # The very same row in the same place is most of them, and told by that alone.
    pairs = [(was, now) for was, now in zip_longest(before, after) if was is not now]
    former: dict[str, Row] = {key(was): was for was, _ in pairs if was is not None}
    changed = [now for _, now in pairs if now is not None and now != former.pop(key(now), None)]
    return _RowsChange(changed, [*former])


def _beside(rows: Rows[Row], others: Rows[Row]) -> list[Row]:
    """The rows of blocks that the others do not have."""
    had = {*map(id, others.blocks)}
    return [row for block in rows.blocks if id(block) not in had for row in block]


# --- taking it ------------------------------------------------------------------------------------


def _patched_volumes(old: list[V], change: VolumesChange | None, kind: type[V]) -> list[V]:
    if change is None:
        return old
    volumes = {volume.volume_id: volume for volume in old}
    for each in change.changed:
        volumes[each.volume_id] = _patched_volume(volumes.get(each.volume_id), each, kind)
    if change.order is None:
        return list(volumes.values())
    missing = [volume_id for volume_id in change.order if volume_id not in volumes]
    if missing:
        raise msgspec.ValidationError(f"The change speaks of a volume that is not there: {missing[0]!r}")
    return [volumes[volume_id] for volume_id in change.order]


def _patched_volume(old: V | None, change: VolumeChange, kind: type[V]) -> V:
    own = {name: getattr(old, name) for name in kind.__struct_fields__} if old is not None else {}
    # Checked as what it is to become: it may have come from another version.
    volume = msgspec.convert({**own, **change.fields, "images": [], "clones": []}, kind)
    images, clones = (old.images, old.clones) if old is not None else ([], [])
    return msgspec.structs.replace(
        volume,
        images=_patched_rows(images, change.images, change.images_gone, _image_id),
        clones=_patched_rows(clones, change.clones, change.clones_gone, _clone_id),
    )


def _patched_rows(
    old: Sequence[Row], changed: Sequence[Row], gone: Sequence[str], key: Callable[[Row], str]
) -> Sequence[Row]:
    if not changed and not gone:
        return old
    touched = {*map(key, changed), *gone}
    rows = [row for row in old if key(row) not in touched]
    rows += changed
    rows.sort(key=key)
    return rows
