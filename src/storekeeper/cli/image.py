"""`storekeeper image`: one image, and the family it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from time import time

import click

from storekeeper.cli.images import COLUMNS, FIELDS
from storekeeper.cli.options import of_manager, rendered
from storekeeper.cli.render import View, listing, printable, size, size_in_prose, styled, whole, write
from storekeeper.cli.times import ago
from storekeeper.client import Client
from storekeeper.document import ImageDetail
from storekeeper.errors import NoSuchObject, NotThere, UsageError

LABEL_CELLS = 12
# A template may have hundreds of clones: these many are drawn, the rest is counted.
DRAWN_CHILDREN = 20
DRAWN_GENERATIONS = 16


@click.command()
@click.argument("name")
@click.option("--storage", default=None, metavar="ID", help="In this image storage only.")
@click.option("--volume", default=None, metavar="ID", help="On this volume only.")
@of_manager
@rendered
def command(client: Client, name: str, storage: str | None, volume: str | None, view: View) -> None:
    """Show the image or clone NAME: its size, its guests, its family."""
    image = _found(client, name, storage, volume)
    if whole(image, view):
        return
    if view.format == "csv" or view.columns:
        listing([image], COLUMNS, FIELDS, view)
        return
    for label, text in _facts(image, time()):
        write(f"{label:{LABEL_CELLS}}  {text}")
    lines = list(_family(client, image))
    if len(lines) > 1:
        write("family")
        for line in lines:
            write(f"  {line}")


def _found(client: Client, name: str, storage: str | None, volume: str | None) -> ImageDetail:
    """The one image of this name.

    Raises:
        NoSuchObject: there is none.
        UsageError: there are several.
    """
    storages = [storage] if storage else [row.image_storage_id for row in client.storages()]
    on = {"volume_id": [volume]} if volume else {}
    named = {"image_id": [name], **on}
    found = [image for storage_id in storages for image in client.images(storage_id, named)]
    if len(found) > 1:
        places = ", ".join(
            f"--storage {image.image_storage_id} --volume {image.volume_id}" for image in found
        )
        raise UsageError(f"There are {len(found)} images {name!r}. Which? Add one of: {places}.")
    if not found:
        known = [image.image_id for storage_id in storages for image in client.images(storage_id, on)]
        raise NoSuchObject("image", name, tuple(known))
    return found[0]


def _facts(image: ImageDetail, now: float) -> Iterator[tuple[str, str]]:
    version = image.format_version
    kind = f"{image.format} {'v' if version.isdigit() else ''}{version}".strip()
    where = f"{image.kind}, {kind}, on {image.volume_id} ({image.image_storage_id})"
    yield printable(image.image_id), printable(where)
    yield "guests", printable(", ".join(image.guests) or "none")
    yield "size", _sizes(image)
    if image.encryption:
        yield "encryption", printable(image.encryption)
    if image.internal_snapshots:
        yield "snapshots", f"{image.internal_snapshots} internal"
    if image.data_file:
        yield "data file", printable(image.data_file)
    if image.parent_image_id:
        place = image.parent_volume_id or "not in this storage"
        by = {"header": "named in its header", "extents": "by shared extents"}.get(image.parent_by, "")
        yield "parent", printable(f"{image.parent_image_id} ({place}), {by}".rstrip(", "))
    yield "modified", ago(image.modified_at, now)
    yield "seen", ago(image.seen_at, now)
    for fault in image.faults:
        yield "fault", styled(printable(f"{fault.code}: {fault.text}"), "red")


def _sizes(image: ImageDetail) -> str:
    parts = [f"{size_in_prose(image.virtual_bytes)} virtual"]
    if image.allocated_bytes >= 0:
        share = f" ({100 * image.allocated_bytes // image.virtual_bytes}%)" if image.virtual_bytes > 0 else ""
        parts.append(f"{size_in_prose(image.allocated_bytes)} allocated{share}")
    if image.exclusive_bytes >= 0:
        parts.append(f"{size_in_prose(image.exclusive_bytes)} its own")
    return ", ".join(parts)


def _family(client: Client, image: ImageDetail) -> Iterator[str]:
    """The line of ancestors down to the image, then what was cloned from it."""
    ancestors = [image]
    while ancestors[0].parent_volume_id and len(ancestors) <= DRAWN_GENERATIONS:
        oldest = ancestors[0]
        try:
            parent = client.image(oldest.image_storage_id, oldest.parent_volume_id, oldest.parent_image_id)
        except NotThere:
            break
        ancestors.insert(0, parent)
    for generation, ancestor in enumerate(ancestors):
        branch = "   " * (generation - 1) + "└─ " if generation else ""
        yield _member(branch, ancestor, own=ancestor is image)
    yield from _descendants(client, image, "   " * (len(ancestors) - 1), len(ancestors))


def _descendants(client: Client, parent: ImageDetail, indent: str, generation: int) -> Iterator[str]:
    if generation > DRAWN_GENERATIONS:
        return
    cloned_from = {"parent_image_id": [parent.image_id], "parent_volume_id": [parent.volume_id]}
    children = list(client.images(parent.image_storage_id, cloned_from))
    for child in children[:DRAWN_CHILDREN]:
        last = child is children[-1]
        yield _member(indent + ("└─ " if last else "├─ "), child)
        yield from _descendants(client, child, indent + ("   " if last else "│  "), generation + 1)
    if len(children) > DRAWN_CHILDREN:
        yield f"{indent}└─ and {len(children) - DRAWN_CHILDREN} more clones"


def _member(branch: str, image: ImageDetail, *, own: bool = False) -> str:
    name = printable(image.image_id)
    how = "reflink" if image.parent_by == "extents" else image.format
    text = f"{branch}{name}".ljust(36) + f"  {how:9}  {size(image.allocated_bytes):>6}"
    line = f"{text}  {printable(','.join(image.guests)) or '-'}"
    return styled(line, None, bold=own)
