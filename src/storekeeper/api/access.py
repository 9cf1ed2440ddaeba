"""Whether a request may do what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from litestar import Request
from litestar.datastructures import State

from storekeeper.credentials import NOBODY, Principal, Role
from storekeeper.errors import NotAuthenticated, Refused

# Where the door leaves the request's Principal in the ASGI scope.
PRINCIPAL = "storekeeper.principal"


def principal_of(request: Request[None, None, State]) -> Principal:
    """Who sent this request."""
    return cast(Principal, cast(Mapping[str, object], request.scope).get(PRINCIPAL, NOBODY))


def need_role(request: Request[None, None, State], role: Role) -> Principal:
    """The person who asks, who must have this role; an administrator has every one.

    Raises:
        NotAuthenticated: the request carries no credential.
        Refused: its credential does not suffice.
    """
    principal = principal_of(request)
    if principal.kind == "nobody" or principal.credential is None:
        raise NotAuthenticated("This needs a token: send it as 'Authorization: Bearer TOKEN'.")
    if principal.kind != "person" or principal.credential.role not in {role, "administrator"}:
        raise Refused(f"This needs a person's token with the role {role}.")
    return principal


def need_agent(request: Request[None, None, State]) -> Principal:
    """The agent that asks.

    Raises:
        NotAuthenticated: the request carries no credential.
        Refused: it is no agent's.
    """
    principal = principal_of(request)
    if principal.kind == "nobody":
        raise NotAuthenticated("An agent sends its credential; join the host with: storekeeper agent")
    if principal.kind != "agent":
        raise Refused("Only a host's agent may do this, with the credential that it got when it joined.")
    return principal
