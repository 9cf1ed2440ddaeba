"""`storekeeper serve` as it is started: what it says, what it answers, how it ends."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storekeeper.api.certificate import self_signed
from storekeeper.cli import run
from storekeeper.client import Client
from storekeeper.errors import NotAuthenticated, NotKnown

COMMAND = str(Path(sys.executable).with_name("storekeeper"))
TIMEOUT_S = 60.0


def declaration(directory: Path, listen: str = "127.0.0.1:0", more: str = "") -> Path:
    """A storage `internal` of a plain directory with one raw image; `more` of the manager's table."""
    (directory / "home").mkdir()
    (directory / "home/corus.raw").write_bytes(bytes(1 << 20))
    file = directory / "storekeeper.toml"
    file.write_text(
        f"""
        [manager]
        listen = "{listen}"
        database = "sqlite://{directory}/storekeeper.db"
        {more}
        [host]
        id = "flexdev01"
        [image_storages.internal]
        hosts = ["flexdev01"]
        [image_storages.internal.external_volumes.home]
        mount_point = "{directory}/home"
        """
    )
    return file


@contextmanager
def serving(file: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """The program, ready to answer, and a client of it."""
    arguments = [COMMAND, "serve", "--config", str(file)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            url = program.stderr.readline().split()[2].removesuffix("/imagestorages")
            with Client(url) as client:
                until(lambda: answers(client))
                yield program, client
        finally:
            program.kill()


def answers(client: Client) -> bool:
    try:
        return bool(client.storages())
    except NotKnown:
        return False


def until(condition: object) -> None:
    """Waits for a condition; it is what the test is about, so it fails when that never comes."""
    assert callable(condition)
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_says_where_it_answers_and_answers_with_what_this_host_has(tmp_path: Path) -> None:
    with serving(declaration(tmp_path)) as (_, client):
        (volume,) = client.storage("internal").external_volumes
        assert [(row.image_id, row.size_mb) for row in volume.images] == [("corus.raw", 1)]
        (image,) = client.images("internal")
        assert (image.format, image.virtual_bytes) == ("raw", 1 << 20)
        assert client.manager_info().manager_id == "flexdev01"


def test_a_new_image_is_in_the_document_soon(tmp_path: Path) -> None:
    with serving(declaration(tmp_path)) as (_, client):
        (tmp_path / "home/new.raw").write_bytes(bytes(2 << 20))
        until(lambda: len(client.storage("internal").external_volumes[0].images) == 2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_without_a_stack(tmp_path: Path, number: int, code: int) -> None:
    with serving(declaration(tmp_path)) as (program, _):
        program.send_signal(number)
        out, err = program.communicate(timeout=TIMEOUT_S)
        assert program.returncode == code
    assert out == ""
    assert "Traceback" not in err


def test_it_ends_in_words_once_a_later_version_has_its_database(tmp_path: Path) -> None:
    with serving(declaration(tmp_path)) as (program, _):
        with closing(sqlite3.connect(tmp_path / "storekeeper.db")) as later:
            later.execute("UPDATE alembic_version SET version_num = '999'")
            later.commit()
        (tmp_path / "home/another.raw").write_bytes(bytes(1 << 20))
        _, err = program.communicate(timeout=TIMEOUT_S)
        assert program.returncode == 3
    assert err.splitlines()[-1].startswith("storekeeper: The database has no more the tables of this version")
    assert "install the same version for all managers" in err
    assert "Traceback" not in err


def own_certificate(directory: Path) -> str:
    """Declares one, made there."""
    file = directory / "declared.pem"
    file.write_bytes(self_signed("flexdev01", time.time()))
    return f'certificate = "{file}"\nkey = "{file}"'


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "127.0.0.1:0"])
def test_off_loopback_and_with_a_certificate_it_answers_by_https_whoever_has_the_first_starts_token(
    tmp_path: Path, listen: str
) -> None:
    more = own_certificate(tmp_path) if listen.startswith("127.") else ""
    arguments = [COMMAND, "serve", "--config", str(declaration(tmp_path, listen, more))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            words = program.stderr.readline().split()
            token_file = Path(program.stderr.readline().split()[-1])
            url, fingerprint = words[2].removesuffix("/imagestorages"), words[-1]
            assert (token_file, url[:8]) == (tmp_path / "admin.token", "https://")
            assert token_file.stat().st_mode & 0o777 == 0o600
            url = url.replace("0.0.0.0", "127.0.0.1")
            with Client(url, token=token_file.read_text().strip(), fingerprint=fingerprint) as client:
                until(lambda: answers(client))
                assert [row.role for row in client.tokens()] == ["administrator"]
            with Client(url, fingerprint=fingerprint) as client, pytest.raises(NotAuthenticated):
                client.storages()
        finally:
            program.kill()


def test_an_address_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run(["serve", "--config", str(declaration(tmp_path, listen))]) == 5
    assert capsys.readouterr().err == f"storekeeper: Cannot listen on {listen}: Address already in use.\n"
