"""`storekeeper config`: the declaration."""

from __future__ import annotations

import click

from storekeeper.cli.looking import text_of
from storekeeper.declaration import DEFAULT_PATH
from storekeeper.errors import EXIT_FINE, EXIT_USAGE


@click.group()
def command() -> None:
    """Check the declaration."""


@command.command()
@click.argument("file", default=DEFAULT_PATH)
def check(file: str) -> int:
    """Say everything that is wrong with FILE, by default /etc/storekeeper/storekeeper.toml."""
    from storekeeper import declaration_toml

    wrong = declaration_toml.check(text_of(file))
    for error in wrong:
        click.echo(f"{file}: {error}", err=True)
    if wrong:
        return EXIT_USAGE
    click.echo(f"{file}: nothing is wrong with it.")
    return EXIT_FINE
