"""A QEMU guest that stays up: the machine's own root over 9p, any SCSI disks, commands over a serial port."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from lab import control
from lab.errors import LabError
from lab.processes import start

BOOT_TIMEOUT_S = 180.0
_BOOT_MODULES = ("9p", "9pnet_virtio", "virtio_pci", "overlay")
_INIT = Path(__file__).with_name("guest_init.sh")
_CONTROL = Path(__file__).with_name("guest_control.sh")


class Kernel(NamedTuple):
    """What every guest boots."""

    image: Path
    initramfs: Path


class Ran(NamedTuple):
    """What came of a command: `status` is None when it did not end in time."""

    status: int | None
    output: str


def build_kernel(directory: Path, modules: Sequence[str] = _BOOT_MODULES, then: Path = _CONTROL) -> Kernel:
    """Debian's newest kernel and an initramfs: static busybox, the modules that reach the root, the init.

    `then`: the commands to run when the root is there.
    """
    found = [path.name.removeprefix("vmlinuz-") for path in Path("/boot").glob("vmlinuz-*")]
    whole = [release for release in found if (Path("/lib/modules") / release).is_dir()]
    busybox = shutil.which("busybox")
    if not whole or not busybox:
        raise LabError("no kernel for guests: apt-get install linux-image-amd64 busybox-static")
    release = max(whole)
    tree = directory / "initramfs"
    for name in ("bin", "proc", "sys", "dev", "host", "over", "root", "lib"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    shutil.copy(_INIT, tree / "init")
    shutil.copy(then, tree / "then")
    os.chmod(tree / "init", 0o755)
    order: dict[str, None] = {}
    for module in modules:
        asked = ["modprobe", "-S", release, "-D", module]
        lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
        order.update({line.split()[1]: None for line in lines if line.startswith("insmod ")})
    for file in order:
        shutil.copy(file, tree / "lib")
    (tree / "modules").write_text("".join(f"/lib/{Path(file).name}\n" for file in order))
    archive = directory / "initramfs.cpio"
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))).encode()
    with archive.open("wb") as out:
        argv = ["cpio", "-o", "-H", "newc", "--quiet"]
        subprocess.run(argv, cwd=tree, input=names, stdout=out, check=True)
    shutil.rmtree(tree)
    return Kernel(Path(f"/boot/vmlinuz-{release}"), archive)


class Guest:
    """One guest. `boot`, then `run` commands in it; `power_off` is as if the plug were pulled."""

    def __init__(self, name: str, directory: Path, argv: Sequence[str], sockets: Path) -> None:
        """`directory` gets its console, log and commands; `sockets` must have a short path."""
        self.name = name
        self._directory = directory
        self._sockets = sockets
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None
        self._control: _Control | None = None
        self._boots = itertools.count(1)
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def is_up(self) -> bool:
        """Whether its QEMU runs."""
        return self._process is not None and self._process.poll() is None

    def boot(self) -> None:
        """Starts it and waits until it takes commands.

        Raises:
            LabError: it does not; with the end of its console.
        """
        number = next(self._boots)
        console = self._directory / f"console-{number}.txt"
        places = {what: self._sockets / f"{self.name}-{what}-{number}" for what in ("control", "qmp")}
        argv = [
            *self._argv,
            "-serial", f"file:{console}",
            "-chardev", f"socket,id=control,path={places['control']},server=on,wait=off",
            "-device", "virtio-serial-pci",
            "-device", f"virtserialport,chardev=control,name={control.NAME}",
            "-qmp", f"unix:{places['qmp']},server=on,wait=off",
        ]  # fmt: skip
        self._process = start(argv, self._directory / f"qemu-{number}.txt")
        try:
            self._qmp_socket = places["qmp"]
            self._control = _Control(_connected(places["control"], self._process), self._directory)
            self._control.wait_ready(BOOT_TIMEOUT_S, self._process)
        except (LabError, OSError) as error:
            tail = console.read_text(errors="replace")[-2000:] if console.exists() else ""
            raise LabError(f"{self.name} does not boot: {error}\n{tail}") from error

    def run(self, command: str, *, timeout_s: float = 120) -> str:
        """Runs a shell command, which must succeed; what it printed.

        Raises:
            LabError: it fails, or does not end in time.
        """
        ran = self.try_run(command, timeout_s=timeout_s)
        if ran.status != 0:
            what = f"exit status {ran.status}" if ran.status is not None else f"no end within {timeout_s:g} s"
            raise LabError(f"{self.name}: {what} of\n{command}\n{ran.output[-3000:]}")
        return ran.output

    def try_run(self, command: str, *, timeout_s: float = 120) -> Ran:
        """Runs a shell command; what came of it."""
        if self._control is None or not self.is_up:
            raise LabError(f"{self.name} is not up")
        return self._control.run(command, timeout_s)

    def wait_until(self, command: str, *, within_s: float, what: str) -> None:
        """Waits until a command succeeds."""
        deadline = time.monotonic() + within_s
        while (ran := self.try_run(command, timeout_s=within_s)).status != 0:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: not within {within_s:g} s: {what}\n{ran.output[-2000:]}")
            time.sleep(0.3)

    def qmp(self, command: str, **arguments: object) -> object:
        """Runs a QMP command (qemu-qmp-ref(7))."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self._qmp_socket))
            lines = connection.makefile("rw", encoding="utf-8")
            lines.readline()  # the greeting
            answer: dict[str, Any] = {}
            for asked in (
                {"execute": "qmp_capabilities"},
                {"execute": command, "arguments": arguments},
            ):
                lines.write(json.dumps(asked) + "\n")
                lines.flush()
                while not ("return" in (answer := json.loads(lines.readline())) or "error" in answer):
                    pass  # an event
            if "error" in answer:
                raise LabError(f"{self.name}: {command}: {answer['error']['desc']}")
            returned: object = answer["return"]
            return returned

    def power_off(self) -> None:
        """Ends it at once; nothing is said to anybody. Does nothing when it is off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._control is not None:
            self._control.close()
            self._control = None


def _connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to the socket that QEMU makes at its start."""
    deadline = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection


class _Control:
    """The outer end of control.py: many commands at once, each answered to who asked."""

    def __init__(self, connection: socket.socket, directory: Path) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, SimpleQueue[Ran]] = {0: SimpleQueue()}
        self._commands = (directory / "commands.txt").open("a", encoding="utf-8")
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    told = json.loads(line)
                    if waiting := self._waiting.pop(told["id"], None):
                        waiting.put(Ran(told["status"], told["output"]))
        except (OSError, ValueError):
            pass  # the guest was powered off, in the middle of a line maybe
        for waiting in list(self._waiting.values()):
            waiting.put(Ran(None, "the guest went off"))

    def wait_ready(self, within_s: float, process: subprocess.Popen[bytes]) -> None:
        ready = self._waiting[0]
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if ready.get(timeout=0.5).status == 0:
                    return
            except Empty:
                continue
        raise LabError("it takes no commands")

    def run(self, command: str, timeout_s: float) -> Ran:
        id_ = next(self._ids)
        answer = self._waiting[id_] = SimpleQueue[Ran]()
        line = json.dumps({"id": id_, "command": command, "timeout_s": timeout_s}).encode() + b"\n"
        started = time.monotonic()
        with self._sending:
            self._connection.sendall(line)
        try:
            ran = answer.get(timeout=timeout_s + 30)
        except Empty:
            ran = Ran(None, "no answer from the control loop")
        took_s = time.monotonic() - started
        with self._sending:
            self._commands.write(f"$ {command.strip()}\n{ran.output}[{ran.status} after {took_s:.1f} s]\n")
            self._commands.flush()
        return ran

    def close(self) -> None:
        self._connection.close()
        self._commands.close()
