"""The images and clones of one volume as the document lists them, sorted by id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from operator import attrgetter

from storekeeper.declaration import Volume
from storekeeper.document import CloneInfo, ImageInfo
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import UNKNOWN
from storekeeper.rows import Rows

_MIB = 1 << 20

_image_id: Callable[[ImageInfo], str] = attrgetter("image_id")
_clone_id: Callable[[CloneInfo], str] = attrgetter("clone_id")


class Listing:
    """Both arrays of one volume; those of an unchanged volume are the very same objects."""

    def __init__(self) -> None:
        self.images = Rows(_image_id)
        self.clones = Rows(_clone_id)

    def updated(self, volume: Volume, truths: Mapping[str, ImageTruth], changed: Collection[str]) -> Listing:
        """The listing after the truths of the images in `changed` may have changed."""
        images: dict[str, ImageInfo | None] = {}
        clones: dict[str, CloneInfo | None] = {}
        volume_id, storage_id = volume.volume_id, volume.image_storage_id
        for key in changed:
            truth = truths.get(key)
            images[key] = clones[key] = None
            if truth is None:
                continue
            guest_id = truth.guests[0] if truth.guests else ""
            if truth.parent is not None:
                clones[key] = CloneInfo(key, truth.parent[1], guest_id)
            else:
                images[key] = ImageInfo(key, volume_id, storage_id, guest_id, size_mb(truth.size_bytes))
        now = Listing()
        now.images, now.clones = self.images.updated(images), self.clones.updated(clones)
        return self if now.images is self.images and now.clones is self.clones else now


def size_mb(size_bytes: int) -> int:
    """A virtual size in MiB, rounded up; 0 when it is not known."""
    return 0 if size_bytes == UNKNOWN else -(-size_bytes // _MIB)
