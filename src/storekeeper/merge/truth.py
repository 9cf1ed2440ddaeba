"""What the merge takes and gives: the looks of all hosts in, the truth of all storages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from storekeeper.declaration import Volume
from storekeeper.document import DiskDetail, ImageStorageInfo
from storekeeper.observation import Fault, Header, Image, Seen, Sharing


class Look(Struct, frozen=True, kw_only=True):
    """The last look of one source at one scope, as the manager keeps it (its clock, epoch seconds).

    `seen` already keeps what its faults hid as last seen. `at`: when the last answer came, be it a
    fault; `good_at`: when the scope was last seen without a fault that hides all of it (0: never).
    """

    seen: Seen
    at: float
    good_at: float


class HostView(Struct, frozen=True, kw_only=True):
    """All that one host told. `looks` by (source, scope key); `reported_at`: its last report, 0: never."""

    host_id: str
    looks: dict[tuple[str, str], Look] = {}
    reported_at: float = 0.0


class Remembered(Struct, frozen=True, kw_only=True):
    """What the merge must remember of one volume from one truth to the next, and over restarts.

    `filesystem_id`: the identity of the first good look; `""`: it could not be told; None: no look yet.
    `is_mount_point`: whether it was a mount at the first look. `parents`: decided reflink parents, image to
    parent. `first_seen`: when an image of a reflink family was first seen, for filesystems that keep no
    birth time. `identities`: inode and birth of the images of which these two tell; of one that was replaced
    since they tell nothing. `space`: total and available bytes as last measured in the right place. `since`:
    each trouble to the look at which it began; a brick with entries to heal counts when a later look still
    sees it.
    """

    filesystem_id: str | None = None
    is_mount_point: bool = False
    parents: dict[str, str] = {}
    first_seen: dict[str, float] = {}
    identities: dict[str, tuple[int, int]] = {}
    space: tuple[int, int] | None = None
    since: dict[str, float] = {}


_NOTHING = Remembered()


class Memory(Struct, frozen=True, kw_only=True):
    """All that the merge remembers, by volume key. What a merge leaves as it was is the very same object."""

    volumes: dict[str, Remembered] = {}

    def of(self, key: str) -> Remembered:
        """What is remembered of a volume; nothing when there was none."""
        return self.volumes.get(key, _NOTHING)


class Basis:
    """What a merge keeps for the next one, to do again only what changed. No part of the truth."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basis)

    __hash__ = None  # type: ignore[assignment]


class ImageTruth(Struct, frozen=True, kw_only=True, gc=False):
    """One image or clone of a volume, resolved.

    `parent` is (volume id, image id); the volume id is `""` when the parent is outside the storage or
    gone, and `parent` None for an image. `header` is what holds instead of the image's own where a
    guest's declared format wins over it. `faults` are those that only the merge can see, beside the
    image's and the header's.
    """

    image: Image
    size_bytes: int
    format: str
    guests: tuple[str, ...]
    parent: tuple[str, str] | None = None
    parent_by: Literal["", "header", "extents"] = ""
    sharing: Sharing | None = None
    header: Header | None = None
    faults: tuple[Fault, ...] = ()


class VolumeTruth(Struct, frozen=True, kw_only=True):
    """One volume, resolved. `images` by image id, images and clones alike."""

    volume: Volume
    status: str
    status_msg: str
    images: Mapping[str, ImageTruth]
    seen_at: float


class StorageTruth(Struct, frozen=True, kw_only=True):
    """One image storage: its document, and the volumes and all hosts' disks behind it for the detail
    routes.
    """

    document: ImageStorageInfo
    volumes: dict[str, VolumeTruth]
    disks: list[DiskDetail] = []
    basis: Basis | None = None


class Truth(Struct, frozen=True, kw_only=True):
    """Everything known at one time. It holds until `valid_until` (epoch seconds) if no report comes."""

    storages: dict[str, StorageTruth]
    memory: Memory
    valid_until: float
