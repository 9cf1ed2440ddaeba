"""The real server on loopback: what no client should send, and what it answers to that."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from storekeeper.api.certificate import channel
from storekeeper.api.server import HEAD_LIMIT_BYTES, SHUTDOWN_S, Connection, Server, is_loopback, listening
from storekeeper.declaration import Declaration
from storekeeper.errors import DeclarationError, Refused
from tests.api.standin import StandIn, served

GOOD = b"GET /imagestorages HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with served(StandIn()) as url:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        yield parts.hostname, parts.port


def answers(address: tuple[str, int], request: bytes, count: int = 1) -> list[tuple[int, bytes]]:
    """What comes back on one connection for these bytes; whatever is unread may be cut off."""
    got = []
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        stream = connection.makefile("rb")
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = dict(line.split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
            got.append((status, stream.read(int(headers[b"content-length"]))))
        stream.close()
    return got


def assert_error(answer: tuple[int, bytes], status: int, code: str) -> None:
    assert answer[0] == status
    body = msgspec.json.decode(answer[1])
    assert (set(body), body["status"], body["code"]) == ({"status", "message", "code"}, "Error", code)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /imagestorages HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_message(address: tuple[str, int], request_bytes: bytes) -> None:
    assert_error(answers(address, request_bytes)[0], 400, "bad-request")


def test_a_question_about_the_server_as_a_whole_is_answered_in_shape(address: tuple[str, int]) -> None:
    assert_error(
        answers(address, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")[0], 401, "not-authenticated"
    )


def test_the_server_answers_others_after_all_that(address: tuple[str, int]) -> None:
    assert answers(address, GOOD)[0][0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * HEAD_LIMIT_BYTES,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * HEAD_LIMIT_BYTES,
        b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaaaaaaaa\r\n" * (HEAD_LIMIT_BYTES // 16) + b"\r\n",
        b"GET /" + b"a" * HEAD_LIMIT_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["endless path", "endless header", "many headers", "long path"],
)
def test_a_head_that_is_too_long_is_refused_before_it_ends(address: tuple[str, int], head: bytes) -> None:
    assert_error(answers(address, head)[0], 431, "too-large")


def test_the_longest_image_id_there_can_be_still_fits(address: tuple[str, int]) -> None:
    name = b"%25FF" * 4095
    request = (
        b"GET /imagestorages/internal/volumes/home_flexvdi/images/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert_error(answers(address, request % name)[0], 404, "not-found")


def test_each_request_of_a_connection_has_a_head_of_its_own(address: tuple[str, int]) -> None:
    half = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"a" * (HEAD_LIMIT_BYTES // 2))
    assert [status for status, _ in answers(address, half * 4, 4)] == [200] * 4


def test_pipelined_requests_are_answered_in_their_order(address: tuple[str, int]) -> None:
    unknown = b"GET /imagestorages/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    info = b"GET /managerinfo HTTP/1.1\r\nHost: localhost\r\n\r\n"
    got = answers(address, GOOD + unknown + info + GOOD, 4)
    assert [status for status, _ in got] == [200, 404, 200, 200]
    assert got[0] == got[3]


def test_http_1_0_is_answered_and_closed(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /imagestorages/internal HTTP/1.0\r\n\r\n")
        whole = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head
    assert msgspec.json.decode(body)["hosts"] == ["flexdev01"]


@pytest.mark.parametrize("length", [10, 300_000])
def test_a_body_that_nobody_asked_for_does_not_disturb_the_next_request(
    address: tuple[str, int], length: int
) -> None:
    head = b"GET /managerinfo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
    got = answers(address, head + b"x" * length + GOOD, 2)
    assert [status for status, _ in got] == [200, 200]


def test_a_body_of_a_refused_method_does_not_disturb_the_next_request(address: tuple[str, int]) -> None:
    head = b"POST /imagestorages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    got = answers(address, head + b"x" * 100_000 + GOOD, 2)
    assert [status for status, _ in got] == [401, 200]


def test_a_wish_for_a_web_socket_is_answered_as_any_request(address: tuple[str, int]) -> None:
    request = (
        b"GET /imagestorages HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert answers(address, request)[0][0] == 200


def test_a_head_request_keeps_the_connection(address: tuple[str, int]) -> None:
    connection = HTTPConnection(*address, timeout=10)
    for path, status in (("/imagestorages/internal", 200), ("/imagestorages/x", 404), ("/healthz", 200)):
        connection.request("HEAD", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
    connection.close()


def test_answers_do_not_name_the_server_software(address: tuple[str, int]) -> None:
    connection = HTTPConnection(*address, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().getheader("server") is None
    connection.close()


# --- where it listens ---------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.3.2.1:0", "localhost:0", "[::1]:0"])
def test_it_listens_on_loopback(listen: str) -> None:
    if "::1" in listen and not os.path.exists("/proc/net/if_inet6"):
        listen = "127.0.0.1:0"
    with listening(listen) as bound:
        assert bound.getsockname()[1] > 0


@pytest.mark.parametrize(("listen", "on_loopback"), [("127.3.2.1:0", True), ("0.0.0.0:0", False)])
def test_it_knows_whether_only_this_machine_reaches_it(listen: str, on_loopback: bool) -> None:
    with listening(listen) as bound:
        assert is_loopback(bound) == on_loopback


def test_an_address_of_another_host_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match=r"Cannot listen on 192\.0\.2\.1:8017: Cannot assign"):
        listening("192.0.2.1:8017")


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "8017",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "nas:8017",
        "::1",
    ],
)
def test_what_is_no_address_and_port_is_an_error_of_the_declaration(listen: str) -> None:
    with pytest.raises(DeclarationError, match=r"manager\.listen: .* write 127\.0\.0\.1:8017"):
        listening(listen)


def test_a_port_that_is_taken_is_refused_with_the_reason() -> None:
    with (
        listening("127.0.0.1:0") as taken,
        pytest.raises(Refused, match="Address already in use"),
    ):
        listening(f"127.0.0.1:{taken.getsockname()[1]}")


# --- what a client may hold ---------------------------------------------------------------------


class Hasty(Connection):
    HEAD_S = 0.2
    CONNECTIONS_MAX = 3


@pytest.fixture(scope="module")
def hasty() -> Iterator[tuple[str, int]]:
    with served(StandIn(), connection=Hasty) as url:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        yield parts.hostname, parts.port


def ends(connection: socket.socket) -> bool:
    """Waits for the other side to end the connection; TimeoutError when it does not."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /hea",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        GOOD + b"GET /healthz HTTP/1.1\r\nHost: loc",
        b"POST /tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["nothing", "half a line", "half a head", "half a head after a whole one", "half a body"],
)
def test_a_request_that_does_not_end_is_not_waited_for(hasty: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(hasty, timeout=20) as connection:
        connection.sendall(sent)
        assert ends(connection)


def test_a_head_that_drips_is_not_waited_for(hasty: tuple[str, int]) -> None:
    with socket.create_connection(hasty, timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.05)
        for _ in range(400):
            try:
                connection.sendall(b"X: y\r\n")
                if not connection.recv(100):
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("It is still waited for.")


def test_an_idle_connection_is_kept_for_the_next_request(hasty: tuple[str, int]) -> None:
    with (
        socket.create_connection(hasty, timeout=20) as idle,
        socket.create_connection(hasty, timeout=20) as slow,
    ):
        idle.sendall(GOOD)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        assert ends(slow)
        idle.sendall(GOOD)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")


def test_more_connections_than_there_may_be_are_refused_in_shape(hasty: tuple[str, int]) -> None:
    held = [socket.create_connection(hasty, timeout=20) for _ in range(3)]
    try:
        for each in held:
            each.sendall(GOOD)
            assert each.recv(65536).startswith(b"HTTP/1.1 200")
        with socket.create_connection(hasty, timeout=20) as further:
            assert further.recv(65536).startswith(b"HTTP/1.1 503")
            assert ends(further)
    finally:
        for each in held:
            each.close()


def test_a_tls_handshake_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "HANDSHAKE_S", 0.2)
    tls = channel(Declaration(host_id="h", image_storages={}), str(tmp_path), 1767323045.0).context
    with served(StandIn(), tls) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            assert ends(connection)


def test_what_is_sent_in_the_clear_is_not_answered_where_tls_is_spoken(tmp_path: Path) -> None:
    tls = channel(Declaration(host_id="h", image_storages={}), str(tmp_path), 1767323045.0).context
    with served(StandIn(), tls) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(GOOD)
            assert b"HTTP" not in connection.recv(65536)


# --- how it ends --------------------------------------------------------------------------------

PROGRAM = """
import asyncio
from storekeeper.api import create_app
from storekeeper.api.server import answer, listening
from tests.api.standin import StandIn
async def main():
    try:
        await answer(create_app(StandIn()), listening("127.0.0.1:0"), lambda url: print(url, flush=True))
    finally:
        print("cleaned up", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_ends_it_after_what_comes_next_was_cleaned_up(number: int, ends: int) -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as program:
        assert program.stdout is not None
        url = urlsplit(program.stdout.readline().strip())
        assert url.hostname
        assert url.port
        assert answers((url.hostname, url.port), GOOD)[0][0] == 200
        program.send_signal(number)
        out, _ = program.communicate(timeout=20)
    assert program.returncode == ends
    assert out == "cleaned up\n"


def test_who_begins_to_wait_when_the_server_stops_already_is_let_go_too() -> None:
    asked, stopped = threading.Event(), threading.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        asked.set()
        await asyncio.to_thread(stopped.wait)
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    bound = listening("127.0.0.1:0")
    server = Server(waits, None)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])))
    thread.start()
    with socket.create_connection(bound.getsockname(), timeout=20) as connection:
        connection.sendall(GOOD)
        assert asked.wait(20)
        server.should_exit = True
        while server.servers[0].is_serving():
            time.sleep(0.01)
        began = time.monotonic()
        stopped.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 204")
        assert time.monotonic() - began < SHUTDOWN_S
    thread.join()
    bound.close()
