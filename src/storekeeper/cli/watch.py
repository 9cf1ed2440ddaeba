"""`storekeeper watch`: what changes on an image storage, as it changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

import click
import msgspec
from msgspec import Struct

from storekeeper.cli.options import of_manager, storage_of
from storekeeper.cli.render import printable, write
from storekeeper.client import Client
from storekeeper.document import ImageStorageInfo
from storekeeper.document_changes import AnyVolume, DocumentChange, VolumeChange, VolumesChange
from storekeeper.errors import NotThere
from storekeeper.watching import watch

Line = tuple[str, str]


@click.command()
@click.argument("id", required=False)
@click.option("--format", "format_", type=click.Choice(["table", "jsonl"]), default="table", help="[table]")
@of_manager
def command(client: Client, id: str | None, format_: str) -> None:  # noqa: A002
    """Print what changes on the image storage ID, or on the only one, until Ctrl-C.

    As jsonl: first the document, then each change as the API tells it, and the document again where
    changes were missed.
    """
    storage_id = storage_of(client, id)
    former = None
    for seen in watch(client, storage_id):
        if format_ == "jsonl":
            told = {"change": seen.change} if seen.change is not None else {"document": seen.document}
            write(msgspec.json.encode({"etag": seen.etag, **told}).decode())
        elif former is not None:
            # A document that was fetched anew has no change that is known.
            lines = told_of(former, seen.change) if seen.change else [(storage_id, "changes were missed")]
            for where, text in lines:
                write(printable(f"{time.strftime('%H:%M:%S')} {where}: {text}"))
        former = seen.document
        sys.stdout.flush()
    raise NotThere(f"There is no image storage {storage_id!r} any more.")


def told_of(former: ImageStorageInfo, change: DocumentChange) -> Iterator[Line]:
    """What changed, each as (where, what)."""
    if change.hosts is not None:
        yield "hosts", ", ".join(change.hosts) or "none"
    yield from _volumes(former.volumes, change.volumes)
    yield from _volumes(former.external_volumes, change.external_volumes)
    yield from _volumes(former.gluster_volumes, change.gluster_volumes)
    yield from _rows("disks", "disk", former.disks, change.disks, change.disks_gone)


def _volumes(former: Sequence[AnyVolume], change: VolumesChange | None) -> Iterator[Line]:
    if change is None:
        return
    volumes = {volume.volume_id: volume for volume in former}
    for each in change.changed:
        yield from _volume(volumes.get(each.volume_id), each)
    if change.order is not None:
        yield from ((volume_id, "volume gone") for volume_id in volumes if volume_id not in change.order)


def _volume(former: AnyVolume | None, change: VolumeChange) -> Iterator[Line]:
    where = change.volume_id
    if former is None:
        yield where, "new volume"
    if change.fields:
        yield where, _fields({name: value for name, value in change.fields.items() if name != "volume_id"})
    images, clones = (former.images, former.clones) if former is not None else ((), ())
    yield from _rows(where, "image", images, change.images, change.images_gone)
    yield from _rows(where, "clone", clones, change.clones, change.clones_gone)


def _rows(
    where: str, kind: str, former: Sequence[Struct], changed: Sequence[Struct], gone: Sequence[str]
) -> Iterator[Line]:
    """Rows begin with their id. Of 20,000 only those are taken apart that changed."""
    rows = {_id(row): msgspec.structs.asdict(row) for row in changed}
    known = {row_id: msgspec.structs.asdict(row) for row in former if (row_id := _id(row)) in rows}
    for row_id, row in rows.items():
        if row_id not in known:
            yield where, f"new {kind} {row_id}"
        else:
            before = known[row_id]
            fields = {name: value for name, value in row.items() if value != before[name]}
            yield where, f"{kind} {row_id}: {_fields(fields)}"
    for row_id in gone:
        yield where, f"{kind} {row_id} gone"


def _id(row: Struct) -> str:
    return str(getattr(row, row.__struct_fields__[0]))


def _fields(fields: dict[str, object]) -> str:
    return ", ".join(f"{name} {value if value != '' else '-'}" for name, value in fields.items())
