"""A database of credentials, in memory."""

from __future__ import annotations

from storekeeper.credentials import Credential


class Kept:
    """The credentials of a database in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Credential] = {}
        self.asked = 0

    def credentials(self) -> list[Credential]:
        self.asked += 1
        return list(self.rows.values())

    def put_credential(self, credential: Credential, now: float) -> None:
        assert credential.holds(now)
        self.rows[credential.credential_id] = credential

    def delete_credential(self, credential_id: str) -> bool:
        return self.rows.pop(credential_id, None) is not None
