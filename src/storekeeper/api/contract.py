"""What the API needs of a manager. Structural, so that a test may hand it a plain stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from storekeeper.declaration import Declaration, Declared
from storekeeper.manager.events import Events
from storekeeper.manager.published import Published
from storekeeper.merge.truth import Truth

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


class Declares(Protocol):
    """What declaring by the API needs of a manager beside that."""

    @property
    def file(self) -> Declaration:
        """What the manager's own file declares; `found` where there is none."""

    async def declared(self) -> Declared:
        """What was declared through the API."""

    async def declare(self, change: Callable[[Declared], Declared]) -> Declared:
        """Declares what `change` makes of what was declared so far; it holds when this returns."""
