"""What the API needs of a manager. Structural, so that a test may hand it a plain stand-in."""

from __future__ import annotations

from typing import Protocol

from storekeeper.manager.published import Published
from storekeeper.merge.truth import Truth


class Manager(Protocol):
    """The last truth, and the bytes that were made of it. Nothing here waits."""

    @property
    def ready(self) -> bool:
        """Whether enough was seen to answer; before that every storage is 503."""

    def storages(self) -> tuple[str, ...]:
        """The ids of all image storages."""

    def published(self, image_storage_id: str) -> Published | None:
        """The document of one storage; None when there is no such storage."""

    def listing(self) -> Published:
        """The list of all storages."""

    def truth(self) -> Truth:
        """The last truth, immutable: what the detail routes are made from."""
