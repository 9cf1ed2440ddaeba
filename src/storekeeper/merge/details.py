"""What is known of images beyond the document: rows for the detail routes, made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storekeeper.document import FaultDetail, ImageDetail
from storekeeper.merge.freshness import rfc3339
from storekeeper.merge.truth import ImageTruth, VolumeTruth
from storekeeper.observation import UNKNOWN

_NS = 1_000_000_000


# Fields of a detail that are at hand: by these, many images are filtered and sorted without one of each.
AT_HAND: Mapping[str, Callable[[ImageTruth], str | int | tuple[str, ...]]] = {
    "kind": lambda truth: "image" if truth.parent is None else "clone",
    "guests": lambda truth: truth.guests,
    "format": lambda truth: truth.format,
    "virtual_bytes": lambda truth: truth.size_bytes,
    "file_bytes": lambda truth: truth.image.file_bytes,
    "allocated_bytes": lambda truth: truth.image.allocated_bytes,
    "parent_image_id": lambda truth: truth.parent[1] if truth.parent else "",
    "parent_volume_id": lambda truth: truth.parent[0] if truth.parent else "",
    "parent_by": lambda truth: truth.parent_by,
}


def image_detail(volume: VolumeTruth, truth: ImageTruth) -> ImageDetail:
    """All that is known of one image or clone."""
    image, header, sharing = truth.image, truth.header or truth.image.header, truth.sharing
    faults = (*truth.faults, *header.faults, *image.faults, *(sharing.faults if sharing else ()))
    return ImageDetail(
        image_id=image.key,
        volume_id=volume.volume.volume_id,
        image_storage_id=volume.volume.image_storage_id,
        kind="image" if truth.parent is None else "clone",
        guests=list(truth.guests),
        format=truth.format,
        format_version=header.version,
        virtual_bytes=truth.size_bytes,
        file_bytes=image.file_bytes,
        allocated_bytes=image.allocated_bytes,
        shared_bytes=sharing.shared_bytes if sharing else UNKNOWN,
        exclusive_bytes=sharing.exclusive_bytes if sharing else UNKNOWN,
        thin=not header.preallocated and image.allocated_bytes < truth.size_bytes,
        encryption=header.encryption,
        internal_snapshots=header.internal_snapshots,
        parent_image_id=truth.parent[1] if truth.parent else "",
        parent_volume_id=truth.parent[0] if truth.parent else "",
        parent_format=header.parent.format if header.parent else "",
        parent_by=truth.parent_by,
        data_file=header.data_file,
        modified_at=rfc3339(image.modified_ns / _NS),
        seen_at=rfc3339(volume.seen_at),
        faults=[FaultDetail(fault.code, fault.text) for fault in dict.fromkeys(faults)],
    )
