"""Hosts: which there are, and how they are."""

from __future__ import annotations

from typing import cast

from litestar import Controller, get
from litestar.params import FromPath
from litestar.response import Response
from msgspec.structs import asdict

from storekeeper.api import answers
from storekeeper.api.contract import Watches
from storekeeper.api.listing import Key, Rows
from storekeeper.api.openapi import list_of
from storekeeper.api.routes import FAILURES, Asked, no_parameters, paged, response
from storekeeper.document import HostBasicInfo, HostInfo, HostRow
from storekeeper.errors import NoSuchObject
from storekeeper.merge.hosts import Known, host_info, hosts_of


class Hosts(Controller):
    """Hosts: which there are, and how they are."""

    path = "/hosts"
    tags = ("Hosts",)

    @get("/", responses={400: FAILURES[400]}, operation_class=list_of(HostRow))
    async def list_hosts(self, request: Asked) -> Response[list[HostBasicInfo]]:
        """All hosts that are declared or linked to an image storage. `fields` may be any of HostInfo."""
        known = known_of(request)
        hosts = hosts_of(known.declaration)

        def row_of(key: Key) -> HostRow:
            info = host_info(key[0], known, hosts[key[0]])
            return HostRow(status=info.current_state, **asdict(info))

        rows = Rows([(host_id,) for host_id in hosts], ("host_id",), row_of)
        return await paged(request, HostRow, rows, HostBasicInfo.__struct_fields__)

    @get("/{host_id:str}", responses={key: FAILURES[key] for key in (400, 404)})
    async def get_host(self, request: Asked, host_id: FromPath[str]) -> Response[HostInfo]:
        """All that is known of a host."""
        no_parameters(request)
        known = known_of(request)
        hosts = hosts_of(known.declaration)
        if host_id not in hosts:
            raise NoSuchObject("host", host_id, tuple(hosts))
        return response(answers.made(answers.encode(host_info(host_id, known, hosts[host_id]))))


def known_of(request: Asked) -> Known:
    """All that hosts and guests follow from, as of now."""
    return cast(Watches, request.app.state.manager).known()
