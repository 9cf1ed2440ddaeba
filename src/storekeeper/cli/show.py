"""`storekeeper show`: one image storage and its volumes."""

from __future__ import annotations

import click

from storekeeper.cli.options import of_manager, rendered, storage_of
from storekeeper.cli.render import (
    Column,
    Row,
    View,
    listing,
    or_dash,
    printable,
    size,
    status,
    status_colour,
    styled,
    whole,
    write,
)
from storekeeper.cli.storages import AnyVolume, storage_row, troubles, used_percent, volumes_of
from storekeeper.client import Client
from storekeeper.document import ExternalVolumeInfo, GlusterVolumeInfo, ImageStorageInfo

BAR_CELLS = 10


def bar(percent: int) -> str:
    """How full, as a bar and a number.

    >>> bar(73)
    '#######... 73%'
    """
    filled = min(percent * BAR_CELLS // 100, BAR_CELLS)
    return "#" * filled + "." * (BAR_CELLS - filled) + f"{percent:3}%"


COLUMNS = (
    Column("volume", "volume_id", cut=True),
    Column("kind", "kind"),
    Column("status", "status", status, style=status_colour),
    Column("images", "images", right=True, ages=True),
    Column("clones", "clones", right=True, ages=True),
    Column("size", "total_bytes", size, right=True, ages=True),
    Column("free", "free_bytes", size, right=True, ages=True),
    Column("used", "used_percent", bar, ages=True),
)
FIELDS = (*(column.field for column in COLUMNS), "place", "status_msg", "stale")


@click.command()
@click.argument("id", required=False)
@of_manager
@rendered
def command(client: Client, id: str | None, view: View) -> None:  # noqa: A002
    """Show the image storage ID, or the only one. As JSON it is the document itself."""
    storage_id = storage_of(client, id)
    document = client.storage(storage_id)
    if whole(document, view):
        return
    if view.format == "table" and view.header and view.columns != "help":
        write(headline(storage_id, document))
    if listing([volume_row(volume) for volume in volumes_of(document)], COLUMNS, FIELDS, view):
        for line in troubles(document):
            write(line)


def headline(storage_id: str, document: ImageStorageInfo) -> str:
    """What the storage is, in a line."""
    row = storage_row(storage_id, document)
    disks = sum(1 for disk in document.disks if not disk.volume_id)
    counts = f"{_counted(row['hosts'], 'host')}, {_counted(disks, 'free disk')}"
    name = styled(printable(storage_id), None, bold=True)
    return f"{name}  {styled(status(row['status']), status_colour(row['status']))}, {counts}"


def volume_row(volume: AnyVolume) -> Row:
    """What the list shows of a volume."""
    kind, place = "ocfs2", getattr(volume, "primary_disk_id", "")
    if isinstance(volume, ExternalVolumeInfo):
        kind, place = "external", volume.mount_point
    elif isinstance(volume, GlusterVolumeInfo):
        kind, place = "gluster", volume.gvolume_name
    return {
        "volume_id": volume.volume_id,
        "kind": kind,
        "status": volume.status,
        "images": len(volume.images),
        "clones": len(volume.clones),
        "total_bytes": volume.total_space * 1024,
        "free_bytes": volume.free_space * 1024,
        "used_percent": used_percent(volume.total_space, volume.free_space),
        "place": or_dash(place),
        "status_msg": volume.status_msg,
        "stale": volume.status == "unknown",
    }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
