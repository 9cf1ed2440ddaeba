"""`storekeeper host`: the line that it prints makes the machine that runs it the host."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from typing import Any, cast

import pytest

from storekeeper.agent.channel import Channel
from storekeeper.cli import run
from storekeeper.database import open_store
from storekeeper.declaration import Declaration
from storekeeper.errors import EXIT_FINE, EXIT_NO_SUCH_OBJECT, EXIT_REFUSED, NotAuthenticated
from storekeeper.manager.manager import Manager
from storekeeper.report import Acknowledged, Scopes
from tests.api.standin import served
from tests.manager.agents import report, saw

MACHINE = "machine-of-h7"


@pytest.fixture
def manager() -> Iterator[Manager]:
    """A manager of nothing, which the command line asks as an administrator."""
    made = Manager(
        Declaration(host_id="manager", image_storages={}),
        open_store("sqlite://"),
        lambda *_: None,
        lambda: True,
    )
    asyncio.run(made.publish())
    yield made
    asyncio.run(made.close())


@pytest.fixture
def url(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with served(cast(Any, manager)) as made:
        monkeypatch.setenv("STOREKEEPER_MANAGER", made)
        monkeypatch.setenv("STOREKEEPER_TOKEN", manager.access.make("person", role="administrator")[1])
        yield made


def option(line: str, name: str) -> str:
    words = shlex.split(line)
    return words[words.index(name) + 1]


async def joined(line: str) -> str:
    """The credential that a machine gets which runs this line."""
    channel = Channel(option(line, "--manager"), lambda: option(line, "--join"))
    try:
        return (await channel.join(MACHINE)).credential
    finally:
        await channel.close()


async def works(url: str, credential: str) -> tuple[Acknowledged, Scopes | None]:
    channel = Channel(url, lambda: credential)
    try:
        told = await channel.report(report(saw("disks", ""), host_id="h7"))
        return told, await channel.scopes("")
    finally:
        await channel.close()


def test_a_host_is_declared_joins_by_the_printed_line_and_is_revoked(
    url: str, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["host", "add", "h7", "--description", "the seventh"]) == EXIT_FINE
    printed = capsys.readouterr()
    assert printed.out.startswith(f"storekeeper agent --manager {url} --join sk_join_")
    assert printed.out.count("\n") == 1
    assert "Run this on h7 before 20" in printed.err
    assert "this machine alone" in printed.err
    assert manager.declaration.hosts["h7"].description == "the seventh"

    credential = asyncio.run(joined(printed.out))
    told, scopes = asyncio.run(works(url, credential))
    assert told.number == 1
    assert scopes is not None
    assert told.scopes == scopes.version
    with pytest.raises(NotAuthenticated):
        asyncio.run(joined(printed.out))

    assert run(["host", "revoke", "h7"]) == EXIT_FINE
    with pytest.raises(NotAuthenticated):
        asyncio.run(works(url, credential))


def test_a_host_that_is_declared_already_gets_another_line(
    url: str, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.fingerprint = "sha256:" + "ab" * 32
    lines = []
    for _ in range(2):
        assert run(["host", "add", "h7"]) == EXIT_FINE
        lines.append(capsys.readouterr().out)
    assert option(lines[0], "--join") != option(lines[1], "--join")
    assert option(lines[0], "--fingerprint") == manager.fingerprint


def test_without_an_administrators_token_no_host_joins(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOREKEEPER_TOKEN", "")
    assert run(["host", "add", "h7"]) == EXIT_REFUSED
    assert "token" in capsys.readouterr().err


def test_who_is_no_host_is_not_revoked(url: str) -> None:
    assert run(["host", "revoke", "h9"]) == EXIT_NO_SUCH_OBJECT
