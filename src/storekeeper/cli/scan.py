"""`storekeeper scan`: the document of an image storage, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from storekeeper.cli.looking import declaration_of, look_at_storages, with_host
from storekeeper.cli.options import captured_option, config_option, one_of
from storekeeper.cli.render import write
from storekeeper.rows import plain

if TYPE_CHECKING:
    from storekeeper.agent.asking import Asker
    from storekeeper.document import ImageStorageInfo
    from storekeeper.sources.contract import Host


@click.command()
@click.argument("id", required=False)
@config_option
@captured_option
def command(id: str | None, config: str | None, captured: str | None) -> None:  # noqa: A002
    """Print the document of the image storage ID, or of the only one, as JSON."""

    async def scanned(host: Host, asker: Asker) -> ImageStorageInfo:
        return await scan(host, asker, config, id)

    write(msgspec.json.encode(with_host(captured, scanned), enc_hook=plain).decode())


async def scan(host: Host, asker: Asker, config: str | None, wanted: str | None) -> ImageStorageInfo:
    """The document of the one storage that is wanted, from one look at this host.

    Raises:
        NoSuchObject, UsageError: there is no such storage, or none was named and there are several.
    """
    from storekeeper.merge.discovery import STORAGE

    declaration = declaration_of(config, host)
    # Before looking: a wrong name is said at once.
    known = (STORAGE,) if declaration.found else tuple(declaration.image_storages)
    storage_id = one_of("image storage", wanted, known)
    return (await look_at_storages(host, asker, declaration)).storages[storage_id].document
