"""`storekeeper disks`: every disk of a storage's hosts, and what it is used for."""

from __future__ import annotations

from typing import Any, get_type_hints

import click

from storekeeper.cli.options import of_manager, rendered, storage_of
from storekeeper.cli.render import Column, View, listing, or_dash, size
from storekeeper.client import Client
from storekeeper.document import DiskDetail

COLUMNS = (
    Column("disk", "physical_disk_id", or_dash, cut=True),
    Column("host", "host_id", cut=True),
    Column("device", "device", cut=True),
    Column("product", "product_number", or_dash, cut=True),
    Column("size", "size_bytes", size, right=True),
    Column("usable", "usable", lambda usable: "yes" if usable else "no"),
    Column("volume", "volume_id", or_dash, cut=True),
    Column("reasons", "reasons", lambda reasons: "; ".join(reasons) or "-", cut=True),
)


@click.command()
@click.argument("id", required=False)
@of_manager
@rendered
def command(client: Client, id: str | None, view: View) -> None:  # noqa: A002
    """List the disks of the hosts of the image storage ID, or of the only one."""
    rows: Any = () if view.columns == "help" else client.disks(storage_of(client, id))
    listing(rows, COLUMNS, tuple(get_type_hints(DiskDetail)), view)
