"""The agent's requests: pinned, bounded in time, with the errors that the manager means."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from storekeeper.agent.channel import Channel, manager_url
from storekeeper.agent.joining import StateDirectory
from storekeeper.agent.reporting import join, rotate
from storekeeper.errors import (
    FullReportNeeded,
    Incompatible,
    NotAuthenticated,
    NotKnown,
    Refused,
    StorekeeperError,
    Superseded,
    UsageError,
)
from storekeeper.report import PROTOCOL, Report, Scopes
from storekeeper.sources.contract import Scope
from tests.agent.stand_in_manager import CREDENTIAL, JOIN_TOKEN, StandInManager, refusal

REPORT = Report(
    host_id="h", version="1", protocol=PROTOCOL, machine_id="m", boot_id="b", run=1, number=1, full=True,
    sent_at=0.0, changes=[],
)  # fmt: skip
Scenario = Callable[[StandInManager, Channel, str], Coroutine[None, None, None]]


def with_manager(scenario: Scenario) -> None:
    async def body() -> None:
        manager = StandInManager()
        async with manager.serving() as url:
            channel = Channel(url, lambda: CREDENTIAL)
            try:
                await scenario(manager, channel, url)
            finally:
                await channel.close()

    asyncio.run(body())


def test_a_report_arrives_with_the_credential_and_is_acknowledged() -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        answer = await channel.report(REPORT)
        assert (answer.run, answer.number) == (1, 1)
        assert manager.reports == [REPORT]
        assert manager.asked[0].headers["Authorization"] == f"Bearer {CREDENTIAL}"

    with_manager(scenario)


@pytest.mark.parametrize(
    "kind", [FullReportNeeded, Superseded, Incompatible, Refused, NotAuthenticated, NotKnown]
)
def test_a_refusal_is_the_error_that_the_manager_means(kind: type[StorekeeperError]) -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        manager.before.append(lambda: refusal(kind("so it is")))
        with pytest.raises(kind, match="so it is"):
            await channel.report(REPORT)

    with_manager(scenario)


@pytest.mark.parametrize("answer", [b"", b"<html>", b"{}", b"[" * 100_000])
def test_what_is_no_managers_answer_is_as_if_nobody_had_answered(answer: bytes) -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        manager.before += [lambda: web.Response(body=answer), lambda: web.Response(status=502, body=answer)]
        for _ in range(2):
            with pytest.raises(NotKnown):
                await channel.report(REPORT)

    with_manager(scenario)


def test_a_redirect_is_not_followed() -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        manager.before.append(lambda: web.Response(status=307, headers={"Location": f"{url}agents/report"}))
        with pytest.raises(StorekeeperError):
            await channel.report(REPORT)
        assert manager.reports == []

    with_manager(scenario)


def test_nobody_there_is_said_with_the_url() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        async def body() -> None:
            channel = Channel(url, lambda: CREDENTIAL)
            with pytest.raises(NotKnown, match=f"{url}: [^<>]*$"):
                await channel.report(REPORT)
            await channel.close()

        asyncio.run(body())


def test_scopes_come_as_soon_as_they_are_others() -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        asking = asyncio.create_task(channel.scopes(""))
        while not manager.asked:
            await asyncio.sleep(0)
        given = Scopes(version="1", scopes=[("mounts", Scope())], report_every_s=5.0)
        manager.rescope(given)
        assert await asking == given
        assert await channel.scopes("1") is None

    with_manager(scenario)


def test_a_host_joins_once_and_goes_on_with_the_same_token(tmp_path: Path) -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        state = StateDirectory(tmp_path)
        await join(url, "", JOIN_TOKEN, state)
        await join(url, "", JOIN_TOKEN, state)
        assert (state.membership().host_id, state.membership().credential) == ("h", CREDENTIAL)
        assert len(manager.machine_ids) == 1
        with pytest.raises(NotAuthenticated):
            await join(url, "", "sk_join_2_other", state)
        assert JOIN_TOKEN.encode() not in b"".join(place.read_bytes() for place in tmp_path.iterdir())

    with_manager(scenario)


def test_a_rotated_credential_is_used_from_the_next_request_on(tmp_path: Path) -> None:
    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        state = StateDirectory(tmp_path)
        await join(url, "", JOIN_TOKEN, state)
        running = Channel(url, lambda: state.membership().credential)
        await running.report(REPORT)
        await rotate(url, "", state)
        await running.report(REPORT)
        await running.close()
        assert manager.asked[-1].headers["Authorization"] == "Bearer sk_agent_2_other"

    with_manager(scenario)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """Self-signed, and of another name; and its fingerprint."""
    place = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "1", "-subj", "/CN=elsewhere", "-keyout", place / "key", "-out", place / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "certificate", place / "key")
    der = ssl.PEM_cert_to_DER_cert((place / "certificate").read_text())
    return context, f"sha256:{hashlib.sha256(der).hexdigest()}"


def over_tls(certificate: ssl.SSLContext, fingerprint: str) -> StandInManager:
    manager = StandInManager()

    async def body() -> None:
        async with manager.serving(certificate) as url:
            channel = Channel(url, lambda: CREDENTIAL, fingerprint)
            try:
                await channel.report(REPORT)
            finally:
                await channel.close()

    asyncio.run(body())
    return manager


def test_a_certificate_that_nobody_signed_is_known_by_its_fingerprint(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    assert over_tls(*certificate).reports == [REPORT]


def test_another_certificate_gets_no_request(certificate: tuple[ssl.SSLContext, str]) -> None:
    with pytest.raises(Refused, match=certificate[1]):
        over_tls(certificate[0], "sha256:" + "0" * 64)


def test_a_certificate_that_nobody_signed_is_not_taken_without_a_fingerprint(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    with pytest.raises(NotKnown, match="self-signed"):
        over_tls(certificate[0], "")


@pytest.mark.parametrize(
    "url", ["", "manager", "ftp://m", "https://m/path", "https://m?x", "http://[", "http://m:x"]
)
def test_what_is_no_url_of_a_manager_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="write https"):
        manager_url(url)


@pytest.mark.parametrize("url", ["http://192.0.2.1:8017", "http://manager:8017", "http://127.0.0.1.example"])
def test_a_credential_does_not_leave_the_machine_in_clear(url: str) -> None:
    with pytest.raises(UsageError, match="in clear"):
        manager_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8017", "http://[::1]:8017", "http://localhost:8017/"])
def test_on_the_machine_itself_plain_http_will_do(url: str) -> None:
    assert str(manager_url(url)).startswith("http://")


@pytest.mark.parametrize("fingerprint", ["sha256:", "sha256:12", "md5:00", "zz" * 32])
def test_what_is_no_fingerprint_is_refused(fingerprint: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal"):
        Channel("https://manager:8017", lambda: "", fingerprint)


def test_a_report_is_compressed() -> None:
    many = msgspec.structs.replace(REPORT, boot_id="b" * 100_000)

    async def scenario(manager: StandInManager, channel: Channel, url: str) -> None:
        await channel.report(many)
        assert int(manager.asked[0].headers["Content-Length"]) < 1000

    with_manager(scenario)
