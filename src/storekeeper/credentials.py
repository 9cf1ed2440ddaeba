"""Who asks: the credentials of people and agents, and what a request is allowed by them.

A token is `sk_KIND_ID_SECRET`, shown once; kept is the SHA-256 of the secret, which is 256 random bits, so
that a slow hash would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, NamedTuple

from msgspec import Struct

Kind = Literal["person", "agent", "join"]
Role = Literal["viewer", "administrator"]

_TOKEN = re.compile(r"sk_(?:person|agent|join)_([0-9a-f]{16})_([A-Za-z0-9_-]{43})\Z")


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

    def holds(self, now: float) -> bool:
        """Whether it has not expired."""
        return not self.expires_at or now < self.expires_at


class Principal(Struct, frozen=True):
    """Who sent a request: `nobody` when it carried no credential."""

    kind: Literal["nobody", "person", "agent", "join"]
    credential: Credential | None = None


NOBODY = Principal("nobody")


class Token(NamedTuple):
    """What a token says: which credential it is of, and the secret that proves it."""

    credential_id: str
    secret: str


def new_token() -> Token:
    """An id and a secret that nobody can guess."""
    return Token(secrets.token_hex(8), secrets.token_urlsafe(32))


def written(kind: Kind, token: Token) -> str:
    """The token as it is shown and sent."""
    return f"sk_{kind}_{token.credential_id}_{token.secret}"


def parsed(text: str) -> Token | None:
    """What a token says; None when it is none."""
    found = _TOKEN.match(text)
    return Token(found[1], found[2]) if found else None


def hashed(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def proves(token: Token, credential: Credential) -> bool:
    """Whether the token is this credential's. Takes the same time whatever is wrong with the secret."""
    return hmac.compare_digest(hashed(token.secret), credential.secret_hash)
