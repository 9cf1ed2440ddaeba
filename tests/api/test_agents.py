"""Agents by HTTP: joining once, reporting, asking where to look; and what hostile ones can do, nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import pytest
import zstandard
from litestar import Litestar

from storekeeper.api import agents
from storekeeper.api.access import PRINCIPAL
from storekeeper.api.app import behind_the_door
from storekeeper.credentials import NOBODY, Principal
from storekeeper.database import open_store
from storekeeper.declaration import Declaration, ImageStorage
from storekeeper.errors import NotAuthenticated
from storekeeper.manager.manager import Manager
from storekeeper.report import PROTOCOL, Acknowledged, Report, Scopes
from tests.api.standin import StandIn
from tests.manager.agents import report, saw
from tests.merge.builders import external, image, mount, space

NOW = 1_800_000_000.0
VOLUME = external("v")
FOREIGN = external("w")
DECLARATION = Declaration(
    host_id="manager",
    image_storages={
        "s": ImageStorage(image_storage_id="s", hosts=("h1",), volumes=(VOLUME,)),
        "t": ImageStorage(image_storage_id="t", hosts=("h2",), volumes=(FOREIGN,)),
    },
)
MACHINE = {"machine_id": "machine-of-h1"}


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


@cache
def routes() -> Litestar:
    """Made once: that takes longer than any of these tests."""
    app = behind_the_door(StandIn())
    assert isinstance(app, Litestar)
    return app


class Desk:
    """A manager in memory whose clock a test turns, and requests to its routes as a door hands them on."""

    def __init__(self) -> None:
        self.now = NOW
        self.runner = asyncio.Runner()
        self.manager = self.runner.run(self._manager())
        self.app = routes()
        self.app.state["manager"] = self.manager

    async def _manager(self) -> Manager:
        manager = Manager(
            DECLARATION, open_store("sqlite://"), lambda *_: None, lambda: True, clock=lambda: self.now
        )
        await manager.publish()
        return manager

    def person(self, role: Any = "administrator") -> str:
        return self.manager.access.make("person", role=role)[1]

    def joined(self, host_id: str = "h1") -> str:
        """The credential of an agent that joined."""
        token = self("POST", f"/hosts/{host_id}/join", token=self.person()).json["token"]
        answer = self("POST", "/agents/join", {"machine_id": f"machine-of-{host_id}"}, token=token)
        return str(answer.json["credential"])

    def report(self, sent: Report | bytes, token: str, encoding: str = "zstd") -> Answer:
        body = sent if isinstance(sent, bytes) else packed(sent)
        return self("POST", "/agents/report", body, ("content-encoding", encoding), token=token)

    def __call__(
        self, method: str, target: str, body: Any = b"", *headers: tuple[str, str], token: str = ""
    ) -> Answer:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.runner.run(self.asked(method, target, raw, headers, token))

    async def asked(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Any = (),
        token: str = "",
        later: asyncio.Queue[Any] | None = None,
    ) -> Answer:
        """`later`: what is received after the body."""
        try:
            principal = await self.manager.access.authenticate(token) if token else NOBODY
        except NotAuthenticated as error:
            return Answer(401, msgspec.json.encode({"message": str(error), "code": error.code}))
        return await self.through(method, target, body, headers, principal, later)

    async def through(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Any,
        principal: Principal,
        later: asyncio.Queue[Any] | None = None,
    ) -> Answer:
        sent: list[Any] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            return await (later or asyncio.Queue()).get()

        async def send(message: Any) -> None:
            sent.append(message)

        path, _, query = target.partition("?")
        all_headers = [("host", "127.0.0.1"), ("content-length", str(len(body))), *headers]
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": unquote(path), "raw_path": path.encode(),
            "query_string": query.encode(), "root_path": "", "client": ("192.0.2.7", 1),
            "server": ("127.0.0.1", 2), "state": {}, PRINCIPAL: principal,
            "headers": [(name.encode(), value.encode()) for name, value in all_headers],
        }  # fmt: skip
        await self.app(scope, receive, send)
        return Answer(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]))

    def close(self) -> None:
        self.runner.run(self.manager.close())
        self.runner.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def packed(sent: Any) -> bytes:
    return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(sent))


# --- joining ------------------------------------------------------------------------------------


def test_a_machine_joins_with_a_token_that_an_administrator_made_and_then_reports(desk: Desk) -> None:
    made = desk("POST", "/hosts/h1/join", token=desk.person())
    assert made.status == 201
    assert made.json["host_id"] == "h1"
    assert made.json["expires_at"] == "2027-01-15T09:00:00+00:00"
    joined = desk("POST", "/agents/join", MACHINE, token=made.json["token"])
    assert (joined.status, joined.json["host_id"]) == (200, "h1")
    answer = desk.report(report(saw("mounts", "", mount("/"))), joined.json["credential"])
    assert answer.status == 200
    acknowledged = msgspec.json.decode(answer.body, type=Acknowledged)
    assert (acknowledged.run, acknowledged.number) == (1, 1)
    assert desk.manager.host_reports()["h1"].address == "192.0.2.7"


def test_a_join_token_joins_once(desk: Desk) -> None:
    token = desk("POST", "/hosts/h1/join", token=desk.person()).json["token"]
    assert desk("POST", "/agents/join", MACHINE, token=token).status == 200
    assert desk("POST", "/agents/join", MACHINE, token=token).status == 401


def test_of_many_machines_that_join_at_once_with_one_token_one_does(desk: Desk) -> None:
    token = desk("POST", "/hosts/h1/join", token=desk.person()).json["token"]

    async def all_at_once() -> list[int]:
        body = msgspec.json.encode(MACHINE)
        asked = [desk.asked("POST", "/agents/join", body, token=token) for _ in range(8)]
        return sorted(answer.status for answer in await asyncio.gather(*asked))

    assert desk.runner.run(all_at_once()) == [200, *[401] * 7]


def test_a_join_token_holds_for_an_hour(desk: Desk) -> None:
    token = desk("POST", "/hosts/h1/join", token=desk.person()).json["token"]
    desk.now += 3601
    assert desk("POST", "/agents/join", MACHINE, token=token).status == 401


def test_a_machine_that_joins_anew_takes_the_place_of_the_former_one(desk: Desk) -> None:
    former = desk.joined()
    assert desk.report(report(run=9), former).status == 200
    latter = desk.joined()
    assert desk.report(report(run=9, number=2, full=False), former).status == 401
    assert desk.report(report(run=1), latter).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff", b'{"machine_id": ""}', b'{"machine_id": "%s"}' % (b"x" * 500)]
)
def test_who_joins_says_which_machine_it_is_and_keeps_the_token_until_then(desk: Desk, body: bytes) -> None:
    token = desk("POST", "/hosts/h1/join", token=desk.person()).json["token"]
    assert desk("POST", "/agents/join", body, token=token).code == "bad-request"
    assert desk("POST", "/agents/join", MACHINE, token=token).status == 200


def test_joining_takes_a_join_token(desk: Desk) -> None:
    assert desk("POST", "/agents/join", MACHINE).code == "not-authenticated"
    assert desk("POST", "/agents/join", MACHINE, token=desk.person()).code == "refused"
    assert desk("POST", "/agents/join", MACHINE, token=desk.joined()).code == "refused"


@pytest.mark.parametrize("route", ["/hosts/h1/join", "/hosts/h1/revoke"])
def test_only_an_administrator_lets_hosts_join_and_revokes_them(desk: Desk, route: str) -> None:
    assert desk("POST", route).code == "not-authenticated"
    assert desk("POST", route, token=desk.person("viewer")).code == "refused"
    assert desk("POST", route, token=desk.joined()).code == "refused"
    assert desk("POST", route.replace("h1", "h9"), token=desk.person()).code == "not-found"


def test_a_revoked_host_reports_no_more_until_it_joins_anew(desk: Desk) -> None:
    credential = desk.joined()
    assert desk("POST", "/hosts/h1/revoke", token=desk.person()).json["status"] == "OK"
    assert desk.report(report(), credential).status == 401
    assert desk.report(report(), desk.joined()).status == 200


def test_a_report_that_was_on_its_way_when_its_host_was_revoked_counts_no_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, decode = desk.joined(), agents._report

    def slow(body: bytes) -> Any:
        (agent,) = (one for one in desk.manager.access.credentials() if one.kind == "agent")
        desk.manager.access.revoke(agent.credential_id)
        return decode(body)

    monkeypatch.setattr(agents, "_report", slow)
    assert desk.report(report(), token).status == 401
    assert desk.manager.host_reports()["h1"].reported_at == 0.0


def test_a_new_credential_ends_the_former_one_once_it_is_used(desk: Desk) -> None:
    former = desk.joined()
    desk.now += 1
    latter = desk("POST", "/agents/rotate", token=former).json["credential"]
    assert desk.report(report(), former).status == 200
    assert desk.report(report(number=2, full=False), latter).status == 200
    assert desk.report(report(number=3, full=False), former).status == 401
    assert desk.report(report(number=3, full=False), latter).status == 200


# --- reporting ----------------------------------------------------------------------------------


def test_what_a_report_lacks_is_told_by_a_code(desk: Desk) -> None:
    credential = desk.joined()
    assert desk.report(report(full=False), credential).code == "full-report-needed"
    assert desk.report(report(run=5), credential).status == 200
    assert desk.report(report(run=4), credential).code == "superseded"
    assert desk.report(report(protocol=PROTOCOL + 1), credential).code == "incompatible"
    assert desk.report(report(protocol=PROTOCOL + 1), credential).status == 426


def test_a_great_report_is_taken_in_a_thread_like_a_small_one(desk: Desk) -> None:
    images = [image(f"image-{number}") for number in range(5000)]
    sent = report(saw("space", VOLUME.key, space(VOLUME)), saw("images", VOLUME.key, *images))
    assert len(msgspec.msgpack.encode(sent)) > agents.AT_ONCE_BYTES
    assert desk.report(sent, desk.joined()).status == 200
    desk.runner.run(desk.manager.publish())
    assert len(desk.manager.truth().storages["s"].volumes["v"].images) == 5000


def test_a_report_needs_an_agents_credential(desk: Desk) -> None:
    assert desk.report(report(), "").code == "not-authenticated"
    assert desk.report(report(), desk.person()).code == "refused"
    token = desk("POST", "/hosts/h1/join", token=desk.person()).json["token"]
    assert desk.report(report(), token).code == "refused"


def bomb() -> bytes:
    """More zeros than a report may have bytes, in few KiB."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    zeros = bytes(1 << 20)
    pieces = (agents.REPORT_BYTES_MAX >> 20) + 1
    return b"".join([*(compressor.compress(zeros) for _ in range(pieces)), compressor.flush()])


HOSTILE = {
    "nothing": b"",
    "no zstd": b"report",
    "a frame that ends early": packed(report(saw("disks", "")))[:-5],
    "a decompression bomb": bomb(),
    "a frame that wants 2 GiB of memory": b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(16),
    "no MessagePack": zstandard.compress(b"\xc1"),
    "another object": packed({"hello": "world"}),
    "wrong types": packed({**msgspec.to_builtins(report()), "number": "one"}),
    "text that is no UTF-8": zstandard.compress(
        msgspec.msgpack.encode(report(version="xyzzy")).replace(b"xyzzy", b"\xff" * 5)
    ),
    "an age that is no number": packed(report(msgspec.structs.replace(saw("disks", ""), age_s=float("nan")))),
    "another host's id": packed(report(host_id="h2")),
    "another machine's id": packed(report(machine_id="machine-of-h2")),
    "a source that there is not": packed(report(msgspec.structs.replace(saw("disks", ""), source="shadow"))),
    "another host's volume": packed(report(saw("space", "t/w", space(FOREIGN)))),
    "an undeclared volume": packed(report(saw("space", "x/y"))),
    "a number of no report": packed(report(number=-1)),
    "changes of what is not known": packed(report(number=2, full=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_clearly_and_changes_nothing(desk: Desk, name: str) -> None:
    credential = desk.joined()
    before = desk.manager.views()
    answer = desk.report(HOSTILE[name], credential)
    assert 400 <= answer.status < 500
    assert answer.code in {"bad-request", "refused", "full-report-needed"}
    assert answer.json["message"].endswith((".", "h1"))
    assert desk.manager.views() is before
    assert desk.report(report(saw("disks", "")), credential).status == 200


def test_a_body_that_is_too_long_is_refused(desk: Desk) -> None:
    answer = desk.report(bytes(agents.BODY_BYTES_MAX + 1), desk.joined())
    assert answer.status == 413


def test_a_report_is_compressed_with_zstd(desk: Desk) -> None:
    answer = desk.report(msgspec.msgpack.encode(report()), desk.joined(), encoding="identity")
    assert answer.code == "bad-request"


# --- scopes -------------------------------------------------------------------------------------


def test_an_agent_asks_where_to_look_and_waits_for_news(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "HOLD_S", 0.01)
    credential = desk.joined()
    first = desk("GET", "/agents/scopes", token=credential)
    assert first.status == 200
    scopes = msgspec.json.decode(first.body, type=Scopes)
    assert {scope.key for _, scope in scopes.scopes} == {"", VOLUME.key}
    same = desk("GET", f"/agents/scopes?after={scopes.version}", token=credential)
    assert (same.status, same.body) == (204, b"")


def test_the_scopes_are_answered_when_they_change(desk: Desk) -> None:
    credential = desk.joined()
    version = desk("GET", "/agents/scopes", token=credential).json["version"]
    sent = packed(report(saw("space", VOLUME.key, space(VOLUME))))

    async def scenario() -> Scopes:
        waiting = asyncio.create_task(desk.asked("GET", f"/agents/scopes?after={version}", token=credential))
        await desk.asked("POST", "/agents/report", sent, [("content-encoding", "zstd")], credential)
        await desk.manager.publish()
        return msgspec.json.decode((await waiting).body, type=Scopes)

    assert "images" in {name for name, _ in desk.runner.run(scenario()).scopes}


@pytest.mark.parametrize(
    "last",
    [
        pytest.param({"type": "http.disconnect"}, id="the client leaves"),
        pytest.param({"type": "http.request", "body": b"", "more_body": False}, id="the server stops"),
    ],
)
def test_nobody_is_held_who_leaves_or_whom_the_server_lets_go(desk: Desk, last: Any) -> None:
    credential = desk.joined()
    version = desk("GET", "/agents/scopes", token=credential).json["version"]

    async def scenario() -> Answer:
        later: asyncio.Queue[Any] = asyncio.Queue()
        asked = desk.asked("GET", f"/agents/scopes?after={version}", token=credential, later=later)
        waiting = asyncio.create_task(asked)
        later.put_nowait(last)
        async with asyncio.timeout(10):
            return await waiting

    assert desk.runner.run(scenario()).status == 204


def test_scopes_are_for_agents_and_take_one_parameter(desk: Desk) -> None:
    assert desk("GET", "/agents/scopes").code == "not-authenticated"
    assert desk("GET", "/agents/scopes", token=desk.person()).code == "refused"
    assert desk("GET", "/agents/scopes?host=h2", token=desk.joined()).code == "bad-request"
