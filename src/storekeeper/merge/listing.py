"""The images and clones of one volume as the document lists them, sorted by id."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from operator import attrgetter
from typing import TypeVar

from storekeeper.declaration import Volume
from storekeeper.document import CloneInfo, ImageInfo
from storekeeper.merge.truth import ImageTruth
from storekeeper.observation import UNKNOWN

_MIB = 1 << 20
# Up to this share of all rows, finding the place of each is quicker than sorting all.
_FEW = 16

Row = TypeVar("Row", ImageInfo, CloneInfo)

_image_id: Callable[[ImageInfo], str] = attrgetter("image_id")
_clone_id: Callable[[CloneInfo], str] = attrgetter("clone_id")


class Listing:
    """Both arrays of one volume. The lists of an unchanged volume are the very same objects, and so is each
    unchanged row.
    """

    def __init__(self) -> None:
        self.images: list[ImageInfo] = []
        self.clones: list[CloneInfo] = []

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
        now.images = _with(self.images, images, _image_id)
        now.clones = _with(self.clones, clones, _clone_id)
        return self if now.images is self.images and now.clones is self.clones else now


def _with(rows: list[Row], changed: Mapping[str, Row | None], key: Callable[[Row], str]) -> list[Row]:
    """The sorted rows with those of the changed ids instead of former ones; `rows` itself when it is so."""
    if len(changed) > len(rows) // _FEW:
        former = {key(row): row for row in rows}
        fresh = {each: row for each, row in changed.items() if row != former.get(each)}
        all_rows = {**former, **fresh}
        return [row for each in sorted(all_rows) if (row := all_rows[each]) is not None] if fresh else rows
    now = rows
    for each, row in changed.items():
        at = bisect_left(now, each, key=key)
        there = now[at] if at < len(now) and key(now[at]) == each else None
        if row != there:
            now = rows.copy() if now is rows else now
            now[at : at + (there is not None)] = [] if row is None else [row]
    return now


def size_mb(size_bytes: int) -> int:
    """A virtual size in MiB, rounded up; 0 when it is not known."""
    return 0 if size_bytes == UNKNOWN else -(-size_bytes // _MIB)
