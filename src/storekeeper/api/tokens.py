"""The tokens of people: for administrators only."""

from __future__ import annotations

import asyncio

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response import Response

from storekeeper.api import answers
from storekeeper.api.access import need_role
from storekeeper.api.contract import Manager
from storekeeper.api.openapi import error_of
from storekeeper.api.routes import no_parameters, response
from storekeeper.credentials import Credential
from storekeeper.document import ManagerResult, TokenInfo, TokenMade, TokenWish
from storekeeper.errors import NoSuchObject, UsageError
from storekeeper.merge.freshness import rfc3339

NAME_CHARACTERS = 100
LIFETIME_S_MAX = 100 * 365 * 86400.0

Asked = Request[None, None, State]


FAILURES = {401: error_of("There is no token"), 403: error_of("The token is no administrator's")}


class Tokens(Controller):
    """The tokens of people."""

    path = "/tokens"
    tags = ("Tokens",)

    @get("/", responses=FAILURES)
    async def list_tokens(self, request: Asked) -> Response[list[TokenInfo]]:
        """All tokens of people, without what proves them."""
        access = _manager(request).access
        rows = [_info(one) for one in access.credentials() if one.kind == "person"]
        return response(answers.made(answers.encode(rows)))

    @post("/", status_code=201, responses={**FAILURES, 400: error_of("The body is no such wish")})
    async def make_token(self, request: Asked) -> Response[TokenMade]:
        """A new token, which is shown this once. The body: `role`, and `name` and `expires_s` if need be."""
        access = _manager(request).access
        wish = _wish(await request.body())
        credential, token = await asyncio.to_thread(
            access.make, "person", name=wish.name, role=wish.role, lifetime_s=wish.expires_s
        )
        info = _info(credential)
        made = answers.made(answers.encode(TokenMade(**msgspec.structs.asdict(info), token=token)))
        return response(made._replace(status=201))

    @delete(
        "/{token_id:str}", status_code=200, responses={**FAILURES, 404: error_of("There is no such token")}
    )
    async def revoke_token(self, request: Asked, token_id: FromPath[str]) -> Response[ManagerResult]:
        """Revokes a token: it proves nothing from now on."""
        access = _manager(request).access
        known = tuple(one.credential_id for one in access.credentials() if one.kind == "person")
        if token_id not in known or not await asyncio.to_thread(access.revoke, token_id):
            raise NoSuchObject("token", token_id, known)
        return response(answers.made(answers.encode(ManagerResult(message=token_id))))


def _manager(request: Asked) -> Manager:
    """The manager, for an administrator."""
    need_role(request, "administrator")
    no_parameters(request)
    manager: Manager = request.app.state.manager
    return manager


def _wish(body: bytes) -> TokenWish:
    try:
        wish = msgspec.json.decode(body, type=TokenWish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            'To make a token, send {"role": "viewer"} or {"role": "administrator"}, and name and expires_s '
            "(seconds) if need be."
        ) from error
    if len(wish.name) > NAME_CHARACTERS or not wish.name.isprintable():
        raise UsageError(f"name is a text of at most {NAME_CHARACTERS} characters that can be printed.")
    if not (wish.expires_s == 0 or 1 <= wish.expires_s <= LIFETIME_S_MAX):
        raise UsageError("expires_s is a number of seconds, at least 1; leave it out for never.")
    return wish


def _info(credential: Credential) -> TokenInfo:
    return TokenInfo(
        token_id=credential.credential_id,
        name=credential.name,
        role=credential.role,
        created_at=rfc3339(credential.created_at),
        expires_at=rfc3339(credential.expires_at),
    )
