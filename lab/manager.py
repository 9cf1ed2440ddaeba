"""The manager, outside of all hosts: child processes with a declaration of its own, asked over its API."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.forwarding import Forwarder
from lab.postgresql import PostgresqlServer
from lab.scenario import ManagerTable
from lab.serving import Serving
from storekeeper.api.certificate import fingerprint, self_signed
from storekeeper.database import open_store
from storekeeper.manager.access import Access

_LOOPBACK = "127.0.0.1"
_ANSWER_TIMEOUT_S = 20.0


class Manager:
    """A manager: `start` it, ask it, `kill` it and start it again on the same database.

    It may be several processes on one database, behind one address.
    """

    def __init__(self, directory: Path, results: Path, table: ManagerTable, declaration: str) -> None:
        """`directory` gets its database and tokens, `results` its logs."""
        directory.mkdir(parents=True)
        self._directory = directory
        self._table = table
        self._declaration = declaration
        pem = self_signed("lab", time.time())
        # With a certificate it speaks HTTPS, which agents want, though it listens on loopback only.
        self._certificate = directory / "certificate.pem"
        self._certificate.touch(0o600)
        self._certificate.write_bytes(pem)
        self.fingerprint = fingerprint(pem)
        self._database = PostgresqlServer(results) if table.database == "postgresql" else None
        names = ["manager"] if table.count == 1 else [f"manager{number + 1}" for number in range(table.count)]
        self._processes = [Serving(name, directory, results) for name in names]
        self._forwarder = Forwarder(self._ports) if table.count > 1 else None

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
    def port(self) -> int:
        """Where agents find it."""
        return self._forwarder.port if self._forwarder else self._processes[0].port

    @property
    def url(self) -> str:
        """Where it answers this machine."""
        return f"https://{_LOOPBACK}:{self.port}"

    @property
    def token_file(self) -> Path:
        """What its first start leaves for its administrator."""
        return self._directory / "admin.token"

    def begin(self) -> None:
        """Starts all of it for the first time.

        Raises:
            LabError: it does not start, or with another certificate.
        """
        if self._database:
            self._database.start()
            # The first start leaves it, but with a database server it would be outside of the lab.
            with closing(open_store(self._database.url())) as store:
                Access(store, time.time).first_token(str(self._directory))
        for number in range(self._table.count):
            self.start(number)
        served = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((_LOOPBACK, self.port)))
        if f"sha256:{sha256(served).hexdigest()}" != self.fingerprint:
            raise LabError("the manager answers with another certificate than the declared one")

    def start(self, number: int = 0) -> None:
        """Starts one process of it and waits until that answers. Does nothing when it runs.

        Raises:
            LabError: it does not.
        """
        self._processes[number].start(self._config(number))

    def kill(self, number: int = 0) -> None:
        """Ends one process of it with SIGKILL."""
        self._processes[number].kill()

    def close(self) -> None:
        """Stops it and its database."""
        for process in self._processes:
            process.stop()
        if self._forwarder:
            self._forwarder.close()
        if self._database:
            self._database.close()

    def _ports(self) -> list[int]:
        return [process.port for process in self._processes if process.is_up]

    def _config(self, number: int) -> str:
        database = self._database.url() if self._database else f"sqlite://{self._directory}/storekeeper.db"
        lines = [
            "[manager]",
            # QEMU's user network brings guests here.
            f'listen = "{_LOOPBACK}:{self._processes[number].port}"',
            f'certificate = "{self._certificate}"',
            f'key = "{self._certificate}"',
            f'database = "{database}"',
            f"host_timeout_s = {self._table.host_timeout_s}",
        ]
        if paces := self._table.probe_every_s:
            told = ", ".join(f"{source} = {pause}" for source, pause in paces.items())
            lines.append(f"probe_every_s = {{ {told} }}")
        return "\n".join([*lines, "", f'[host]\nid = "manager{number + 1}"', self._declaration])

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
        # `begin` compares its certificate with the declared one; a loopback port needs no more.
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(_LOOPBACK, self.port, timeout=_ANSWER_TIMEOUT_S, context=unchecked)
