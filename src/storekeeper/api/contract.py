"""What the API needs of a manager. Structural, so that a test may hand it a plain stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from storekeeper.credentials import Credential
from storekeeper.declaration import Declaration, Declared
from storekeeper.manager.access import Access
from storekeeper.manager.events import Events
from storekeeper.manager.published import Published
from storekeeper.manager.reports import Greeting
from storekeeper.merge.hosts import Known
from storekeeper.merge.truth import Truth
from storekeeper.report import Acknowledged, Report, Scopes

# What the door and the server leave in the ASGI scope for the routes: whether only the head was asked for
# (they see every request as GET), and how to end a connection whose client does not read.
HEAD = "storekeeper.head"
ABORT = "storekeeper.abort"


class Manager(Protocol):
    """The last truth, and the bytes that were made of it. Nothing here waits."""

    @property
    def ready(self) -> bool:
        """Whether enough was seen to answer; before that every storage is 503."""

    @property
    def access(self) -> Access:
        """The credentials that there are."""

    @property
    def events(self) -> Events:
        """What changes in the documents."""

    def storages(self) -> tuple[str, ...]:
        """The ids of all image storages."""

    def published(self, image_storage_id: str) -> Published | None:
        """The document of one storage; None when there is no such storage."""

    def listing(self) -> Published:
        """The list of all storages."""

    def truth(self) -> Truth:
        """The last truth, immutable: what the detail routes are made from."""


class Watches(Protocol):
    """What the states of hosts and guests need of a manager beside that."""

    def known(self) -> Known:
        """What the hosts told, what is declared, and the time."""


class Admits(Protocol):
    """What it takes to shut a host's agent out."""

    @property
    def access(self) -> Access:
        """The credentials that there are."""

    async def forget_agent(self, host_id: str) -> None:
        """Another machine may be this host from now on, or none."""


class Declares(Admits, Protocol):
    """What declaring by the API needs of a manager beside that."""

    @property
    def file(self) -> Declaration:
        """What the manager's own file declares; `found` where there is none."""

    async def declared(self) -> Declared:
        """What was declared through the API."""

    async def declare(self, change: Callable[[Declared], Declared]) -> Declared:
        """Declares what `change` makes of what was declared so far; it holds when this returns."""


class Hears(Admits, Protocol):
    """What agents, and those who let them join, need of a manager."""

    fingerprint: str

    async def hear(
        self, report: Report | Greeting, credential: Credential, address: str = ""
    ) -> Acknowledged:
        """Applies a report, whole or not at all."""

    async def scopes_after(self, host_id: str, version: str, timeout_s: float) -> Scopes | None:
        """Where a host is to look, once that is another version; None when it stays the same so long."""

    def host_ids(self) -> tuple[str, ...]:
        """The ids of all hosts."""
