"""Declaring through the API: who may, what is answered, and that it holds at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import pytest

from storekeeper.api import create_app
from storekeeper.api.declaring import BODY_BYTES_MAX
from storekeeper.database import Store, open_store
from storekeeper.declaration import Declaration
from storekeeper.declaration_toml import load
from storekeeper.manager.manager import Manager

FILE = load(
    "[image_storages.filed]\nhosts = ['h1']\nexternal_volumes.home.mount_point = '/home/images'\n[hosts.h9]",
    "h1",
)
TABLE = {"hosts": ["h1", "h2"], "external_volumes": {"nas": {"mount_point": "/nas"}}}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    json: Any

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Asker:
    """A manager with its store in memory, and requests to it with the tokens of several."""

    def __init__(self, file: Declaration = FILE, store: Store | None = None) -> None:
        self.store = store or open_store("sqlite://")
        self.runner = asyncio.Runner()
        self.manager = self.runner.run(self._manager(file))
        self.app = create_app(self.manager)
        make = self.manager.access.make
        self._tokens = {
            "administrator": make("person", role="administrator")[1],
            "viewer": make("person")[1],
            "agent": make("agent", host_id="h1")[1],
        }

    async def _manager(self, file: Declaration) -> Manager:
        return Manager(file, self.store, lambda *_: None, lambda: True)

    def __call__(
        self,
        method: str,
        target: str,
        body: object = None,
        *headers: tuple[str, str],
        who: str = "administrator",
    ) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return self.runner.run(self._asked(method, target, raw, headers, who))

    async def _asked(
        self, method: str, target: str, body: bytes, headers: tuple[tuple[str, str], ...], who: str
    ) -> Answer:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        raw_path, _, query = target.encode().partition(b"?")
        all_headers = [("host", "127.0.0.1"), ("content-length", str(len(body))), *headers]
        if who != "nobody":
            all_headers.append(("authorization", f"Bearer {self._tokens[who]}"))
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": unquote(raw_path.decode()), "raw_path": raw_path,
            "query_string": query, "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            "headers": [(name.encode(), value.encode()) for name, value in all_headers], "state": {},
        }  # fmt: skip
        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], found, msgspec.json.decode(text))

    def close(self) -> None:
        self.runner.run(self.manager.close())
        self.runner.close()


@pytest.fixture
def ask() -> Iterator[Asker]:
    asker = Asker()
    yield asker
    asker.close()


CHANGES = [
    ("PUT", "/declaration"),
    ("POST", "/imagestorages"),
    ("PUT", "/imagestorages/s"),
    ("DELETE", "/imagestorages/s"),
    ("POST", "/imagestorages/s/volumes"),
    ("POST", "/imagestorages/s/external_volumes"),
    ("POST", "/imagestorages/s/gluster_volumes"),
    ("PUT", "/imagestorages/s/external_volumes/nas"),
    ("DELETE", "/imagestorages/s/external_volumes/nas"),
    ("POST", "/hosts"),
    ("PUT", "/hosts/h1"),
    ("DELETE", "/hosts/h1"),
]


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("viewer", 403), ("agent", 403)])
def test_only_an_administrator_declares(ask: Asker, who: str, status: int) -> None:
    ask("POST", "/imagestorages", {"image_storage_id": "s", **TABLE})
    before = ask.store.declared()
    assert {ask(method, path, {}, who=who).status for method, path in CHANGES} == {status}
    assert ask.store.declared() == before


def test_whoever_may_read_sees_what_is_declared(ask: Asker) -> None:
    assert ask("GET", "/declaration", who="nobody").status == 200


def test_a_declared_storage_is_served_at_once_and_still_after_a_restart(ask: Asker) -> None:
    answer = ask("POST", "/imagestorages", {"image_storage_id": "s", **TABLE})
    assert (answer.status, answer.json) == (201, {"status": "OK", "message": "s"})
    assert answer.headers["location"] == "/imagestorages/s"
    assert ask.manager.storages() == ("filed", "s")
    again = Asker(store=ask.store)
    assert set(again.manager.declaration.image_storages) == {"filed", "s"}
    again.runner.close()


def test_a_storage_its_volumes_and_hosts_are_declared_changed_and_removed(ask: Asker) -> None:
    ask("POST", "/imagestorages", {"image_storage_id": "s", "hosts": ["h1"]})
    made = [
        ask("POST", "/imagestorages/s/volumes", {"volume_id": "ssd", "primary_disk_id": "35"}),
        ask("POST", "/imagestorages/s/external_volumes", {"volume_id": "nas", "mount_point": "/nas"}),
        ask("POST", "/imagestorages/s/gluster_volumes", {"volume_id": "g", "gvolume_name": "g"}),
        ask("POST", "/hosts", {"host_id": "h3", "description": "the third"}),
    ]
    assert [(one.status, one.headers["location"]) for one in made] == [
        (201, "/imagestorages/s/volumes/ssd"),
        (201, "/imagestorages/s/external_volumes/nas"),
        (201, "/imagestorages/s/gluster_volumes/g"),
        (201, "/hosts/h3"),
    ]
    changed = [
        ask("PUT", "/imagestorages/s", {"hosts": ["h1", "h3"]}),
        ask("PUT", "/imagestorages/s/external_volumes/nas", {"mount_point": "/nas2"}),
        ask("PUT", "/hosts/h3", {}),
        ask("DELETE", "/imagestorages/s/volumes/ssd"),
    ]
    assert [(one.status, one.message) for one in changed] == [
        (200, "s"),
        (200, "nas"),
        (200, "h3"),
        (200, "ssd"),
    ]
    assert ask("GET", "/declaration").json["declared"] == {
        "image_storages": {
            "s": {
                "hosts": ["h1", "h3"],
                "external_volumes": {"nas": {"mount_point": "/nas2"}},
                "gluster_volumes": {"g": {"gvolume_name": "g", "mount_point": "/storekeeper/g"}},
            }
        },
        "hosts": {"h3": {}},
    }
    assert ask("DELETE", "/hosts/h3").status == 409
    assert ask("DELETE", "/imagestorages/s").status == 200
    assert ask("DELETE", "/hosts/h3").status == 200
    assert ask("GET", "/declaration").json["declared"] == {"image_storages": {}, "hosts": {}}


def test_what_contradicts_the_managers_file_or_a_link_is_a_conflict(ask: Asker) -> None:
    for method, path, body in (
        ("POST", "/imagestorages", {"image_storage_id": "filed", **TABLE}),
        ("PUT", "/imagestorages/filed", TABLE),
        ("DELETE", "/imagestorages/filed", None),
        ("POST", "/hosts", {"host_id": "h9"}),
        ("DELETE", "/hosts/h9", None),
        ("DELETE", "/hosts/h1", None),
        ("PUT", "/declaration", {"image_storages": {"filed": TABLE}}),
    ):
        answer = ask(method, path, body)
        assert (answer.status, answer.json["code"]) == (409, "conflict"), (method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/imagestorages/none"),
        ("DELETE", "/imagestorages/none"),
        ("DELETE", "/imagestorages/none/volumes/v"),
        ("PUT", "/hosts/none"),
        ("POST", "/imagestorages/none/volume"),
        ("POST", "/imagestorages/none/volumes"),
    ],
)
def test_what_is_not_there_is_not_found(ask: Asker, method: str, path: str) -> None:
    assert ask(method, path, {"volume_id": "v"}).status == 404


def test_everything_wrong_is_told_at_once_by_its_dotted_key(ask: Asker) -> None:
    body = {"image_storage_id": "t", "hosts": [], "external_volumes": {"v": {"mountpoint": "/x"}}}
    answer = ask("POST", "/imagestorages", body)
    assert (answer.status, answer.json["code"]) == (422, "bad-declaration")
    assert [line.split(": ")[0] for line in answer.message.splitlines()] == [
        "image_storages.t.hosts",
        "image_storages.t.external_volumes.v.mountpoint",
        "image_storages.t.external_volumes.v.mount_point",
    ]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/imagestorages", "image_storages.image_storage_id"),
        ("/imagestorages/s/volumes", "image_storages.s.volumes.volume_id"),
        ("/hosts", "hosts.host_id"),
    ],
)
def test_an_id_that_is_missing_is_told(ask: Asker, path: str, key: str) -> None:
    answer = ask("POST", path, {})
    assert answer.status == 422
    assert answer.message.startswith(f"{key}: is missing;")


@pytest.mark.parametrize(("method", "path"), [("POST", "/imagestorages"), ("PUT", "/declaration")])
def test_a_body_that_is_no_object_is_a_bad_request(ask: Asker, method: str, path: str) -> None:
    for body in (b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000):
        answer = ask(method, path, body)
        assert (answer.status, answer.json["code"]) == (400, "bad-request"), body[:5]


def test_all_is_replaced_at_once_and_only_if_it_is_still_what_was_seen(ask: Asker) -> None:
    etag = ask("GET", "/declaration").headers["etag"]
    tables = {"image_storages": {"s": TABLE}, "hosts": {"h3": {}}}
    assert ask("PUT", "/declaration", tables, ("if-match", etag)).status == 200
    assert ask.manager.storages() == ("filed", "s")
    answer = ask("PUT", "/declaration", {}, ("if-match", etag))
    assert answer.status == 409
    assert "meanwhile" in answer.message
    assert ask.manager.storages() == ("filed", "s")
    assert ask("PUT", "/declaration", {}).status == 200
    assert ask.manager.storages() == ("filed",)


def test_what_the_managers_file_declares_is_told_apart(ask: Asker) -> None:
    assert ask("GET", "/declaration").json["file"] == {
        "image_storages": {
            "filed": {"hosts": ["h1"], "external_volumes": {"home": {"mount_point": "/home/images"}}}
        },
        "hosts": {"h9": {}},
    }


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/hosts/h3"), ("PUT", "/declaration")])
def test_the_agent_of_a_removed_host_is_shut_out_and_no_other(ask: Asker, method: str, path: str) -> None:
    ask("POST", "/hosts", {"host_id": "h3"})
    ask.manager.access.make("agent", host_id="h3")
    assert ask(method, path, {}).status == 200
    assert [one.host_id for one in ask.manager.access.credentials() if one.kind == "agent"] == ["h1"]


def test_parameters_that_no_route_takes_are_refused(ask: Asker) -> None:
    ask("POST", "/imagestorages", {"image_storage_id": "s", **TABLE})
    before = ask.store.declared()
    body = {"image_storage_id": "t", "volume_id": "v", "host_id": "h3", **TABLE}
    routes = [*CHANGES, ("GET", "/declaration")]
    assert {ask(method, f"{path}?force=true", body).status for method, path in routes} == {400}
    assert ask.store.declared() == before


def test_a_large_declaration_is_taken_and_one_beyond_any_is_not_read(ask: Asker) -> None:
    hosts = {f"h{number}": {"description": "x" * 100} for number in range(1000, 2000)}
    assert ask("PUT", "/declaration", {"hosts": hosts}).status == 200
    assert ask("GET", "/declaration").json["declared"]["hosts"] == hosts
    assert ask("PUT", "/declaration", b" " * (BODY_BYTES_MAX + 1)).status == 413
