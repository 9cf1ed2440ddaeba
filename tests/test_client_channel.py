"""The client's channel: whom it speaks to, and when it sends its token."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from storekeeper.api.certificate import Channel, channel
from storekeeper.client import Client
from storekeeper.declaration import Declaration
from storekeeper.document import TokenWish
from storekeeper.errors import NotAuthenticated, NotKnown, Refused, UsageError
from tests.api.standin import StandIn, served

NOW = 1767323045.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    return channel(Declaration(host_id="h", image_storages={}), str(tmp_path_factory.mktemp("own")), NOW)


@pytest.fixture(scope="module")
def manager() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def far(manager: StandIn, own: Channel) -> Iterator[str]:
    with served(manager, own.context) as url:
        yield url


@pytest.fixture(scope="module")
def near(manager: StandIn) -> Iterator[str]:
    with served(manager) as url:
        yield url


def test_a_pinned_certificate_is_trusted_whatever_names_and_dates_it_has(
    far: str, own: Channel, manager: StandIn
) -> None:
    for fingerprint in (own.fingerprint, "sha256:" + own.fingerprint[7:].upper()):
        with Client(far, token=manager.viewer, fingerprint=fingerprint) as client:
            assert [row.image_storage_id for row in client.storages()] == ["internal"]


def test_without_a_pin_a_certificate_that_nobody_vouches_for_is_none(far: str, manager: StandIn) -> None:
    with Client(far, token=manager.viewer) as client, pytest.raises(NotKnown, match="certificate"):
        client.storages()


def test_nothing_is_sent_to_who_has_another_certificate(own: Channel) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hear() -> None:
            raw, _ = server.accept()
            with own.context.wrap_socket(raw, server_side=True) as connection:
                try:
                    heard.append(connection.recv(65536))
                except (ssl.SSLError, OSError):
                    heard.append(b"")

        thread = threading.Thread(target=hear)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        with (
            Client(url, token="secret", fingerprint="sha256:" + "0" * 64) as client,
            pytest.raises(Refused, match=own.fingerprint),
        ):
            client.storages()
        thread.join()
    assert heard == [b""]


def test_without_a_token_nothing_is_told_from_afar(far: str, own: Channel) -> None:
    with Client(far, fingerprint=own.fingerprint) as client, pytest.raises(NotAuthenticated):
        client.storages()


def test_a_token_is_sent_where_it_is_needed_on_loopback_too(near: str, manager: StandIn) -> None:
    with Client(near, token=manager.administrator) as client:
        made = client.make_token(TokenWish(role="viewer", name="a"))
        assert made.token_id in {row.token_id for row in client.tokens()}
        client.revoke_token(made.token_id)
        assert made.token_id not in {row.token_id for row in client.tokens()}


def test_a_token_of_another_manager_does_not_keep_anybody_from_reading_on_loopback(near: str) -> None:
    with Client(near, token="sk_of_another_manager") as client:
        assert client.storages()


def test_a_wish_for_a_token_is_not_repeated_on_a_connection_that_was_lost(near: str) -> None:
    with Client(near) as client:
        client.storages()
        before = client._connection.sock
        with pytest.raises(NotAuthenticated):
            client.make_token(TokenWish(role="viewer"))
        assert client._connection.sock is not before


@pytest.mark.parametrize("url", ["http://nas:8017", "http://10.0.0.1:8017", "ftp://127.0.0.1", "https://"])
def test_another_machine_is_asked_by_https_only(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url)


@pytest.mark.parametrize("fingerprint", ["x", "sha256:", "sha256:" + "0" * 63, "sha1:" + "0" * 64])
def test_what_is_no_fingerprint_is_said_before_anything_is_asked(fingerprint: str) -> None:
    with pytest.raises(UsageError, match="no fingerprint"):
        Client("https://nas:8017", fingerprint=fingerprint)
