"""What an agent keeps over a restart, and who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storekeeper.agent.joining import Membership, StateDirectory, boot_id, machine_id
from storekeeper.errors import NotAuthenticated, NotKnown, Refused
from storekeeper.report import Scopes
from storekeeper.sources.contract import Scope

SCOPES = Scopes(version="v", scopes=[("space", Scope(key="s/a", root="/a"))], report_every_s=10.0)


def test_only_its_user_can_read_what_it_keeps(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        state = StateDirectory(directory)
        state.joined(Membership("h", "secret"))
    finally:
        os.umask(old)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [place.stat().st_mode & 0o777 for place in directory.iterdir()] == [0o600]


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.joined(Membership("h", "secret", "digest"))
    state.rotated("other")
    state.keep_scopes(SCOPES)
    again = StateDirectory(tmp_path)
    assert again.membership() == Membership("h", "other", "digest")
    assert again.scopes() == SCOPES


def test_a_host_that_has_not_joined_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(NotAuthenticated, match="storekeeper host add"):
        StateDirectory(tmp_path).membership()


def test_each_start_has_a_greater_number_though_the_clock_goes_back(tmp_path: Path) -> None:
    times = iter([1000.5, 1000.6, 400.0, 2000.0])
    runs = [StateDirectory(tmp_path).next_run(lambda: next(times)) for _ in range(4)]
    assert runs == [1000, 1001, 1002, 2000]


def test_a_file_that_cannot_be_understood_counts_as_not_there(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    for name in ("scopes.json", "run.json", "membership.json"):
        (tmp_path / name).write_bytes(b'{"version": 7')
    assert state.scopes() is None
    assert state.next_run(lambda: 5.0) == 5
    with pytest.raises(NotAuthenticated):
        state.membership()


def test_two_agents_cannot_report_out_of_one_directory(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    first.lock()
    with pytest.raises(Refused, match="Another agent"):
        StateDirectory(tmp_path).lock()
    first.close()
    second = StateDirectory(tmp_path)
    second.lock()
    second.close()


def test_a_directory_that_cannot_be_made_says_which_option_helps(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotKnown, match="--state"):
        StateDirectory(tmp_path / "file" / "state")


def test_the_machine_is_told_by_a_digest_that_is_always_the_same(tmp_path: Path) -> None:
    place = tmp_path / "machine-id"
    place.write_bytes(b"0123456789abcdef0123456789abcde4\n")
    told = machine_id(str(place))
    assert told == machine_id(str(place))
    assert told == "8f3d0680ec91aba20afaa4da52a960c8"
    place.write_bytes(b"0123456789abcdef0123456789abcde5\n")
    assert machine_id(str(place)) != told


@pytest.mark.parametrize("content", [None, b"", b"uninitialized\n"])
def test_a_machine_without_an_id_is_told_how_to_get_one(tmp_path: Path, content: bytes | None) -> None:
    place = tmp_path / "machine-id"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(NotKnown, match="systemd-machine-id-setup"):
        machine_id(str(place))


def test_a_boot_has_an_id() -> None:
    assert len(boot_id()) == 36
