"""A PostgreSQL of one's own, in a directory of its own, behind a Unix socket there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.real.private_machine import wait_until

USER = "storekeeper"
# The server refuses to run as root.
_AS: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


class PostgresqlServer:
    """A running server, which may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def pid(self) -> int:
        """Of the process below which all others are."""
        assert self._process is not None
        return self._process.pid

    def _run(self, program: str, *arguments: str) -> None:
        argv = [str(self._programs / program), *arguments]
        subprocess.run(argv, cwd=self._directory, check=True, capture_output=True, **_AS)

    def start(self) -> None:
        """Starts the server; it takes connections when this returns."""
        # Tests end the server, never the machine, so that nothing need reach a disk.
        settings = ["-c", "listen_addresses=", "-c", "fsync=off"]
        argv = [str(self._programs / "postgres"), "-D", "data", "-k", str(self._directory), *settings]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=self._directory, stdout=log, stderr=log, **_AS)
        wait_until(self._answers, within_s=60, what="PostgreSQL takes connections")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Ends it at once, and every connection: an immediate shutdown, after which it recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def url(self, database: str) -> str:
        """What `manager.database` says of one of its databases."""
        return f"postgresql://{USER}@/{database}?host={self._directory}"

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="storekeeper-postgresql-"))
    try:
        if _AS:
            shutil.chown(directory, _AS["user"], _AS["group"])
        server = PostgresqlServer(directory)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
