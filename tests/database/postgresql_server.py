"""A PostgreSQL of the tests' own, with as many empty databases as they want."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from lab import postgresql


class PostgresqlServer(postgresql.PostgresqlServer):
    """A running server, which may be killed and started again."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self._names = count(1)

    @property
    def pid(self) -> int:
        """Of the process below which all others are."""
        assert self._process is not None
        return self._process.pid

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def tool(self, name: str, *arguments: str) -> None:
        """Runs one of the programs that belong to it."""
        subprocess.run([str(self._programs / name), *arguments], check=True)


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server until the block ends."""
    with TemporaryDirectory(prefix="storekeeper-postgresql-") as logs:
        server = PostgresqlServer(Path(logs))
        try:
            server.start()
            yield server
        finally:
            server.close()
