"""Credentials: in memory, over the store; what they prove, and how they are made and end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec.structs import replace

from storekeeper.credentials import (
    Credential,
    Kind,
    Principal,
    Role,
    hashed,
    new_token,
    parsed,
    proves,
    written,
)
from storekeeper.errors import NotAuthenticated, Refused
from storekeeper.manager.waiting import in_thread

# Another manager on the same database may have made the credential that is unknown here. A flood of unknown
# ones asks the database no more often than this.
REFRESH_S = 1.0
FIRST_TOKEN_FILE = "admin.token"  # noqa: S105
DEFAULT_DIRECTORY = "/var/lib/storekeeper"

_NOT_KNOWN = "This token is not known, or no more: it was revoked, replaced or used. Ask for a new one."


class CredentialStore(Protocol):
    """What is asked of the store. Each returns once it is on disk."""

    def credentials(self) -> list[Credential]:
        """All of them."""

    def put_credential(self, credential: Credential, now: float) -> None:
        """Keeps one, and may forget those that expired long before `now`."""

    def delete_credential(self, credential_id: str) -> bool:
        """Forgets one; True for the one caller that it was there for."""


class Access:
    """All credentials. `clock` gives the epoch seconds that they expire by.

    `principal` and `credentials` answer from memory. Everything that waits for the database is a plain
    method for any thread, or a coroutine that uses one. Those may raise StoreError.
    """

    def __init__(self, store: CredentialStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshed_at = clock()
        # By a database that hangs, questions must not gather.
        self._asking = False
        self._keep(store.credentials())

    def credentials(self) -> list[Credential]:
        """All, those that expired too, the oldest first."""
        return sorted(self._known.values(), key=lambda one: one.created_at)

    # --- what a token proves --------------------------------------------------------------------

    def principal(self, token: str, now: float | None = None) -> Principal:
        """Whose token this is, as far as this manager knows.

        Raises:
            NotAuthenticated: nobody's, or it expired.
        """
        said = parsed(token)
        credential = self._known.get(said.credential_id) if said else None
        if said is None or credential is None or not proves(said, credential):
            raise NotAuthenticated(_NOT_KNOWN)
        if not credential.holds(self._clock() if now is None else now):
            raise NotAuthenticated("This token has expired. Ask for a new one.")
        return Principal(credential.kind, credential)

    async def authenticate(self, token: str) -> Principal:
        """As `principal`; asks the database for what is unknown, and ends what a rotated one replaces.

        Raises:
            NotAuthenticated: nobody's, or it expired.
        """
        said = parsed(token)
        if said and said.credential_id not in self._known and self._refreshable():
            self._asking = True
            try:
                await in_thread(self.refresh)
            finally:
                self._asking = False
        principal = self.principal(token)
        if principal.credential and principal.credential.credential_id in self._replacing:
            await in_thread(self._replace, principal.credential)
        return principal

    def admits(self, principal: Principal) -> bool:
        """Whether who was let in still would be. Nobody has no credential that could end."""
        credential = principal.credential
        return credential is None or (
            credential.credential_id in self._known and credential.holds(self._clock())
        )

    def _refreshable(self) -> bool:
        # A clock set back must not stop it.
        now = self._clock()
        if 0 <= now - self._refreshed_at < REFRESH_S or self._asking:
            return False
        self._refreshed_at = now
        return True

    def refresh(self) -> None:
        """Takes what the database holds now: another manager may have made and revoked some."""
        with self._lock:
            self._keep(self._store.credentials())

    # --- making and ending ----------------------------------------------------------------------

    def make(
        self,
        kind: Kind,
        *,
        name: str = "",
        role: Role = "viewer",
        host_id: str = "",
        machine_id: str = "",
        lifetime_s: float = 0.0,
    ) -> tuple[Credential, str]:
        """A new credential, and its token, which nobody can show again. `lifetime_s` from now; 0: for good.

        Earlier ones of the same agent hold until the new one is first used.
        """
        token, now = new_token(), self._clock()
        credential = Credential(
            credential_id=token.credential_id, kind=kind, secret_hash=hashed(token.secret), created_at=now,
            expires_at=now + lifetime_s if lifetime_s else 0.0,
            name=name, role=role, host_id=host_id, machine_id=machine_id,
        )  # fmt: skip
        with self._lock:
            if kind == "agent":
                # Which one is new must show, whatever was done to the clock.
                later = (one.created_at + 1e-3 for one in self._of_agent(host_id))
                credential = replace(credential, created_at=max([now, *later]))
            self._put(credential)
        return credential, written(kind, token)

    def revoke(self, credential_id: str) -> bool:
        """Ends a credential; whether there was one. Of several callers, in all managers, one is told so."""
        with self._lock:
            return self._delete(credential_id)

    def first_token(self, directory: str) -> str | None:
        """Leaves an administrator's token in `directory`, for its user only, when no administrator has one.

        The file's path; None when there was nothing to do.

        Raises:
            Refused: the file cannot be written.
        """
        now = self._clock()
        if any(one.kind == "person" and one.role == "administrator" and one.holds(now)
               for one in self._known.values()):  # fmt: skip
            return None
        token = new_token()
        path = os.path.join(directory, FIRST_TOKEN_FILE)
        # The file first: a token that nobody can read would be the administrator's for good.
        try:
            write_privately(path, written("person", token).encode() + b"\n")
        except OSError as error:
            raise Refused(f"Cannot write the administrator's token to {path}: {error.strerror}.") from error
        credential = Credential(
            credential_id=token.credential_id, kind="person", secret_hash=hashed(token.secret),
            created_at=now, name="first start", role="administrator",
        )  # fmt: skip
        with self._lock:
            self._put(credential)
        return path

    # --- how ------------------------------------------------------------------------------------

    def _put(self, credential: Credential) -> None:
        """With the lock held, as the next."""
        self._store.put_credential(credential, self._clock())
        self._keep([*self._known.values(), credential])

    def _delete(self, credential_id: str) -> bool:
        gone = self._store.delete_credential(credential_id)
        self._keep(one for one in self._known.values() if one.credential_id != credential_id)
        return gone

    def _replace(self, credential: Credential) -> None:
        """Ends the earlier credentials of this agent's host."""
        with self._lock:
            for one in self._of_agent(credential.host_id):
                if one.created_at < credential.created_at:
                    self._delete(one.credential_id)

    def _of_agent(self, host_id: str) -> list[Credential]:
        return [one for one in self._known.values() if one.kind == "agent" and one.host_id == host_id]

    def _keep(self, credentials: Iterable[Credential]) -> None:
        """Replaces what is known, at once for those who read meanwhile."""
        known = {one.credential_id: one for one in credentials}
        oldest: dict[str, float] = {}
        for one in known.values():
            if one.kind == "agent":
                oldest[one.host_id] = min(one.created_at, oldest.get(one.host_id, one.created_at))
        self._known = known
        self._replacing = {
            one.credential_id
            for one in known.values()
            if one.kind == "agent" and one.created_at > oldest[one.host_id]
        }


def directory_of(database: str) -> str | None:
    """Where a manager keeps its files: beside its database; None when that is in memory."""
    scheme, _, path = database.partition("://")
    if scheme == "sqlite":
        return os.path.dirname(path) if path else None
    return DEFAULT_DIRECTORY


def write_privately(path: str, content: bytes) -> None:
    """A whole file, or none, that only this user may read.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    part = f"{path}.{os.getpid()}"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(file, 0o600)
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(part, path)
