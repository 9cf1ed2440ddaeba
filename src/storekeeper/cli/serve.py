"""`storekeeper serve`: the manager, with this host's agent inside."""

from __future__ import annotations

import gc
import os
import sys
from time import time
from typing import TYPE_CHECKING

import click

from storekeeper.cli.looking import declaration_of
from storekeeper.cli.options import config_option

if TYPE_CHECKING:
    from storekeeper.manager.manager import Manager

# A thread that merges or sorts 20,000 images gives way to requests after this, not after Python's 5 ms:
# that halves the slowest per cent of the documents served meanwhile.
SWITCH_S = 0.001
# A million images are no garbage, and looking for some among all of them holds up every request: that is done
# seldom, and often only among what is new.
GC_THRESHOLDS = (10_000, 100, 100)


@click.command()
@config_option
def command(config: str | None) -> None:
    """Watch this host and answer HTTP requests until stopped. Without a declaration: what it has.

    Off loopback, and with a declared certificate, it answers by HTTPS, and those only who send a token.
    """
    import uvloop

    from storekeeper.api import create_app
    from storekeeper.api.certificate import channel
    from storekeeper.api.server import answer, is_loopback, listening
    from storekeeper.host.real import RealHost
    from storekeeper.manager.access import directory_of
    from storekeeper.manager.serving import serve

    declaration = declaration_of(config, RealHost())
    directory = directory_of(declaration.database)
    # Before anything is looked at: an address that is taken or refused is said at once.
    with listening(declaration.listen) as bound:
        # With a certificate it is taken for what is forwarded to others: not even reading is free then.
        in_the_clear = is_loopback(bound) and not declaration.certificate
        own = None if in_the_clear else channel(declaration, directory, time())
        log_to_stderr()
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

        async def answered(manager: Manager) -> None:
            left = manager.access.first_token(directory) if directory else None
            if own:
                manager.fingerprint = own.fingerprint
            app = create_app(manager, declaration.host_id, on_loopback=in_the_clear)

            def started(url: str) -> None:
                pinned = f" with the certificate {own.fingerprint}" if own else ""
                click.echo(f"Answering at {url}/imagestorages{pinned}", err=True)
                if left:
                    click.echo(f"An administrator's token is in {left}", err=True)

            await answer(app, bound, started, own and own.context)

        uvloop.run(serve(declaration, answered))


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
