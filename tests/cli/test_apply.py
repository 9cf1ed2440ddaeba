"""`storekeeper apply` against a manager over HTTP: the plan, then the deed, and nothing twice."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from storekeeper.api import create_app
from storekeeper.api.server import listening
from storekeeper.cli import run
from storekeeper.client import Client
from storekeeper.database import open_store
from storekeeper.declaration_toml import load
from storekeeper.errors import EXIT_FINE, EXIT_NOT_KNOWN, EXIT_REFUSED, EXIT_USAGE, NotThere
from storekeeper.manager.manager import Manager

COMMAND = str(Path(sys.executable).with_name("storekeeper"))
OWN = "[image_storages.filed]\nhosts = ['h1']\nexternal_volumes.home.mount_point = '/home/images'\n"
FIRST = """
[manager]
listen = "127.0.0.1:1"
[image_storages.s]
hosts = ["h1"]
external_volumes.nas.mount_point = "/nas"
external_volumes.tmp.mount_point = "/srv/tmp"
[hosts.h2]
description = "the second"
"""
SECOND = """
[image_storages.s]
hosts = ["h1", "h2"]
external_volumes.nas = { mount_point = "/nas", source = "nas:/export" }
"""
FIRST_PLAN = """\
+ image storage s, reached by h1
+ external volume nas of s, at /nas
+ external volume tmp of s, at /srv/tmp
+ host h2
"""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A manager whose own file declares `filed`, with its store in memory; we are its administrator."""
    bound = listening("127.0.0.1:0")
    servers: list[uvicorn.Server] = []
    made = threading.Event()

    async def serving() -> None:
        manager = Manager(load(OWN, "h1"), open_store("sqlite://"), lambda *_: None, lambda: True)
        await manager.publish()
        monkeypatch.setenv("STOREKEEPER_TOKEN", manager.access.make("person", role="administrator")[1])
        config = uvicorn.Config(
            create_app(manager), ws="none", lifespan="off", log_config=None,
            access_log=False, timeout_graceful_shutdown=5,
        )  # fmt: skip
        servers.append(uvicorn.Server(config))
        made.set()
        await servers[0].serve(sockets=[bound])
        await manager.close()

    thread = threading.Thread(target=lambda: asyncio.run(serving()))
    thread.start()
    assert made.wait(30)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    servers[0].should_exit = True
    thread.join()
    bound.close()


@pytest.fixture
def apply(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Applying:
    return Applying(url, tmp_path / "lab.toml", capsys)


class Applying:
    """Runs `storekeeper apply` with a text; keeps what it said."""

    def __init__(self, url: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.file = file
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, text: str, *options: str) -> int:
        self.file.write_text(text, encoding="utf-8")
        code = run(["apply", str(self.file), "--manager", self.url, *options])
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def declared(self) -> dict[str, object]:
        with Client(self.url) as client:
            return client.declaration()[0].declared


def test_it_prints_the_plan_makes_it_so_and_has_nothing_to_change_then(apply: Applying) -> None:
    assert apply(FIRST) == EXIT_FINE
    assert apply.out == FIRST_PLAN + "Done: 4 changes.\n"
    assert apply.err == f"{apply.file}: [manager] ignored; a manager has that in its own file.\n"
    assert apply(FIRST) == EXIT_FINE
    assert apply.out == "Nothing to change.\n"


def test_a_dry_run_prints_the_plan_and_changes_nothing(apply: Applying) -> None:
    before = apply.declared
    assert apply(FIRST, "--dry-run") == EXIT_FINE
    assert apply.out == FIRST_PLAN
    assert apply.declared == before


def test_only_with_prune_is_anything_removed(apply: Applying) -> None:
    apply(FIRST)
    assert apply(SECOND) == EXIT_FINE
    assert apply.out.splitlines() == [
        '~ image storage s: hosts ["h1"] becomes ["h1", "h2"]',
        '~ external volume nas of s: source unset becomes "nas:/export"',
        "Done: 2 changes.",
    ]
    assert (
        apply.err == f"What {apply.file} does not have stays declared: --prune would make 1 further change.\n"
    )
    apply(SECOND, "--prune")
    assert apply.out == "- external volume tmp of s\nDone: 1 change.\n"


def test_what_the_managers_own_file_declares_is_refused_and_nothing_else_is_done(apply: Applying) -> None:
    before = apply.declared
    assert apply(FIRST + "[image_storages.filed]\nhosts = ['h7']\n") == EXIT_REFUSED
    assert "'filed' is declared otherwise in the manager's own file" in apply.err
    assert apply.declared == before
    assert apply(OWN) == EXIT_FINE
    assert apply.out == "Nothing to change.\n"


def test_what_lies_in_a_place_of_the_managers_own_file_is_refused_by_its_key(apply: Applying) -> None:
    assert apply(FIRST.replace("/srv/tmp", "/home/images/tmp")) == EXIT_USAGE
    assert "image_storages.s.external_volumes.tmp.mount_point: '/home/images/tmp' lies in" in apply.err


def test_everything_wrong_with_the_file_is_told_before_anybody_is_asked(apply: Applying) -> None:
    apply.url = "http://127.0.0.1:9"
    assert apply("[image_storages.s]\nhosts = []\nvolumes.v = {}\n") == EXIT_USAGE
    assert len(apply.err.splitlines()) == 2
    assert apply(FIRST) == EXIT_NOT_KNOWN


@pytest.mark.parametrize(("said", "declared"), [("y", True), ("n", False)])
def test_on_a_terminal_it_asks_first(apply: Applying, said: str, declared: bool) -> None:
    apply.file.write_text(SECOND, encoding="utf-8")
    control, terminal = pty.openpty()
    os.write(control, f"{said}\n".encode())
    arguments = [COMMAND, "apply", str(apply.file), "--manager", apply.url]
    ended = subprocess.run(arguments, stdin=terminal, capture_output=True, text=True, check=True, timeout=60)
    os.close(control)
    os.close(terminal)
    assert "Go ahead? [y/N]:" in ended.stderr
    assert (apply.declared["image_storages"] != {}) == declared


def test_without_an_administrators_token_the_plan_is_shown_and_its_deed_refused(
    apply: Applying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOREKEEPER_TOKEN", "sk_person_0_0")
    before = apply.declared
    assert apply(FIRST, "--yes") == EXIT_REFUSED
    assert apply.out == FIRST_PLAN
    assert apply.declared == before


def test_the_client_declares_one_by_one(url: str) -> None:
    with Client(url, token=os.environ["STOREKEEPER_TOKEN"]) as client:
        client.add_storage("s", {"hosts": ["h1"]})
        client.add_volume("s", "external_volumes", "v", {"mount_point": "/v"})
        client.replace_volume("s", "external_volumes", "v", {"mount_point": "/w"})
        client.replace_storage("s", {"hosts": ["h2"]})
        client.add_host("h3", "the third")
        client.replace_host("h3")
        assert client.declaration()[0].declared == {
            "image_storages": {"s": {"hosts": ["h2"], "external_volumes": {"v": {"mount_point": "/w"}}}},
            "hosts": {"h3": {}},
        }
        client.remove_volume("s", "external_volumes", "v")
        client.remove_storage("s")
        client.remove_host("h3")
        assert client.declaration()[0].declared == {"image_storages": {}, "hosts": {}}
        with pytest.raises(NotThere):
            client.remove_host("h3")
