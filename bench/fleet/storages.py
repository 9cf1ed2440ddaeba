"""Image storages that exist as observations only: their images, and how these change."""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec.structs import replace

from storekeeper.declaration import ImageStorage, Volume
from storekeeper.observation import Header, Image, Parent

MIB = 1 << 20
GIB = 1 << 30
# Every so many images one is the base of the clones that follow.
CLONES_FROM = 10
CLONES = 2
# Of so many changes one is an image that goes, and another that comes; the rest are new sizes.
CHANGES_A_MOVE = 10
_BASE = Header(format="qcow2", version="3", virtual_bytes=8 * GIB, cluster_bytes=65536)


class SimulatedStorage:
    """One image storage with one external volume on NFS. `images` is what is on it now.

    Every change gives some image a virtual size in MiB that no other image of the storage ever had, by which
    the change is known again in the document.
    """

    def __init__(self, number: int, hosts: Sequence[str], images: int) -> None:
        self.storage_id = f"storage-{number:03}"
        self.hosts = tuple(hosts)
        self.mount_point = f"/srv/images/{self.storage_id}"
        self.source = f"filer-{number % 8}:/export/{self.storage_id}"
        self.key = f"{self.storage_id}/images"
        self._random = random.Random(number)
        self._made = 0
        self._size_mb = 16 << 10
        self._changes = 0
        self.images: dict[str, Image] = {}
        self._plain: list[str] = []
        for _ in range(images):
            self._make(_BASE)

    def declared(self) -> ImageStorage:
        """What an administrator declares of it."""
        volume = Volume(
            volume_id="images", image_storage_id=self.storage_id, kind="external",
            mount_point=self.mount_point, source=self.source,
        )  # fmt: skip
        return ImageStorage(image_storage_id=self.storage_id, hosts=self.hosts, volumes=(volume,))

    def change(self) -> tuple[int, tuple[str, ...]]:
        """Changes an image: the size in MiB by which that is known, and the paths that an event names."""
        self._changes += 1
        self._size_mb += 1
        header = replace(_BASE, virtual_bytes=self._size_mb * MIB)
        at = self._random.randrange(len(self._plain))
        key = self._plain[at]
        if self._changes % CHANGES_A_MOVE:
            image = self.images[key]
            self.images[key] = replace(image, header=header, modified_ns=image.modified_ns + 1)
            return self._size_mb, (key,)
        del self.images[key]
        self._plain[at] = self._plain[-1]
        self._plain.pop()
        return self._size_mb, (key, self._make(header))

    def sizes(self) -> dict[str, int]:
        """The images (not the clones) by id, with their sizes in MiB, as the document is to show them."""
        return {key: self.images[key].header.virtual_bytes // MIB for key in self._plain}

    def _make(self, header: Header) -> str:
        number = self._made
        self._made += 1
        key = f"team-{number // 500:02}/server-{number:05}.qcow2"
        inside = number % CLONES_FROM
        if header is _BASE and 0 < inside <= CLONES:
            header = replace(_BASE, parent=Parent((f"server-{number - inside:05}.qcow2",), "qcow2"))
        else:
            self._plain.append(key)
        self.images[key] = Image(
            key=key, evidence="header", header=header, file_bytes=3 * GIB, allocated_bytes=2 * GIB,
            inode=100_000 + number, modified_ns=1_700_000_000_000_000_000 + number,
            changed_ns=1_700_000_000_000_000_000 + number,
        )  # fmt: skip
        return key
