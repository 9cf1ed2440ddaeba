"""`storekeeper discover`: a declaration of what this host has, ready to edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from storekeeper.cli.looking import found_on, look, with_host
from storekeeper.cli.options import captured_option, config_option
from storekeeper.declaration import Declaration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storekeeper.agent.asking import Asker
    from storekeeper.merge.truth import HostView
    from storekeeper.sources.contract import Host, Scope


@click.command()
@config_option
@captured_option
def command(config: str | None, captured: str | None) -> None:
    """Print a declaration of what this host has. With --config: its [manager] and [host] are kept."""
    from storekeeper.declaration_toml import write

    async def discovered(host: Host, asker: Asker) -> Declaration:
        return await discover(host, asker, config)

    click.echo(write(with_host(captured, discovered)), nl=False)


async def discover(host: Host, asker: Asker, config: str | None) -> Declaration:
    """What the host has, from one look at everything but the images themselves."""
    from storekeeper.cli.looking import declaration_of
    from storekeeper.sources import SOURCES
    from storekeeper.sources.contract import Scope

    kept = Declaration(host_id=host.name, image_storages={})
    if config is not None:
        kept = declaration_of(config, host)

    def scopes_of(_: HostView) -> Sequence[tuple[str, Scope]]:
        return [(source.name, Scope()) for source in SOURCES.values() if source.of == "host"]

    view = await look(host, asker, kept.host_id, scopes_of)
    return found_on(replace(kept, image_storages={}, found=True), host, view)
