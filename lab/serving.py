"""One process of the manager: started, ended, and started again at the port that it had."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.errors import LabError
from lab.processes import start

STOREKEEPER = Path(sys.executable).with_name("storekeeper")
_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 20.0
_ANSWERING = re.compile(r"Answering at https://[^ ]*:(?P<port>[0-9]+)/")


class Serving:
    """`storekeeper serve`, on this machine's loopback. `port` is 0 until it was started once."""

    def __init__(self, name: str, directory: Path, results: Path) -> None:
        """`directory` gets its declaration, `results` what it prints."""
        self._name = name
        self._directory = directory
        self._results = results
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.port = 0

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._process is not None

    def start(self, declaration: str) -> None:
        """Starts it and waits until it answers. Does nothing when it runs.

        Raises:
            LabError: it does not.
        """
        if self.is_up:
            return
        self._starts += 1
        config = self._directory / f"{self._name}.toml"
        config.write_text(declaration, encoding="utf-8")
        log = self._results / f"{self._name}-{self._starts}.txt"
        self._process = start([str(STOREKEEPER), "serve", "--config", str(config)], log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (answering := _ANSWERING.search(printed := log.read_text(errors="replace"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the manager does not start:\n{printed[-3000:]}")
            time.sleep(0.1)
        self.port = int(answering["port"])

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
            self._process.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
