"""`storekeeper hosts`: every host, how it is, and why."""

from __future__ import annotations

from time import time
from typing import Any, get_type_hints

import click

from storekeeper.cli.options import of_manager, rendered
from storekeeper.cli.render import Column, View, joined, listing, or_dash, printable, write
from storekeeper.cli.times import ago
from storekeeper.client import Client
from storekeeper.document import HostInfo

COLUMNS = (
    Column("host", "host_id", cut=True),
    Column("state", "current_state"),
    Column("storages", "image_storages", joined, cut=True),
    Column("address", "host_address", or_dash, cut=True),
    Column("agent", "agent_version", or_dash),
    Column("cores", "physical_cores", or_dash, right=True),
    Column("reported", "last_report", lambda at: ago(at, time()) if at else "-"),
)


@click.command()
@of_manager
@rendered
def command(client: Client, view: View) -> None:
    """List the hosts, then what is wrong with them."""
    rows: Any = () if view.columns == "help" else client.host_infos()
    if listing(rows, COLUMNS, tuple(get_type_hints(HostInfo)), view):
        for row in rows:
            if row.error_msg:
                write(f"{row.host_id}: {printable(row.error_msg)}")
