"""Whoever follows a document hears every change of it once, and costs the manager next to nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import pytest

from storekeeper.api import create_app, events
from storekeeper.document_changes import DocumentChange
from storekeeper.manager.events import Change, Step, event
from tests.api.standin import StandIn, ask, served

TARGET = "/imagestorages/internal/events"
JOIN_S = 10


class Stream:
    """A client, as plain as can be: gives one event after the other as (event, id, data)."""

    def __init__(self, url: str, target: str = TARGET, **headers: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.connection = HTTPConnection(parts.hostname, parts.port, timeout=JOIN_S)
        self.connection.request("GET", target, headers=headers)
        self.answer = self.connection.getresponse()

    def blocks(self) -> Iterator[str]:
        block = ""
        for line in self.answer:
            block += line.decode()
            if block.endswith("\n\n"):
                yield block
                block = ""

    def event(self) -> tuple[str, str, Any]:
        for block in self.blocks():
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
            if "event" in fields:
                return fields["event"], fields.get("id", ""), msgspec.json.decode(fields["data"])
        return "end", "", None

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def manager() -> StandIn:
    return StandIn()


@pytest.fixture
def url(manager: StandIn) -> Iterator[str]:
    with served(manager) as url:
        yield url


def etag_of(manager: StandIn) -> str:
    published = manager.published("internal")
    assert published is not None
    return published.etag


def publish(manager: StandIn, *etags: str, size: int = 0) -> None:
    """As the manager's own publishing does, on its event loop."""
    for etag in etags:
        data = msgspec.json.encode(DocumentChange(hosts=[etag, "x" * size]))
        manager.call(manager.events.add, {"internal": Step(etag, Change(etag, event("change", etag, data)))})


def test_without_an_id_it_begins_with_the_etag_of_the_document(manager: StandIn, url: str) -> None:
    with Stream(url) as stream:
        assert stream.event() == ("reset", etag_of(manager), {"etag": etag_of(manager)})
        publish(manager, "e1", "e2")
        assert [stream.event()[:2] for _ in "ab"] == [("change", "e1"), ("change", "e2")]


def test_its_headers_keep_caches_and_proxies_from_holding_it_back(url: str) -> None:
    with Stream(url) as stream:
        headers = {name.lower(): value for name, value in stream.answer.getheaders()}
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert next(stream.blocks()) == "retry: 2000\n\n"


@pytest.mark.parametrize("written", ["{}", '"{}"', '"{}-gzip"', 'W/"{}-zstd"'])
def test_it_goes_on_from_the_etag_that_a_document_was_answered_with(
    manager: StandIn, url: str, written: str
) -> None:
    publish(manager, "e1", "e2")
    with Stream(url, **{"Last-Event-ID": written.format("e1")}) as stream:
        assert stream.event() == ("change", "e2", {"hosts": ["e2", ""]})


def test_the_id_may_be_a_parameter(manager: StandIn, url: str) -> None:
    before = etag_of(manager)
    publish(manager, "e1")
    with Stream(url, f"{TARGET}?after={before}") as stream:
        assert stream.event()[:2] == ("change", "e1")


def test_an_unknown_id_is_a_reset_to_the_document_there_is(manager: StandIn, url: str) -> None:
    publish(manager, "e1")
    with Stream(url, **{"Last-Event-ID": "0" * 32}) as stream:
        assert stream.event() == ("reset", "e1", {"etag": "e1"})


def test_the_stream_ends_when_the_storage_is_gone(manager: StandIn, url: str) -> None:
    with Stream(url) as stream:
        stream.event()
        manager.call(manager.events.add, {})
        assert stream.event() == ("gone", "", {})
        assert stream.event()[0] == "end"


def test_a_quiet_stream_has_a_comment_now_and_then(
    manager: StandIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "COMMENT_EVERY_S", 0.01)
    with Stream(url) as stream:
        assert any(block == ":\n\n" for block in stream.blocks())


def test_a_stream_ends_when_its_token_is_revoked_before_any_further_change(
    manager: StandIn, url: str
) -> None:
    made, token = manager.access.make("person")
    with Stream(url, Authorization=f"Bearer {token}") as stream:
        assert stream.event()[0] == "reset"
        manager.call(manager.access.revoke, made.credential_id)
        publish(manager, "e1")
        assert stream.event()[0] == "end"


def test_a_quiet_stream_ends_soon_after_its_token(
    manager: StandIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "COMMENT_EVERY_S", 0.01)
    made, token = manager.access.make("person")
    with Stream(url) as free, Stream(url, Authorization=f"Bearer {token}") as stream:
        assert stream.event()[0] == "reset"
        manager.call(manager.access.revoke, made.credential_id)
        assert stream.event()[0] == "end"
        publish(manager, "e1")
        assert [free.event()[0] for _ in "ab"] == ["reset", "change"]


def test_after_long_enough_the_stream_ends_and_the_client_comes_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LONGEST_S", 0.05)
    with Stream(url) as stream:
        assert stream.event()[0] == "reset"
        assert stream.event()[0] == "end"


def test_a_stopping_server_ends_every_stream_at_once() -> None:
    manager = StandIn()
    with served(manager) as url:
        stream = Stream(url)
        stream.event()
        began = monotonic()
    assert monotonic() - began < 3
    with stream:
        assert stream.event()[0] == "end"


def test_who_leaves_is_forgotten(manager: StandIn, url: str) -> None:
    with Stream(url) as stream:
        stream.event()
        feed = manager.events.feed("internal")
        assert feed is not None
        assert feed.followers == 1
    until(lambda: feed.followers == 0)


def test_a_client_that_does_not_read_is_cut_off(
    manager: StandIn, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "SLOWEST_S", 0.2)
    parts = urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((parts.hostname, parts.port))
        connection.sendall(f"GET {TARGET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.recv(1)
        feed = manager.events.feed("internal")
        assert feed is not None

        def one_more() -> bool:
            publish(manager, "e", size=500_000)
            return feed.followers == 0

        until(one_more)
        read_on(connection)
    assert not caplog.records


def test_what_left_the_ring_is_a_reset_for_who_is_too_slow(manager: StandIn, url: str) -> None:
    before = etag_of(manager)
    publish(manager, *(f"e{number}" for number in range(6)), size=300_000)
    with Stream(url, **{"Last-Event-ID": before}) as late:
        assert late.event()[:2] == ("reset", "e5")
    with Stream(url, **{"Last-Event-ID": "e3"}) as in_time:
        assert [in_time.event()[:2] for _ in "ab"] == [("change", "e4"), ("change", "e5")]


def test_what_is_long_comes_in_pieces_between_which_others_have_their_turn(
    manager: StandIn, url: str
) -> None:
    before = etag_of(manager)
    publish(manager, "e1", "e2", size=200_000)
    with Stream(url, **{"Last-Event-ID": before}) as stream:
        for etag in ("e1", "e2"):
            assert stream.event() == ("change", etag, {"hosts": [etag, "x" * 200_000]})


def test_the_head_alone_ends_at_once() -> None:
    answer = ask(create_app(StandIn()), TARGET, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/imagestorages/internl/events", 404, "not-found"),
        (f"{TARGET}?since=e1", 400, "bad-request"),
        (f"{TARGET}?after=e1&after=e2", 400, "bad-request"),
    ],
)
def test_what_cannot_be_followed_is_an_error(target: str, status: int, code: str) -> None:
    answer = ask(create_app(StandIn()), target)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_nothing_can_be_followed_before_the_manager_has_looked() -> None:
    assert ask(create_app(StandIn(ready=False)), TARGET).status == 503


def read_on(connection: socket.socket) -> None:
    """Reads whatever still comes."""
    while connection.recv(1 << 16):
        pass


def until(true: Any) -> None:
    """Waits for a condition."""
    deadline = monotonic() + JOIN_S
    pause = threading.Event()
    while not true():
        assert monotonic() < deadline
        pause.wait(0.01)
