"""`storekeeper agent`: this host reports to a manager elsewhere."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress

import click

from storekeeper.cli.options import URL_VARIABLE


@click.command()
@click.option(
    "--manager", "url", required=True, metavar="URL", envvar=URL_VARIABLE, help="Whom to report to."
)
@click.option("--fingerprint", default="", metavar="sha256:HEX", help="The manager's certificate, pinned.")
@click.option("--join", "token", default="", metavar="TOKEN", help="Join with a one-time token first.")
@click.option("--rotate", is_flag=True, help="Replace this host's credential, and end.")
@click.option("--state", default=None, metavar="DIR", help="What it keeps. [/var/lib/storekeeper/agent]")
def command(url: str, fingerprint: str, token: str, rotate: bool, state: str | None) -> None:
    """Look at this host and report to a manager until stopped. Opens no port."""
    from storekeeper.agent import reporting
    from storekeeper.agent.joining import DEFAULT_DIRECTORY, StateDirectory
    from storekeeper.cli.serve import log_to_stderr

    directory = StateDirectory(state or DEFAULT_DIRECTORY)
    if rotate:
        asyncio.run(reporting.rotate(url, fingerprint, directory))
        click.echo("This host has a new credential.", err=True)
        return
    directory.lock()
    log_to_stderr()
    if token:
        asyncio.run(reporting.join(url, fingerprint, token, directory))
    membership = directory.membership()
    click.echo(f"Reporting as {membership.host_id} to {url}", err=True)
    asyncio.run(_until_terminated(reporting.report_until_stopped(url, fingerprint, directory)))


async def _until_terminated(work: Coroutine[None, None, None]) -> None:
    """Runs `work`; SIGTERM ends it as it ends itself."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
