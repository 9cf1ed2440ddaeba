"""The manager, outside of all hosts: a child process with a declaration of its own, asked over its API."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.postgresql import PostgresqlServer
from lab.processes import start
from lab.scenario import ManagerTable
from storekeeper.api.certificate import fingerprint, self_signed
from storekeeper.database import open_store
from storekeeper.manager.access import Access

_LOOPBACK = "127.0.0.1"
STOREKEEPER = Path(sys.executable).with_name("storekeeper")
_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 20.0
_ANSWERING = re.compile(r"Answering at https://[^ ]*:(?P<port>[0-9]+)/")


class Manager:
    """A manager: `start` it, ask it, `kill` it and start it again on the same database."""

    def __init__(self, directory: Path, results: Path, table: ManagerTable, declaration: str) -> None:
        """`directory` gets its database and tokens, `results` its logs."""
        directory.mkdir(parents=True)
        self._directory = directory
        self._results = results
        self._table = table
        self._declaration = declaration
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.port = 0
        pem = self_signed("lab", time.time())
        # With a certificate it speaks HTTPS, which agents want, though it listens on loopback only.
        self._certificate = directory / "certificate.pem"
        self._certificate.touch(0o600)
        self._certificate.write_bytes(pem)
        self.fingerprint = fingerprint(pem)
        self._database = PostgresqlServer(results) if table.database == "postgresql" else None

    @property
    def database(self) -> PostgresqlServer:
        """Its database, where that is a server.

        Raises:
            LabError: it is a file.
        """
        if self._database is None:
            raise LabError("the manager's database is a file")
        return self._database

    @property
    def url(self) -> str:
        """Where it answers this machine."""
        return f"https://{_LOOPBACK}:{self.port}"

    @property
    def token_file(self) -> Path:
        """What its first start leaves for its administrator."""
        return self._directory / "admin.token"

    def start(self) -> None:
        """Starts it, at the port that it had, and waits until it answers.

        Raises:
            LabError: it does not.
        """
        if self._database and not self._starts:
            self._database.start()
            self._leave_token(self._database.url)
        self._starts += 1
        config = self._directory / "storekeeper.toml"
        config.write_text(self._config(), encoding="utf-8")
        log = self._results / f"manager-{self._starts}.txt"
        self._process = start([str(STOREKEEPER), "serve", "--config", str(config)], log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (answering := _ANSWERING.search(printed := log.read_text(errors="replace"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the manager does not start:\n{printed[-3000:]}")
            time.sleep(0.1)
        self.port = int(answering["port"])
        self._check_certificate()

    def _leave_token(self, database: str) -> None:
        """As the first start does, which with a database server would leave it outside of the lab."""
        with closing(open_store(database)) as store:
            Access(store, time.time).first_token(str(self._directory))

    def _config(self) -> str:
        database = self._database.url if self._database else f"sqlite://{self._directory}/storekeeper.db"
        lines = [
            "[manager]",
            # QEMU's user network brings guests here.
            f'listen = "{_LOOPBACK}:{self.port}"',
            f'certificate = "{self._certificate}"',
            f'key = "{self._certificate}"',
            f'database = "{database}"',
            f"host_timeout_s = {self._table.host_timeout_s}",
        ]
        if paces := self._table.probe_every_s:
            told = ", ".join(f"{source} = {pause}" for source, pause in paces.items())
            lines.append(f"probe_every_s = {{ {told} }}")
        return "\n".join([*lines, "", self._declaration])

    def document(self, image_storage: str) -> dict[str, Any]:
        """The document of an image storage, as it is served now."""
        return self._ask("GET", f"/imagestorages/{image_storage}")

    def host(self, host: str) -> dict[str, Any]:
        """What the manager knows of a host now."""
        return self._ask("GET", f"/hosts/{host}")

    def join_token(self, host: str) -> str:
        """With what this host's agent joins, once."""
        told = self._ask("POST", f"/hosts/{host}/join")
        if told["fingerprint"] != self.fingerprint:
            raise LabError(f"the manager says its certificate is {told['fingerprint']}: {self.fingerprint}")
        return str(told["token"])

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        """One request with the administrator's token.

        Raises:
            LabError: it is answered otherwise than well, or not at all.
        """
        connection = self._connection()
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
            headers = {"Authorization": f"Bearer {token}"}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"{method} {path}: the manager does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status not in {200, 201}:
            raise LabError(f"{method} {path}: {answer.status} {body.decode(errors='replace')[:1000]}")
        told: dict[str, Any] = json.loads(body)
        return told

    def _connection(self) -> http.client.HTTPSConnection:
        # `start` compares its certificate with the declared one; a loopback port needs no more.
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(_LOOPBACK, self.port, timeout=_ANSWER_TIMEOUT_S, context=unchecked)

    def _check_certificate(self) -> None:
        served = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((_LOOPBACK, self.port)))
        if f"sha256:{sha256(served).hexdigest()}" != self.fingerprint:
            raise LabError("the manager answers with another certificate than the declared one")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an administrator does. Does nothing when it is not there."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """Stops it and its database."""
        self.stop()
        if self._database:
            self._database.close()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # To its group: its workers look at this machine for it.
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
