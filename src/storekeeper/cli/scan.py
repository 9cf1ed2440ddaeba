"""`storekeeper scan`: the document of an image storage, without a server."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import click
import msgspec

from storekeeper.cli.looking import declaration_of, found_on, look, with_host
from storekeeper.cli.options import captured_option, config_option, one_of
from storekeeper.cli.render import write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storekeeper.agent.asking import Asker
    from storekeeper.document import ImageStorageInfo
    from storekeeper.merge.truth import HostView
    from storekeeper.sources.contract import Host, Scope


@click.command()
@click.argument("id", required=False)
@config_option
@captured_option
def command(id: str | None, config: str | None, captured: str | None) -> None:  # noqa: A002
    """Print the document of the image storage ID, or of the only one, as JSON."""

    async def scanned(host: Host, asker: Asker) -> ImageStorageInfo:
        return await scan(host, asker, config, id)

    write(msgspec.json.encode(with_host(captured, scanned)).decode())


async def scan(host: Host, asker: Asker, config: str | None, wanted: str | None) -> ImageStorageInfo:
    """The document of the one storage that is wanted, from one look at this host.

    Raises:
        NoSuchObject, UsageError: there is no such storage, or none was named and there are several.
    """
    from storekeeper.merge import merge
    from storekeeper.merge.discovery import STORAGE
    from storekeeper.merge.scopes import scopes
    from storekeeper.merge.truth import Memory

    declaration = declaration_of(config, host.name)
    known = (STORAGE,) if declaration.found else tuple(declaration.image_storages)
    storage_id = one_of("image storage", wanted, known)

    def scopes_of(view: HostView) -> Sequence[tuple[str, Scope]]:
        declared = found_on(declaration, host, view)
        return scopes(declared, {declared.host_id: view})[declared.host_id]

    view = await look(asker, declaration.host_id, scopes_of)
    declared = found_on(declaration, host, view)
    return merge(declared, {declared.host_id: view}, Memory(), time()).storages[storage_id].document
