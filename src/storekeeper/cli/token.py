"""`storekeeper token`: the tokens that people ask a manager with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import click

from storekeeper.cli.options import of_manager, rendered
from storekeeper.errors import UsageError

if TYPE_CHECKING:
    from storekeeper.cli.render import View
    from storekeeper.client import Client

UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group()
def command() -> None:
    """Make, list and revoke the tokens that people ask a manager with. For administrators."""


@command.command()
@click.option("--role", required=True, type=click.Choice(["viewer", "administrator"]), help="What it may do.")
@click.option("--name", default="", metavar="TEXT", help="Whom it is for.")
@click.option("--expires", default="", metavar="30d", help="After so many s, m, h, d or w. [never]")
@of_manager
def create(client: Client, role: str, name: str, expires: str) -> None:
    """Make a token and print it, this once."""
    from storekeeper.document import TokenWish

    wish = TokenWish(role=cast(Any, role), name=name, expires_s=seconds(expires) if expires else 0.0)
    made = client.make_token(wish)
    click.echo(made.token)
    until = f"until {made.expires_at}" if made.expires_at else "until it is revoked"
    click.echo(
        f"It is shown this once, and holds {until}: storekeeper token revoke {made.token_id}", err=True
    )


@command.command("list")
@rendered
@of_manager
def list_(client: Client, view: View) -> None:
    """Print the tokens that there are, without what proves them."""
    from storekeeper.cli.render import Column, listing, or_dash
    from storekeeper.document import TokenInfo

    columns = (
        Column("token", "token_id"),
        Column("name", "name", or_dash, cut=True),
        Column("role", "role"),
        Column("created", "created_at"),
        Column("expires", "expires_at", or_dash),
    )
    listing(
        () if view.columns == "help" else client.tokens(), columns, tuple(get_type_hints(TokenInfo)), view
    )


@command.command()
@click.argument("token_id", metavar="ID")
@of_manager
def revoke(client: Client, token_id: str) -> None:
    """Revoke the token ID: it proves nothing from now on."""
    client.revoke_token(token_id)
    click.echo(f"The token {token_id} is revoked.", err=True)


def seconds(text: str) -> float:
    """`30d` in seconds.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
    if found is None:
        raise UsageError(f"{text!r} is no time; write a number and s, m, h, d or w, such as 30d.")
    return float(int(found[1]) * UNIT_S[found[2]])
