"""Credentials: what a token proves, when it ends, and that what may be used once is."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.credentials import NOBODY, Principal, parsed
from storekeeper.errors import NotAuthenticated, Refused
from storekeeper.manager.access import FIRST_TOKEN_FILE, REFRESH_S, Access, directory_of
from tests.manager.kept import Kept


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(kept: Kept, clock: Clock) -> Access:
    return Access(kept, clock)


def test_a_token_proves_whose_it_is(access: Access) -> None:
    credential, token = access.make("person", name="ana", role="viewer")
    assert access.principal(token) == Principal("person", credential)


def test_what_is_stored_does_not_hold_the_secret(access: Access, kept: Kept) -> None:
    credential, token = access.make("person")
    said = parsed(token)
    assert said is not None
    assert said.secret not in repr(kept.rows)
    assert credential.credential_id in kept.rows


def test_a_token_with_another_secret_proves_nothing(access: Access) -> None:
    token, other = (access.make("person")[1] for _ in range(2))
    mixed = token[: token.rindex("_", 0, 30) + 1] + other[token.rindex("_", 0, 30) + 1 :]
    assert parsed(mixed)
    with pytest.raises(NotAuthenticated):
        access.principal(mixed)


@given(st.text())
def test_what_is_no_token_is_nobodys(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        Access(Kept(), Clock()).principal(text)


def test_a_token_expires_by_the_managers_clock(access: Access, clock: Clock) -> None:
    _, token = access.make("person", lifetime_s=60)
    clock.now += 59
    access.principal(token)
    clock.now += 1
    with pytest.raises(NotAuthenticated, match="expired"):
        access.principal(token)


def test_a_revoked_token_is_nobodys_at_once(access: Access) -> None:
    credential, token = access.make("person")
    assert access.revoke(credential.credential_id)
    assert not access.revoke(credential.credential_id)
    with pytest.raises(NotAuthenticated):
        access.principal(token)


def test_who_was_let_in_is_admitted_for_as_long_as_the_credential_holds(access: Access, clock: Clock) -> None:
    lasting, brief = access.make("person")[0], access.make("person", lifetime_s=60)[0]
    assert access.admits(Principal("person", lasting))
    assert access.admits(Principal("person", brief))
    clock.now += 60
    access.revoke(lasting.credential_id)
    assert not access.admits(Principal("person", lasting))
    assert not access.admits(Principal("person", brief))
    assert access.admits(NOBODY)


def test_credentials_hold_over_a_restart(access: Access, kept: Kept, clock: Clock) -> None:
    credential, token = access.make("person")
    assert Access(kept, clock).principal(token).credential == credential


def test_what_another_manager_made_is_asked_for_when_it_comes(
    access: Access, kept: Kept, clock: Clock
) -> None:
    _, token = Access(kept, clock).make("person")
    clock.now += REFRESH_S
    assert asyncio.run(access.authenticate(token)).kind == "person"


def test_a_flood_of_unknown_tokens_does_not_ask_the_database_each_time(
    access: Access, kept: Kept, clock: Clock
) -> None:
    tokens = [Access(Kept(), clock).make("person")[1] for _ in range(50)]
    clock.now += REFRESH_S
    before = kept.asked

    async def flood() -> None:
        for token in tokens:
            with pytest.raises(NotAuthenticated):
                await access.authenticate(token)

    asyncio.run(flood())
    assert kept.asked == before + 1


# --- agents -------------------------------------------------------------------------------------


def test_of_many_who_take_a_token_away_by_several_managers_one_is_told_so(
    access: Access, kept: Kept, clock: Clock
) -> None:
    credential, token = access.make("join", host_id="a")
    managers = [Access(kept, clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda one: one.revoke(credential.credential_id), managers)) == 1
    for one in managers:
        with pytest.raises(NotAuthenticated):
            one.principal(token)


def test_a_new_credential_of_an_agent_replaces_the_old_one_when_first_used(
    access: Access, kept: Kept, clock: Clock
) -> None:
    joined, old = access.make("agent", host_id="a", machine_id="m")
    _, other = access.make("agent", host_id="b", machine_id="n")
    clock.now -= 3600
    credential, new = access.make("agent", host_id="a", machine_id="m")
    assert asyncio.run(access.authenticate(old)).credential == joined
    assert asyncio.run(access.authenticate(new)).credential == credential
    with pytest.raises(NotAuthenticated):
        access.principal(old)
    access.principal(other)
    assert joined.credential_id not in kept.rows


# --- the first one ------------------------------------------------------------------------------


def test_the_first_start_leaves_an_administrators_token_for_its_user_only(
    access: Access, tmp_path: Path
) -> None:
    path = access.first_token(str(tmp_path / "new"))
    assert path == str(tmp_path / "new" / FIRST_TOKEN_FILE)
    principal = access.principal(Path(path).read_text().strip())
    assert principal.credential is not None
    assert principal.credential.role == "administrator"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert access.first_token(str(tmp_path / "new")) is None


def test_a_file_that_others_could_read_is_not_written_into(access: Access, tmp_path: Path) -> None:
    there = tmp_path / FIRST_TOKEN_FILE
    there.write_text("old")
    there.chmod(0o644)
    access.first_token(str(tmp_path))
    assert stat.S_IMODE(there.stat().st_mode) == 0o600


def test_when_no_administrators_token_holds_a_start_leaves_another(
    access: Access, clock: Clock, tmp_path: Path
) -> None:
    access.make("person", role="administrator", lifetime_s=60)
    assert access.first_token(str(tmp_path)) is None
    clock.now += 60
    assert access.first_token(str(tmp_path))


def test_a_token_that_cannot_be_written_is_refused_and_none_is_made(
    access: Access, kept: Kept, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"admin\.token"):
        access.first_token(str(tmp_path / "file"))
    assert not kept.rows


@pytest.mark.parametrize(
    ("database", "directory"),
    [
        ("sqlite:///var/lib/storekeeper/storekeeper.db", "/var/lib/storekeeper"),
        ("sqlite://", None),
        ("postgresql://a@b/c", "/var/lib/storekeeper"),
    ],
)
def test_files_of_the_manager_are_beside_its_database(database: str, directory: str | None) -> None:
    assert directory_of(database) == directory
