"""How hosts come to be agents of this manager, and how they cease to be."""

from __future__ import annotations

import asyncio

from litestar import Controller, Request, post
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response import Response

from storekeeper.api import answers
from storekeeper.api.access import need_role
from storekeeper.api.agents import revoke_host
from storekeeper.api.contract import Hears
from storekeeper.api.declaring import FAILURES
from storekeeper.api.routes import no_parameters, response
from storekeeper.document import JoinToken, ManagerResult
from storekeeper.errors import NoSuchObject
from storekeeper.merge.freshness import rfc3339

JOIN_WITHIN_S = 3600.0

Asked = Request[None, None, State]


class Joining(Controller):
    """How hosts come to be agents of this manager, and how they cease to be."""

    path = "/hosts"
    tags = ("Hosts",)

    @post("/{host_id:str}/join", status_code=201, responses=FAILURES)
    async def make_join_token(self, request: Asked, host_id: FromPath[str]) -> Response[JoinToken]:
        """A token with which one machine may become this host, once, within an hour."""
        manager = await _of_host(request, host_id)
        make = manager.access.make
        credential, token = await asyncio.to_thread(make, "join", host_id=host_id, lifetime_s=JOIN_WITHIN_S)
        made = JoinToken(
            host_id=host_id, token=token, expires_at=rfc3339(credential.expires_at),
            fingerprint=manager.fingerprint,
        )  # fmt: skip
        return response(answers.made(answers.encode(made))._replace(status=201))

    @post("/{host_id:str}/revoke", status_code=200, responses=FAILURES)
    async def revoke(self, request: Asked, host_id: FromPath[str]) -> Response[ManagerResult]:
        """Takes the host's credential away. It may join anew."""
        manager = await _of_host(request, host_id)
        await revoke_host(manager, host_id)
        return response(answers.made(answers.encode(ManagerResult(message=host_id))))


async def _of_host(request: Asked, host_id: str) -> Hears:
    """The manager, asked by an administrator about a host that there is."""
    need_role(request, "administrator")
    no_parameters(request)
    manager: Hears = request.app.state.manager
    hosts = manager.host_ids()
    if host_id not in hosts:
        raise NoSuchObject("host", host_id, tuple(hosts))
    return manager
