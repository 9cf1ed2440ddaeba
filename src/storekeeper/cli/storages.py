"""`storekeeper storages`: every image storage in a line."""

from __future__ import annotations

from collections.abc import Iterator

import click

from storekeeper.cli.options import of_manager, rendered
from storekeeper.cli.render import Column, Row, View, listing, printable, size, status, status_colour, write
from storekeeper.client import Client
from storekeeper.document import ExternalVolumeInfo, GlusterVolumeInfo, ImageStorageInfo, Status, VolumeInfo

AnyVolume = VolumeInfo | ExternalVolumeInfo | GlusterVolumeInfo

# From the least to the most that an admin has to do about it.
SEVERITY: tuple[Status, ...] = ("ok", "unknown", "degraded", "broken")

COLUMNS = (
    Column("storage", "image_storage_id", cut=True),
    Column("status", "status", status, style=status_colour),
    Column("hosts", "hosts", right=True),
    Column("vols", "volumes", right=True),
    Column("images", "images", right=True, ages=True),
    Column("clones", "clones", right=True, ages=True),
    Column("size", "total_bytes", size, right=True, ages=True),
    Column("free", "free_bytes", size, right=True, ages=True),
    Column("use%", "used_percent", lambda percent: f"{percent}%", right=True, ages=True),
)
FIELDS = (*(column.field for column in COLUMNS), "stale")


@click.command()
@of_manager
@rendered
def command(client: Client, view: View) -> None:
    """List the image storages."""
    documents = {row.image_storage_id: client.storage(row.image_storage_id) for row in client.storages()}
    rows = [storage_row(storage_id, document) for storage_id, document in documents.items()]
    if listing(rows, COLUMNS, FIELDS, view):
        for storage_id, document in documents.items():
            for line in troubles(document):
                write(f"{storage_id}: {line}")


def volumes_of(document: ImageStorageInfo) -> list[AnyVolume]:
    """The volumes of all kinds."""
    return [*document.volumes, *document.external_volumes, *document.gluster_volumes]


def storage_row(storage_id: str, document: ImageStorageInfo) -> Row:
    """What the list shows of a storage. Its status is that of its worst volume."""
    volumes = volumes_of(document)
    total = sum(volume.total_space for volume in volumes) * 1024
    free = sum(volume.free_space for volume in volumes) * 1024
    return {
        "image_storage_id": storage_id,
        "status": max((volume.status for volume in volumes), key=SEVERITY.index, default="ok"),
        "hosts": len(document.hosts),
        "volumes": len(volumes),
        "images": sum(len(volume.images) for volume in volumes),
        "clones": sum(len(volume.clones) for volume in volumes),
        "total_bytes": total,
        "free_bytes": free,
        "used_percent": used_percent(total, free),
        "stale": any(volume.status == "unknown" for volume in volumes),
    }


def used_percent(total: int, free: int) -> int:
    """How full, rounded up as `df` does."""
    return -(-100 * (total - free) // total) if total else 0


def troubles(document: ImageStorageInfo) -> Iterator[str]:
    """The message of each volume that is not ok."""
    for volume in volumes_of(document):
        if volume.status != "ok":
            yield printable(volume.status_msg or f"{volume.volume_id} is {volume.status}")
