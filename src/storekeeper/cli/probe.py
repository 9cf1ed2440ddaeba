"""`storekeeper probe`: one source by itself, on this host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
import msgspec

from storekeeper.cli.looking import with_host
from storekeeper.cli.options import captured_option
from storekeeper.cli.render import write
from storekeeper.errors import EXIT_FINE, EXIT_NOT_KNOWN, NoSuchObject, UsageError

if TYPE_CHECKING:
    from storekeeper.agent.asking import Asker
    from storekeeper.report import Changes
    from storekeeper.sources.contract import Host


@click.command()
@click.argument("source")
@click.argument("path", required=False)
@click.option("--format", "format_", type=click.Choice(("json", "jsonl")), default="json", help="[json]")
@captured_option
def command(source: str, path: str | None, format_: str, captured: str | None) -> int:
    """Run SOURCE and print what it sees. PATH: where to look, for a source of volumes."""
    from storekeeper.sources import SOURCES
    from storekeeper.sources.contract import Scope

    if source not in SOURCES:
        raise NoSuchObject("source", source, tuple(SOURCES))
    row = SOURCES[source]
    if row.of == "host" and path is not None:
        raise UsageError(f"{source} looks at the whole host; leave out {path!r}.")
    if row.of == "volume" and path is None:
        raise UsageError(f"Where? Say: storekeeper probe {source} PATH")
    # The key of no declared volume: an id holds no slash.
    scope = Scope() if path is None else Scope(key="probe/path", root=os.path.abspath(path))

    async def probed(_: Host, asker: Asker) -> Changes:
        return await asker.ask(row, scope, full=True)

    seen = with_host(captured, probed)
    if format_ == "jsonl":
        for fact in seen.facts:
            write(msgspec.json.encode(fact).decode())
        for fault in seen.faults:
            click.echo(f"storekeeper: {fault.code}: {fault.text}", err=True)
    else:
        found = {"source": seen.source, "took_s": seen.took_s, "faults": seen.faults, "facts": seen.facts}
        write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    return EXIT_NOT_KNOWN if any(fault.hides == "*" for fault in seen.faults) else EXIT_FINE
