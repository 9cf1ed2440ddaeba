"""`storekeeper token`, and where the command line finds a token of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storekeeper.cli import run
from storekeeper.cli.options import token_found
from storekeeper.cli.token import seconds
from storekeeper.errors import UsageError
from tests.api.standin import StandIn, served


@pytest.fixture(scope="module")
def manager() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def url(manager: StandIn) -> Iterator[str]:
    with served(manager) as made:
        yield made


@pytest.fixture(autouse=True)
def asking(url: str, manager: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREKEEPER_MANAGER", url)
    monkeypatch.setenv("STOREKEEPER_TOKEN", manager.administrator)


def test_a_token_is_made_printed_listed_and_revoked(
    manager: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--role", "viewer", "--name", "wall", "--expires", "30d"]) == 0
    said = capsys.readouterr()
    token = said.out.strip()
    assert "this once" in said.err
    credential = manager.access.principal(token).credential
    assert credential is not None
    assert (credential.role, credential.name) == ("viewer", "wall")
    assert credential.expires_at - credential.created_at == 30 * 86400
    assert run(["token", "list", "-H"]) == 0
    listed = capsys.readouterr().out
    assert credential.credential_id in listed
    assert token not in listed
    assert run(["token", "revoke", credential.credential_id]) == 0
    assert run(["token", "revoke", credential.credential_id]) == 4


def test_a_viewer_makes_no_token(
    manager: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOREKEEPER_TOKEN", manager.viewer)
    assert run(["token", "create", "--role", "administrator"]) == 5
    assert "administrator" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1y", "1.5h", "٣d"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="such as 30d"):
        seconds(text)


def test_a_token_may_be_in_a_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STOREKEEPER_TOKEN")
    monkeypatch.setenv("STOREKEEPER_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(UsageError, match="STOREKEEPER_TOKEN_FILE"):
        token_found()
    (tmp_path / "token").write_text("sk_a\n")
    assert token_found() == "sk_a"


def test_what_a_manager_left_comes_before_a_persons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, own = tmp_path / "admin.token", tmp_path / "token"
    monkeypatch.delenv("STOREKEEPER_TOKEN")
    monkeypatch.delenv("STOREKEEPER_TOKEN_FILE", raising=False)
    monkeypatch.setattr("storekeeper.cli.options.TOKEN_FILES", (str(left), str(own)))
    assert token_found() == ""
    own.write_text("sk_own\n")
    assert token_found() == "sk_own"
    left.write_text("sk_left\n")
    assert token_found() == "sk_left"
