"""Declaring image storages, their volumes and hosts. The storage itself is never touched by it.

The bodies are the tables of the declaration's file as JSON (docs/declaration.md); the rules are those of
`declaration_changes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Controller, Request, delete, get, post, put
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response import Response

from storekeeper import declaration_changes as changes
from storekeeper.api import answers
from storekeeper.api.access import need_role
from storekeeper.api.agents import revoke_host
from storekeeper.api.contract import Declares
from storekeeper.api.openapi import error_of
from storekeeper.api.routes import no_parameters, response
from storekeeper.declaration import Declaration, Declared
from storekeeper.declaration_tables import SECTIONS, Table, dotted, tables_of
from storekeeper.document import DeclarationInfo, ManagerResult
from storekeeper.errors import Conflict, DeclarationError, UsageError

# A declaration of ten thousand volumes has 2 MiB.
BODY_BYTES_MAX = 16 << 20

# One path a kind of volume: parts that vary would take requests from the routes below `volumes`.
VOLUMES = [f"/imagestorages/{{image_storage_id:str}}/{section}" for section in SECTIONS]
EACH_VOLUME = [f"{path}/{{volume_id:str}}" for path in VOLUMES]

Asked = Request[None, None, State]
Change = Callable[[Declaration, Declared], Declared]


FAILURES = {
    400: error_of("The body is no JSON object"),
    401: error_of("There is no token"),
    403: error_of("The token is no administrator's"),
    404: error_of("There is no such object"),
    409: error_of("The id is taken, the host is still linked, or the manager's own file declares it"),
    422: error_of("Something in the body is wrong: each thing by its dotted key, on a line of its own"),
}


class Declaring(Controller):
    """Declaring image storages, volumes and hosts."""

    path = "/"
    tags = ("Declaring",)
    request_max_body_size = BODY_BYTES_MAX

    @get("/declaration", responses={400: FAILURES[400]})
    async def get_declaration(self, request: Asked) -> Response[DeclarationInfo]:
        """All that is declared: through the API, and in the manager's own file."""
        no_parameters(request)
        manager = _manager(request)
        body, etag = _whole(manager.file, await manager.declared())
        return response(answers.made(body, (b"etag", etag.encode())))

    @put("/declaration", responses=FAILURES)
    async def replace_declaration(self, request: Asked) -> Response[ManagerResult]:
        """Puts `image_storages` and `hosts` in place of all that was declared through the API, at once.

        With the ETag of `GET /declaration` as `If-Match` only if nothing was declared since.
        """
        seen = request.headers.get("if-match", "*")

        def change(file: Declaration, declared: Declared) -> Declared:
            if seen != "*" and seen != _whole(file, declared)[1]:
                raise Conflict("Something else was declared meanwhile; look at it, and ask again.")
            return changes.replace_all(file, table)

        table = await _body(request)
        return await _declare(request, change, "declaration")

    # --- image storages -------------------------------------------------------------------------

    @post("/imagestorages", responses=FAILURES)
    async def add_image_storage(self, request: Asked) -> Response[ManagerResult]:
        """Declares an image storage: `image_storage_id`, and its table."""
        storage_id, table = _named(await _body(request), "image_storage_id", "image_storages")
        return await _declare(
            request,
            lambda file, declared: changes.add_storage(file, declared, storage_id, table),
            storage_id,
            location=f"/imagestorages/{_quoted(storage_id)}",
        )

    @put("/imagestorages/{image_storage_id:str}", responses=FAILURES)
    async def replace_image_storage(
        self, request: Asked, image_storage_id: FromPath[str]
    ) -> Response[ManagerResult]:
        """Declares an image storage anew. Tables of volumes that the body leaves out stay as they are."""
        table = await _body(request)
        return await _declare(
            request,
            lambda file, declared: changes.replace_storage(file, declared, image_storage_id, table),
            image_storage_id,
        )

    @delete("/imagestorages/{image_storage_id:str}", status_code=200, responses=FAILURES)
    async def remove_image_storage(
        self, request: Asked, image_storage_id: FromPath[str]
    ) -> Response[ManagerResult]:
        """Declares an image storage and its volumes no more."""
        return await _declare(
            request,
            lambda file, declared: changes.remove_storage(file, declared, image_storage_id),
            image_storage_id,
        )

    # --- volumes --------------------------------------------------------------------------------

    @post(VOLUMES, responses=FAILURES)
    async def add_volume(self, request: Asked, image_storage_id: FromPath[str]) -> Response[ManagerResult]:
        """Declares a volume: `volume_id`, and its table."""
        section = _section(request)
        key = dotted("image_storages", image_storage_id, section)
        volume_id, table = _named(await _body(request), "volume_id", key)
        return await _declare(
            request,
            lambda file, declared: changes.add_volume(
                file, declared, image_storage_id, section, volume_id, table
            ),
            volume_id,
            location=f"/imagestorages/{_quoted(image_storage_id)}/{section}/{_quoted(volume_id)}",
        )

    @put(EACH_VOLUME, responses=FAILURES)
    async def replace_volume(
        self, request: Asked, image_storage_id: FromPath[str], volume_id: FromPath[str]
    ) -> Response[ManagerResult]:
        """Declares a volume anew: the body is its whole table."""
        section, table = _section(request), await _body(request)
        return await _declare(
            request,
            lambda file, declared: changes.replace_volume(
                file, declared, image_storage_id, section, volume_id, table
            ),
            volume_id,
        )

    @delete(EACH_VOLUME, status_code=200, responses=FAILURES)
    async def remove_volume(
        self, request: Asked, image_storage_id: FromPath[str], volume_id: FromPath[str]
    ) -> Response[ManagerResult]:
        """Declares a volume no more."""
        section = _section(request)
        return await _declare(
            request,
            lambda file, declared: changes.remove_volume(
                file, declared, image_storage_id, section, volume_id
            ),
            volume_id,
        )

    # --- hosts ----------------------------------------------------------------------------------

    @post("/hosts", responses=FAILURES)
    async def add_host(self, request: Asked) -> Response[ManagerResult]:
        """Declares a host that may join: `host_id`, and its table."""
        host_id, table = _named(await _body(request), "host_id", "hosts")
        return await _declare(
            request,
            lambda file, declared: changes.add_host(file, declared, host_id, table),
            host_id,
            location=f"/hosts/{_quoted(host_id)}",
        )

    @put("/hosts/{host_id:str}", responses=FAILURES)
    async def replace_host(self, request: Asked, host_id: FromPath[str]) -> Response[ManagerResult]:
        """Declares a host anew: the body is its whole table."""
        table = await _body(request)
        return await _declare(
            request, lambda file, declared: changes.replace_host(file, declared, host_id, table), host_id
        )

    @delete("/hosts/{host_id:str}", status_code=200, responses=FAILURES)
    async def remove_host(self, request: Asked, host_id: FromPath[str]) -> Response[ManagerResult]:
        """Declares a host no more: one that no image storage links."""
        return await _declare(
            request, lambda file, declared: changes.remove_host(file, declared, host_id), host_id
        )


def _manager(request: Asked) -> Declares:
    manager: Declares = request.app.state.manager
    return manager


async def _declare(
    request: Asked, change: Change, told: str, *, location: str = ""
) -> Response[ManagerResult]:
    """Makes a change, and answers with the id of what was changed. Agents of removed hosts are shut out."""
    need_role(request, "administrator")
    no_parameters(request)
    manager = _manager(request)
    gone: set[str] = set()

    def changed(declared: Declared) -> Declared:
        after = change(manager.file, declared)
        gone.update(changes.hosts_gone(manager.file, declared, after))
        return after

    await manager.declare(changed)
    for host_id in gone:
        await revoke_host(manager, host_id)
    made = answers.made(answers.encode(ManagerResult(message=told)))
    if location:
        made = made._replace(status=201, headers=[*made.headers, (b"location", location.encode("ascii"))])
    return response(made)


async def _body(request: Asked) -> Table:
    """The JSON object that was sent; who may send one is asked before it is read."""
    need_role(request, "administrator")
    try:
        found: Any = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(
            "The body is no JSON; send an object with Content-Type: application/json."
        ) from error
    if not isinstance(found, dict):
        raise UsageError("The body is no JSON object; write the table's keys between { and }.")
    return found


def _named(body: Table, name: str, key: str) -> tuple[str, Table]:
    """The id in a body, and the rest of it. What is wrong with an id that is a text is found later."""
    rest = dict(body)
    found = rest.pop(name, None)
    if not isinstance(found, str):
        raise DeclarationError(f"{key}.{name}", "is missing; write the id of what is to be declared, a text")
    return found, rest


def _section(request: Asked) -> str:
    """Which kind of volumes a path is about: its third part, which is one of SECTIONS."""
    return request.scope["raw_path"].split(b"/", 4)[3].decode("ascii")


def _whole(file: Declaration, declared: Declared) -> tuple[bytes, str]:
    """All that is declared as JSON, and its ETag: whatever the order, of the same things the same."""
    own = changes.of_file(file)
    body = msgspec.json.encode(
        DeclarationInfo(
            declared=tables_of(declared.image_storages.values(), declared.hosts.values()),
            file=tables_of(own.image_storages.values(), own.hosts.values()),
        ),
        order="sorted",
    )
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _quoted(name: str) -> str:
    return quote(name, safe="")
