"""Who asks: the credentials of people and agents, and what a request is allowed by them.

A token is `sk_KIND_ID_SECRET`, shown once; kept is the SHA-256 of the secret, which is 256 random bits, so
that a slow hash would add nothing.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["person", "agent", "join"]
Role = Literal["viewer", "administrator"]


class Credential(Struct, frozen=True, kw_only=True):
    """A credential as it is stored. Times are the manager's clock (epoch seconds); `expires_at` 0: never.

    `person`: `role` says what it may; `name` whom it was made for. `agent`, `join`: `host_id`. A `join` one
    is gone once used. `machine_id`: of an agent's, the machine that it was given to.
    """

    credential_id: str
    kind: Kind
    secret_hash: bytes
    created_at: float
    expires_at: float = 0.0
    name: str = ""
    role: Role = "viewer"
    host_id: str = ""
    machine_id: str = ""


class Principal(Struct, frozen=True):
    """Who sent a request: `nobody` when it carried no credential."""

    kind: Literal["nobody", "person", "agent", "join"]
    credential: Credential | None = None


NOBODY = Principal("nobody")
