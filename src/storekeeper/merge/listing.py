"""The images and clones of one volume as the document lists them, sorted by id."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from storekeeper.declaration import Volume
from storekeeper.document import CloneInfo, ImageInfo
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import UNKNOWN

_MIB = 1 << 20


class Listing:
    """Both arrays of one volume. The lists of an unchanged volume are the very same objects."""

    def __init__(self) -> None:
        self._rows: dict[str, ImageInfo | CloneInfo] = {}
        self.images: list[ImageInfo] = []
        self.clones: list[CloneInfo] = []

    def updated(self, volume: Volume, truths: Mapping[str, ImageTruth], changed: Collection[str]) -> Listing:
        """The listing after the truths of the images in `changed` may have changed."""
        fresh: dict[str, ImageInfo | CloneInfo | None] = {}
        for key in changed:
            truth = truths.get(key)
            row = _row(volume, key, truth) if truth is not None else None
            if row != self._rows.get(key):
                fresh[key] = row
        if not fresh:
            return self
        now = Listing()
        rows = {**self._rows, **fresh}
        # Sorting what is sorted but for a few costs next to nothing.
        now._rows = {key: row for key in sorted(rows) if (row := rows[key]) is not None}
        now.images = [row for row in now._rows.values() if type(row) is ImageInfo]
        now.clones = [row for row in now._rows.values() if type(row) is CloneInfo]
        return now


def _row(volume: Volume, key: str, truth: ImageTruth) -> ImageInfo | CloneInfo:
    guest_id = truth.guests[0] if truth.guests else ""
    if truth.parent is not None:
        return CloneInfo(key, truth.parent[1], guest_id)
    return ImageInfo(key, volume.volume_id, volume.image_storage_id, guest_id, size_mb(truth.size_bytes))


def size_mb(size_bytes: int) -> int:
    """A virtual size in MiB, rounded up; 0 when it is not known."""
    return 0 if size_bytes == UNKNOWN else -(-size_bytes // _MIB)
