"""What an agent keeps over a restart: its credential, how often it was started, where it last was to look."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from storekeeper.errors import NotAuthenticated, NotKnown, Refused
from storekeeper.report import Scopes

DEFAULT_DIRECTORY = "/var/lib/storekeeper/agent"
MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# machine-id(5): the id itself must not be told in a network; a digest of it with a constant may.
_APPLICATION = b"storekeeper agent 5f1c6a34\0"

T = TypeVar("T")


class Membership(Struct, frozen=True):
    """This host as its manager knows it. `joined_with`: a digest of the token that it joined with."""

    host_id: str
    credential: str
    joined_with: str = ""


class StateDirectory:
    """The agent's files. Only its user can read them; each is replaced whole or not at all."""

    def __init__(self, directory: str | Path) -> None:
        """Raises NotKnown when the directory cannot be made or written."""
        self.path = Path(directory)
        self._lock = -1
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise NotKnown(
                f"{self.path} cannot be used: {error.strerror}; name another with --state."
            ) from error

    def lock(self) -> None:
        """Keeps a second agent from reporting out of this directory, until this process ends.

        Raises:
            Refused: one does.
        """
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise Refused(f"Another agent runs with {self.path}; stop it first.") from error

    def close(self) -> None:
        """Lets another agent use the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- membership -------------------------------------------------------------------------------

    def membership(self) -> Membership:
        """Who this host is.

        Raises:
            NotAuthenticated: it has not joined.
        """
        found = self._read("membership.json", Membership)
        if found is None:
            raise NotAuthenticated(
                f"This host has not joined (no {self.path}/membership.json). On the manager: "
                "storekeeper host add ID; then run here the line which that prints."
            )
        return found

    def joined(self, membership: Membership) -> None:
        """This is who this host is now."""
        self._write("membership.json", msgspec.json.encode(membership))

    def joined_with(self, token: str) -> bool:
        """Whether it was this token that the host joined with: then there is no need to do so again."""
        found = self._read("membership.json", Membership)
        return found is not None and found.joined_with == digest(token)

    def rotated(self, credential: str) -> None:
        """The host's credential is this one now."""
        self.joined(msgspec.structs.replace(self.membership(), credential=credential))

    # --- runs and scopes --------------------------------------------------------------------------

    def next_run(self, clock: Callable[[], float] = time.time) -> int:
        """A number greater than that of every earlier run: the clock's seconds, or one more than the last.

        Counted alone, it would begin anew when this directory is lost; told by the clock alone, it would
        go back when that does.
        """
        run = max((self._read("run.json", int) or 0) + 1, int(clock()))
        self._write("run.json", msgspec.json.encode(run))
        return run

    def scopes(self) -> Scopes | None:
        """Where this host was last to look, if that is known and was understood."""
        return self._read("scopes.json", Scopes)

    def keep_scopes(self, scopes: Scopes) -> None:
        """Where this host is to look now."""
        self._write("scopes.json", msgspec.json.encode(scopes))

    # --- files ------------------------------------------------------------------------------------

    def _read(self, name: str, type_: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            return None  # of another version, or cut by hand: as if it were not there
        except OSError as error:
            raise NotKnown(f"{self.path}/{name} cannot be read: {error.strerror}.") from error

    def _write(self, name: str, content: bytes) -> None:
        new = self.path / f"{name}.{os.getpid()}.new"
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path / name)
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise NotKnown(f"{self.path}/{name} cannot be written: {error.strerror}.") from error


def digest(secret: str) -> str:
    """By which a token is known again."""
    return hashlib.sha256(secret.encode()).hexdigest()


def machine_id(path: str = MACHINE_ID) -> str:
    """Which machine this is, told by a digest.

    Raises:
        NotKnown: it has no id.
    """
    try:
        told = Path(path).read_bytes().strip()
    except OSError:
        told = b""
    if len(told) < 32:
        raise NotKnown(f"This machine has no id in {path}; make one with: systemd-machine-id-setup")
    return hashlib.sha256(_APPLICATION + told).hexdigest()[:32]


def boot_id(path: str = BOOT_ID) -> str:
    """Which of its boots this is; the kernel makes it up."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise NotKnown(f"{path} cannot be read: is this Linux?") from error
