"""A manager that speaks the protocol over real HTTP and can be told to fail: what an agent meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext

import msgspec
import zstandard
from aiohttp import web
from aiohttp.test_utils import TestServer

from storekeeper.document import ErrorMessage
from storekeeper.errors import FullReportNeeded, NotAuthenticated, StorekeeperError
from storekeeper.merge.truth import HostView
from storekeeper.report import Acknowledged, Report, Scopes, received
from tests.manager.sequence import Sequence

CREDENTIAL = "sk_agent_1_secret"
JOIN_TOKEN = "sk_join_1_once"
Trouble = Callable[[], web.StreamResponse | None]


def refusal(error: StorekeeperError) -> web.Response:
    message = ErrorMessage(message=str(error), code=error.code)
    return web.Response(status=error.http_status, body=msgspec.json.encode(message))


class StandInManager:
    """`before` and `after`: what is answered instead, before or after a report was applied; `before_scopes`:
    to each question for scopes.
    """

    def __init__(self) -> None:
        self.sequence = Sequence()
        self.view = HostView(host_id="h")
        self.reports: list[Report] = []
        self.asked: list[web.Request] = []
        self.scopes: Scopes | None = None
        self.rescoped = asyncio.Event()
        self.before: list[Trouble] = []
        self.after: list[Trouble] = []
        self.before_scopes: Trouble = lambda: None
        self.came = asyncio.Event()
        self.machine_ids: list[str] = []

    @asynccontextmanager
    async def serving(self, certificate: SSLContext | None = None) -> AsyncIterator[str]:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/agents/report", self.report)
        app.router.add_get("/agents/scopes", self.tell_scopes)
        app.router.add_post("/agents/join", self.join)
        app.router.add_post("/agents/rotate", self.rotate)
        server = TestServer(app, scheme="https" if certificate else "http")
        await server.start_server(ssl=certificate, auto_decompress=False)
        try:
            yield str(server.make_url("/"))
        finally:
            self.rescoped.set()
            await server.close()

    def token(self, request: web.Request) -> str:
        self.asked.append(request)
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    async def report(self, request: web.Request) -> web.StreamResponse:
        self.token(request)
        assert request.headers["Content-Encoding"] == "zstd"
        body = zstandard.ZstdDecompressor().decompress(await request.read())
        report = msgspec.msgpack.decode(body, type=Report)
        if self.before and (answer := self.before.pop(0)()) is not None:
            return answer
        try:
            if self.sequence.is_new(report):
                for change in report.changes:
                    if not change.full and (change.source, change.scope) not in self.view.looks:
                        raise FullReportNeeded("nothing to follow on")
                for change in report.changes:
                    self.view = received(self.view, change, 1.0)
                self.sequence.applied(report)
                self.reports.append(report)
        except StorekeeperError as error:
            return refusal(error)
        finally:
            self.came.set()
        if self.after and (answer := self.after.pop(0)()) is not None:
            return answer
        version = self.scopes.version if self.scopes else ""
        acknowledged = Acknowledged(run=report.run, number=report.number, scopes=version)
        return web.Response(body=msgspec.json.encode(acknowledged))

    def rescope(self, scopes: Scopes) -> None:
        self.scopes = scopes
        self.rescoped.set()

    async def tell_scopes(self, request: web.Request) -> web.StreamResponse:
        self.token(request)
        if (answer := self.before_scopes()) is not None:
            return answer
        while self.scopes is None or self.scopes.version == request.query["after"]:
            self.rescoped.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.rescoped.wait()
                    continue
            return web.Response(status=204)
        return web.Response(body=msgspec.json.encode(self.scopes))

    async def join(self, request: web.Request) -> web.StreamResponse:
        self.machine_ids.append((await request.json())["machine_id"])
        if self.token(request) != JOIN_TOKEN or len(self.machine_ids) > 1:
            return refusal(NotAuthenticated("This token holds no more."))
        return web.json_response({"host_id": "h", "credential": CREDENTIAL})

    async def rotate(self, request: web.Request) -> web.StreamResponse:
        assert self.token(request) == CREDENTIAL
        return web.json_response({"host_id": "h", "credential": "sk_agent_2_other"})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds after some report."""
        async with asyncio.timeout(20):
            while not condition():
                self.came.clear()
                await self.came.wait()
