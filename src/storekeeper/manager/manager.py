"""The manager: applies reports, merges them, publishes bytes, and says where agents are to look.

Order matters here. The invariants:

1. Reports are applied in the order in which they come, whole, on the event loop; views are immutable, so
   that a merge in another thread sees one consistent moment.
2. One publisher merges and publishes: truths come out in the order in which their reports went in.
3. A document's bytes are replaced only when they differ, and all encodings at once.
4. What is written to the store was applied before; a lost write costs a reread, never the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import time

import msgspec
import structlog

from storekeeper.database import Store
from storekeeper.database.store import Applied, whole
from storekeeper.declaration import Declaration
from storekeeper.document import ImageStorageBasicInfo
from storekeeper.errors import StoreError
from storekeeper.manager.events import Events, steps
from storekeeper.manager.published import Published, publish
from storekeeper.merge import merge
from storekeeper.merge.discovery import discover
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView, Memory, Truth
from storekeeper.report import Changes, received
from storekeeper.sources.contract import Scope

LONGEST_WAIT_S = 3600.0
# The store is written behind the reports, in batches.
WRITE_EVERY_S = 1.0

encode = msgspec.json.Encoder().encode

log = structlog.get_logger()

Rescope = Callable[[str, list[tuple[str, Scope]]], None]


class Manager:
    """The last truth, and what is published of it.

    `rescope(host_id, scopes)` tells an agent where to look; `answered()` whether every agent has looked
    there since: before that nothing is known, and the manager is not `ready`. `directories`: see `declared`.
    """

    def __init__(
        self,
        declaration: Declaration,
        store: Store,
        rescope: Rescope,
        answered: Callable[[], bool],
        *,
        directories: tuple[str, ...] = (),
        clock: Callable[[], float] = time,
    ) -> None:
        self._declaration = declaration
        self._store = store
        self._rescope = rescope
        self._answered = answered
        self._directories = directories
        self._clock = clock
        self._views = store.views()
        self._truth = Truth(storages={}, memory=store.memory(), valid_until=0.0)
        self._published: dict[str, Published] = {}
        self._listing = publish(b"[]")
        self._dirty = asyncio.Event()
        self._written_memory: Memory | None = self._truth.memory
        self._unwritten: list[Applied] = []
        self.ready = False
        self.events = Events()

    # --- what is asked of it --------------------------------------------------------------------

    def storages(self) -> tuple[str, ...]:
        """The ids of all image storages."""
        return tuple(self._published)

    def published(self, image_storage_id: str) -> Published | None:
        """The prepared bytes of one storage's document."""
        return self._published.get(image_storage_id)

    def listing(self) -> Published:
        """The prepared bytes of the list of all storages."""
        return self._listing

    def truth(self) -> Truth:
        """The last truth."""
        return self._truth

    def view(self, host_id: str) -> HostView:
        """What a host has told so far."""
        return self._views.get(host_id) or HostView(host_id=host_id, looks={})

    # --- what it is told ------------------------------------------------------------------------

    def apply(self, host_id: str, changes: Changes) -> None:
        """Applies one report of a host."""
        view = received(self.view(host_id), changes, self._clock())
        self._views = {**self._views, host_id: view}
        look = view.looks[changes.source, changes.scope]
        self._unwritten.append(Applied(host_id=host_id, changes=changes, look=look))
        self._dirty.set()

    # --- what it does ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Publishes whenever a report came or time made the truth stale; writes behind. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_forever())
            group.create_task(self._write_forever())

    async def publish(self) -> None:
        """Merges what is known, publishes what changed, and says where to look from now on."""
        self._dirty.clear()
        views = self._views
        self._declaration = declared(self._declaration, views, self._directories)
        former, known = self._truth, self._published
        truth, published, listing = await asyncio.to_thread(
            _published, self._declaration, views, former, self._clock(), known, self._listing
        )
        if published != known:
            changed = await asyncio.to_thread(steps, former, truth, known, published)
            self.events.add(changed)
        self._truth, self._published, self._listing = truth, published, listing
        for host_id, wanted in scopes(self._declaration, views, self._truth).items():
            self._rescope(host_id, wanted)
        self.ready = self.ready or self._answered()

    async def close(self) -> None:
        """Writes what is not written yet, and closes the store."""
        await self.write_behind()
        await asyncio.to_thread(self._store.close)

    async def _publish_forever(self) -> None:
        while True:
            await self.publish()
            wait_s = max(self._truth.valid_until - self._clock(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LONGEST_WAIT_S)):
                    await self._dirty.wait()

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write_behind()

    async def write_behind(self) -> None:
        """Writes what was applied since the last time, in one transaction."""
        applied, self._unwritten = self._unwritten, []
        memory = self._truth.memory
        if not applied and memory is self._written_memory:
            return
        try:
            await asyncio.to_thread(self._store.write, applied, memory)
            self._written_memory = memory
        except StoreError as error:
            # Tried again with the next: of each scope the last look, so that this does not grow.
            self._unwritten = whole([*applied, *self._unwritten])
            log.warning("not written", error=str(error))


def declared(
    declaration: Declaration, views: Mapping[str, HostView], directories: tuple[str, ...] = ()
) -> Declaration:
    """The declaration; where none was written, what its host is seen to have now.

    `directories`: those known to be there and meant for images.
    """
    view = views.get(declaration.host_id)
    if not declaration.found or view is None:
        return declaration
    found = discover(declaration, view, directories)
    return declaration if found == declaration else found


def _published(
    declaration: Declaration,
    views: Mapping[str, HostView],
    former: Truth,
    now: float,
    known: Mapping[str, Published],
    listing: Published,
) -> tuple[Truth, dict[str, Published], Published]:
    """The truth of this moment and its bytes; bytes that did not change are the known ones."""
    truth = merge(declaration, views, former.memory, now, former)
    fresh = {}
    for storage_id, storage in truth.storages.items():
        former_storage = former.storages.get(storage_id)
        if former_storage is not None and former_storage.document is storage.document and storage_id in known:
            fresh[storage_id] = known[storage_id]
            continue
        fresh[storage_id] = _bytes(encode(storage.document), known.get(storage_id))
    rows = [
        ImageStorageBasicInfo(image_storage_id=storage_id, hosts=storage.document.hosts)
        for storage_id, storage in truth.storages.items()
    ]
    return truth, fresh, _bytes(encode(rows), listing)


def _bytes(document: bytes, former: Published | None) -> Published:
    """The document's bytes in every encoding; the former ones when they are the same."""
    if former is not None and former.identity == document:
        return former
    return publish(document)
