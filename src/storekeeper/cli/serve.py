"""`storekeeper serve`: the manager, with this host's agent inside."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from storekeeper.cli.looking import declaration_of
from storekeeper.cli.options import config_option

if TYPE_CHECKING:
    from storekeeper.manager.manager import Manager

# A thread that merges or sorts 20,000 images gives way to requests after this, not after Python's 5 ms:
# that halves the slowest per cent of the documents served meanwhile.
SWITCH_S = 0.001


@click.command()
@config_option
def command(config: str | None) -> None:
    """Watch this host and answer HTTP requests until stopped. Without a declaration: what it has."""
    import uvloop

    from storekeeper.api import create_app
    from storekeeper.api.server import answer, listening
    from storekeeper.host.real import RealHost
    from storekeeper.manager.serving import serve

    declaration = declaration_of(config, RealHost())
    # Before anything is looked at: an address that is taken or refused is said at once.
    with listening(declaration.listen) as bound:
        log_to_stderr()
        sys.setswitchinterval(SWITCH_S)

        async def answered(manager: Manager) -> None:
            await answer(create_app(manager, declaration.host_id), bound, _started)

        uvloop.run(serve(declaration, answered))


def _started(url: str) -> None:
    click.echo(f"Answering at {url}/imagestorages", err=True)


def log_to_stderr() -> None:
    """One line an event: for people on a terminal, for programs elsewhere."""
    import logging

    import structlog

    last: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    if sys.stderr.isatty():
        colours = "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
        last = [structlog.dev.ConsoleRenderer(colors=colours)]
    first: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(processors=[*first, *last], logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    # It warns of every request that is no HTTP, which any port scan would make a flood.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
