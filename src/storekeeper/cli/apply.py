"""`storekeeper apply`: makes a file's declarations hold, after saying what that takes."""

from __future__ import annotations

import sys
import tomllib
from typing import TYPE_CHECKING

import click

from storekeeper.cli.looking import text_of
from storekeeper.cli.options import of_manager
from storekeeper.errors import DeclarationError

if TYPE_CHECKING:
    from storekeeper.client import Client
    from storekeeper.declaration import Declared

# What a declaration's file has beside: each manager and host has its own.
OWN_SECTIONS = ("manager", "host")


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Print the plan, and change nothing.")
@click.option("--prune", is_flag=True, help="Declare no more what FILE does not have.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@of_manager
def command(client: Client, file: str, *, dry_run: bool, prune: bool, yes: bool) -> None:
    """Declare the image storages and hosts of FILE at a manager.

    Prints the plan before it acts; where all holds already there is nothing to change. Nothing is done to
    the storage itself.
    """
    from storekeeper.declaration_changes import declared_from
    from storekeeper.declaration_plan import plan, wanted
    from storekeeper.declaration_tables import tables_of

    given = _given(file)
    answer, etag = client.declaration()
    own, current = declared_from(answer.file), declared_from(answer.declared)
    aim = wanted(own, current, given, prune=prune)
    steps = plan(current, aim)
    for step in steps:
        click.echo(str(step))
    left = 0 if prune else len(plan(aim, wanted(own, current, given, prune=True)))
    if left:
        changes = f"{left} further change{'s' * (left != 1)}"
        click.echo(f"What {file} does not have stays declared: --prune would make {changes}.", err=True)
    if not steps:
        click.echo("Nothing to change.")
        return
    if dry_run:
        return
    if not yes and sys.stdin.isatty() and not click.confirm("Go ahead?", err=True):
        click.echo("Nothing was changed.", err=True)
        return
    client.replace_declaration(tables_of(aim.image_storages.values(), aim.hosts.values()), etag)
    click.echo(f"Done: {len(steps)} change{'s' * (len(steps) != 1)}.")


def _given(file: str) -> Declared:
    """What a file declares of storages and hosts.

    Raises:
        UsageError: it cannot be read.
        DeclarationError: everything that is wrong with it.
    """
    from storekeeper.declaration import Declared
    from storekeeper.declaration_toml import check, load

    text = text_of(file)
    wrong = check(text)
    if wrong:
        raise DeclarationError("", "\n".join(f"{file}: {error}" for error in wrong))
    ignored = [f"[{section}]" for section in OWN_SECTIONS if section in tomllib.loads(text)]
    if ignored:
        click.echo(f"{file}: {' and '.join(ignored)} ignored; a manager has that in its own file.", err=True)
    declaration = load(text, "localhost")
    return Declared(image_storages=declaration.image_storages, hosts=declaration.hosts)
