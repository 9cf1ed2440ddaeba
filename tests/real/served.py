"""A whole `storekeeper serve`, on this machine or in a private one, and what a client gets from it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from storekeeper.document import (
    DiskDetail,
    ExternalVolumeInfo,
    GlusterVolumeInfo,
    ImageDetail,
    ImageStorageInfo,
)
from tests.real.private_machine import PATH, PrivateMachine, wait_until

COMMAND = str(Path(sys.executable).with_name("storekeeper"))
STORAGE = "lab"
HOST = "flexdev01"
ANSWER_S = 1.0  # no request may take longer, whatever hangs

_HEAD = """[manager]
listen = "127.0.0.1:0"
database = "sqlite://{directory}/storekeeper.db"
[host]
id = "{host}"
[image_storages.{storage}]
hosts = ["{host}"]
"""
# A client of its own process, since the server may be in another network.
_GET = """
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2])).read())
"""


def declare(directory: Path, volumes: str) -> Path:
    """Writes a declaration of the storage STORAGE, linked to HOST alone, with these tables of volumes."""
    path = directory / "storekeeper.toml"
    head = _HEAD.format(directory=directory, host=HOST, storage=STORAGE)
    path.write_text(head + volumes, encoding="utf-8")
    return path


def external(volume_id: str, mount_point: Path | str, *more: str) -> str:
    """The table of an external volume; `more`: further lines, such as `mounted = true`."""
    table = f"[image_storages.{STORAGE}.external_volumes.{volume_id}]\nmount_point = '{mount_point}'\n"
    return table + "".join(f"{line}\n" for line in more)


def scan(declaration: Path, machine: PrivateMachine | None = None) -> ImageStorageInfo:
    """What `storekeeper scan` prints of the only storage."""
    argv = [COMMAND, "scan", "--config", str(declaration)]
    done = subprocess.run(
        machine.entering(argv) if machine else argv, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return msgspec.json.decode(done.stdout, type=ImageStorageInfo)


class Served:
    """A running server. Every question is asked anew, over HTTP, and must be answered within ANSWER_S."""

    def __init__(self, url: str, pid: int, machine: PrivateMachine | None) -> None:
        self.url = url
        self.pid = pid
        self._machine = machine

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""
        argv = [sys.executable, "-I", "-S", "-c", _GET, self.url + path, str(ANSWER_S)]
        done = subprocess.run(
            self._machine.entering(argv) if self._machine else argv, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def answers(self) -> bool:
        """Whether the server has looked at everything once."""
        with contextlib.suppress(AssertionError):
            self.get("/healthz")
            return True
        return False

    def document(self, storage: str = STORAGE) -> ImageStorageInfo:
        """The document."""
        return msgspec.json.decode(self.get(f"/imagestorages/{storage}"), type=ImageStorageInfo)

    def images(self, storage: str = STORAGE) -> dict[str, ImageDetail]:
        """Every row of the images route, by image id; for storages in which that is unique."""
        rows = msgspec.json.decode(self.get(f"/imagestorages/{storage}/images"), type=list[ImageDetail])
        found = {row.image_id: row for row in rows}
        assert len(found) == len(rows)
        return found

    def disks(self, storage: str = STORAGE) -> list[DiskDetail]:
        """Every row of the disks route."""
        return msgspec.json.decode(self.get(f"/imagestorages/{storage}/disks"), type=list[DiskDetail])

    def volume(self, volume_id: str) -> ExternalVolumeInfo | GlusterVolumeInfo:
        """One volume of the document."""
        document = self.document()
        rows: list[ExternalVolumeInfo | GlusterVolumeInfo] = [
            *document.external_volumes,
            *document.gluster_volumes,
        ]
        (found,) = [row for row in rows if row.volume_id == volume_id]
        return found

    def ids(self, volume_id: str) -> set[str]:
        """The ids of a volume's images and clones."""
        row = self.volume(volume_id)
        return {image.image_id for image in row.images} | {clone.clone_id for clone in row.clones}

    def until(self, happened: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Waits for a condition; a failure shows the document."""
        try:
            wait_until(happened, within_s=within_s, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.document()}") from None

    def until_status(self, volume_id: str, status: str, *, within_s: float) -> str:
        """Waits for a volume's status; its message."""
        self.until(
            lambda: self.volume(volume_id).status == status,
            within_s=within_s,
            what=f"{volume_id} is {status}",
        )
        return self.volume(volume_id).status_msg


@contextlib.contextmanager
def served(
    declaration: Path, machine: PrivateMachine | None = None, *, within: tuple[str, ...] = ()
) -> Iterator[Served]:
    """A server that has looked at everything once. `within`: the command that runs it."""
    argv = [
        "bash",
        "-c",
        'echo $$; exec "$@"',
        "serve",
        *within,
        COMMAND,
        "serve",
        "--config",
        str(declaration),
    ]
    log = declaration.with_suffix(".log")
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            machine.entering(argv) if machine else argv,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            env={**os.environ, "PATH": PATH}, text=True,
        )  # fmt: skip
    assert process.stdout
    pid = int(process.stdout.readline())

    def url() -> str:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        found = re.search(r"http://\S+?(?=/imagestorages)", log.read_text(encoding="utf-8"))
        return found[0] if found else ""

    try:
        wait_until(lambda: bool(url()), within_s=20, what="the server has started")
        server = Served(url(), pid, machine)
        wait_until(server.answers, within_s=20, what="the server has looked at everything")
        yield server
    finally:
        kill = ["kill", str(pid)]
        subprocess.run(machine.entering(kill) if machine else kill, check=False)
        process.wait(timeout=20)
        process.stdout.close()


def workers(server: Served) -> list[int]:
    """The server's worker processes, those that hang among them; not the tools that they run."""
    (zygote,) = (pid for pid in _children(server.pid) if b".zygote" in _read(pid, "cmdline"))
    return sorted(_children(zygote))


def cannot_die(pid: int) -> bool:
    """Whether a process was killed and is still there: it has no memory left, hence no command line."""
    return not _read(pid, "cmdline")


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for each in threads for child in _read(pid, f"task/{each.name}/children").split()]


def _read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; nothing when the process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""
