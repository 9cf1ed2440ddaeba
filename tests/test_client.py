"""The client against a real server: typed answers, pages followed, errors that are ours."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storekeeper import __version__
from storekeeper.client import Client
from storekeeper.errors import NotKnown, NotThere, Refused, StorekeeperError, UsageError
from tests.api.standin import DISKS, HOME, StandIn, image, served, storage


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with served(StandIn()) as url, Client(url) as made:
        yield made


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that answers a connection each with these bytes, whatever is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for body in answers:
                connection, _ = server.accept()
                connection.recv(65536)
                connection.sendall(body)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_each_route_has_a_method_that_gives_structs(client: Client) -> None:
    assert [row.image_storage_id for row in client.storages()] == ["internal"]
    assert client.storage("internal").external_volumes[0].mount_point == "/home/flexvdi"
    assert client.document("internal").startswith(b'{"hosts":')
    assert client.image("internal", "home_flexvdi", "team/a/50%25 off.raw").format == "raw"
    assert sorted(disk.device for disk in client.disks("internal")) == sorted(disk.device for disk in DISKS)
    assert client.manager_info().version.major == __version__.split(".")[0]


def test_images_come_page_after_page() -> None:
    names = [f"desktop_{number:05}" for number in range(2500)]
    many = StandIn({"internal": storage({name: image(name) for name in names})})
    with served(many) as url, Client(url) as client:
        assert [row.image_id for row in client.images("internal")] == names


def test_images_may_be_filtered(client: Client) -> None:
    assert [row.image_id for row in client.images("internal", {"format": ["raw"]})] == [
        "team/a/50%25 off.raw"
    ]
    wanted = {"image_id": ["corus", "test"], "kind": ["image"]}
    assert [row.image_id for row in client.images("internal", wanted)] == ["corus", "test"]


def test_no_name_leads_to_another_route(client: Client) -> None:
    for name in ("../healthz", "internal/images", "internal?x=y", "internal#", "%2e%2e", "a b", "\n"):
        with pytest.raises(StorekeeperError):
            client.storage(name)
    for name in HOME:
        assert client.image("internal", "home_flexvdi", name).image_id == name


def test_what_the_manager_answers_is_raised(client: Client) -> None:
    with pytest.raises(NotThere, match="Did you mean 'internal'"):
        client.storage("internl")
    with pytest.raises(UsageError, match="No parameter 'colour'"):
        list(client.images("internal", {"colour": ["red"]}))
    assert client.storages(), "the connection is of use after an error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Refused), (404, NotThere), (400, UsageError), (503, NotKnown), (500, StorekeeperError)],
)
def test_each_status_is_an_error_of_its_own(status: int, kind: type[StorekeeperError]) -> None:
    body = b'{"status":"Error","message":"Because.","code":"x"}'
    with answering(http(status, body)) as url, Client(url) as client, pytest.raises(kind, match="Because"):
        client.storages()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        http(200, b"<html>"),
        http(200, b'{"image_storage_id": 1}'),
        http(404, b"<html>Not Found</html>"),
        http(302, b""),
    ],
)
def test_what_is_no_manager_is_not_known(answer: bytes) -> None:
    with answering(answer) as url, Client(url) as client, pytest.raises(NotKnown):
        client.storages()


def test_a_connection_that_the_manager_closed_meanwhile_is_made_anew() -> None:
    with answering(http(200, b"[]"), http(200, b"[]")) as url, Client(url) as client:
        assert client.storages() == []
        assert client.storages() == []


def test_a_manager_that_closes_at_once_is_asked_once() -> None:
    with answering(b"") as url, Client(url) as client, pytest.raises(NotKnown):
        client.storages()


def test_a_manager_that_does_not_answer_in_time_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with Client(url, timeout_s=0.05) as client, pytest.raises(NotKnown, match="timed out"):
            client.storages()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8017", "http://", "http://h:x", "http://h:99999", "http://h/path"],
)
def test_what_is_no_url_of_a_manager_says_what_to_write(url: str) -> None:
    with pytest.raises(UsageError, match=r"write http://127\.0\.0\.1:8017"):
        Client(url)
