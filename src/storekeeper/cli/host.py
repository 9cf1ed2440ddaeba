"""`storekeeper host`: the hosts that report to a manager, and how they come to."""

from __future__ import annotations

from contextlib import suppress
from shlex import join
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from storekeeper.cli.options import of_manager
from storekeeper.errors import Conflict

if TYPE_CHECKING:
    from storekeeper.client import Client


@click.group()
def command() -> None:
    """Let hosts join a manager, and revoke them. `storekeeper hosts` lists them."""


@command.command("add")
@click.argument("id")
@click.option("--description", default="", metavar="TEXT", help="What it is, for people.")
@of_manager
def add(client: Client, id: str, description: str) -> None:  # noqa: A002
    """Declare the host ID if it is not yet, and print the line to run there. It holds once, for an hour."""
    # Whoever is declared or linked already may join all the same.
    with suppress(Conflict):
        client.add_host(id, description)
    made = client.join_token(id)
    line = ["storekeeper", "agent", "--manager", client.url]
    if made.fingerprint:
        line += ["--fingerprint", made.fingerprint]
    click.echo(join([*line, "--join", made.token]))
    click.echo(f"Run this on {id} before {made.expires_at}.", err=True)
    if urlsplit(client.url).hostname in {"127.0.0.1", "::1", "localhost"}:
        click.echo(
            f"{client.url} is this machine alone. For another one let the manager listen on an address that "
            "it reaches (manager.listen), and give that here as --manager.",
            err=True,
        )


@command.command("revoke")
@click.argument("id")
@of_manager
def revoke(client: Client, id: str) -> None:  # noqa: A002
    """Let the agent of the host ID report no more; it may join anew."""
    client.revoke_host(id)
    click.echo(f"The agent of {id} may report no more.", err=True)
