"""A PostgreSQL of one's own, in a directory of its own, behind a Unix socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from lab.errors import LabError
from lab.processes import start

USER = "storekeeper"
_START_TIMEOUT_S = 60.0
# The server refuses to run as root.
_NOBODY = "nobody"


class PostgresqlServer:
    """A server that may be stopped, or made to hang, and go on."""

    def __init__(self, results: Path) -> None:
        """`results` gets its logs. `close` it."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found:
            raise LabError("no PostgreSQL for the manager: apt-get install postgresql")
        self._programs = found[-1]
        self._directory = Path(tempfile.mkdtemp(prefix="storekeeper-postgresql-"))
        self._results = results
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self._directory, _NOBODY, pwd.getpwnam(_NOBODY).pw_gid)
        words = ["-D", "data", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            [*_as_nobody(), str(self._programs / "initdb"), *words],
            cwd=self._directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise LabError(f"initdb: {made.stderr.strip()}")

    def url(self, database: str = "postgres") -> str:
        """What `manager.database` says of one of its databases."""
        return f"postgresql://{USER}@/{database}?host={self._directory}"

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        self._starts += 1
        log = self._results / f"postgresql-{self._starts}.txt"
        data = self._directory / "data"
        # Its machine does not crash: nothing need reach a disk.
        settings = ["-c", "listen_addresses=", "-c", "fsync=off"]
        argv = [str(self._programs / "postgres"), "-D", str(data), "-k", str(self._directory), *settings]
        self._process = start([*_as_nobody(), *argv], log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"PostgreSQL does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """An immediate shutdown: every connection is gone. Does nothing when it does not run."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """Stops it, and its data are gone."""
        self.stop()
        shutil.rmtree(self._directory)

    def hang(self) -> None:
        """It hangs: whoever is connected waits for its answer."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on from where it hung."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """To the server and to what it forked, each of which leads a group of its own."""
        if self._process is None:
            return
        os.kill(self._process.pid, number)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii")
        for child in children.split():
            # One that ended when its client left is signalled no more.
            with suppress(ProcessLookupError):
                os.kill(int(child), number)


def _as_nobody() -> list[str]:
    """Another user loses the signal that ends a child with the lab, unless it asks for it itself."""
    if os.geteuid() != 0:
        return []
    words = [f"--reuid={_NOBODY}", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL"]
    return ["setpriv", *words, "--"]
