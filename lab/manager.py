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
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from lab.errors import LabError
from lab.processes import start
from lab.scenario import ManagerTable

STOREKEEPER = Path(sys.executable).with_name("storekeeper")
_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 20.0
_ANSWERING = re.compile(r"Answering at https://[^ ]*:(?P<port>[0-9]+)/")


class Joining(NamedTuple):
    """With what a host's agent joins."""

    token: str
    fingerprint: str


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

    @property
    def url(self) -> str:
        """Where it answers this machine."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def token_file(self) -> Path:
        """What its first start leaves for its administrator."""
        return self._directory / "admin.token"

    def start(self) -> None:
        """Starts it, at the port that it had, and waits until it answers.

        Raises:
            LabError: it does not.
        """
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

    def _config(self) -> str:
        lines = [
            "[manager]",
            # Off loopback it speaks HTTPS, which is what agents want.
            f'listen = "0.0.0.0:{self.port}"',
            f'database = "sqlite://{self._directory}/storekeeper.db"',
            f"host_timeout_s = {self._table.host_timeout_s}",
        ]
        if paces := self._table.probe_every_s:
            told = ", ".join(f"{source} = {pause}" for source, pause in paces.items())
            lines.append(f"probe_every_s = {{ {told} }}")
        return "\n".join([*lines, "", self._declaration])

    def document(self, image_storage: str) -> dict[str, Any]:
        """The document of an image storage, as it is served now."""
        return self._ask("GET", f"/imagestorages/{image_storage}")

    def joining(self, host: str) -> Joining:
        """With what this host's agent joins, once."""
        told = self._ask("POST", f"/hosts/{host}/join")
        if told["fingerprint"] != (served := self._served_fingerprint()):
            raise LabError(f"the manager says its certificate is {told['fingerprint']}, but it is {served}")
        return Joining(told["token"], told["fingerprint"])

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
        # `joining` compares its certificate with what it says of it; a loopback port needs no more.
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=_ANSWER_TIMEOUT_S, context=unchecked
        )

    def _served_fingerprint(self) -> str:
        """The SHA-256 of the certificate that it answers with."""
        certificate = ssl.get_server_certificate(("127.0.0.1", self.port))
        return f"sha256:{sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()}"

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an administrator does. Does nothing when it is not there."""
        self._end(signal.SIGTERM)

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
