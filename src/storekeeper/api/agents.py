"""What agents say and ask: reports, where to look, joining and new credentials."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import zstandard
from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response
from msgspec import Struct

from storekeeper.api import answers
from storekeeper.api.access import need_agent, principal_of
from storekeeper.api.contract import Admits, Hears
from storekeeper.api.listing import parameters
from storekeeper.api.openapi import error_of
from storekeeper.api.routes import response
from storekeeper.credentials import Credential
from storekeeper.errors import NotAuthenticated, Refused, UsageError
from storekeeper.manager.reports import Greeting, decoded
from storekeeper.report import Acknowledged, Report, Scopes

# A full report of 100,000 images has some 20 MiB, compressed a tenth of that.
BODY_BYTES_MAX = 64 << 20
REPORT_BYTES_MAX = 256 << 20
# What takes longer than a request may hold the event loop is decompressed and decoded in a thread.
AT_ONCE_BYTES = 64 << 10
PIECE_BYTES = 1 << 20
# zstd's own limit for its highest ordinary level; a frame that asks for more wants memory, not a report.
WINDOW_BYTES_MAX = 128 << 20
HOLD_S = 20.0
MACHINE_ID_CHARACTERS = 128

Asked = Request[None, None, State]


class Machine(Struct, frozen=True):
    """What a machine says when it joins. `machine_id`: of machine-id(5), or a digest of it."""

    machine_id: str


class Joined(Struct, frozen=True):
    """Which host the machine is from now on, and its credential, which is shown this once."""

    host_id: str
    credential: str


FAILURES = {
    401: error_of("There is no credential, or it holds no more"),
    403: error_of("It is no agent's, or the report is not of its host and machine"),
}
REPORT_FAILURES = {
    **FAILURES,
    400: error_of("The body is no report"),
    413: error_of("The body is over 64 MiB"),
    409: error_of("A full report is needed, or a later run of the agent reports already"),
    426: error_of("The agent's protocol is another"),
}


class Agents(Controller):
    """What agents say and ask."""

    path = "/agents"
    tags = ("Agents",)

    @post("/report", status_code=200, request_max_body_size=BODY_BYTES_MAX, responses=REPORT_FAILURES)
    async def report(self, request: Asked) -> Response[Acknowledged]:
        """What a host saw: a Report as MessagePack, compressed with zstd."""
        credential = _agent(request)
        if request.headers.get("content-encoding", "").strip().lower() != "zstd":
            raise UsageError("A report is compressed: send it with Content-Encoding: zstd.")
        body = await request.body()
        report = _report(body) if _small(body) else await asyncio.to_thread(_report, body)
        # Its body may have come for long, and another machine may be this host since.
        if not _manager(request).access.admits(principal_of(request)):
            raise NotAuthenticated("This token holds no more: it was revoked, replaced or it expired.")
        address = request.client.host if request.client is not None else ""
        acknowledged = await _manager(request).hear(report, credential, address)
        return response(answers.made(answers.encode(acknowledged)))

    @get("/scopes", responses={**FAILURES, 204: ResponseSpec(None, description="They are still the same")})
    async def get_scopes(self, request: Asked) -> Response[Scopes]:
        """Where the host is to look, as soon as that is another version than the parameter `after`."""
        host_id = _agent(request).host_id
        given = dict(parameters(request.scope["query_string"]))
        if given.keys() - {"after"}:
            raise UsageError("This route takes one parameter: after=VERSION.")
        scopes = await _before_it_leaves(request, host_id, given.get("after", ""))
        if scopes is None:
            return Response(None, status_code=204)  # type: ignore[arg-type]
        return response(answers.made(answers.encode(scopes)))

    @post(
        "/join", status_code=200, responses={**FAILURES, 400: error_of("The body is not what is sent here")}
    )
    async def join(self, request: Asked) -> Response[Joined]:
        """Makes the machine that sends a join token the host for which the token was made."""
        principal = principal_of(request)
        token = principal.credential
        if token is None:
            raise NotAuthenticated("To join, send the token that this prints: storekeeper host add ID")
        if principal.kind != "join":
            raise Refused("Joining needs the token that this prints: storekeeper host add ID")
        # A token is not used up by a request that means nothing.
        machine_id = _machine_id(await request.body())
        manager = _manager(request)
        # Of all who try with it, with any manager, one is told that it was there.
        if not await asyncio.to_thread(manager.access.revoke, token.credential_id):
            raise NotAuthenticated("This token was used already; make another: storekeeper host add ID")
        await revoke_host(manager, token.host_id)
        return await _joined(manager, token.host_id, machine_id)

    @post("/rotate", status_code=200, responses=FAILURES)
    async def rotate(self, request: Asked) -> Response[Joined]:
        """A new credential for the agent. The present one holds until the new one is used."""
        credential = _agent(request)
        return await _joined(_manager(request), credential.host_id, credential.machine_id)


async def revoke_host(manager: Admits, host_id: str) -> None:
    """Takes away whatever machines may report as this host with, or join."""
    for credential in manager.access.credentials():
        if credential.host_id == host_id:
            await asyncio.to_thread(manager.access.revoke, credential.credential_id)
    await manager.forget_agent(host_id)


async def _joined(manager: Hears, host_id: str, machine_id: str) -> Response[Joined]:
    make = manager.access.make
    _, token = await asyncio.to_thread(make, "agent", host_id=host_id, machine_id=machine_id)
    return response(answers.made(answers.encode(Joined(host_id, token))))


def _manager(request: Asked) -> Hears:
    manager: Hears = request.app.state.manager
    return manager


def _agent(request: Asked) -> Credential:
    credential = need_agent(request).credential
    if credential is None:
        raise NotAuthenticated("An agent sends its credential.")
    return credential


# --- bodies -------------------------------------------------------------------------------------


def _machine_id(body: bytes) -> str:
    try:
        machine_id = msgspec.json.decode(body, type=Machine).machine_id
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError('To join, send {"machine_id": "..."}.') from error
    if not machine_id or len(machine_id) > MACHINE_ID_CHARACTERS or not machine_id.isprintable():
        raise UsageError(f"machine_id is a text of at most {MACHINE_ID_CHARACTERS} characters.")
    return machine_id


def _small(body: bytes) -> bool:
    """Whether a body takes next to no time. What it says of its own size is checked as it is read."""
    try:
        return len(body) <= AT_ONCE_BYTES and 0 <= zstandard.frame_content_size(body) <= AT_ONCE_BYTES
    except zstandard.ZstdError:
        return len(body) <= AT_ONCE_BYTES


def _report(body: bytes) -> Report | Greeting:
    return decoded(_decompressed(body))


def _decompressed(body: bytes) -> bytes:
    """The report that was compressed: piece by piece, since a few bytes may stand for terabytes."""
    pieces = []
    left = REPORT_BYTES_MAX
    try:
        with zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(body) as reader:
            while piece := reader.read(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    raise UsageError(f"A report may have {REPORT_BYTES_MAX >> 20} MiB, uncompressed.")
                pieces.append(piece)
    except zstandard.ZstdError as error:
        raise UsageError("This report is no zstd frame.") from error
    return b"".join(pieces)


# --- waiting ------------------------------------------------------------------------------------


async def _before_it_leaves(request: Asked, host_id: str, version: str) -> Scopes | None:
    """The scopes of another version; None when there were none in time, or nobody waits any more."""
    waiting = asyncio.create_task(_manager(request).scopes_after(host_id, version, HOLD_S))
    leaving = asyncio.create_task(_left(request))
    await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not waiting.done():
        waiting.cancel()
        return None
    return waiting.result()


async def _left(request: Asked) -> None:
    """Returns when the client has left, or the server stops: then something comes after the whole request."""
    while cast("dict[str, object]", await request.receive()).get("more_body"):
        pass
    await request.receive()
