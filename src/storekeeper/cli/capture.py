"""`storekeeper capture`: this machine as a folder, for a test or a bug report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storekeeper.cli.looking import declaration_of, look_at_storages, text_of
from storekeeper.cli.options import config_option
from storekeeper.declaration import DEFAULT_PATH, Declaration

if TYPE_CHECKING:
    from storekeeper.host.recording import RecordingHost


@click.command()
@click.argument("directory", metavar="DIR")
@config_option
def command(directory: str, config: str | None) -> None:
    """Write down in DIR what the sources read on this host, to be looked at elsewhere."""
    from storekeeper.host.real import RealHost
    from storekeeper.host.recording import RecordingHost

    host = RecordingHost(RealHost())
    declaration = declaration_of(config, host)
    if config is not None:
        # So that it is found where it usually is.
        host.machine.files[DEFAULT_PATH] = text_of(config).encode()
    asyncio.run(_look(host, declaration))
    host.save(Path(directory))
    click.echo(
        f"Look through {directory} before you give it away: names are stand-ins, sizes are not.", err=True
    )


async def _look(host: RecordingHost, declaration: Declaration) -> None:
    """Looks at everything. What a worker found to hang is left out: here it could not be killed."""
    from storekeeper.agent.asking import CautiousAsker, DirectAsker, WorkerAsker
    from storekeeper.host.workers import Workers

    workers = Workers()
    try:
        asker = CautiousAsker(WorkerAsker(workers), DirectAsker(host))
        await look_at_storages(host, asker, declaration)
    finally:
        await workers.close()
