"""`storekeeper guests`: every guest, its state and where it runs."""

from __future__ import annotations

from typing import Any, get_type_hints

import click

from storekeeper.cli.options import of_manager, rendered
from storekeeper.cli.render import Column, View, listing, or_dash
from storekeeper.client import Client
from storekeeper.document import GuestBasicInfo

COLUMNS = (
    Column("guest", "guest_id", cut=True),
    Column("type", "guest_type"),
    Column("state", "current_state"),
    Column("host", "current_host", or_dash, cut=True),
)


@click.command()
@of_manager
@rendered
def command(client: Client, view: View) -> None:
    """List the guests of all hosts."""
    rows: Any = () if view.columns == "help" else client.guests()
    listing(rows, COLUMNS, tuple(get_type_hints(GuestBasicInfo)), view)
