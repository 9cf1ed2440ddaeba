"""`storekeeper images`: the images and clones of a storage."""

from __future__ import annotations

from typing import get_type_hints

import click

from storekeeper.cli.options import of_manager, rendered, storage_of
from storekeeper.cli.render import Column, View, joined, listing, or_dash, size, write
from storekeeper.client import Client
from storekeeper.document import ImageDetail
from storekeeper.errors import UsageError

COLUMNS = (
    Column("image", "image_id", cut=True),
    Column("volume", "volume_id", cut=True),
    Column("format", "format", or_dash),
    Column("virtual", "virtual_bytes", size, right=True),
    Column("allocated", "allocated_bytes", size, right=True),
    Column("guests", "guests", joined, cut=True),
    Column("parent", "parent_image_id", or_dash, cut=True),
)
FIELDS = tuple(get_type_hints(ImageDetail))


@click.command()
@click.argument("id", required=False)
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only those; may be given several times.")
@of_manager
@rendered
def command(client: Client, id: str | None, where: tuple[str, ...], view: View) -> None:  # noqa: A002
    """List the images and clones of the image storage ID, or of the only one."""
    filters = _filters(where)
    rows = [] if view.columns == "help" else list(client.images(storage_of(client, id), filters))
    faulty = sum(1 for row in rows if row.faults)
    if listing(rows, COLUMNS, FIELDS, view) and faulty:
        write(f"{faulty} of {len(rows)} with faults: storekeeper images --columns image,faults")


def _filters(where: tuple[str, ...]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for condition in where:
        field, equals, value = condition.partition("=")
        if not equals or field not in FIELDS:
            raise UsageError(f"--where {condition!r} is not FIELD=VALUE. Fields: {', '.join(FIELDS)}.")
        filters.setdefault(field, []).append(value)
    return filters
